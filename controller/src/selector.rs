//! Plain Kubernetes: no route splits, so the user's Service is pointed at the pods of one revision or the other.
//!
//! | the run wants | the Service selects |
//! |---|---|
//! | nothing of it (at rest, released) | as its owner wrote it |
//! | weight 0 | the revision that it is to be pinned to, or as its owner wrote it |
//! | a weight between (by pods) | as its owner wrote it: the canary's pods and stable's |
//! | weight 100 | the canary's pods, whatever else it is pinned to: everybody is sent there in one write |
//!
//! With a route in front, where the Service is pinned and what the route gives the canary are two things. Here they are one, so what
//! is seen of it is told apart by what was wanted.

use rollout::{Effect, Revision, Weight};

/// What the effects of a phase want of the Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) pin: Pin,
    pub(crate) weight: Option<Weight>,
}

/// Where the Service would point if there were a route in front.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Pin {
    /// The phase says nothing about it.
    #[default]
    AsItIs,
    To(Option<Revision>),
}

impl Wanted {
    pub(crate) fn of(effects: &[Effect]) -> Self {
        let mut wanted = Self::default();
        for effect in effects {
            match effect {
                Effect::Pin(pin) => wanted.pin = Pin::To(pin.clone()),
                Effect::Route(shape) => wanted.weight = shape.as_ref().map(|s| s.weight),
                Effect::Canary(_) | Effect::Start(_) | Effect::Only(_) | Effect::Hold => {}
            }
        }
        wanted
    }
}

/// Where the Service is to point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Select {
    /// Where it points now.
    AsItIs,
    Canary,
    /// The target's pods of this revision; `None`: as its owner wrote it.
    Target(Option<Revision>),
}

pub(crate) fn select(wanted: &Wanted) -> Select {
    match (wanted.weight, &wanted.pin) {
        (Some(Weight::FULL), _) => Select::Canary,
        (Some(weight), _) if weight > Weight::ZERO => Select::Target(None),
        (_, Pin::AsItIs) => Select::AsItIs,
        (_, Pin::To(pin)) => Select::Target(pin.clone()),
    }
}

/// What is seen: the revision that it is pinned to, and the share that it gives the canary.
///
/// `selected`: the revision whose hash is in the selector; `canary`: the selector has the hash of the canary's pods.
pub(crate) fn seen(
    selected: Option<Revision>,
    canary: bool,
    wanted: &Wanted,
) -> (Option<Revision>, Option<Weight>) {
    let as_wanted = match &wanted.pin {
        Pin::AsItIs => selected.clone(),
        Pin::To(pin) => pin.clone(),
    };
    match (canary, wanted.weight) {
        (true, Some(Weight::FULL)) => (as_wanted, Some(Weight::FULL)),
        (false, Some(weight))
            if selected.is_none() && weight < Weight::FULL && weight > Weight::ZERO =>
        {
            (as_wanted, Some(weight))
        }
        (true, _) => (selected, Some(Weight::FULL)),
        (false, weight) => (selected, weight.map(|_| Weight::ZERO)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "a pin is an option")]
    fn revision(name: &str) -> Option<Revision> {
        Some(Revision::new(name))
    }

    fn wanted(pin: Pin, weight: Option<Weight>) -> Wanted {
        Wanted { pin, weight }
    }

    #[test]
    fn everybody_goes_to_the_canary_at_100_percent_whatever_it_is_pinned_to() {
        let canary = revision("hash-of-the-canary");
        for (pin, pinned) in [
            (Pin::AsItIs, canary.clone()),
            (Pin::To(None), None),
            (Pin::To(revision("old")), revision("old")),
        ] {
            let wanted = wanted(pin, Some(Weight::FULL));
            assert_eq!(select(&wanted), Select::Canary);
            assert_eq!(seen(canary.clone(), true, &wanted), (pinned, Some(Weight::FULL)));
            // Not there yet, or changed by somebody.
            let other = (revision("old"), Some(Weight::ZERO));
            assert_eq!(seen(revision("old"), false, &wanted), other);
        }
    }

    #[test]
    fn below_it_points_where_it_is_pinned_and_gives_the_canary_nothing() {
        for pin in [None, revision("old"), revision("new")] {
            let wanted = wanted(Pin::To(pin.clone()), Some(Weight::ZERO));
            assert_eq!(select(&wanted), Select::Target(pin.clone()));
            assert_eq!(seen(pin.clone(), false, &wanted), (pin, Some(Weight::ZERO)));
        }
        // On the way back the canary may still be selected.
        let back = wanted(Pin::To(revision("old")), Some(Weight::ZERO));
        assert_eq!(seen(revision("x"), true, &back).1, Some(Weight::FULL));
    }

    #[test]
    fn between_it_selects_everybody() {
        let weight = Weight::new(25);
        let wanted = wanted(Pin::To(revision("old")), weight);
        assert_eq!(select(&wanted), Select::Target(None));
        assert_eq!(seen(None, false, &wanted), (revision("old"), weight));
        // Still pinned, or already on the canary alone.
        assert_eq!(seen(revision("old"), false, &wanted), (revision("old"), Some(Weight::ZERO)));
        assert_eq!(seen(revision("x"), true, &wanted).1, Some(Weight::FULL));
    }

    #[test]
    fn what_a_phase_says_nothing_about_stays() {
        assert_eq!(select(&wanted(Pin::AsItIs, Some(Weight::ZERO))), Select::AsItIs);
    }

    #[test]
    fn released_is_as_its_owner_wrote_it() {
        let released = Wanted::of(&[Effect::Route(None), Effect::Canary(None), Effect::Pin(None)]);
        assert_eq!(select(&released), Select::Target(None));
        assert_eq!(seen(None, false, &released), (None, None));
        assert_eq!(seen(revision("old"), false, &released), (revision("old"), None));
        assert_eq!(seen(revision("x"), true, &released), (revision("x"), Some(Weight::FULL)));
    }
}
