//! What endpoints and the bridge tell each other about bandwidth.

use super::*;
use crate::units::Bitrate;
use crate::wire::twcc::Feedback as Arrivals;

/// Seconds in which a client sends 25 packets of 1,000 bytes each, with its send time; the REMBs that it is sent.
fn rembs(room: &mut Room, client: usize, ssrc: u32, seconds: u16) -> Vec<(Bitrate, Vec<u32>)> {
    let mut rembs = Vec::new();
    for sequence in 0..seconds * 25 {
        room.now += Duration::from_millis(40);
        let header = HeaderBuilder {
            marker: true,
            payload_type: VP8,
            sequence,
            timestamp: u32::from(sequence) * 3_600,
            ssrc,
        };
        let mut payload = vec![0x55; 1_000];
        payload[..12].copy_from_slice(&[0x90, 0xe0, 0x80, 1, 1, 0, 0x11, 0, 0, 1, 2, 3]);
        let stamp = extensions::abs_send_time(room.now);
        room.send_rtp(client, header, &[(ABS_SEND_TIME, &stamp)], &payload);
        room.fire_timers();
        for sent in room.sent().remove(&client).unwrap_or_default() {
            let Sent::Rtcp(data) = sent else { continue };
            for element in rtcp::elements(&data).flatten() {
                if let Element::Remb { bitrate, ssrcs, .. } = element {
                    rembs.push((bitrate, ssrcs.collect()));
                }
            }
        }
        room.worker.outputs().events.clear();
    }
    rembs
}

#[test]
fn media_plane_2_20_a_sender_without_transport_cc_is_told_what_it_may_send() {
    let mut room = Room::new();
    let sender = room.join(Joining {
        remb: true,
        ..Joining::default()
    });
    let (_, video) = room.announce(sender);
    let told = rembs(&mut room, sender, video, 15);
    // Twice a second, once the rate is known.
    assert!((15..=20).contains(&told.len()), "{}", told.len());
    for (rate, ssrcs) in &told {
        // 208 kbit/s arrive; what is told may be half as much more.
        assert!((180..=340).contains(&(rate.as_bps() / 1_000)), "{rate}");
        assert_eq!(ssrcs, &[video]);
    }
}

#[test]
fn media_plane_2_20_a_sender_with_transport_cc_is_not() {
    let mut room = Room::new();
    let sender = room.join(Joining::default());
    let (_, video) = room.announce(sender);
    assert_eq!(rembs(&mut room, sender, video, 10), []);
}

#[test]
fn media_plane_2_20_the_remb_of_a_receiver_without_transport_cc_is_its_estimate() {
    for remb in [true, false] {
        let mut room = Room::new();
        let receiver = room.join(Joining {
            remb,
            ..Joining::default()
        });
        let mut buffer = [0; 64];
        let mut compound = Compound::new(&mut buffer);
        assert!(compound.remb(7, Bitrate::bps(640_000), &[1]));
        let len = compound.len();
        room.send_rtcp(receiver, &buffer[..len]);
        let mut estimates = Vec::new();
        for _ in 0..300 {
            room.now += Duration::from_millis(100);
            room.fire_timers();
            for (client, data) in room.datagrams() {
                room.answer_check(client, &data);
            }
            let events = room.worker.outputs().events.drain(..);
            estimates.extend(events.filter_map(|event| match event {
                Event::Estimate(_, bps) => Some(bps),
                _ => None,
            }));
        }
        assert!(!estimates.is_empty());
        assert_eq!(estimates.iter().all(|bps| *bps == 640_000), remb);
    }
}

fn transport_number((header, data): &(RtpHeader, Vec<u8>)) -> Option<u16> {
    let mut elements = extensions::elements(header, data);
    let (_, value) = elements.find(|(id, _)| *id == TRANSPORT_CC)?;
    Some(u16::from_be_bytes(value.try_into().expect("two bytes")))
}

#[test]
fn audio_is_numbered_with_video_where_that_was_negotiated() {
    let mut room = Room::new();
    let sender = room.join(Joining::default());
    let receivers = [false, true].map(|audio_cc| {
        room.join(Joining {
            audio_cc,
            ..Joining::default()
        })
    });
    let (audio, video) = room.announce(sender);
    let mut numbers = [Vec::new(), Vec::new()];
    for sequence in 1..20 {
        room.wait(Duration::from_millis(33));
        room.send_audio(sender, audio, sequence, &[(LEVEL, &[20])]);
        room.send_video(sender, video, sequence, sequence == 1);
        let mut sent = room.sent();
        for (receiver, numbers) in receivers.iter().zip(&mut numbers) {
            for packet in sent.remove(receiver).unwrap_or_default() {
                let Sent::Rtp(header, data) = packet else {
                    continue;
                };
                let is_audio = header.payload_type == OPUS;
                numbers.push((is_audio, transport_number(&(header, data))));
            }
        }
    }
    let [video_only, all] = numbers;
    assert!(
        video_only
            .iter()
            .all(|(audio, number)| *audio == number.is_none())
    );
    assert_eq!(all.len(), 38);
    // One count for both, in the order of sending.
    for (expected, (_, number)) in (1..).zip(&all) {
        assert_eq!(*number, Some(expected));
    }
}

#[test]
fn feedback_is_about_audio_too() {
    let mut room = Room::new();
    let sender = room.join(Joining {
        audio_cc: true,
        ..Joining::default()
    });
    let (audio, _) = room.announce(sender);
    let mut reported = 0;
    for sequence in 1..100u16 {
        room.now += Duration::from_millis(20);
        let number = sequence.to_be_bytes();
        // Silence counts as well, though it is not forwarded.
        room.send_audio(
            sender,
            audio,
            sequence,
            &[(LEVEL, &[127]), (TRANSPORT_CC, &number)],
        );
        room.fire_timers();
        for sent in room.sent().remove(&sender).unwrap_or_default() {
            let Sent::Rtcp(data) = sent else { continue };
            for element in rtcp::elements(&data).flatten() {
                let Element::TransportFeedback { body, .. } = element else {
                    continue;
                };
                let feedback = Arrivals::parse(body).expect("well-formed");
                reported += feedback.packets().filter(|it| it.arrival.is_some()).count();
            }
        }
        room.worker.outputs().events.clear();
    }
    assert!((90..=99).contains(&reported), "{reported}");
}
