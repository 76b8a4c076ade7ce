//! lib-jitsi-meet and jQuery as npm has them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One file of a package.
struct Package {
    name: &'static str,
    tarball: &'static str,
    sha256: &'static str,
    file: &'static str,
}

const PACKAGES: [Package; 2] = [
    // The newest build on npm that knows source names and receiver constraints: December 2021. Browsers load its bundle
    // as it is.
    Package {
        name: "@lyno/lib-jitsi-meet@2.6726.2",
        tarball: "lyno-lib-jitsi-meet-2.6726.2.tgz",
        sha256: "7219c05db541cb1aa2064d1ba86837bf01d533f527aeaa7ae91f52265e72afcd",
        file: "package/lib-jitsi-meet.min.js",
    },
    // The only thing that the bundle lacks.
    Package {
        name: "jquery@3.6.0",
        tarball: "jquery-3.6.0.tgz",
        sha256: "81aba42cff61ab4f21ddf493eb1873dd9702a685eca9a8a182c9d4002846f0f8",
        file: "package/dist/jquery.min.js",
    },
];

/// The library and what it needs as files, fetched with npm the first time.
///
/// # Panics
///
/// Panics if npm can not fetch them, or if they are not those that are expected.
pub(super) fn files() -> Vec<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    );
    let folder = target.join("lib-jitsi-meet");
    fs::create_dir_all(&folder).expect("the target folder is writable");
    let fetch = |package: &Package| {
        let Package { tarball, file, .. } = package;
        if !folder.join(tarball).exists() {
            run(&folder, "npm", &["pack", "--silent", package.name]);
        }
        let sums = format!("{}  {tarball}\n", package.sha256);
        fs::write(folder.join("sha256"), sums).expect("the target folder is writable");
        run(&folder, "sha256sum", &["--check", "--quiet", "sha256"]);
        run(&folder, "tar", &["-xzf", tarball, file]);
        folder.join(file)
    };
    PACKAGES.iter().map(fetch).collect()
}

fn run(folder: &Path, program: &str, arguments: &[&str]) {
    let status = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .status()
        .unwrap_or_else(|error| panic!("can not run {program}: {error}"));
    assert!(status.success(), "{program} {arguments:?}: {status}");
}
