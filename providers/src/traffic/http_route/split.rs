//! One backend becomes two, and two become one again, with testers' rules and copies beside them: what the policy `tidegate-split`
//! does, in Rust.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use rollout::{Match, Shape, Weight};
use serde_json::{Value, json};

use super::testers::{self, Line};
use super::{Requests, mirror, refs, status};
use crate::traffic::Backends;
use crate::traffic::annotations;

/// The largest weight of the owner's that can be told in hundredths: Gateway API ends at 1,000,000.
pub(super) const LARGEST: u64 = 10_000;

/// What a route's annotations say about one Service, as far as a route of Gateway API can have it.
#[derive(Debug)]
pub(super) struct Told {
    weight: Weight,
    lines: Vec<Line>,
    mirror: Option<Weight>,
}

/// Changes what can be changed, leaves the rest alone.
pub(super) fn render(
    requests: Requests,
    live: &Value,
    backends: &Backends,
    shape: Option<&Shape>,
) -> Value {
    if let Some(shape) = shape
        && let Some(route) = parking(requests, live, backends, shape, |_| false)
    {
        return route;
    }
    // What is parked never stands in the way of what is wanted.
    let mut route = live.clone();
    annotations::set(&mut route, backends, shape);
    rewritten(requests, live, route)
}

/// With the testers' rules that are new parked, until the gateway has them. All else is there at once.
pub(super) fn on_the_way(
    requests: Requests,
    live: &Value,
    backends: &Backends,
    shape: &Shape,
) -> Option<Value> {
    let accepted = status::read(live).refused.is_none();
    let early = |one: &Match| annotations::is_early(live, backends, one, accepted);
    shape.matches.iter().any(early).then(|| parking(requests, live, backends, shape, early))?
}

/// `None`: there is no room for what would be parked.
fn parking(
    requests: Requests,
    live: &Value,
    backends: &Backends,
    shape: &Shape,
    later: impl Fn(&Match) -> bool,
) -> Option<Value> {
    let mut route = live.clone();
    annotations::set_parking(&mut route, backends, shape, later);
    let [_, with] = testers::told_sizes(requests, &route);
    let short = annotations::told_length(&route, backends) <= annotations::LONGEST_MATCH;
    (with.fits() && short).then(|| rewritten(requests, live, route))
}

/// A route as the API server stores it when somebody writes it over `old`, whichever Services it is split for.
fn rewritten(requests: Requests, old: &Value, mut route: Value) -> Value {
    let told = told(requests, &route);
    let kept: BTreeSet<_> = annotations::services(&route).map(str::to_owned).collect();
    let released: BTreeSet<_> = annotations::services(old).filter(|s| !kept.contains(*s)).collect();
    let list = route.pointer_mut("/spec/rules").and_then(Value::as_array_mut);
    let Some(mut rules) = list.map(mem::take) else { return route };

    take_out(&route, &mut rules, |s| told.contains_key(s) || released.contains(s));
    for rule in &mut rules {
        let Some((service, weight)) = owners(&route, rule) else { continue };
        match (told.get(&service), rule["backendRefs"].as_array_mut()) {
            (Some(told), Some(pair)) if weight <= LARGEST => {
                split(pair, &service, weight, told.weight);
            }
            (None, Some(pair)) if released.contains(service.as_str()) => join(pair, weight),
            _ => {}
        }
    }
    let lines = lines(&route, &rules, &told);
    let added = testers::rules(requests, &rules, &lines);
    for rule in &mut rules {
        let Some((service, Told { mirror: Some(share), .. })) = split_for(&route, rule, &told)
        else {
            continue;
        };
        mirror::add(rule, &service, *share);
    }
    rules.extend(added);
    route["spec"]["rules"] = json!(rules);
    route
}

/// By Service.
pub(super) fn told(requests: Requests, route: &Value) -> BTreeMap<String, Told> {
    let told = |service: &str| {
        let told = annotations::told(route, service)?;
        let lines = told.lines.iter().flatten();
        let lines = lines.filter_map(|line| Line::of(requests, line).ok()).collect();
        Some((service.to_owned(), Told { weight: told.weight, lines, mirror: told.mirror }))
    };
    annotations::services(route).filter_map(told).collect()
}

/// By rule, the testers of the Service that it is split for.
pub(super) fn lines<'a>(
    route: &Value,
    rules: &[Value],
    told: &'a BTreeMap<String, Told>,
) -> Vec<&'a [Line]> {
    let lines =
        |rule| split_for(route, rule, told).map_or(&[][..], |(_, told)| told.lines.as_slice());
    rules.iter().map(lines).collect()
}

/// The Service that a rule is split for, or would be.
fn split_for<'a>(
    route: &Value,
    rule: &Value,
    told: &'a BTreeMap<String, Told>,
) -> Option<(String, &'a Told)> {
    let (service, weight) = owners(route, rule)?;
    let told = told.get(&service).filter(|_| weight <= LARGEST)?;
    Some((service, told))
}

/// Takes out what only we put in. A route of nothing else can't be without it, and is none that can be split.
fn take_out(route: &Value, rules: &mut Vec<Value>, ours: impl Fn(&str) -> bool) {
    let testers = |rule: &Value| testers::of(route, rule).is_some_and(&ours);
    if rules.iter().all(testers) {
        return;
    }
    rules.retain(|rule| !testers(rule));
    for rule in rules {
        mirror::take_out(route, rule, &ours);
    }
}

fn split(pair: &mut Vec<Value>, service: &str, weight: u64, share: Weight) {
    if let [alone] = &pair[..] {
        let mut canary = alone.clone();
        canary["name"] = json!(Backends::canary_of(service));
        pair.push(canary);
    }
    pair[0]["weight"] = json!(weight * u64::from(share.rest().percent()));
    pair[1]["weight"] = json!(weight * u64::from(share.percent()));
}

/// A pair that was never split by us is its owner's: it isn't among those that are released.
fn join(pair: &mut Vec<Value>, weight: u64) {
    if pair.len() == 2 {
        pair.truncate(1);
        pair[0]["weight"] = json!(weight);
    }
}

/// What the owner gave the Service, if it is a rule's one backend, split or not.
pub(super) fn owners_weight(route: &Value, rule: &Value, ours: &Backends) -> Option<u64> {
    let home = refs::namespace(route) == ours.namespace;
    owners(route, rule).filter(|(service, _)| home && *service == ours.service).map(|(_, w)| w)
}

/// A rule's one backend, split or not, and the weight that its owner gave it. Rounded up where it was changed by hand, so that a
/// backend that gets requests never ends with weight 0.
fn owners(route: &Value, rule: &Value) -> Option<(String, u64)> {
    let own = |reference| refs::Backend::of(route, reference).filter(|b| b.is_at_home(route));
    match refs::list(rule, "/backendRefs") {
        [alone] => own(alone).map(|b| (b.name.to_owned(), b.weight)),
        [stable, canary] => {
            let (stable, canary) = (own(stable)?, own(canary)?);
            let pair = canary.name == Backends::canary_of(stable.name);
            pair.then(|| (stable.name.to_owned(), (stable.weight + canary.weight).div_ceil(100)))
        }
        _ => None,
    }
}
