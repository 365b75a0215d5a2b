//! One service becomes two, and two become one again: what the policy `tidegate-split-traefikservice` does, in Rust.

use std::fmt;

use rollout::{Shape, Weight};
use serde_json::{Value, json};

use crate::traffic::annotations::{self, Said};
use crate::traffic::{Backends, Stored, object};

/// The largest weight of the owner's that is split, as in an `HTTPRoute`.
pub(super) const LARGEST: u64 = 10_000;

const SERVICES: &str = "/spec/weighted/services";

/// The user's Service where no other is named, split or not.
pub(super) struct Whole {
    /// As the owner wrote it.
    stable: Value,
    weight: Option<u64>,
}

impl Whole {
    /// `None`: there is another service, or it is none of the Service's.
    pub(super) fn of(route: &Value, ours: &Backends) -> Option<Self> {
        let is = |service: &Value, name: &str| is_service(route, service, ours, name);
        match services(route) {
            [stable] if is(stable, &ours.service) => {
                Some(Self { stable: stable.clone(), weight: weight(stable) })
            }
            // At 100 %.
            [canary] if is(canary, &ours.canary) && annotations::held(route, ours) => {
                let stable = with(canary, "name", &json!(ours.service));
                Some(Self { weight: weight(&stable), stable })
            }
            [stable, canary] if is(stable, &ours.service) && is(canary, &ours.canary) => {
                let sum = weight(stable).unwrap_or(1) + weight(canary).unwrap_or(1);
                // Rounded up where they were changed by hand.
                let weight = sum.div_ceil(100).checked_sub(1).filter(|weight| *weight > 0);
                let stable = match weight {
                    Some(weight) => with(stable, "weight", &json!(weight)),
                    None => without(stable, "weight"),
                };
                Some(Self { stable, weight })
            }
            _ => None,
        }
    }

    /// As the owner wrote it.
    pub(super) fn weight(&self) -> Option<u64> {
        self.weight
    }

    pub(super) fn can_be_split(&self) -> bool {
        self.weight.is_none_or(|weight| (1..=LARGEST).contains(&weight))
    }

    fn split(&self, backends: &Backends, share: Weight) -> Value {
        let canary = with(&self.stable, "name", &json!(backends.canary));
        let scale = self.weight.map_or(1, |weight| weight + 1);
        let weighed = |service: &Value, share: Weight| {
            with(service, "weight", &json!(scale * u64::from(share.percent())))
        };
        match share {
            Weight::ZERO => json!([self.stable]),
            Weight::FULL => json!([canary]),
            share => json!([weighed(&self.stable, share.rest()), weighed(&canary, share)]),
        }
    }
}

/// Changes what can be changed, leaves the rest alone.
pub(super) fn render(live: &Value, backends: &Backends, shape: Option<&Shape>) -> Value {
    let mut route = live.clone();
    annotations::set(&mut route, backends, shape);
    // What was never split by us is its owner's, whatever it names.
    if shape.is_none() && !annotations::held(live, backends) {
        return route;
    }
    let Some(whole) = Whole::of(live, backends).filter(Whole::can_be_split) else { return route };
    if let Some(services) = route.pointer_mut(SERVICES) {
        *services = whole.split(backends, shape.map(|s| s.weight).unwrap_or_default());
    }
    route
}

/// By the names of the services, wherever they stand.
pub(super) fn read(live: &Value, backends: &Backends) -> Stored {
    let share = Share::of(live, backends);
    let found = share.as_ref().map(Share::rounded_up);
    let stored = |weight: Weight, trouble| Stored { shape: Some(Shape::weight(weight)), trouble };
    let said = match annotations::read(live, backends) {
        // Without the annotation nothing in it is ours, whatever it names.
        Said::Nothing => return Stored::default(),
        Said::Garbled(trouble) => return stored(found.unwrap_or_default(), Some(trouble)),
        Said::Shape(shape) => shape.weight,
    };
    let trouble = share.filter(|share| !share.is(said)).map(|share| {
        format!(
            "{}, spec.weighted: gives {} {share} where annotation {} says {said}; is it of a shape that can't be split, or the policy tidegate-split-traefikservice not in force?",
            object::label(live),
            backends.canary,
            backends.annotation(),
        )
    });
    stored(found.unwrap_or(said), trouble)
}

pub(super) fn services(route: &Value) -> &[Value] {
    object::list(route, SERVICES)
}

/// A place that names this Service of ours, not another object of that name.
pub(super) fn is_service(route: &Value, place: &Value, ours: &Backends, name: &str) -> bool {
    let text = |field: &str, default: &str| match place.get(field) {
        None | Some(Value::Null) => default.to_owned(),
        Some(value) => value.as_str().unwrap_or_default().to_owned(),
    };
    text("name", "") == name
        && text("kind", "Service") == "Service"
        && text("namespace", object::namespace(route)) == ours.namespace
}

/// As it is written. What can't be a weight counts as one that is too large to be split; so sums and products stay in range.
fn weight(service: &Value) -> Option<u64> {
    let written = service.get("weight").filter(|w| !w.is_null())?;
    let largest = u64::from(u32::MAX);
    Some(written.as_u64().map_or(largest, |weight| weight.min(largest)))
}

fn with(object: &Value, field: &str, value: &Value) -> Value {
    let mut object = object.as_object().cloned().unwrap_or_default();
    object.insert(field.to_owned(), value.clone());
    Value::Object(object)
}

fn without(object: &Value, field: &str) -> Value {
    let mut object = object.as_object().cloned().unwrap_or_default();
    object.remove(field);
    Value::Object(object)
}

/// The canary's part.
struct Share {
    canary: u64,
    all: u64,
}

impl Share {
    /// `None`: it has nothing to do with the Service, or gets no request.
    fn of(route: &Value, ours: &Backends) -> Option<Self> {
        let all = services(route).iter();
        let is = |s: &&Value, name: &str| is_service(route, s, ours, name);
        all.clone().find(|s| is(s, &ours.service) || is(s, &ours.canary))?;
        let weigh = |s: &Value| weight(s).unwrap_or(1);
        let canary = all.clone().filter(|s| is(s, &ours.canary)).map(weigh).sum();
        let all = all.map(weigh).sum();
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
