//! One destination becomes two, and two become one again: what the policy `tidegate-split-virtualservice` does, in Rust.

use rollout::{Match, Pattern, Shape, Weight};
use serde_json::{Map, Value, json};

use super::hosts::{self, Arm, HOST, list};
use crate::traffic::Backends;
use crate::traffic::annotations::{self, Lowered};

/// The largest weight of the owner's that can be told in hundredths: the sum of an entry's weights has 32 bits.
pub(super) const LARGEST: u64 = 10_000;

/// Changes what can be changed, leaves the rest alone.
pub(super) fn render(live: &Value, backends: &Backends, shape: Option<&Shape>) -> Value {
    let mut route = live.clone();
    let had = annotations::held(live, backends);
    annotations::set(&mut route, backends, shape);
    let from = hosts::namespace(live);
    let ours = |entry: &Value| is_ours(entry, from, backends);
    let entries = route.pointer_mut("/spec/http").and_then(Value::as_array_mut);
    // An object of nothing else would be without any entry, which Istio refuses.
    let entries = entries.filter(|all| (had || shape.is_some()) && !all.iter().all(ours));
    if let Some(entries) = entries {
        for entry in std::mem::take(entries).into_iter().filter(|e| !ours(e)) {
            let weight = owners_weight(&entry, from, backends).filter(|w| *w <= LARGEST);
            match (weight, shape) {
                (Some(weight), Some(shape)) => {
                    let owners = released(entry, weight, from, backends);
                    entries.extend(split(owners, weight, from, backends, shape));
                }
                (Some(weight), None) => entries.push(released(entry, weight, from, backends)),
                (None, _) => entries.push(entry),
            }
        }
    }
    route
}

/// Of an entry that sends requests to nobody but the canary. Only while the route is split: nobody else may name the canary.
pub(super) fn is_ours(entry: &Value, from: &str, backends: &Backends) -> bool {
    let [alone] = list(entry, "/route") else { return false };
    matches!(Arm::at(alone, HOST, from, backends), Some(Arm::Canary(_)))
}

/// What the owner gave the Service, if it is an entry's one destination, split or not; 1 where that is nothing. Rounded up where it
/// was changed by hand, so that a destination that gets requests never ends with less than it needs.
pub(super) fn owners_weight(entry: &Value, from: &str, backends: &Backends) -> Option<u64> {
    let arm = |destination| Arm::at(destination, HOST, from, backends);
    match list(entry, "/route") {
        [alone] => match arm(alone)? {
            Arm::Stable(_) => Some(weight(alone)?.max(1)),
            Arm::Canary(_) => None,
        },
        [stable, canary] => match (arm(stable)?, arm(canary)?) {
            (Arm::Stable(a), Arm::Canary(b)) if a == b => {
                Some((weight(stable)? + weight(canary)?).div_ceil(100).max(1))
            }
            _ => None,
        },
        _ => None,
    }
}

/// 0 where there is none, as Istio reads it.
pub(super) fn weight(destination: &Value) -> Option<u64> {
    match destination.get("weight") {
        None => Some(0),
        Some(weight) => weight.as_u64().filter(|w| i32::try_from(*w).is_ok()),
    }
}

/// The owner's entry without what is ours.
fn released(mut entry: Value, weight: u64, from: &str, backends: &Backends) -> Value {
    if let Some(pair) = entry.get_mut("route").and_then(Value::as_array_mut)
        && pair.len() == 2
    {
        pair.truncate(1);
        match (weight, pair[0].as_object_mut()) {
            (1, Some(alone)) => drop(alone.remove("weight")),
            (_, Some(alone)) => drop(alone.insert("weight".to_owned(), json!(weight))),
            (_, None) => {}
        }
    }
    if let Some(mirrors) = entry.get_mut("mirrors").and_then(Value::as_array_mut) {
        mirrors.retain(|m| !is_our_mirror(m, from, backends));
        // None are none: whether the owner wrote an empty list, nobody knows any more once ours was in it.
        if mirrors.is_empty() {
            entry.as_object_mut().map(|fields| fields.remove("mirrors"));
        }
    }
    entry
}

pub(super) fn is_our_mirror(mirror: &Value, from: &str, backends: &Backends) -> bool {
    matches!(Arm::at(mirror, HOST, from, backends), Some(Arm::Canary(_)))
}

/// The canary's entry, if there is one, and the owner's, of which `owners` is the one at rest.
fn split(
    owners: Value,
    weight: u64,
    from: &str,
    backends: &Backends,
    shape: &Shape,
) -> impl Iterator<Item = Value> {
    let mut canary = list(&owners, "/route").first().cloned().unwrap_or_default();
    if let Some(Arm::Stable(ending)) = Arm::at(&canary.clone(), HOST, from, backends) {
        canary["destination"]["host"] = json!(format!("{}{ending}", backends.canary));
    }
    // What the policy leaves alone, because it would cost too much to look at.
    let short = annotations::match_length(&shape.matches) <= annotations::LONGEST_MATCH;
    let testers = testers(&owners, &canary, if short { &shape.matches } else { &[] });
    let owners = weighted(owners, canary, weight, shape.weight, shape.mirror);
    testers.into_iter().chain([owners])
}

/// A copy of the owner's entry for the requests that are told apart. `None` without any.
fn testers(owners: &Value, canary: &Value, matches: &[Match]) -> Option<Value> {
    let crossed = crossed(owners, matches);
    if crossed.is_empty() {
        return None;
    }
    let mut alone = canary.clone();
    alone.as_object_mut()?.remove("weight");
    let mut entry = owners.clone();
    entry["match"] = json!(crossed);
    entry["route"] = json!([alone]);
    Some(entry)
}

fn weighted(
    mut entry: Value,
    mut canary: Value,
    weight: u64,
    share: Weight,
    mirror: Option<Weight>,
) -> Value {
    let destination = canary["destination"].clone();
    canary["weight"] = json!(weight * u64::from(share.percent()));
    if let Some(route) = entry.get_mut("route").and_then(Value::as_array_mut) {
        if let [alone] = &mut route[..] {
            alone["weight"] = json!(weight * u64::from(share.rest().percent()));
        }
        route.push(canary);
    }
    // Istio refuses an entry that has both.
    if let Some(mirror) = mirror.filter(|_| entry.get("mirror").is_none()) {
        let mut mirrors = list(&entry, "/mirrors").to_vec();
        mirrors
            .push(json!({"destination": destination, "percentage": {"value": mirror.percent()}}));
        entry["mirrors"] = json!(mirrors);
    }
    entry
}

/// What both of them match: each of the owner's with each of ours, where the two can be told in one.
fn crossed(owners: &Value, matches: &[Match]) -> Vec<Value> {
    let everything = [json!({})];
    let owners = match list(owners, "/match") {
        [] => &everything,
        some => some,
    };
    let pairs = owners.iter().flat_map(|o| matches.iter().map(move |m| (o, m)));
    pairs.filter_map(|(o, m)| both(o, m).ok()).collect()
}

/// The requests that both match. An entry has one condition for a header, and one for a query parameter: in the way is the field of
/// the one that is there already.
pub(super) fn both(owners: &Value, ours: &Match) -> Result<Value, String> {
    let mut both = owners.clone();
    for Lowered { query, name, value } in annotations::lowered(ours) {
        let field = if query { "queryParams" } else { "headers" };
        let taken = || format!("{field}[{name}]");
        let fields = both.as_object_mut().ok_or_else(taken)?;
        let conditions = fields.entry(field).or_insert_with(|| Map::new().into());
        let conditions = conditions.as_object_mut().ok_or_else(taken)?;
        let condition = match value {
            Pattern::Exact(value) => json!({"exact": value}),
            Pattern::Regex(regex) => json!({"regex": regex}),
        };
        if conditions.insert(name.clone(), condition).is_some() {
            return Err(taken());
        }
    }
    Ok(both)
}
