//! Who receives an audio source (allocation spec §13.5).

use crate::channel::AudioSubscription;
use crate::ids::SourceName;

/// Whether a receiver wants an audio source, by its subscription (`None` = never sent one). `synthetic`
/// audio goes only to those that ask for it by name. A receiver's own regular audio never goes back to
/// it, its own synthetic audio does: that is for the caller to see to.
pub fn wants_audio(
    subscription: Option<&AudioSubscription>,
    source: &SourceName,
    synthetic: bool,
) -> bool {
    let Some(subscription) = subscription else {
        return !synthetic;
    };
    !subscription.exclude.contains(source)
        && (subscription.include.contains(source) || (subscription.all && !synthetic))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(all: bool, include: &[&str], exclude: &[&str]) -> AudioSubscription {
        let names = |list: &[&str]| list.iter().copied().map(SourceName::from).collect();
        AudioSubscription {
            all,
            include: names(include),
            exclude: names(exclude),
        }
    }

    fn wants(subscription: &AudioSubscription, source: &str) -> bool {
        wants_audio(Some(subscription), &source.into(), false)
    }

    #[test]
    fn allocation_case_53_include_exclude_and_all() {
        assert!(wants_audio(None, &"x".into(), false), "never sent one");
        assert!(!wants(&subscription(false, &[], &[]), "x"));
        let only_x = subscription(false, &["x"], &[]);
        assert!(wants(&only_x, "x") && !wants(&only_x, "y"));
        let all_but_x = subscription(true, &[], &["x"]);
        assert!(!wants(&all_but_x, "x") && wants(&all_but_x, "y"));
        assert!(!wants(&subscription(true, &["x"], &["x"]), "x"), "in both");
    }

    #[test]
    fn allocation_case_53_synthetic_audio_goes_to_those_who_name_it() {
        let wants =
            |subscription: &AudioSubscription| wants_audio(Some(subscription), &"s".into(), true);
        assert!(!wants_audio(None, &"s".into(), true));
        assert!(!wants(&subscription(true, &[], &[])));
        assert!(wants(&subscription(false, &["s"], &[])));
        assert!(!wants(&subscription(true, &["s"], &["s"])));
    }

    /// A subscription is a matter of names: a source that is signaled later matches like any other.
    #[test]
    fn allocation_case_54_sources_may_be_named_before_they_exist() {
        let early = subscription(false, &["later-a0"], &[]);
        assert!(wants(&early, "later-a0"));
    }
}
