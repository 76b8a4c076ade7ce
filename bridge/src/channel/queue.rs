//! Messages that wait while one is being handled (bridge-channel §2.4).

use std::collections::VecDeque;

use crate::limits::MESSAGE_QUEUE;

/// One client's waiting messages. A client that sends faster than it is served loses its oldest ones: the
/// newest state is what counts.
#[derive(Clone, Debug)]
pub struct MessageQueue<T> {
    waiting: VecDeque<T>,
    dropped: u64,
}

impl<T> Default for MessageQueue<T> {
    fn default() -> Self {
        MessageQueue {
            waiting: VecDeque::new(),
            dropped: 0,
        }
    }
}

impl<T> MessageQueue<T> {
    /// Appends a message; returns the oldest one if it had to go.
    pub fn push(&mut self, message: T) -> Option<T> {
        let oldest = if self.waiting.len() >= MESSAGE_QUEUE {
            self.waiting.pop_front()
        } else {
            None
        };
        self.dropped += u64::from(oldest.is_some());
        self.waiting.push_back(message);
        oldest
    }

    /// The next message to handle.
    pub fn pop(&mut self) -> Option<T> {
        self.waiting.pop_front()
    }

    /// Messages lost so far.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bridge_channel_case_40_of_60_waiting_messages_the_last_50_are_handled_in_order() {
        let mut queue = MessageQueue::default();
        let lost: Vec<u32> = (0..60).filter_map(|message| queue.push(message)).collect();
        assert_eq!(lost, (0..10).collect::<Vec<_>>());
        assert_eq!(queue.dropped(), 10);
        let handled: Vec<u32> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(handled, (10..60).collect::<Vec<_>>());
    }
}
