//! `--check-config`: what a configuration means, without starting anything.

use std::fmt::Write as _;
use std::process::ExitCode;

use crate::EXIT_CONFIG;
use crate::config::{Loaded, Sources};

/// How keys end whose values nobody should find in a terminal's history.
const SECRETS: [&str; 2] = ["PASSWORD", "TOKEN"];

/// Prints the effective values to standard output and problems to standard error.
pub fn run(sources: &Sources) -> ExitCode {
    match Loaded::load(sources) {
        Ok(loaded) => {
            print!("{}", report(&loaded));
            for warning in &loaded.warnings {
                eprintln!("warning: {warning}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("causeway: the configuration can not be used\n{error}");
            ExitCode::from(EXIT_CONFIG)
        }
    }
}

/// One line a key: key, value, where it was set.
fn report(loaded: &Loaded) -> String {
    let lines: Vec<(String, &str)> = loaded
        .effective
        .iter()
        .map(|(key, effective)| {
            let name = key.to_ascii_uppercase();
            let value = if SECRETS.iter().any(|end| name.ends_with(end)) {
                "(not shown)"
            } else {
                &effective.value
            };
            let origin = effective.origin.as_deref().unwrap_or("default");
            (format!("{key} = {value}"), origin)
        })
        .collect();
    let width = lines
        .iter()
        .map(|(line, _)| line.len())
        .max()
        .unwrap_or(0)
        .min(80);
    lines.iter().fold(String::new(), |mut out, (line, origin)| {
        // Writing to a string does not fail.
        let _ = writeln!(out, "{line:width$}  # {origin}");
        out
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::config::{DaemonConfig, Effective};

    use super::*;

    #[test]
    fn each_key_has_its_value_and_its_origin() {
        let effective = |value: &str, origin: Option<&str>| Effective {
            value: value.to_owned(),
            origin: origin.map(str::to_owned),
        };
        let loaded = Loaded {
            config: DaemonConfig::default(),
            warnings: Vec::new(),
            effective: BTreeMap::from([
                ("a.port".to_owned(), effective("10000", None)),
                (
                    "a.password".to_owned(),
                    effective("hunter2", Some("x.conf:4")),
                ),
                ("a.token".to_owned(), effective("hunter2", Some("x.conf:5"))),
                ("b".to_owned(), effective("5s", Some("x.conf:7"))),
            ]),
        };
        assert_eq!(
            report(&loaded),
            "a.password = (not shown)  # x.conf:4\n\
             a.port = 10000            # default\n\
             a.token = (not shown)     # x.conf:5\n\
             b = 5s                    # x.conf:7\n"
        );
    }
}
