//! `causeway-lab`: see [`causeway_benches::lab`].

use std::process::ExitCode;

fn main() -> ExitCode {
    causeway_benches::lab::cli::main()
}
