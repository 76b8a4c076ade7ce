//! Reassembly of the peer's next handshake flight.
//!
//! The engine under it keeps fragments without useful bounds and walks them recursively, and one bad
//! message spoils its state for good. So it only ever gets whole flights: the expected messages, in their
//! order, each complete. What does not fit is dropped here, where it costs nothing (T15, T16, T17).

use super::record::{Fragment, message};
use crate::limits;

/// Messages of the longest flight: ServerHello, Certificate, ServerKeyExchange, CertificateRequest,
/// ServerHelloDone.
const MAX_MESSAGES: usize = 5;
/// Separate pieces of one message that are kept; RFC-abiding senders make a handful.
const MAX_PIECES: usize = 64;

/// What a peer must send next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Expected {
    /// The server's answer to our hello: HelloVerifyRequest, or its whole flight.
    ServerFlight,
    /// The client's Certificate, ClientKeyExchange, CertificateVerify.
    ClientFlight,
    /// Nothing more in epoch 0.
    Nothing,
}

impl Expected {
    /// Whether a message of this kind may stand at `index` of the flight.
    fn allows(self, index: usize, first: u16, kind: u8) -> bool {
        match self {
            Expected::ClientFlight => matches!(
                (index, kind),
                (0, message::CERTIFICATE)
                    | (1, message::CLIENT_KEY_EXCHANGE)
                    | (2, message::CERTIFICATE_VERIFY)
            ),
            Expected::ServerFlight => match index {
                0 => {
                    kind == message::SERVER_HELLO
                        || (first == 0 && kind == message::HELLO_VERIFY_REQUEST)
                }
                1 => kind == message::CERTIFICATE,
                2 => kind == message::SERVER_KEY_EXCHANGE,
                3 => matches!(
                    kind,
                    message::CERTIFICATE_REQUEST | message::SERVER_HELLO_DONE
                ),
                4 => kind == message::SERVER_HELLO_DONE,
                _ => false,
            },
            Expected::Nothing => false,
        }
    }

    /// Whether a message of this kind at `index` is the flight's last.
    fn ends_with(self, index: usize, kind: u8) -> bool {
        match self {
            Expected::ClientFlight => index == 2,
            Expected::ServerFlight => {
                matches!(
                    kind,
                    message::HELLO_VERIFY_REQUEST | message::SERVER_HELLO_DONE
                )
            }
            Expected::Nothing => false,
        }
    }
}

/// Longest body of a message of this kind.
const fn max_length(kind: u8) -> usize {
    match kind {
        message::CLIENT_HELLO => limits::MAX_HANDSHAKE_MESSAGE,
        // Its list of names can be as long as a chain.
        message::CERTIFICATE | message::CERTIFICATE_REQUEST => limits::MAX_CERTIFICATE_CHAIN_BYTES,
        _ => 2_048,
    }
}

/// One handshake message in pieces.
#[derive(Debug)]
pub(super) struct Pieces {
    pub(super) kind: u8,
    pub(super) body: Vec<u8>,
    /// Disjoint received ranges in order.
    received: Vec<(usize, usize)>,
}

impl Pieces {
    fn new(fragment: &Fragment<'_>) -> Pieces {
        Pieces {
            kind: fragment.kind,
            body: vec![0; fragment.length],
            received: Vec::new(),
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.body.is_empty() || self.received == [(0, self.body.len())]
    }

    /// Adds a fragment; bytes that are known already are not overwritten. Returns whether it is new.
    fn add(&mut self, fragment: &Fragment<'_>) -> bool {
        let (start, end) = (fragment.offset, fragment.offset + fragment.data.len());
        if start == end || self.received.iter().any(|(s, e)| *s <= start && end <= *e) {
            return false;
        }
        let overlaps: Vec<(usize, usize)> = self
            .received
            .iter()
            .copied()
            .filter(|(s, e)| *s < end && start < *e)
            .collect();
        let mut cursor = start;
        for (s, e) in overlaps.iter().copied().chain([(end, end)]) {
            if cursor < s.min(end) {
                let (from, to) = (cursor, s.min(end));
                if let (Some(target), Some(source)) = (
                    self.body.get_mut(from..to),
                    fragment.data.get(from - start..to - start),
                ) {
                    target.copy_from_slice(source);
                }
            }
            cursor = cursor.max(e);
        }
        let at = self.received.partition_point(|(s, _)| *s < start);
        self.received.insert(at, (start, end));
        self.received.dedup_by(|next, previous| {
            let joined = next.0 <= previous.1;
            if joined {
                previous.1 = previous.1.max(next.1);
            }
            joined
        });
        true
    }
}

/// Puts `fragment` into `slot`. A message that contradicts an incomplete one replaces it: whichever is
/// forged, the true one is sent again. Returns whether the slot is complete now and was not before.
pub(super) fn collect(slot: &mut Option<Pieces>, fragment: &Fragment<'_>) -> bool {
    if fragment.length > max_length(fragment.kind) {
        return false;
    }
    let pieces = match slot {
        Some(pieces) if pieces.is_complete() => return false,
        Some(pieces)
            if pieces.kind == fragment.kind
                && pieces.body.len() == fragment.length
                && pieces.received.len() < MAX_PIECES =>
        {
            pieces
        }
        other => other.insert(Pieces::new(fragment)),
    };
    pieces.add(fragment);
    pieces.is_complete()
}

/// The peer's next flight.
#[derive(Debug)]
pub(super) struct Flight {
    expected: Expected,
    /// Message sequence number of the first message.
    first: u16,
    messages: [Option<Pieces>; MAX_MESSAGES],
}

impl Flight {
    pub(super) fn new(expected: Expected, first: u16) -> Flight {
        Flight {
            expected,
            first,
            messages: [const { None }; MAX_MESSAGES],
        }
    }

    /// Takes a fragment. Returns the index of the message that it completed.
    pub(super) fn insert(&mut self, fragment: &Fragment<'_>) -> Option<usize> {
        let index = usize::from(fragment.message_sequence.checked_sub(self.first)?);
        if !self.expected.allows(index, self.first, fragment.kind) {
            return None;
        }
        let slot = self.messages.get_mut(index)?;
        collect(slot, fragment).then_some(index)
    }

    /// A complete message.
    pub(super) fn message(&self, index: usize) -> Option<&Pieces> {
        self.messages
            .get(index)?
            .as_ref()
            .filter(|pieces| pieces.is_complete())
    }

    /// Forgets a message that proved to be forged or wrong; another one may come.
    pub(super) fn reject(&mut self, index: usize) {
        if let Some(slot) = self.messages.get_mut(index) {
            *slot = None;
        }
    }

    /// All messages, if the flight is complete: (message sequence number, message).
    pub(super) fn complete(&self) -> Option<Vec<(u16, &Pieces)>> {
        let mut flight = Vec::with_capacity(MAX_MESSAGES);
        for index in 0..MAX_MESSAGES {
            let pieces = self.message(index)?;
            flight.push((self.first.wrapping_add(index as u16), pieces));
            if self.expected.ends_with(index, pieces.kind) {
                return Some(flight);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{fragments, whole_message};
    use super::*;
    use proptest::prelude::*;

    fn fragment(
        kind: u8,
        length: usize,
        sequence: u16,
        offset: usize,
        data: &[u8],
    ) -> Fragment<'_> {
        Fragment {
            kind,
            length,
            message_sequence: sequence,
            offset,
            data,
        }
    }

    #[test]
    fn a_client_flight_is_complete_when_its_three_messages_are() {
        let mut flight = Flight::new(Expected::ClientFlight, 2);
        assert_eq!(
            flight.insert(&fragment(15, 2, 4, 0, b"vv")),
            Some(2),
            "in any order"
        );
        assert_eq!(flight.insert(&fragment(11, 2, 2, 1, b"c")), None);
        assert_eq!(flight.insert(&fragment(16, 1, 3, 0, b"k")), Some(1));
        assert!(flight.complete().is_none());
        assert_eq!(flight.insert(&fragment(11, 2, 2, 0, b"C")), Some(0));
        let complete = flight.complete().expect("complete");
        let kinds: Vec<_> = complete
            .iter()
            .map(|(sequence, pieces)| (*sequence, pieces.kind))
            .collect();
        assert_eq!(kinds, [(2, 11), (3, 16), (4, 15)]);
        assert_eq!(complete[0].1.body, b"Cc");
    }

    #[test]
    fn t17_messages_out_of_their_order_are_not_taken() {
        let mut flight = Flight::new(Expected::ClientFlight, 2);
        assert_eq!(
            flight.insert(&fragment(16, 1, 2, 0, b"k")),
            None,
            "key exchange first"
        );
        assert_eq!(
            flight.insert(&fragment(1, 1, 2, 0, b"h")),
            None,
            "another hello"
        );
        assert_eq!(
            flight.insert(&fragment(11, 1, 1, 0, b"c")),
            None,
            "before the flight"
        );
        assert_eq!(
            flight.insert(&fragment(11, 1, 9, 0, b"c")),
            None,
            "far behind it"
        );
    }

    #[test]
    fn a_server_flight_may_lack_the_certificate_request_and_begin_with_a_cookie() {
        let mut flight = Flight::new(Expected::ServerFlight, 0);
        flight.insert(&fragment(3, 1, 0, 0, b"c"));
        assert_eq!(flight.complete().expect("cookie").len(), 1);

        let mut flight = Flight::new(Expected::ServerFlight, 1);
        assert_eq!(
            flight.insert(&fragment(3, 1, 1, 0, b"c")),
            None,
            "one cookie is enough"
        );
        for (kind, sequence) in [(2, 1), (11, 2), (12, 3)] {
            flight.insert(&fragment(kind, 1, sequence, 0, b"x"));
        }
        flight.insert(&fragment(14, 0, 4, 0, b""));
        assert_eq!(flight.complete().expect("flight").len(), 4);
    }

    #[test]
    fn t16_hostile_fragments_stay_bounded_and_leave_room_for_the_true_message() {
        let mut flight = Flight::new(Expected::ClientFlight, 2);
        assert_eq!(
            flight.insert(&fragment(11, 1 << 20, 2, 0, b"c")),
            None,
            "too long"
        );
        for _ in 0..100_000 {
            assert_eq!(
                flight.insert(&fragment(11, 9, 2, 3, b"")),
                None,
                "empty fragments"
            );
        }
        for offset in (0..8_000).step_by(2) {
            flight.insert(&fragment(11, 8_000, 2, offset, b"!"));
        }
        let held = flight.messages[0].as_ref().expect("kept");
        assert!(held.received.len() <= MAX_PIECES && held.body.len() <= 8_000);

        assert_eq!(
            flight.insert(&fragment(11, 9, 2, 4, b"cert!")),
            None,
            "another total length"
        );
        assert_eq!(flight.insert(&fragment(11, 9, 2, 0, b"true")), Some(0));
        assert_eq!(flight.message(0).expect("complete").body, b"truecert!");
    }

    proptest! {
        #[test]
        fn any_fragmentation_order_and_overlap_gives_the_message(
            body in proptest::collection::vec(any::<u8>(), 1..400),
            cuts in proptest::collection::vec((0usize..400, 1usize..90), 0..40),
        ) {
            let mut slot = None;
            for (offset, size) in cuts {
                let start = offset.min(body.len());
                let end = (start + size).min(body.len());
                collect(&mut slot, &fragment(11, body.len(), 0, start, &body[start..end]));
            }
            let whole = whole_message(11, 0, &body);
            for piece in fragments(&whole) {
                collect(&mut slot, &piece);
            }
            let pieces = slot.expect("kept");
            prop_assert!(pieces.is_complete());
            prop_assert_eq!(pieces.body, body);
        }
    }
}
