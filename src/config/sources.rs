//! Where settings come from besides the file, as the Java bridge has it (config spec §1, §6, §7.1).
//!
//! From strongest to weakest: properties with legacy names, the configuration file, properties with the names of the file's
//! keys, defaults. Properties come from `-Dname=value` arguments, from the environment variable `JAVA_SYS_PROPS`, and legacy
//! ones also from `sip-communicator.properties`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use causeway_hocon::{Config, Error, Origin};

use super::{ConfigError, Warning, files, legacy};

/// Size up to which a properties file is read; real ones have a few lines.
const MAX_PROPERTIES: u64 = 1 << 20;
/// File with legacy properties, in a folder that two properties name.
const LEGACY_FILE: &str = "sip-communicator.properties";
const LEGACY_FOLDER: [&str; 2] = [
    "net.java.sip.communicator.SC_HOME_DIR_LOCATION",
    "net.java.sip.communicator.SC_HOME_DIR_NAME",
];

/// All places that settings are taken from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    file: Option<PathBuf>,
    properties: BTreeMap<String, String>,
}

impl Sources {
    /// `config`: the file named on the command line. `arguments`: `name=value` as given with `-D`; they win over those in
    /// `java_sys_props`, the content of the environment variable of this name.
    pub fn new(config: Option<PathBuf>, arguments: &[String], java_sys_props: &str) -> Sources {
        let mut properties = BTreeMap::new();
        let from_environment = words(java_sys_props)
            .into_iter()
            .filter_map(|word| word.strip_prefix("-D").map(str::to_owned));
        for property in from_environment.chain(arguments.iter().cloned()) {
            let (name, value) = property.split_once('=').unwrap_or((&property, ""));
            properties.insert(name.trim().to_owned(), value.to_owned());
        }
        let file = config.or_else(|| properties.get("config.file").map(PathBuf::from));
        Sources { file, properties }
    }

    /// The configuration file, if one is named.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Levels of log lines in the file that `java.util.logging.config.file` names; `None` if it names none that can be read.
    pub fn logging(&self) -> Option<BTreeMap<String, String>> {
        let path = self.properties.get("java.util.logging.config.file")?;
        read_properties(Path::new(path)).ok()
    }

    /// Puts everything on top of each other.
    ///
    /// # Errors
    /// A file can not be read or is not what it should be.
    pub(super) fn layers(&self) -> Result<(Config, Vec<Warning>), ConfigError> {
        let mut config = match &self.file {
            Some(path) => Config::parse(
                &files::read(path)?,
                &path.to_string_lossy(),
                &files::include,
            )?,
            None => Config::parse("", "defaults", &files::include)?,
        };
        let ours = |name: &str| {
            ["videobridge.", "ice4j.", "jmt."]
                .iter()
                .any(|root| name.starts_with(root))
        };
        for (name, value) in self.properties.iter().filter(|(name, _)| ours(name)) {
            config = config.with_fallback(Config::single(name, value, &format!("-D{name}"))?);
        }
        let mut warnings = Vec::new();
        let mut legacy = self.legacy_file()?;
        for (name, value) in &self.properties {
            // What is given to the process wins over what a file says.
            legacy.insert(name.clone(), (value.clone(), format!("-D{name}")));
        }
        let config = legacy::apply(config, &legacy, &mut warnings)?;
        Ok((config, warnings))
    }

    /// Properties of the legacy file with their origin; none if there is no such file.
    fn legacy_file(&self) -> Result<BTreeMap<String, (String, String)>, ConfigError> {
        let [location, name] = LEGACY_FOLDER.map(|property| {
            let given = self.properties.get(property).cloned();
            given.or_else(|| std::env::var(property).ok())
        });
        let (Some(location), Some(name)) = (location, name) else {
            return Ok(BTreeMap::new());
        };
        let path = Path::new(&location).join(name).join(LEGACY_FILE);
        match read_properties(&path) {
            Ok(properties) => Ok(properties
                .into_iter()
                .map(|(name, value)| {
                    let origin = format!("{}: {name}", path.display());
                    (name, (value, origin))
                })
                .collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => {
                let origin = Origin::new(&path.to_string_lossy(), 0);
                let reason = format!("the properties can not be read: {error}");
                Err(Error::new(&origin, "", reason).into())
            }
        }
    }
}

fn read_properties(path: &Path) -> io::Result<BTreeMap<String, String>> {
    let file = BufReader::new(File::open(path)?.take(MAX_PROPERTIES));
    java_properties::read(file)
        .map(|properties| properties.into_iter().collect())
        .map_err(io::Error::other)
}

/// Words of a shell-like text: blanks separate, quotes of both kinds keep blanks.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    for c in text.chars() {
        match quote {
            Some(end) if c == end => quote = None,
            Some(_) => word.push(c),
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            None => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_case_28_java_sys_props_name_the_file() {
        let sources = Sources::new(
            None,
            &[],
            "-Dconfig.file=/etc/x.conf  -Djava.util.logging.config.file='/etc/my log.properties' -Xmx3g",
        );
        assert_eq!(sources.file(), Some(Path::new("/etc/x.conf")));
        assert_eq!(
            sources
                .properties
                .get("java.util.logging.config.file")
                .map(String::as_str),
            Some("/etc/my log.properties")
        );
    }

    #[test]
    fn the_command_line_wins_over_the_environment() {
        let argument = ["config.file=/a.conf".to_owned()];
        let sources = Sources::new(None, &argument, "-Dconfig.file=/b.conf");
        assert_eq!(sources.file(), Some(Path::new("/a.conf")));
        let sources = Sources::new(Some("/c.conf".into()), &argument, "");
        assert_eq!(sources.file(), Some(Path::new("/c.conf")));
    }
}
