//! Messages for a client that does not take them yet (T53).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::ids::{EndpointId, SourceName};

/// What a message is the newest state of: it makes an older one of the same topic, still waiting, superfluous.
///
/// Messages that only say what changed (source maps) or that a participant wrote have none.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Topic {
    /// Which sources are forwarded.
    ForwardedSources,
    /// What is wanted of one source of the client.
    SenderConstraint(SourceName),
    /// Who speaks.
    Speakers,
    /// Whether an endpoint is connected.
    Connectivity(EndpointId),
    /// The client's estimate.
    ConnectionStats,
    /// Another client's statistics.
    Stats(EndpointId),
}

/// One client's waiting messages, in order; a newer state takes the place of an older one.
#[derive(Debug, Default)]
pub struct Pending {
    waiting: BTreeMap<u64, (Option<Topic>, Arc<str>)>,
    by_topic: HashMap<Topic, u64>,
    next: u64,
    bytes: usize,
}

impl Pending {
    /// Appends a message, or puts it in the place of an older one of its topic.
    pub fn push(&mut self, topic: Option<Topic>, text: Arc<str>) {
        self.bytes += text.len();
        if let Some(known) = topic.as_ref().and_then(|topic| self.by_topic.get(topic))
            && let Some((_, old)) = self.waiting.get_mut(known)
        {
            self.bytes -= old.len();
            *old = text;
            return;
        }
        if let Some(topic) = &topic {
            self.by_topic.insert(topic.clone(), self.next);
        }
        self.waiting.insert(self.next, (topic, text));
        self.next += 1;
    }

    /// The message that is due next.
    pub fn pop(&mut self) -> Option<Arc<str>> {
        let (_, (topic, text)) = self.waiting.pop_first()?;
        if let Some(topic) = topic {
            self.by_topic.remove(&topic);
        }
        self.bytes -= text.len();
        Some(text)
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        *self = Pending::default();
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Their bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(pending: &mut Pending) -> Vec<Arc<str>> {
        std::iter::from_fn(|| pending.pop()).collect()
    }

    #[test]
    fn a_newer_state_takes_the_place_of_an_older_one_and_nothing_else() {
        let mut pending = Pending::default();
        let of = |name: &str| Some(Topic::SenderConstraint(SourceName::from(name)));
        pending.push(Some(Topic::ForwardedSources), "forwarded 1".into());
        pending.push(None, "map 1".into());
        pending.push(of("a-v0"), "a 1".into());
        pending.push(of("b-v0"), "b 1".into());
        pending.push(None, "map 2".into());
        pending.push(of("a-v0"), "a 22".into());
        pending.push(Some(Topic::ForwardedSources), "forwarded 2".into());
        assert_eq!((pending.len(), pending.bytes()), (5, 11 + 5 + 4 + 3 + 5));
        assert_eq!(&*pending.pop().expect("one"), "forwarded 2");
        // What was taken is no longer replaced.
        pending.push(Some(Topic::ForwardedSources), "forwarded 3".into());
        let rest = ["map 1", "a 22", "b 1", "map 2", "forwarded 3"];
        assert_eq!(drain(&mut pending), rest.map(Arc::from));
        assert_eq!((pending.len(), pending.bytes()), (0, 0));
        assert!(pending.is_empty() && pending.by_topic.is_empty());
    }

    #[test]
    fn clearing_leaves_nothing() {
        let mut pending = Pending::default();
        pending.push(Some(Topic::Speakers), "someone".into());
        pending.clear();
        assert!(pending.is_empty() && pending.pop().is_none());
        pending.push(Some(Topic::Speakers), "another".into());
        assert_eq!(drain(&mut pending), [Arc::from("another")]);
    }
}
