//! One backend becomes two, and two become one again: what the policy `tidegate-split` does, in Rust.

use std::fmt;

use rollout::Weight;
use serde_json::{Value, json};

use super::refs;
use crate::traffic::Backends;

/// The largest weight of the owner's that can be told in hundredths: Gateway API ends at 1,000,000.
pub(super) const LARGEST: u64 = 10_000;

/// Changes what can be changed, leaves the rest alone.
pub(super) fn render(live: &Value, backends: &Backends, share: Option<Weight>) -> Value {
    let mut route = live.clone();
    let had = refs::annotation(live, &backends.annotation()).is_some();
    annotate(&mut route, backends, share);
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

fn annotate(route: &mut Value, backends: &Backends, share: Option<Weight>) {
    let Some(metadata) = route.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
    let Some(annotations) = annotations.as_object_mut() else { return };
    match share {
        Some(share) => {
            annotations.insert(backends.annotation(), json!(share.percent().to_string()));
        }
        None => {
            annotations.remove(&backends.annotation());
        }
    }
    // The API server keeps no empty map.
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
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

/// What is stored, and what isn't as the annotation says.
pub(super) struct Stored {
    pub(super) share: Option<Weight>,
    pub(super) trouble: Option<String>,
}

/// By the names of the backends, wherever they stand in a rule, and by the largest share of all rules: on the way down none may be
/// overlooked that still gives the canary requests. On the way up, the trouble names the rule that lags behind.
pub(super) fn read(live: &Value, backends: &Backends) -> Stored {
    let key = backends.annotation();
    // Without it nothing in the route is ours, whatever it names.
    let Some(value) = refs::annotation(live, &key) else {
        return Stored { share: None, trouble: None };
    };
    let shares = || {
        let rules = refs::rules(live).iter().enumerate();
        rules.filter_map(|(i, rule)| Some((i, rule, Share::of(live, rule, backends)?)))
    };
    let largest = shares().map(|(_, _, share)| share.rounded_up()).max();

    let Some(said) = parse(value) else {
        let route = refs::label(live);
        let trouble = format!("{route}: annotation {key} is `{value}`, need 0 to 100");
        return Stored { share: Some(largest.unwrap_or_default()), trouble: Some(trouble) };
    };
    let trouble = shares().find(|(_, _, share)| !share.is(said)).map(|(i, rule, share)| {
        let (route, rule) = (refs::label(live), refs::rule_label(i, rule));
        format!(
            "{route}, {rule}: gives {} {share} where annotation {key} says {said}; is the rule of a shape that can't be split, or the policy tidegate-split not in force?",
            backends.canary,
        )
    });
    Stored { share: Some(largest.unwrap_or(said)), trouble }
}

/// What the policy takes for a share.
fn parse(value: &str) -> Option<Weight> {
    let share = value.parse().ok().and_then(Weight::new)?;
    (share.percent().to_string() == value).then_some(share)
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
