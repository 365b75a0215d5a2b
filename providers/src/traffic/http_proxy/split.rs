//! One service becomes two, and two become one again: what the policy `tidegate-split-httpproxy` does, in Rust.

use std::fmt;

use rollout::{Match, Pattern, Shape, Weight};
use serde_json::{Map, Value, json};

use super::routes;
use crate::traffic::annotations::{self, Lowered, Said};
use crate::traffic::{Backends, Stored, object};

/// The largest weight of the owner's that is split, as in an `HTTPRoute`: in hundredths it stays far below where Envoy ends.
pub(super) const LARGEST: u64 = 10_000;

/// The user's Service in a route where no other answers, split or not.
pub(super) struct Whole {
    /// What the pair's weights are to be multiplied by; it remembers the owner's weight.
    scale: u64,
}

impl Whole {
    /// `None`: the route is of another shape, or none of the Service's.
    pub(super) fn of(route: &Value, ours: &Backends) -> Option<Self> {
        let all = routes::services_of(route).iter();
        let answering: Vec<_> = all.filter(|s| !routes::is_mirror(s)).collect();
        let named = |name: &str| answering.iter().find(|s| routes::name(s) == name);
        let stable = routes::weight(named(&ours.service)?);
        let scale = match (answering.len(), named(&ours.canary)) {
            (1, None) => stable.map_or(1, |weight| weight + 2),
            // Rounded up, so that weights that were changed by hand never become 0.
            (2, Some(canary)) => {
                let sum = stable.unwrap_or_default() + routes::weight(canary).unwrap_or_default();
                sum.div_ceil(100).max(1)
            }
            _ => return None,
        };
        Some(Self { scale })
    }

    /// As the owner wrote it.
    pub(super) fn weight(&self) -> Option<u64> {
        self.scale.checked_sub(2)
    }

    pub(super) fn can_be_split(&self) -> bool {
        self.weight().is_none_or(|weight| weight <= LARGEST)
    }
}

/// Changes what can be changed, leaves the rest alone.
pub(super) fn render(live: &Value, backends: &Backends, shape: Option<&Shape>) -> Value {
    let mut proxy = live.clone();
    annotations::set(&mut proxy, backends, shape);
    // What was never split by us is its owner's, whatever it names.
    if shape.is_none() && !annotations::held(live, backends) {
        return proxy;
    }
    let Some(all) = proxy.pointer_mut("/spec/routes").and_then(Value::as_array_mut) else {
        return proxy;
    };
    let mut made = Vec::with_capacity(all.len());
    for mut route in std::mem::take(all) {
        if routes::is_testers(&route, backends) {
            continue; // made anew
        }
        let whole = Whole::of(&route, backends);
        match (shape, whole) {
            (Some(shape), Some(whole)) if whole.can_be_split() => {
                let testers = shape.matches.iter().filter_map(|m| tester(&route, backends, m));
                let testers: Vec<_> = testers.collect();
                route["services"] = json!(split(&route, backends, &whole, shape));
                made.push(route);
                made.extend(testers);
            }
            (None, Some(whole)) if names(&route, &backends.canary) => {
                route["services"] = json!(released(&route, backends, &whole));
                made.push(route);
            }
            (_, Some(_) | None) => made.push(route),
        }
    }
    *all = made;
    proxy
}

fn split(route: &Value, backends: &Backends, whole: &Whole, shape: &Shape) -> Vec<Value> {
    let weighed = |service: &Value, share: Weight| {
        with(service, "weight", json!(whole.scale * u64::from(share.percent())))
    };
    let mut all = Vec::new();
    for service in owners(route, backends) {
        if !is_stable(service, backends) {
            all.push(service.clone());
            continue;
        }
        let canary = with(service, "name", json!(backends.canary));
        all.push(weighed(service, shape.weight.rest()));
        all.push(weighed(&canary, shape.weight));
        // Weight 0 would be a copy of everything.
        let mirror = shape.mirror.filter(|share| *share > Weight::ZERO);
        all.extend(mirror.map(|share| {
            with(&with(&canary, "weight", json!(share.percent())), "mirror", json!(true))
        }));
    }
    all
}

fn released(route: &Value, backends: &Backends, whole: &Whole) -> Vec<Value> {
    let owners_own = |service: &Value| match whole.weight() {
        _ if !is_stable(service, backends) => service.clone(),
        Some(weight) => with(service, "weight", json!(weight)),
        None => without(service, "weight"),
    };
    owners(route, backends).map(owners_own).collect()
}

fn names(route: &Value, service: &str) -> bool {
    routes::services_of(route).iter().any(|s| routes::name(s) == service)
}

/// A copy for requests with these conditions, which only the canary answers.
fn tester(route: &Value, backends: &Backends, wanted: &Match) -> Option<Value> {
    let stable = owners(route, backends).find(|service| is_stable(service, backends))?;
    let canary = without(&with(stable, "name", json!(backends.canary)), "weight");
    let conditions = object::list(route, "/conditions").iter().cloned();
    let conditions: Vec<_> =
        conditions.chain(annotations::lowered(wanted).iter().map(condition)).collect();
    let copy = with(route, "services", json!([canary]));
    Some(with(&copy, "conditions", json!(conditions)))
}

fn condition(lowered: &Lowered) -> Value {
    let Lowered { query, name, value } = lowered;
    let part = if *query { "queryParameter" } else { "header" };
    match value {
        Pattern::Exact(value) => json!({part: {"name": name, "exact": value}}),
        Pattern::Regex(regex) => json!({part: {"name": name, "regex": regex}}),
    }
}

/// All of a route's but for what is ours.
fn owners<'a>(route: &'a Value, ours: &Backends) -> impl Iterator<Item = &'a Value> {
    routes::services_of(route).iter().filter(|s| routes::name(s) != ours.canary)
}

fn is_stable(service: &Value, ours: &Backends) -> bool {
    routes::name(service) == ours.service && !routes::is_mirror(service)
}

fn with(object: &Value, field: &str, value: Value) -> Value {
    let mut object = object.as_object().cloned().unwrap_or_else(Map::new);
    object.insert(field.to_owned(), value);
    Value::Object(object)
}

fn without(object: &Value, field: &str) -> Value {
    let mut object = object.as_object().cloned().unwrap_or_else(Map::new);
    object.remove(field);
    Value::Object(object)
}

/// By the names of the services, wherever they stand in a route, and by the largest share of all routes: on the way down none may be
/// overlooked that still gives the canary requests. On the way up, the trouble names the route that lags behind.
pub(super) fn read(live: &Value, backends: &Backends) -> Stored {
    let (said, garbled) = match annotations::read(live, backends) {
        // Without the annotation nothing in the proxy is ours, whatever it names.
        Said::Nothing => return Stored::default(),
        Said::Shape(shape) => (Some(shape), None),
        Said::Garbled(trouble) => (None, Some(trouble)),
    };
    let wanted = said.as_ref().map(|shape| render(live, backends, Some(shape)));
    // Routes for testers that should be there; any other with the canary alone is a route like the rest, and gives it all it gets.
    let testers: Vec<_> = wanted.iter().flat_map(|w| of_testers(w, backends)).collect();
    let all = routes::routes(live).iter().enumerate();
    let rest: Vec<_> = all.filter(|(_, route)| !testers.contains(route)).collect();

    let trouble = garbled.or_else(|| {
        let said = said.as_ref()?;
        let there: Vec<_> = of_testers(live, backends).collect();
        let missing = testers.iter().find(|wanted| !there.contains(wanted));
        let what = lagging(&rest, backends, said)
            .or_else(|| missing.map(|m| format!("spec.routes: none has {}", m["conditions"])))?;
        Some(format!(
            "{}, {what} where annotation {} and those beside it say {said}; is the route of a shape that can't be split, or the policy tidegate-split-httpproxy not in force?",
            object::label(live),
            backends.annotation(),
        ))
    });
    let said = said.unwrap_or_default();
    let shares = rest.iter().filter_map(|(_, route)| Share::of(route, backends));
    let weight = shares.map(|share| share.rounded_up()).max().unwrap_or(said.weight);
    let mirror = rest.iter().filter_map(|(_, route)| mirrored(route, backends)).max();
    let mirror = said.mirror.max(mirror);
    Stored { shape: Some(Shape { weight, mirror, ..said }), trouble }
}

fn lagging(routes: &[(usize, &Value)], backends: &Backends, said: &Shape) -> Option<String> {
    let mirror = said.mirror.filter(|share| *share > Weight::ZERO);
    routes.iter().find_map(|(i, route)| {
        let label = routes::route_label(*i);
        let share = Share::of(route, backends)?;
        if !share.is(said.weight) {
            return Some(format!("{label}: gives {} {share}", backends.canary));
        }
        let copies = mirrored(route, backends);
        let lags = Whole::of(route, backends).is_some() && copies != mirror;
        let copies = copies.unwrap_or_default();
        lags.then(|| format!("{label}: gives {} copies of {copies}", backends.canary))
    })
}

fn of_testers<'a>(proxy: &'a Value, ours: &'a Backends) -> impl Iterator<Item = &'a Value> {
    routes::routes(proxy).iter().filter(|route| routes::is_testers(route, ours))
}

/// The share that the canary gets a copy of.
fn mirrored(route: &Value, ours: &Backends) -> Option<Weight> {
    let mut all = routes::services_of(route).iter();
    let ours = all.find(|s| routes::is_mirror(s) && routes::name(s) == ours.canary)?;
    // For Contour, none and 0 are all of them.
    let share = routes::weight(ours).filter(|w| *w > 0);
    share.and_then(|w| u8::try_from(w).ok()).and_then(Weight::new).or(Some(Weight::FULL))
}

/// The canary's part of one route.
struct Share {
    canary: u64,
    all: u64,
}

impl Share {
    /// `None`: the route has nothing to do with the Service.
    fn of(route: &Value, ours: &Backends) -> Option<Self> {
        let answering = routes::services_of(route).iter().filter(|s| !routes::is_mirror(s));
        let weight = |s: &Value| routes::weight(s).unwrap_or_default();
        let named =
            |s: &&Value| [&ours.service, &ours.canary].iter().any(|n| *n == routes::name(s));
        answering.clone().find(named)?;
        let even = answering.clone().all(|s| weight(s) == 0);
        // Weights that are all 0, or not there, are the same for all.
        let weigh = |s: &Value| if even { 1 } else { weight(s) };
        let canary = answering.clone().filter(|s| routes::name(s) == ours.canary).map(weigh).sum();
        Some(Self { canary, all: answering.map(weigh).sum() })
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
