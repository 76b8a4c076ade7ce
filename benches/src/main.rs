//! `causeway-load`: see [`causeway_benches::load`].

use std::process::ExitCode;

fn main() -> ExitCode {
    causeway_benches::load::cli::main()
}
