//! What a receiver is sent when more comes at once than its path takes.

use super::*;
use crate::limits;

/// Bytes of the payload of each packet of a burst.
const SIZE: usize = 1_100;
/// Of these two thirds do not leave at once.
const BURST: u16 = 60;

/// A sender, some receivers whose estimate counts, and a stream that has begun.
struct Meeting {
    room: Room,
    sender: usize,
    receiver: usize,
    audio: u32,
    video: u32,
    next: u16,
}

/// SSRC, sequence number, number for transport-cc.
type Received = (u32, u16, Option<u16>);

impl Meeting {
    fn with(config: BridgeConfig) -> Meeting {
        let mut meeting = Meeting::fresh(config);
        // Until the first probe is over, and the stream with it.
        meeting.burst(2);
        meeting.room.wait(Duration::from_secs(1));
        meeting
    }

    /// Nothing was sent yet.
    fn fresh(config: BridgeConfig) -> Meeting {
        let mut room = Room::with(config);
        let [sender, receiver] = [0; 2].map(|_| room.join(Joining::default()));
        let (audio, video) = room.announce(sender);
        Meeting {
            room,
            sender,
            receiver,
            audio,
            video,
            next: 1,
        }
    }

    /// Frames of one packet each, all in one moment.
    fn burst(&mut self, count: u16) {
        for sequence in self.next..self.next + count {
            let header = HeaderBuilder {
                marker: true,
                payload_type: VP8,
                sequence,
                timestamp: u32::from(sequence) * 3_000,
                ssrc: self.video,
            };
            let mut payload = vec![
                0x90,
                0xe0,
                0x80 | (sequence >> 8) as u8,
                sequence as u8,
                sequence as u8,
                0,
            ];
            payload.extend_from_slice(if sequence == 1 {
                &[0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x00, 0x05, 0xd0, 0x02]
            } else {
                &[0x11, 0, 0, 1, 2, 3, 4, 5, 6, 7]
            });
            payload.resize(SIZE, 0x33);
            self.room.send_rtp(self.sender, header, &[], &payload);
        }
        self.next += count;
        self.room.worker.end_turn(self.room.now);
    }

    /// What the receiver was sent.
    fn received(&mut self) -> Vec<Received> {
        let rtp = self.room.rtp(self.receiver);
        let packets = rtp.iter().map(|(header, data)| {
            let number = extensions::elements(header, data)
                .find(|(id, _)| *id == TRANSPORT_CC)
                .map(|(_, value)| u16::from_be_bytes([value[0], value[1]]));
            (header.ssrc, header.sequence, number)
        });
        packets.collect()
    }

    fn tick(&mut self, time: Duration) {
        self.room.now += time;
        self.room.fire_timers();
    }

    /// Lets time pass until nothing waits; what came, and when.
    fn drain(&mut self) -> Vec<(Duration, Received)> {
        let begin = self.room.now;
        let mut all: Vec<_> = self
            .received()
            .into_iter()
            .map(|it| (Duration::ZERO, it))
            .collect();
        while *self.room.worker.paced() > 0 {
            self.tick(Duration::from_millis(1));
            let at = self.room.now - begin;
            all.extend(self.received().into_iter().map(|it| (at, it)));
            assert!(
                at <= limits::PACED_TIME,
                "{} wait",
                self.room.worker.paced()
            );
        }
        all
    }
}

fn are_consecutive(numbers: impl IntoIterator<Item = u16>) -> bool {
    let numbers: Vec<u16> = numbers.into_iter().collect();
    numbers
        .windows(2)
        .all(|pair| pair[1] == pair[0].wrapping_add(1))
}

/// Pacing as the tests below reckon with it: 781 bytes in a ms, 15.6 KB at once.
fn paced() -> BridgeConfig {
    let mut config = BridgeConfig::default();
    config.pacing.factor = 2.5;
    config.pacing.burst = Duration::from_millis(20);
    config
}

#[test]
fn a_burst_is_spread_and_keeps_its_order_and_numbers() {
    let mut meeting = Meeting::with(paced());
    meeting.burst(BURST);
    let all = meeting.drain();
    assert_eq!(all.len(), usize::from(BURST));
    assert!(are_consecutive(all.iter().map(|(_, packet)| packet.1)));
    assert!(are_consecutive(
        all.iter().map(|(_, packet)| packet.2.expect("a number"))
    ));
    let at_once = all.iter().filter(|(at, _)| at.is_zero()).count();
    assert!((10..=16).contains(&at_once), "{at_once}");
    let paced = meeting.room.count(Counter::Paced);
    assert_eq!(paced, u64::from(BURST) - at_once as u64);
    let (last, _) = all[all.len() - 1];
    assert!((50..=95).contains(&last.as_millis()), "{last:?}");
    // A group now and then, and not a packet at a time: they leave as trains.
    let mut moments: Vec<_> = all.iter().map(|(at, _)| *at).collect();
    moments.dedup();
    assert!((8..=20).contains(&moments.len()), "{moments:?}");
    assert_eq!(meeting.room.count(Counter::PacerFull), 0);
}

#[test]
fn an_ordinary_stream_never_waits() {
    let mut meeting = Meeting::with(paced());
    for _ in 0..60 {
        meeting.burst(8);
        assert_eq!(meeting.received().len(), 8);
        meeting.room.wait(Duration::from_millis(33));
    }
    assert_eq!(meeting.room.count(Counter::Paced), 0);
}

#[test]
fn audio_and_rtcp_pass_what_waits() {
    let mut meeting = Meeting::with(paced());
    let (sender, receiver) = (meeting.sender, meeting.receiver);
    let (_, own_video) = meeting.room.announce(receiver);
    meeting.room.send_video(receiver, own_video, 1, true);
    meeting.room.wait(Duration::from_secs(1));
    meeting.burst(BURST);
    meeting.received();
    meeting.room.send_audio(sender, meeting.audio, 1, &[]);
    let passed: Vec<u32> = meeting.received().iter().map(|packet| packet.0).collect();
    assert_eq!(passed, [meeting.audio]);
    meeting.room.send_rtcp(sender, &pli(own_video));
    assert_eq!(meeting.room.keyframe_requests(receiver), [own_video]);
    assert!(*meeting.room.worker.paced() > 0, "nothing waited any more");
}

#[test]
fn retransmissions_leave_before_new_video() {
    let mut meeting = Meeting::with(paced());
    meeting.burst(BURST);
    let first = meeting.received();
    // Sent a second ago.
    let lost = [first[0].1.wrapping_sub(2), first[0].1.wrapping_sub(1)];
    meeting.tick(Duration::from_millis(1));
    assert!(meeting.received().is_empty(), "a group is not due yet");
    let mut buffer = [0; 64];
    let mut compound = Compound::new(&mut buffer);
    assert!(compound.nack(7, meeting.video, lost.iter().copied()));
    let len = compound.len();
    meeting.room.send_rtcp(meeting.receiver, &buffer[..len]);
    let all = meeting.drain();
    let order: Vec<u32> = all.iter().map(|(_, packet)| packet.0).collect();
    assert_eq!(
        order[..3],
        [meeting.video + 1, meeting.video + 1, meeting.video]
    );
    assert!(!order[2..].contains(&(meeting.video + 1)));
    // Numbers tell the order of sending, not that of arrival.
    let numbers = first.iter().map(|packet| packet.2);
    let numbers = numbers.chain(all.iter().map(|(_, packet)| packet.2));
    assert!(are_consecutive(
        numbers.map(|number| number.expect("a number"))
    ));
}

#[test]
fn a_probe_takes_what_waits_instead_of_padding() {
    let mut meeting = Meeting::fresh(paced());
    meeting.burst(BURST);
    // The first video starts the first probe.
    let all = meeting.drain();
    let media = |packets: &[(Duration, Received)]| {
        packets.iter().all(|(_, packet)| packet.0 == meeting.video)
    };
    assert!(media(&all), "padding while video waits");
    assert!(are_consecutive(all.iter().map(|(_, packet)| packet.1)));
    // Pacing alone has no group for 5 ms.
    let by_probe = |at: Duration| !at.is_zero() && at < Duration::from_millis(4);
    assert!(all.iter().any(|(at, _)| by_probe(*at)), "{all:?}");
    assert_eq!(all.len(), usize::from(BURST));
}

#[test]
fn who_leaves_leaves_nothing_behind() {
    let mut meeting = Meeting::with(paced());
    let other = meeting.room.join(Joining::default());
    meeting.room.wait(Duration::from_millis(100));
    meeting.burst(BURST);
    let waiting = *meeting.room.worker.paced();
    assert!(waiting > 0);
    meeting
        .room
        .command(Command::RemoveEndpoint(Room::key(meeting.receiver)));
    let others = *meeting.room.worker.paced();
    assert!(others < waiting);
    meeting.received();
    meeting.drain();
    assert!(meeting.received().is_empty());
    meeting.burst(BURST);
    meeting
        .room
        .command(Command::RemoveEndpoint(Room::key(other)));
    meeting.burst(BURST);
    meeting.room.command(Command::RemoveConference(CONFERENCE));
    assert_eq!(*meeting.room.worker.paced(), 0);
}

#[test]
fn a_receiver_that_waits_for_too_much_is_sent_the_oldest() {
    let mut meeting = Meeting::with(paced());
    let most = limits::PACED_PACKETS;
    let mut received = Vec::new();
    let count = most as u16 + 200;
    for _ in 0..count / 8 {
        meeting.burst(8);
        received.extend(meeting.received());
        assert!(*meeting.room.worker.paced() <= most);
    }
    assert!(meeting.room.count(Counter::PacerFull) > 100);
    received.extend(meeting.drain().into_iter().map(|(_, packet)| packet));
    assert_eq!(received.len(), usize::from(count / 8 * 8));
    assert!(are_consecutive(received.iter().map(|packet| packet.1)));
}

#[test]
fn a_worker_that_holds_too_much_sends_the_oldest() {
    let mut meeting = Meeting::with(paced());
    meeting.burst(BURST / 2);
    let waiting = *meeting.room.worker.paced();
    assert!(waiting > 0);
    // Others have the rest.
    *meeting.room.worker.paced() = limits::PACED_PACKETS_OF_WORKER;
    meeting.burst(BURST / 2);
    assert_eq!(
        *meeting.room.worker.paced(),
        limits::PACED_PACKETS_OF_WORKER
    );
    assert_eq!(meeting.room.count(Counter::PacerFull), u64::from(BURST / 2));
    *meeting.room.worker.paced() = waiting;
    let all = meeting.drain();
    assert_eq!(all.len(), usize::from(BURST));
    assert!(are_consecutive(all.iter().map(|(_, packet)| packet.1)));
}

#[test]
fn without_an_estimate_that_counts_or_with_pacing_off_nothing_waits() {
    let mut untrusted = paced();
    untrusted.allocation.trust_estimate = false;
    let mut off = paced();
    off.pacing.factor = 0.0;
    for config in [untrusted, off] {
        let mut meeting = Meeting::with(config);
        meeting.burst(BURST);
        assert_eq!(meeting.received().len(), usize::from(BURST));
        assert_eq!(meeting.room.count(Counter::Paced), 0);
    }
}
