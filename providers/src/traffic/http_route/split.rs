//! One backend becomes two, and two become one again: what the policy `tidegate-split` does, in Rust.

use std::fmt;

use rollout::{Shape, Weight};
use serde_json::{Value, json};

use super::refs;
use crate::traffic::annotations::{self, Said};
use crate::traffic::{Backends, Stored};

/// The largest weight of the owner's that can be told in hundredths: Gateway API ends at 1,000,000.
pub(super) const LARGEST: u64 = 10_000;

/// Changes what can be changed, leaves the rest alone.
pub(super) fn render(live: &Value, backends: &Backends, shape: Option<&Shape>) -> Value {
    let mut route = live.clone();
    let had = annotations::held(live, backends);
    annotations::set(&mut route, backends, shape);
    let share = shape.map(|s| s.weight);
    let rules = route.pointer_mut("/spec/rules").and_then(Value::as_array_mut);
    for (rule, was) in rules.into_iter().flatten().zip(refs::rules(live)) {
        let Some(weight) = owners_weight(live, was, backends) else { continue };
        let Some(pair) = rule.get_mut("backendRefs").and_then(Value::as_array_mut) else {
            continue;
        };
        match share {
            Some(share) if weight <= LARGEST => {
                if let [alone] = &pair[..] {
                    let mut canary = alone.clone();
                    canary["name"] = json!(backends.canary);
                    pair.push(canary);
                }
                pair[0]["weight"] = json!(weight * u64::from(share.rest().percent()));
                pair[1]["weight"] = json!(weight * u64::from(share.percent()));
            }
            // A pair that was never split by us is its owner's.
            None if had && pair.len() == 2 => {
                pair.truncate(1);
                pair[0]["weight"] = json!(weight);
            }
            Some(_) | None => {}
        }
    }
    route
}

/// What the owner gave the Service, if it is a rule's one backend, split or not. Rounded up where it was changed by hand, so that a
/// backend that gets requests never ends with weight 0.
pub(super) fn owners_weight(route: &Value, rule: &Value, ours: &Backends) -> Option<u64> {
    let all = refs::list(rule, "/backendRefs");
    let own = |reference, name: &str| {
        refs::Backend::of(route, reference)
            .filter(|b| b.name == name && b.namespace == ours.namespace)
            .filter(|b| b.namespace == refs::namespace(route))
            .map(|b| b.weight)
    };
    match all {
        [alone] => own(alone, &ours.service),
        [stable, canary] => {
            Some((own(stable, &ours.service)? + own(canary, &ours.canary)?).div_ceil(100))
        }
        _ => None,
    }
}

/// By the names of the backends, wherever they stand in a rule, and by the largest share of all rules: on the way down none may be
/// overlooked that still gives the canary requests. On the way up, the trouble names the rule that lags behind.
pub(super) fn read(live: &Value, backends: &Backends) -> Stored {
    let said = match annotations::read(live, backends) {
        // Without the annotation nothing in the route is ours, whatever it names.
        Said::Nothing => return Stored::default(),
        Said::Shape(shape) => Ok(shape),
        Said::Garbled(trouble) => Err(trouble),
    };
    let shares = || {
        let rules = refs::rules(live).iter().enumerate();
        rules.filter_map(|(i, rule)| Some((i, rule, Share::of(live, rule, backends)?)))
    };
    let largest = shares().map(|(_, _, share)| share.rounded_up()).max();

    let said = match said {
        Ok(said) => said,
        Err(trouble) => {
            let shape = Shape::weight(largest.unwrap_or_default());
            return Stored { shape: Some(shape), trouble: Some(trouble) };
        }
    };
    let lags = shares().find(|(_, _, share)| !share.is(said.weight));
    let trouble = lags.map(|(i, rule, share)| {
        let (route, rule) = (refs::label(live), refs::rule_label(i, rule));
        format!(
            "{route}, {rule}: gives {} {share} where annotation {} says {}; is the rule of a shape that can't be split, or the policy tidegate-split not in force?",
            backends.canary,
            backends.annotation(),
            said.weight,
        )
    });
    let weight = largest.unwrap_or(said.weight);
    Stored { shape: Some(Shape { weight, ..said }), trouble }
}

/// The canary's part of one rule.
struct Share {
    canary: u64,
    all: u64,
}

impl Share {
    /// `None`: the rule has nothing to do with the Service, or gets no request.
    fn of(route: &Value, rule: &Value, ours: &Backends) -> Option<Self> {
        let backends = refs::backends(route, rule).filter(|b| b.namespace == ours.namespace);
        let named = |b: &refs::Backend<'_>| b.name == ours.service || b.name == ours.canary;
        backends.clone().find(named)?;
        let canary = backends.filter(|b| b.name == ours.canary).map(|b| b.weight).sum();
        let all = refs::weights(rule).sum();
        (all > 0).then_some(Self { canary, all })
    }

    fn is(&self, share: Weight) -> bool {
        self.canary * 100 == self.all * u64::from(share.percent())
    }

    fn rounded_up(&self) -> Weight {
        let percent = (self.canary * 100).div_ceil(self.all);
        u8::try_from(percent).ok().and_then(Weight::new).unwrap_or(Weight::FULL)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.canary, self.all)
    }
}
