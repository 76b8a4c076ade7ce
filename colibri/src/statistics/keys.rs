//! The keys of `/colibri/stats` and presence (rest-and-stats spec §4).

use causeway_bridge::control::Reception;
use causeway_bridge::counters::Counter;
use serde_json::{Map, Value};

use super::Statistics;

impl Statistics {
    /// All keys, in the order in which the reference implementation has them. Consumers in other languages rely on the
    /// types: what is an integer here always is one.
    pub fn keys(&self) -> Map<String, Value> {
        let (now, facts, state) = (&self.summary, &self.facts, &self.state);
        let (total, control) = (|counter| now.counters.get(counter), &now.control);
        let mut all = now.incoming;
        all += now.outgoing;
        let loss = |reception: Reception| Value::from(reception.loss());
        let participants = now.endpoints;
        let local = now.endpoints + now.visitors;
        let keys: &[(&str, Value)] = &[
            ("incoming_loss", loss(now.incoming)),
            ("outgoing_loss", loss(now.outgoing)),
            ("overall_loss", loss(all)),
            (
                "endpoints_with_high_outgoing_loss",
                now.with_high_outgoing_loss.into(),
            ),
            (
                "tcc_unmatched_feedback",
                total(Counter::TwccUnmatched).into(),
            ),
            ("local_active_endpoints", now.active_endpoints.into()),
            ("bit_rate_download", (now.bitrate_in / 1000).into()),
            ("bit_rate_upload", (now.bitrate_out / 1000).into()),
            ("packet_rate_download", now.packet_rate_in.into()),
            ("packet_rate_upload", now.packet_rate_out.into()),
            ("rtt_aggregate", now.mean_rtt_ms.into()),
            ("num_eps_oversending", now.oversending.into()),
            ("octo_conferences", 0.into()),
            ("inactive_conferences", now.inactive_conferences.into()),
            ("p2p_conferences", now.p2p_conferences.into()),
            ("endpoints", participants.into()),
            ("participants", participants.into()),
            ("receive_only_endpoints", now.receive_only_endpoints.into()),
            ("inactive_endpoints", now.inactive_endpoints.into()),
            ("octo_endpoints", 0.into()),
            ("endpoints_sending_audio", now.sending_audio.into()),
            ("endpoints_sending_video", now.sending_video.into()),
            ("largest_conference", now.largest_conference.into()),
            ("octo_receive_bitrate", 0.into()),
            ("octo_receive_packet_rate", 0.into()),
            ("octo_send_bitrate", 0.into()),
            ("octo_send_packet_rate", 0.into()),
            (
                "endpoints_with_suspended_sources",
                now.with_suspended_sources.into(),
            ),
            (
                "total_conferences_created",
                control.conferences_created.into(),
            ),
            (
                "total_conferences_completed",
                control.conferences_completed.into(),
            ),
            (
                "total_conference_seconds",
                (control.conference_millis / 1000).into(),
            ),
            ("total_participants", control.endpoints_created.into()),
            ("total_visitors", control.visitors_created.into()),
            (
                "num_eps_no_msg_transport_after_delay",
                control.endpoints_without_channel.into(),
            ),
            ("total_relays", 0.into()),
            ("num_relays_no_msg_transport_after_delay", 0.into()),
            (
                "total_keyframes_received",
                total(Counter::KeyframesIn).into(),
            ),
            (
                "total_layering_changes_received",
                total(Counter::LayeringChanges).into(),
            ),
            (
                "total_video_stream_milliseconds_received",
                total(Counter::GoneVideoMillis).into(),
            ),
            ("stress_level", facts.stress.into()),
            ("conferences", now.conferences.into()),
            ("visitors", now.visitors.into()),
            ("local_endpoints", local.into()),
            (
                "total_data_channel_messages_received",
                control.data_channel_messages_received.into(),
            ),
            (
                "total_data_channel_messages_sent",
                control.data_channel_messages_sent.into(),
            ),
            (
                "total_colibri_web_socket_messages_received",
                facts.websockets.messages_received.into(),
            ),
            (
                "total_colibri_web_socket_messages_sent",
                facts.websockets.messages_sent.into(),
            ),
            ("total_bytes_received", total(Counter::GoneBytesIn).into()),
            ("endpoints_ice_failed", control.ice_failed.into()),
            (
                "dtls_failed_endpoints",
                control.endpoints_without_dtls.into(),
            ),
            ("relays_ice_failed", 0.into()),
            ("dtls_failed_relays", 0.into()),
            ("total_bytes_sent", total(Counter::GoneBytesOut).into()),
            (
                "total_packets_received",
                total(Counter::GonePacketsIn).into(),
            ),
            ("total_packets_sent", total(Counter::GonePacketsOut).into()),
            ("total_bytes_received_octo", 0.into()),
            ("total_bytes_sent_octo", 0.into()),
            ("total_packets_received_octo", 0.into()),
            ("total_packets_sent_octo", 0.into()),
            (
                "total_dominant_speaker_changes",
                control.dominant_speaker_changes.into(),
            ),
            (
                "preemptive_kfr_sent",
                control.preemptive_keyframe_requests_sent.into(),
            ),
            (
                "preemptive_kfr_suppressed",
                control.preemptive_keyframe_requests_suppressed.into(),
            ),
            ("total_ice_failed", control.ice_failed.into()),
            ("total_ice_succeeded", control.ice_succeeded.into()),
            ("total_ice_succeeded_relayed", 0.into()),
            (
                "average_participant_stress",
                facts.average_participant_stress.into(),
            ),
            ("threads", facts.threads.into()),
            ("graceful_shutdown", state.graceful_shutdown.into()),
            ("shutting_down", state.shutting_down.into()),
            ("drain", state.drain.into()),
            ("current_timestamp", timestamp(self.now_ms).into()),
            (
                "muc_clients_configured",
                facts.xmpp.clients_configured.into(),
            ),
            ("muc_clients_connected", facts.xmpp.clients_connected.into()),
            ("mucs_configured", facts.xmpp.mucs_configured.into()),
            ("mucs_joined", facts.xmpp.mucs_joined.into()),
            (
                "endpoints_with_spurious_remb",
                now.with_spurious_remb.into(),
            ),
            ("healthy", self.healthy.into()),
            (
                "endpoints_disconnected",
                control.endpoints_disconnected.into(),
            ),
            (
                "endpoints_reconnected",
                control.endpoints_reconnected.into(),
            ),
            ("version", self.version.as_str().into()),
        ];
        let configured = [("release", &self.release), ("region", &facts.region)];
        let configured = configured.into_iter().filter_map(|(key, text)| {
            let text = text.as_deref()?;
            Some((key.to_owned(), text.into()))
        });
        let keys = keys.iter().cloned();
        keys.map(|(key, value)| (key.to_owned(), value))
            .chain(configured)
            .collect()
    }
}

/// `yyyy-MM-dd HH:mm:ss.SSS` in UTC of milliseconds since 1970.
pub fn timestamp(ms: u64) -> String {
    let (days, of_day) = (ms / 86_400_000, ms % 86_400_000);
    // Years that begin with March have their leap day at the end; eras of 400 of them repeat.
    let from_march = days + 719_468;
    let (era, day_of_era) = (from_march / 146_097, from_march % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (second, millis) = (of_day / 1000 % 60, of_day % 1000);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{millis:03}")
}

#[cfg(test)]
mod tests {
    use super::timestamp;

    #[test]
    fn timestamps_are_calendar_dates() {
        for (ms, text) in [
            (0, "1970-01-01 00:00:00.000"),
            (951_782_400_000, "2000-02-29 00:00:00.000"),
            (1_704_067_199_999, "2023-12-31 23:59:59.999"),
            (1_795_448_621_166, "2026-11-23 15:43:41.166"),
            (4_107_542_400_000, "2100-03-01 00:00:00.000"),
        ] {
            assert_eq!(timestamp(ms), text);
        }
    }
}
