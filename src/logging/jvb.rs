//! Log lines as Jitsi Videobridge writes them (config spec §8.1), so that what follows its log goes on working.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU32, Ordering};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::registry::{LookupSpan, Scope};

/// Fields that belong into the context block, with their names there.
const CONTEXT: [(&str, &str); 5] = [
    ("conf", "confId"),
    ("conf_name", "conf_name"),
    ("meeting", "meeting_id"),
    ("endpoint", "epId"),
    ("relay", "relayId"),
];

/// `JVB 2026-11-23 15:53:25.644 WARNING: [50] [confId=… epId=…] module#319: text field=value`.
///
/// The context is that of the spans around the line, which [`SpanFields`] must have written.
pub(super) struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let now = jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S%.3f");
        let level = level_name(*metadata.level());
        write!(writer, "JVB {now} {level}: [{}] ", thread_number())?;
        let mut block = String::new();
        for span in context.event_scope().into_iter().flat_map(Scope::from_root) {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                append(&mut block, &fields.fields);
            }
        }
        append(&mut block, &fields.context);
        if !block.is_empty() {
            write!(writer, "[{block}] ")?;
        }
        let place = metadata.target();
        match metadata.line() {
            Some(line) => write!(writer, "{place}#{line}: ")?,
            None => write!(writer, "{place}: ")?,
        }
        writeln!(writer, "{}{}", fields.message, fields.others)
    }
}

/// Writes the fields of a span as they stand in the context block.
pub(super) struct SpanFields;

impl<'w> FormatFields<'w> for SpanFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, span: R) -> fmt::Result {
        let mut fields = Fields::default();
        span.record(&mut fields);
        writer.write_str(&fields.context)
    }
}

fn append(block: &mut String, fields: &str) {
    if !block.is_empty() && !fields.is_empty() {
        block.push(' ');
    }
    block.push_str(fields);
}

/// Names of java.util.logging.
fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "SEVERE",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        Level::DEBUG => "FINE",
        Level::TRACE => "FINER",
    }
}

/// A small number for each thread that ever wrote a line: readers of the log expect digits.
fn thread_number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    thread_local!(static NUMBER: u32 = NEXT.fetch_add(1, Ordering::Relaxed));
    NUMBER.with(|number| *number)
}

/// The fields of a line or a span.
#[derive(Default)]
struct Fields {
    message: String,
    /// Those that belong into the context block.
    context: String,
    others: String,
}

impl Fields {
    fn put(&mut self, field: &Field, value: String) {
        let name = field.name();
        if name == "message" {
            self.message = value;
        } else if let Some((_, name)) = CONTEXT.iter().find(|(ours, _)| *ours == name) {
            let value = match *name {
                "meeting_id" => shortened(&value),
                _ => value,
            };
            append(&mut self.context, &format!("{name}={value}"));
        } else {
            // Writing to a string does not fail.
            let _ = write!(self.others, " {name}={value}");
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }
}

/// Each run of eight hex digits that more hex digits or hyphens follow, cut to these eight: of a UUID its first group.
fn shortened(meeting: &str) -> String {
    let bytes = meeting.as_bytes();
    let hex_or_hyphen = |byte: &u8| byte.is_ascii_hexdigit() || *byte == b'-';
    let mut out = String::with_capacity(meeting.len());
    let mut rest = 0;
    let mut at = 0;
    while at < bytes.len() {
        let digits = bytes[at..]
            .iter()
            .take_while(|b| b.is_ascii_hexdigit())
            .count();
        if digits < 8 {
            at += digits.max(1);
            continue;
        }
        let run = bytes[at..].iter().take_while(|b| hex_or_hyphen(b)).count();
        out.push_str(&meeting[rest..at + 8]);
        at += run;
        rest = at;
    }
    // All cuts are beside ASCII.
    out.push_str(&meeting[rest..]);
    out
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing::subscriber::with_default;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0
                .lock()
                .expect("no panic before")
                .extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn line(log: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::TRACE)
            .event_format(Lines)
            .fmt_fields(SpanFields)
            .with_writer(move || writer.clone())
            .finish();
        with_default(subscriber, log);
        let bytes = sink.0.lock().expect("no panic before").clone();
        String::from_utf8(bytes).expect("log lines are text")
    }

    /// What config spec case 29 demands, without a regular expression engine: the parts between the blanks.
    fn assert_jvb_shape(line: &str, level: &str) {
        let parts: Vec<&str> = line.splitn(6, ' ').collect();
        assert_eq!(parts[0], "JVB");
        let shape = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "0");
        assert_eq!(shape(parts[1]), "0000-00-00");
        assert_eq!(shape(parts[2]), "00:00:00.000");
        assert_eq!(parts[3], format!("{level}:"));
        let thread = parts[4].trim_start_matches('[').trim_end_matches(']');
        assert!(
            !thread.is_empty() && thread.bytes().all(|b| b.is_ascii_digit()),
            "{line}"
        );
    }

    #[test]
    fn config_case_29_lines_have_the_layout_of_jvb() {
        let text = line(|| {
            let conference = tracing::error_span!(
                "conference",
                conf = "119f040b",
                conf_name = "room@conf.example.com",
                meeting = "12e45678-9abc-4def-8123-0e1200000000",
            );
            let endpoint =
                tracing::error_span!(parent: &conference, "endpoint", endpoint = "ab12cd34");
            tracing::warn!(parent: &endpoint, remote = "x", "ICE connected");
        });
        assert_jvb_shape(&text, "WARNING");
        assert!(
            text.contains("] [confId=119f040b conf_name=room@conf.example.com meeting_id=12e45678 epId=ab12cd34] \
                 causeway::logging::jvb::tests#"),
            "{text}"
        );
        assert!(text.ends_with(": ICE connected remote=x\n"), "{text}");
    }

    #[test]
    fn config_case_29_addresses_of_clients_are_hidden_unless_they_may_be_shown() {
        use causeway_bridge::config::BridgeConfig;
        use causeway_bridge::control::Control;
        use causeway_bridge::control::api::{ConferenceOptions, EndpointOptions, Environment};
        use causeway_bridge::ids::{Path, SocketId};
        use causeway_bridge::messages::Event;
        use causeway_bridge::random::Random;
        use causeway_bridge::time::Time;
        use causeway_bridge::transport::secure::Fingerprint;

        let log = |config: BridgeConfig| {
            line(|| {
                let environment = Environment {
                    workers: 1,
                    pool_threads: 1,
                    locals: vec!["192.0.2.1:10000".parse().unwrap()],
                    fingerprint: Fingerprint {
                        hash: "sha-256".into(),
                        digest: vec![7; 32],
                    },
                };
                let mut control = Control::new(Arc::new(config), environment, Random::from_seed(1));
                let now = Time::from_millis(1_000);
                let options = ConferenceOptions {
                    meeting_id: "m1".into(),
                    name: None,
                };
                let conference = control.create_conference(now, options).unwrap();
                let options = EndpointOptions {
                    id: "a".into(),
                    stats_id: None,
                    ice_controlling: true,
                    ssrc_rewriting: false,
                    mid_demux: false,
                    visitor: false,
                    private_addresses: false,
                    sctp: false,
                    diarize: false,
                };
                let endpoint = control.create_endpoint(now, conference, options).unwrap();
                for (event, remote) in [
                    (Event::IceConnected as fn(_, _) -> _, "198.51.100.9:4000"),
                    (Event::PathChanged, "[2001:db8::9]:4001"),
                ] {
                    let path = Path {
                        socket: SocketId(0),
                        remote: remote.parse().unwrap(),
                    };
                    control.handle_event(now, event(endpoint, path));
                }
            })
        };
        let hidden = log(BridgeConfig::default());
        assert!(
            hidden.contains("ICE connected remote=xx.xx.xx.xx\n"),
            "{hidden}"
        );
        assert!(
            hidden.contains("path changed remote=xx.xx.xx.xx\n"),
            "{hidden}"
        );
        for part in ["198.51.100", "4000", "2001:db8", "4001"] {
            assert!(!hidden.contains(part), "{hidden}");
        }
        let mut config = BridgeConfig::default();
        config.net.redact_remote_addresses = false;
        let shown = log(config);
        assert!(
            shown.contains("ICE connected remote=198.51.100.9:4000\n"),
            "{shown}"
        );
        assert!(
            shown.contains("path changed remote=[2001:db8::9]:4001\n"),
            "{shown}"
        );
    }

    #[test]
    fn a_line_without_context_has_no_block_for_it() {
        let text = line(|| tracing::debug!("bridge ready"));
        assert_jvb_shape(&text, "FINE");
        assert!(!text.contains("confId"));
        assert!(
            text.split(' ')
                .nth(5)
                .is_some_and(|place| place.starts_with("causeway::")),
            "{text}"
        );
    }

    #[test]
    fn meeting_ids_are_cut_as_jvb_cuts_them() {
        assert_eq!(
            shortened("12e45678-9abc-4def-8123-0e1200000000"),
            "12e45678"
        );
        assert_eq!(shortened("mtg-ws-1"), "mtg-ws-1");
        assert_eq!(shortened("0123456"), "0123456");
        assert_eq!(shortened("x12345678x"), "x12345678x");
        assert_eq!(shortened("räum-123456789"), "räum-12345678");
    }
}
