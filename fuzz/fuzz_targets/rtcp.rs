//! RTCP compounds, decrypted.

#![no_main]

use causeway_bridge::limits::MAX_RTCP_ELEMENTS;
use causeway_bridge::wire::rtcp::{Compound, Element, ReportBlock, SenderInfo, elements};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| {
    let mut buffer = vec![0; 2 * packet.len() + 64];
    let mut seen = 0;
    for element in elements(packet) {
        seen += 1;
        assert!(seen <= MAX_RTCP_ELEMENTS + 1);
        let Ok(element) = element else { continue };
        // Whatever was read can be written, and is read back as the same.
        let mut compound = Compound::new(&mut buffer);
        match element {
            Element::SenderReport {
                ssrc,
                ntp,
                rtp,
                packets,
                octets,
                reports,
            } => {
                let blocks: Vec<ReportBlock> = reports.collect();
                assert!(compound.sender_report(
                    &SenderInfo {
                        ssrc,
                        ntp,
                        rtp,
                        packets,
                        octets
                    },
                    &blocks
                ));
                let Some(Ok(Element::SenderReport { reports, .. })) = elements(&buffer).next()
                else {
                    panic!("sender report")
                };
                assert!(reports.eq(blocks));
            }
            Element::ReceiverReport { ssrc, reports } => {
                let blocks: Vec<ReportBlock> = reports.collect();
                assert!(compound.receiver_report(ssrc, &blocks));
                let Some(Ok(Element::ReceiverReport { reports, .. })) = elements(&buffer).next()
                else {
                    panic!("receiver report")
                };
                assert!(reports.eq(blocks));
            }
            Element::Nack {
                sender,
                media,
                lost,
            } => {
                // In any order: packing may only drop repetitions.
                let names: Vec<u16> = lost.collect();
                let mut room = vec![0; 4 * names.len() + 64];
                assert!(Compound::new(&mut room).nack(sender, media, names.iter().copied()));
                let Some(Ok(Element::Nack { lost, .. })) = elements(&room).next() else {
                    panic!("NACK")
                };
                let again: Vec<u16> = lost.collect();
                assert!(again.iter().all(|name| names.contains(name)));
                assert!(names.iter().all(|name| again.contains(name)));
            }
            Element::Fir { sender, entries } => {
                for (ssrc, command) in entries {
                    assert!(Compound::new(&mut buffer).fir(sender, ssrc, command));
                }
            }
            Element::Remb {
                sender,
                bitrate,
                ssrcs,
            } => {
                let ssrcs: Vec<u32> = ssrcs.collect();
                assert!(compound.remb(sender, bitrate, &ssrcs));
            }
            Element::TransportFeedback {
                sender,
                media,
                body,
            } => {
                assert!(compound.transport_feedback(sender, media, body));
                let Some(Ok(Element::TransportFeedback { body: again, .. })) =
                    elements(&buffer).next()
                else {
                    panic!("transport feedback")
                };
                assert_eq!(again, body);
            }
            Element::Pli { sender, media } => assert!(compound.pli(sender, media)),
            _ => {}
        }
    }
});
