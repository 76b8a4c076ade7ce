//! Levels from a `logging.properties` file of java.util.logging (config spec §8.2).

use std::collections::BTreeMap;

/// Packages of the Java bridge and our modules that do the same.
const MODULES: [(&str, &[&str]); 7] = [
    ("org.jitsi.videobridge.relay", &["causeway_bridge::relay"]),
    ("org.jitsi.videobridge.xmpp", &["causeway::xmpp"]),
    (
        "org.jitsi.videobridge",
        &["causeway", "causeway_bridge", "causeway_colibri"],
    ),
    (
        "org.jitsi.nlj",
        &["causeway_bridge::conference", "causeway_bridge::worker"],
    ),
    ("org.jitsi.xmpp", &["causeway::xmpp"]),
    (
        "org.jitsi",
        &["causeway", "causeway_bridge", "causeway_colibri"],
    ),
    ("org.ice4j", &["causeway_bridge::transport::ice"]),
];

/// The log filter that has the meaning of `properties`. Handlers, formatters and loggers that we have nothing for have no
/// effect; without a root level it is INFO.
pub fn filter_of_properties(properties: &BTreeMap<String, String>) -> String {
    let level_of = |name: &str| {
        properties
            .get(&format!("{name}.level"))
            .and_then(|level| our_level(level))
    };
    let mut filter = level_of("").unwrap_or("info").to_owned();
    let mut targets: BTreeMap<&str, &str> = BTreeMap::new();
    for (package, modules) in MODULES {
        let Some(level) = level_of(package) else {
            continue;
        };
        for module in modules {
            // The most special package comes first and wins.
            targets.entry(module).or_insert(level);
        }
    }
    for (module, level) in targets {
        filter.push_str(&format!(",{module}={level}"));
    }
    filter
}

fn our_level(name: &str) -> Option<&'static str> {
    Some(match name.trim() {
        "OFF" => "off",
        "SEVERE" => "error",
        "WARNING" => "warn",
        "INFO" | "CONFIG" => "info",
        "FINE" => "debug",
        "FINER" | "FINEST" | "ALL" => "trace",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(lines: &[(&str, &str)]) -> String {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        filter_of_properties(&lines.iter().map(owned).collect())
    }

    #[test]
    fn config_case_30_one_logger_is_raised_and_the_others_stay() {
        let lines = [
            (".level", "INFO"),
            ("org.jitsi.videobridge.relay.level", "FINE"),
        ];
        assert_eq!(filter(&lines), "info,causeway_bridge::relay=debug");
    }

    #[test]
    fn lines_for_java_only_have_no_effect() {
        let lines = [
            ("handlers", "java.util.logging.ConsoleHandler"),
            ("java.util.logging.ConsoleHandler.level", "ALL"),
            ("timeseries.level", "OFF"),
            (".level", "LOUD"),
        ];
        assert_eq!(filter(&lines), "info");
    }

    #[test]
    fn the_most_special_logger_wins() {
        let lines = [
            ("org.jitsi.videobridge.level", "WARNING"),
            ("org.jitsi.level", "ALL"),
        ];
        assert_eq!(
            filter(&lines),
            "info,causeway=warn,causeway_bridge=warn,causeway_colibri=warn"
        );
    }
}
