//! Configuration files on disk.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use causeway_hocon::{Error, Include, Included, Origin, limits};

pub(super) fn read(path: &Path) -> Result<String, Error> {
    read_limited(path).map_err(|error| {
        let reason = format!("the configuration cannot be read: {error}");
        Error::new(&Origin::new(&path.to_string_lossy(), 0), "", reason)
    })
}

/// Relative to the including file; a name without extension is tried with `.conf` and `.json`.
pub(super) fn include(include: Include<'_>) -> Result<Option<Included>, String> {
    let folder = Path::new(include.from).parent().unwrap_or(Path::new(""));
    let path = folder.join(include.path);
    let mut candidates: Vec<PathBuf> = vec![path.clone()];
    if path.extension().is_none() {
        candidates.extend([path.with_extension("conf"), path.with_extension("json")]);
    }
    for path in candidates.iter().filter(|path| !path.is_dir()) {
        match read_limited(path) {
            Ok(text) => {
                return Ok(Some(Included {
                    name: path.to_string_lossy().into_owned(),
                    text,
                }));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(None)
}

/// Reads one byte more than allowed at most, so that the parser can refuse it.
fn read_limited(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(limits::MAX_TEXT as u64 + 1)
        .read_to_string(&mut text)?;
    Ok(text)
}
