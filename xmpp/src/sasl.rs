//! Which way to log in.

use crate::element::Element;
use crate::ns;
use crate::scram::Hash;

/// A mechanism that both sides have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mechanism {
    /// SCRAM.
    Scram(Hash),
    /// The password itself.
    Plain,
}

impl Mechanism {
    /// Registered name.
    pub const fn name(self) -> &'static str {
        match self {
            Mechanism::Scram(Hash::Sha256) => "SCRAM-SHA-256",
            Mechanism::Scram(Hash::Sha1) => "SCRAM-SHA-1",
            Mechanism::Plain => "PLAIN",
        }
    }

    /// The best one that the features of the stream offer. The password itself is only for encrypted streams (T72).
    pub fn choose(features: &Element, encrypted: bool) -> Option<Mechanism> {
        let offered = features.child("mechanisms", ns::SASL)?;
        [
            Mechanism::Scram(Hash::Sha256),
            Mechanism::Scram(Hash::Sha1),
            Mechanism::Plain,
        ]
        .into_iter()
        .filter(|mechanism| encrypted || *mechanism != Mechanism::Plain)
        .find(|mechanism| {
            offered
                .all("mechanism", ns::SASL)
                .any(|name| name.text() == mechanism.name())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(names: &[&str]) -> Element {
        let mechanism = |name: &&str| Element::new("mechanism", ns::SASL).with_text(name);
        let mechanisms = names.iter().map(mechanism);
        Element::new("features", ns::STREAM)
            .with_child(mechanisms.fold(Element::new("mechanisms", ns::SASL), Element::with_child))
    }

    #[test]
    fn the_strongest_mechanism_is_chosen() {
        let choose = |names: &[&str]| Mechanism::choose(&features(names), true);
        assert_eq!(
            choose(&["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256"]),
            Some(Mechanism::Scram(Hash::Sha256))
        );
        assert_eq!(
            choose(&["PLAIN", "SCRAM-SHA-1"]),
            Some(Mechanism::Scram(Hash::Sha1))
        );
        assert_eq!(choose(&["GSSAPI", "PLAIN"]), Some(Mechanism::Plain));
        assert_eq!(choose(&["GSSAPI"]), None);
    }

    #[test]
    fn t72_no_password_over_a_stream_that_is_not_encrypted() {
        assert_eq!(Mechanism::choose(&features(&["PLAIN"]), false), None);
    }
}
