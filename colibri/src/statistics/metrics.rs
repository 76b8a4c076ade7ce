//! The metrics (rest-and-stats spec §5.1): those of the reference implementation under its names, and what the workers
//! count under our own.

use causeway_bridge::counters::Counter;

use super::exposition::{Format, Metric, Reading};
use super::{Statistics, exports};

/// Prefix of the metrics that the reference implementation has too.
pub(super) const PREFIX: &str = "jitsi_jvb_";
/// Classes of the time that packets take through the bridge, with their lower bounds in milliseconds.
pub(crate) const TRANSIT: [(Counter, u32); 4] = [
    (Counter::TransitUpTo5Ms, 0),
    (Counter::TransitUpTo50Ms, 5),
    (Counter::TransitUpTo500Ms, 50),
    (Counter::TransitLonger, 500),
];

/// Prefix of ours.
pub(super) const OWN_PREFIX: &str = "causeway_";

impl Statistics {
    /// Writes all metrics in a form.
    pub fn metrics(&self, format: Format) -> String {
        let mut metrics = self.shared_metrics();
        metrics.extend(self.own_metrics());
        metrics.extend(self.facts.exports.iter().flat_map(exports::metrics));
        let created = self.facts.started_ms as f64 / 1000.0;
        format.write(&metrics, created, PREFIX)
    }

    fn shared_metrics(&self) -> Vec<Metric> {
        let (now, facts, state) = (&self.summary, &self.facts, &self.state);
        let (total, control) = (|counter| now.counters.get(counter), &now.control);
        let mut all = now.incoming;
        all += now.outgoing;
        let dropped_in = total(Counter::DropRingFull);
        let dropped_out = total(Counter::DropSendFull);
        let dropped = dropped_in + dropped_out + total(Counter::DropEventFull);
        use Reading::{Count, Counter as Total, Flag, Share};
        let tossed = Reading::Histogram {
            bounds: [0.0]
                .into_iter()
                .chain((7..=127).step_by(8).map(f64::from))
                .collect(),
            classes: vec![0; 18],
            sum: 0.0,
        };
        let transit = Reading::Histogram {
            bounds: vec![0.0, 5.0, 50.0, 500.0],
            classes: [0]
                .into_iter()
                .chain(TRANSIT.map(|(counter, _)| total(counter)))
                .collect(),
            sum: total(Counter::TransitMicros) as f64 / 1000.0,
        };
        let listed = [
            (
                "rtp_transit_time",
                "Milliseconds that RTP packets took from receiving to sending, per copy.",
                transit,
            ),
            (
                "thread_count",
                "Threads of the process.",
                Count(facts.threads),
            ),
            (
                "jvm_gc_count",
                "Always 0: there is no garbage collector.",
                Count(0),
            ),
            (
                "jvm_gc_time",
                "Always 0: there is no garbage collector.",
                Count(0),
            ),
            (
                "jvm_heap_committed",
                "Resident memory in bytes.",
                Count(facts.memory),
            ),
            (
                "jvm_heap_used",
                "Resident memory in bytes.",
                Count(facts.memory),
            ),
            (
                "jvm_open_fd_count",
                "Open file descriptors.",
                Count(facts.open_files),
            ),
            (
                "rtp_receiver_dropped_packets",
                "Packets dropped between workers because a queue was full.",
                Total(dropped_in),
            ),
            (
                "rtp_receiver_exceptions",
                "Conferences ended by a panic.",
                Total(total(Counter::Panics)),
            ),
            (
                "rtp_sender_dropped_packets",
                "Packets dropped because too much was to be sent at once.",
                Total(dropped_out),
            ),
            (
                "rtp_sender_exceptions",
                "Send calls that the kernel refused.",
                Total(total(Counter::SendErrors)),
            ),
            (
                "srtp_send_queue_dropped_packets",
                "Packets dropped because too much was to be sent at once.",
                Total(dropped_out),
            ),
            (
                "srtp_send_queue_exceptions",
                "Send calls that the kernel refused.",
                Total(total(Counter::SendErrors)),
            ),
            (
                "colibri_queue_dropped_packets",
                "Events for the control plane dropped because its queue was full.",
                Total(total(Counter::DropEventFull)),
            ),
            (
                "colibri_queue_exceptions",
                "Always 0: requests have no queue that could fail.",
                Total(0),
            ),
            (
                "endpoint_receive_message_queue_dropped_packets",
                "Always 0: messages of clients wait in their connection.",
                Total(0),
            ),
            (
                "endpoint_receive_message_queue_exceptions",
                "Always 0: a message that can not be understood is answered or ignored.",
                Total(0),
            ),
            (
                "relay_srtp_send_queue_dropped_packets",
                "Always 0: there are no relays.",
                Total(0),
            ),
            (
                "relay_srtp_send_queue_exceptions",
                "Always 0: there are no relays.",
                Total(0),
            ),
            (
                "relay_endpoint_srtp_send_queue_dropped_packets",
                "Always 0: there are no relays.",
                Total(0),
            ),
            (
                "relay_endpoint_srtp_send_queue_exceptions",
                "Always 0: there are no relays.",
                Total(0),
            ),
            (
                "queue_dropped_packets",
                "Packets and events dropped because some queue was full.",
                Total(dropped),
            ),
            (
                "queue_exceptions",
                "Conferences ended by a panic.",
                Total(total(Counter::Panics)),
            ),
            (
                "muc_clients_configured",
                "XMPP connections that are configured.",
                Count(facts.xmpp.clients_configured),
            ),
            (
                "muc_clients_connected",
                "XMPP connections that are up.",
                Count(facts.xmpp.clients_connected),
            ),
            (
                "mucs_connected",
                "Rooms that are configured.",
                Count(facts.xmpp.mucs_configured),
            ),
            (
                "mucs_joined",
                "Rooms that are joined.",
                Count(facts.xmpp.mucs_joined),
            ),
            (
                "healthy",
                "Whether the last health check passed.",
                Flag(self.healthy),
            ),
            (
                "graceful_shutdown",
                "Whether new conferences are refused and the end of the others is awaited.",
                Flag(state.graceful_shutdown),
            ),
            (
                "shutting_down",
                "Whether the process is about to end.",
                Flag(state.shutting_down),
            ),
            (
                "drain_mode",
                "Whether foci are asked to choose other bridges.",
                Flag(state.drain),
            ),
            (
                "conferences_completed",
                "Conferences that ended.",
                Total(control.conferences_completed),
            ),
            (
                "conferences_created",
                "Conferences created.",
                Total(control.conferences_created),
            ),
            (
                "data_channel_messages_received",
                "Messages of clients received on data channels.",
                Total(control.data_channel_messages_received),
            ),
            (
                "data_channel_messages_sent",
                "Messages sent to clients on data channels.",
                Total(control.data_channel_messages_sent),
            ),
            (
                "colibri_web_socket_messages_received",
                "Messages of clients received on websockets.",
                Total(facts.websockets.messages_received),
            ),
            (
                "colibri_web_socket_messages_sent",
                "Messages sent to clients on websockets.",
                Total(facts.websockets.messages_sent),
            ),
            (
                "colibri_web_socket_close_normal",
                "Websockets that were closed in order.",
                Total(facts.websockets.close_normal),
            ),
            (
                "colibri_web_socket_close_abnormal",
                "Websockets that ended otherwise.",
                Total(facts.websockets.close_abnormal),
            ),
            (
                "colibri_web_socket_error",
                "Errors of websockets.",
                Total(facts.websockets.errors),
            ),
            (
                "packets_received",
                "RTP packets received from endpoints that are gone.",
                Total(total(Counter::GonePacketsIn)),
            ),
            (
                "packets_sent",
                "RTP packets sent to endpoints that are gone.",
                Total(total(Counter::GonePacketsOut)),
            ),
            (
                "relay_packets_received",
                "RTP packets received from relays that are gone.",
                Total(0),
            ),
            (
                "relay_packets_sent",
                "RTP packets sent to relays that are gone.",
                Total(0),
            ),
            (
                "endpoints",
                "Endpoints created.",
                Total(control.endpoints_created),
            ),
            (
                "visitors",
                "Visitors created.",
                Total(control.visitors_created),
            ),
            (
                "endpoints_no_message_transport_after_delay",
                "Endpoints without bridge channel 30 s after they connected.",
                Total(control.endpoints_without_channel),
            ),
            ("relays", "Relays created.", Total(0)),
            (
                "relays_no_message_transport_after_delay",
                "Relays without channel some time after they connected.",
                Total(0),
            ),
            (
                "dominant_speaker_changes",
                "Dominant speakers elected.",
                Total(control.dominant_speaker_changes),
            ),
            (
                "endpoints_ice_failed",
                "Endpoints whose ICE failed.",
                Total(control.ice_failed),
            ),
            (
                "endpoints_dtls_failed",
                "Endpoints that went with ICE up and DTLS not.",
                Total(control.endpoints_without_dtls),
            ),
            ("relays_ice_failed", "Relays whose ICE failed.", Total(0)),
            (
                "relays_dtls_failed",
                "Relays that went with ICE up and DTLS not.",
                Total(0),
            ),
            (
                "stress",
                "Share of what the bridge can safely carry; above 1 it is overloaded.",
                Share(facts.stress),
            ),
            (
                "preemptive_keyframe_requests_sent",
                "Keyframes asked for because the speaker changed.",
                Total(control.preemptive_keyframe_requests_sent),
            ),
            (
                "preemptive_keyframe_requests_suppressed",
                "Changes of the speaker that needed no keyframe.",
                Total(control.preemptive_keyframe_requests_suppressed),
            ),
            (
                "keyframes_received",
                "Keyframes received.",
                Total(total(Counter::KeyframesIn)),
            ),
            (
                "layering_changes_received",
                "Layers of sources that began to come.",
                Total(total(Counter::LayeringChanges)),
            ),
            (
                "local_endpoints",
                "Endpoints of this bridge, visitors included.",
                Count(now.endpoints + now.visitors),
            ),
            ("current_visitors", "Visitors.", Count(now.visitors)),
            ("conferences", "Conferences.", Count(now.conferences)),
            (
                "conference_seconds",
                "Seconds that conferences lasted, summed over those that ended.",
                Total(control.conference_millis / 1000),
            ),
            (
                "bytes_received",
                "Bytes of RTP received from endpoints that are gone.",
                Total(total(Counter::GoneBytesIn)),
            ),
            (
                "bytes_sent",
                "Bytes of RTP sent to endpoints that are gone.",
                Total(total(Counter::GoneBytesOut)),
            ),
            (
                "relay_bytes_received",
                "Bytes of RTP received from relays that are gone.",
                Total(0),
            ),
            (
                "relay_bytes_sent",
                "Bytes of RTP sent to relays that are gone.",
                Total(0),
            ),
            (
                "video_milliseconds_received",
                "Milliseconds of video received from endpoints that are gone, summed over SSRCs.",
                Total(total(Counter::GoneVideoMillis)),
            ),
            (
                "xmpp_disconnects",
                "XMPP connections that were lost.",
                Total(facts.xmpp.disconnects),
            ),
            (
                "tossed_packets_energy",
                "Loudness of audio packets that were not forwarded because others are louder.",
                tossed,
            ),
            (
                "startup_time",
                "Start of the process in milliseconds since 1970.",
                Count(facts.started_ms),
            ),
            (
                "rejected_data_channels",
                "Data channels beyond the one per endpoint.",
                Total(control.data_channels_refused),
            ),
            (
                "incoming_loss_fraction",
                "Loss of what endpoints send.",
                Share(now.incoming.loss()),
            ),
            (
                "outgoing_loss_fraction",
                "Loss of what endpoints get.",
                Share(now.outgoing.loss()),
            ),
            ("loss_fraction", "Loss of both together.", Share(all.loss())),
            (
                "relay_incoming_bitrate",
                "From relays, bits per second.",
                Count(0),
            ),
            (
                "relay_outgoing_bitrate",
                "To relays, bits per second.",
                Count(0),
            ),
            (
                "relay_incoming_packet_rate",
                "From relays, packets per second.",
                Count(0),
            ),
            (
                "relay_outgoing_packet_rate",
                "To relays, packets per second.",
                Count(0),
            ),
            (
                "incoming_bitrate",
                "From endpoints, bits per second.",
                Count(now.bitrate_in),
            ),
            (
                "outgoing_bitrate",
                "To endpoints, bits per second.",
                Count(now.bitrate_out),
            ),
            (
                "incoming_packet_rate",
                "From endpoints, packets per second.",
                Count(now.packet_rate_in),
            ),
            (
                "outgoing_packet_rate",
                "To endpoints, packets per second.",
                Count(now.packet_rate_out),
            ),
            (
                "average_rtt",
                "Mean round-trip time of endpoints in milliseconds.",
                Share(now.mean_rtt_ms),
            ),
            (
                "largest_conference",
                "Endpoints of the largest conference.",
                Count(now.largest_conference),
            ),
            ("current_endpoints", "Endpoints.", Count(now.endpoints)),
            (
                "tcc_unmatched_feedback",
                "Transport-cc reports about nothing that is known to be sent.",
                Count(total(Counter::TwccUnmatched)),
            ),
            (
                "endpoints_with_high_outgoing_loss",
                "Endpoints that lose more than a tenth of what they get.",
                Count(now.with_high_outgoing_loss),
            ),
            (
                "active_endpoints",
                "Endpoints of conferences in which somebody sends.",
                Count(now.active_endpoints),
            ),
            (
                "endpoints_sending_audio",
                "Endpoints that send audio.",
                Count(now.sending_audio),
            ),
            (
                "endpoints_sending_video",
                "Endpoints that send video.",
                Count(now.sending_video),
            ),
            ("endpoints_relayed", "Endpoints of other bridges.", Count(0)),
            (
                "endpoints_oversending",
                "Endpoints that are sent more than their estimate.",
                Count(now.oversending),
            ),
            (
                "endpoints_recvonly",
                "Endpoints that send nothing, in conferences in which somebody does.",
                Count(now.receive_only_endpoints),
            ),
            (
                "endpoints_inactive",
                "Endpoints of conferences in which nobody sends.",
                Count(now.inactive_endpoints),
            ),
            (
                "endpoints_with_spurious_remb",
                "Endpoints that sent REMB although it was not negotiated.",
                Count(now.with_spurious_remb),
            ),
            (
                "endpoints_with_suspended_sources",
                "Endpoints that miss a source for lack of bandwidth.",
                Count(now.with_suspended_sources),
            ),
            (
                "conferences_inactive",
                "Conferences in which nobody sends.",
                Count(now.inactive_conferences),
            ),
            (
                "conferences_p2p",
                "Those of them with two endpoints.",
                Count(now.p2p_conferences),
            ),
            (
                "conferences_with_relay",
                "Conferences with a relay.",
                Count(0),
            ),
            (
                "conferences_by_size",
                "Conferences by number of endpoints.",
                Reading::from(&now.by_size),
            ),
            (
                "conferences_by_audio_sender",
                "Conferences by number of endpoints that send audio.",
                Reading::from(&now.by_audio_senders),
            ),
            (
                "conferences_by_video_sender",
                "Conferences by number of endpoints that send video.",
                Reading::from(&now.by_video_senders),
            ),
            (
                "ice_failed",
                "ICE sessions that failed.",
                Total(control.ice_failed),
            ),
            (
                "ice_succeeded",
                "ICE sessions that got a path.",
                Total(control.ice_succeeded),
            ),
            (
                "ice_succeeded_relayed",
                "ICE sessions that got a path over a TURN server.",
                Total(0),
            ),
            (
                "ice_restarts_started",
                "ICE restarts started.",
                Total(control.ice_restarts_started),
            ),
            (
                "ice_restarts_rejected",
                "ICE restarts refused.",
                Total(control.ice_restarts_rejected),
            ),
            (
                "ice_restarts_not_established",
                "ICE restarts asked for before there was a path.",
                Total(control.ice_restarts_not_established),
            ),
            (
                "ice_restarts_agent_creation_failed",
                "Always 0: a restart needs nothing that could be missing.",
                Total(0),
            ),
            (
                "ice_restarts_succeeded",
                "ICE restarts that cut over.",
                Total(control.ice_restarts_succeeded),
            ),
            (
                "ice_restarts_superseded",
                "ICE restarts replaced by a later one.",
                Total(control.ice_restarts_superseded),
            ),
            (
                "ice_restarts_failed",
                "ICE restarts given up.",
                Total(control.ice_restarts_failed),
            ),
            (
                "endpoints_disconnected",
                "Times that an endpoint became inactive.",
                Total(control.endpoints_disconnected),
            ),
            (
                "endpoints_reconnected",
                "Times that an inactive endpoint became active again.",
                Total(control.endpoints_reconnected),
            ),
            (
                "cpu_steal",
                "Share of CPU time that the hypervisor gave to others.",
                Share(facts.cpu_steal),
            ),
        ];
        let region = facts.region.clone().map(|region| {
            (
                "region",
                "Region of the bridge.",
                Reading::Info("region", region),
            )
        });
        listed
            .into_iter()
            .chain(region)
            .map(|(name, help, value)| Metric {
                name: format!("{PREFIX}{name}"),
                help,
                value,
            })
            .collect()
    }

    /// What only we have: each counter of the workers, live.
    fn own_metrics(&self) -> impl Iterator<Item = Metric> + '_ {
        let control = &self.summary.control;
        let (facts, counters) = (&self.facts, &self.summary.counters);
        let workers = Counter::ALL.iter().map(|counter| {
            let value = counters.get(*counter);
            (
                snake_case(counter.name()),
                counter.help(),
                Reading::Counter(value),
            )
        });
        let others = [
            (
                "websockets_open",
                "Websockets that are open.",
                Reading::Count(facts.websockets.open),
            ),
            (
                "websocket_overflows",
                "Websockets closed because the client did not read.",
                Reading::Counter(facts.websockets.overflows),
            ),
            (
                "messages_malformed",
                "Messages of clients refused by the parser.",
                Reading::Counter(control.messages_malformed),
            ),
            (
                "messages_over_budget",
                "Messages of clients refused because they sent too many.",
                Reading::Counter(control.messages_over_budget),
            ),
            (
                "messages_without_channel",
                "Messages to clients that had no channel.",
                Reading::Counter(control.messages_without_channel),
            ),
            (
                "endpoints_timed_out",
                "Endpoints expired by a timer.",
                Reading::Counter(control.endpoints_timed_out),
            ),
            (
                "dtls_succeeded",
                "DTLS handshakes that completed.",
                Reading::Counter(control.dtls_succeeded),
            ),
            (
                "dtls_failed",
                "DTLS handshakes that failed.",
                Reading::Counter(control.dtls_failed),
            ),
        ];
        let limit = facts.last_n_limit.map(|limit| {
            (
                "last_n_limit",
                "Video sources that the load reducer lets a receiver have; -1 is any number.",
                Reading::Share(f64::from(limit)),
            )
        });
        let others = others
            .into_iter()
            .chain(limit)
            .map(|(name, help, value)| (name.to_owned(), help, value));
        workers.chain(others).map(|(name, help, value)| Metric {
            name: format!("{OWN_PREFIX}{name}"),
            help,
            value,
        })
    }
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}
