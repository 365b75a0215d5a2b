use rollout::Shape;
use serde_json::{Value, json};

use super::hosts::{self, Arm, HOST, list};
use super::split;
use crate::traffic::{Backends, Refusal, Refused, annotations};

/// An entry has the Service as its one destination.
pub(super) fn can_split(route: &Value, backends: &Backends) -> bool {
    let from = hosts::namespace(route);
    let weights = list(route, "/spec/http").iter();
    weights.filter_map(|e| split::owners_weight(e, from, backends)).any(|w| w <= split::LARGEST)
}

pub(super) fn refusals(route: &Value, backends: &Backends) -> Vec<Refused> {
    let entries = list(route, "/spec/http").iter().enumerate();
    let http = entries.filter_map(|(i, entry)| {
        let (place, why) = entry_refusal(route, entry, backends)?;
        Some((format!("{}.{place}", hosts::entry_label(i, entry)), why))
    });
    let connections =
        ["tls", "tcp"].into_iter().flat_map(|kind| connections(route, kind, backends));
    let all = http.chain(connections);
    all.map(|(field, why)| Refused { route: hosts::label(route), field, why }).collect()
}

fn entry_refusal(route: &Value, entry: &Value, backends: &Backends) -> Option<(String, Refusal)> {
    let from = hosts::namespace(route);
    let held = annotations::held(route, backends);
    let (all, mirrors) = (list(entry, "/route"), list(entry, "/mirrors"));
    let weight = split::owners_weight(entry, from, backends);
    let service = backends.service.clone();
    let is = |part: &Value, wanted: fn(&Arm<'_>) -> bool| {
        Arm::at(part, HOST, from, backends).as_ref().is_some_and(wanted)
    };
    let canary = |part: &Value| is(part, |arm| matches!(arm, Arm::Canary(_)));
    let stable = |part: &Value| is(part, |arm| matches!(arm, Arm::Stable(_)));

    if from != backends.namespace {
        let place = all.iter().position(|d| is(d, |_| true))?;
        let why = Refusal::Elsewhere { service, namespace: backends.namespace.clone() };
        return Some((format!("route[{place}].destination.host"), why));
    }
    let ours = held && (weight.is_some() || split::is_ours(entry, from, backends));
    if !ours {
        let mirror = Arm::at(entry, "/mirror/host", from, backends);
        let place = (all.iter().position(canary).map(|i| format!("route[{i}].destination.host")))
            .or_else(|| {
                mirrors.iter().position(canary).map(|i| format!("mirrors[{i}].destination.host"))
            })
            .or_else(|| matches!(mirror, Some(Arm::Canary(_))).then(|| "mirror.host".to_owned()));
        if let Some(place) = place {
            return Some((place, Refusal::ByHand { service, canary: backends.canary.clone() }));
        }
    }
    let place = all.iter().position(stable)?;
    match weight {
        Some(weight) if weight > split::LARGEST => Some((
            format!("route[{place}].weight"),
            Refusal::Heavy { weight, largest: split::LARGEST },
        )),
        Some(_) => None,
        None => Some((format!("route[{place}]"), Refusal::Shared { service, backends: all.len() })),
    }
}

/// Connections whose requests istiod doesn't see: a run would leave them with the old revision, and never judge the new one for them.
fn connections(
    route: &Value,
    kind: &'static str,
    backends: &Backends,
) -> impl Iterator<Item = (String, Refusal)> {
    let from = hosts::namespace(route);
    list(route, &format!("/spec/{kind}")).iter().enumerate().filter_map(move |(i, entry)| {
        let arm = |d: &Value| Arm::at(d, HOST, from, backends).is_some();
        let place = list(entry, "/route").iter().position(arm)?;
        let field = format!("spec.{kind}[{i}].route[{place}].destination.host");
        let why = format!(
            "service {} gets {kind} connections by it, and only requests of spec.http can be split; give it a service of its own for them",
            backends.service
        );
        Some((field, Refusal::Other(why)))
    })
}

/// What an entry of the owner's has that a part of the shape needs.
pub(super) fn obstacle(route: &Value, backends: &Backends, shape: &Shape) -> Option<Refused> {
    let from = hosts::namespace(route);
    let (length, most) = (annotations::match_length(&shape.matches), annotations::LONGEST_MATCH);
    if length > most {
        let field = format!("metadata.annotations[{}]", backends.match_annotation());
        let why = format!("testers make {length} characters, and it can have {most}; use fewer");
        return Some(Refused { route: hosts::label(route), field, why: Refusal::Other(why) });
    }
    let (i, entry, (place, why)) =
        list(route, "/spec/http").iter().enumerate().find_map(|(i, entry)| {
            split::owners_weight(entry, from, backends)?;
            Some((i, entry, in_the_way(entry, shape)?))
        })?;
    let field = format!("{}.{place}", hosts::entry_label(i, entry));
    Some(Refused { route: hosts::label(route), field, why: Refusal::Other(why) })
}

fn in_the_way(entry: &Value, shape: &Shape) -> Option<(String, String)> {
    if shape.mirror.is_some() && entry.get("mirror").is_some() {
        let why = "Istio takes no mirrors beside it, and the canary's copies need them; write it as an entry of mirrors";
        return Some(("mirror".to_owned(), why.to_owned()));
    }
    let everything = [json!({})];
    let owners = match list(entry, "/match") {
        [] => &everything,
        some => some,
    };
    owners.iter().enumerate().find_map(|(i, owners)| {
        shape.matches.iter().find_map(|ours| {
            let taken = split::both(owners, ours).err()?;
            let why = format!(
                "requests with {ours} need a condition of their own there, and Istio has one for each name; tell them by another header or parameter"
            );
            Some((format!("match[{i}].{taken}"), why))
        })
    })
}
