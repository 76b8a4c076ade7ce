//! The daemon under test.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::process::Process;

const STARTUP: Duration = Duration::from_secs(20);

/// A running `causeway` with its demo.
#[derive(Debug)]
pub struct Daemon {
    url: String,
    _process: Process,
}

impl Daemon {
    /// Starts the daemon without configuration, on ports of its own choice, with `arguments` added.
    ///
    /// # Panics
    ///
    /// Panics if it can not be built or does not start.
    pub fn start(arguments: &[&str]) -> Daemon {
        let mut command = Command::new(program());
        command.args(["--http", "127.0.0.1:0"]).args(arguments);
        let process = Process::start("causeway", &mut command);
        let url = process.announced(STARTUP, |line| {
            let start = line.find("http://")?;
            let url = line[start..].split_whitespace().next()?;
            Some(url.trim_end_matches('/').to_owned())
        });
        Daemon {
            url,
            _process: process,
        }
    }

    /// Where the demo is served, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// The program of the environment variable `CAUSEWAY_BIN`, else a release build of this tree.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(program) = env::var_os("CAUSEWAY_BIN") {
            return program.into();
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--release", "--locked", "--package", "causeway"])
            .current_dir(&root)
            .status()
            .expect("cargo runs");
        assert!(built.success(), "the daemon does not build");
        let target =
            env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        target.join("release/causeway")
    })
}
