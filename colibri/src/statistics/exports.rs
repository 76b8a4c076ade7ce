//! The metrics of media exports, which appear with the first of them (rest-and-stats spec §5.1).

use super::ExportFacts;
use super::exposition::{Metric, Reading};
use super::metrics::{OWN_PREFIX, PREFIX};

/// Those of the reference implementation under its prefix, and one of ours.
pub(super) fn metrics(facts: &ExportFacts) -> impl Iterator<Item = Metric> + use<> {
    let listed = [
        (
            "exporter_starts",
            "Media exports that were begun.",
            facts.starts,
        ),
        (
            "exporter_websocket_failures",
            "Websockets of media exports that could not be opened or were lost.",
            facts.failures,
        ),
        (
            "exporter_websocket_internal_errors",
            "Websockets that the peer of a media export closed because of an error of its own.",
            facts.internal_errors,
        ),
        (
            "exporter_packets_sent",
            "Packets sent to peers of media exports.",
            facts.packets_sent,
        ),
        (
            "exporter_transcripts_received",
            "Transcripts received from peers of media exports.",
            facts.transcripts,
        ),
        (
            "exporter_media_events_received",
            "Packets received from peers of media exports.",
            facts.media,
        ),
        (
            "exporter_sending_changes_received",
            "Starts and stops of synthetic sources received from peers of media exports.",
            facts.sending_changes,
        ),
        (
            "exporter_other_messages_received",
            "Other events received from peers of media exports.",
            facts.others,
        ),
        (
            "exporter_parse_failures",
            "Texts from peers of media exports that could not be read.",
            facts.malformed,
        ),
        (
            "exporter_info_received",
            "Infos received from peers of media exports.",
            facts.infos,
        ),
    ];
    let own = (
        format!("{OWN_PREFIX}exporter_packets_dropped"),
        "Packets for peers of media exports that do not keep up.",
        facts.packets_dropped,
    );
    let listed = listed
        .into_iter()
        .map(|(name, help, value)| (format!("{PREFIX}{name}"), help, value));
    listed.chain([own]).map(|(name, help, value)| Metric {
        name,
        help,
        value: Reading::Counter(value),
    })
}
