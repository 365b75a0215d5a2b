use serde_json::Value;

use super::{mirror, refs, split, status, testers};
use crate::traffic::{Backends, Parent, Refusal, Refused, annotations};

/// A rule has the Service as its one backend.
pub(super) fn can_split(route: &Value, backends: &Backends) -> bool {
    refs::rules(route).iter().any(|rule| {
        split::owners_weight(route, rule, backends).is_some_and(|w| w <= split::LARGEST)
    })
}

/// The parents that split requests, each once, in the order of `spec.parentRefs`.
pub(super) fn parents(route: &Value) -> Vec<Parent> {
    let mut all = Vec::new();
    for reference in refs::parents(route) {
        let parent = match (reference.gateway(), reference.service(route)) {
            (Some(gateway), _) => Parent::Gateway(gateway),
            (None, Some(name)) => {
                let controller = status::controller(route, &reference);
                Parent::Service { name: name.to_owned(), controller }
            }
            (None, None) => continue,
        };
        if !all.contains(&parent) {
            all.push(parent);
        }
    }
    all
}

pub(super) fn refusals(route: &Value, backends: &Backends) -> Vec<Refused> {
    let mut all: Vec<_> = refs::rules(route)
        .iter()
        .enumerate()
        .filter_map(|(i, rule)| {
            let (place, why) = rule_refusal(route, rule, backends)?;
            let field = format!("{}.{place}", refs::rule_label(i, rule));
            Some(Refused { route: refs::label(route), field, why })
        })
        .collect();
    if names(route, backends) && refs::namespace(route) == backends.namespace {
        all.extend(parent_refusal(route));
    }
    all
}

fn rule_refusal(route: &Value, rule: &Value, backends: &Backends) -> Option<(String, Refusal)> {
    let all = refs::list(rule, "/backendRefs");
    let at = |name: &str| {
        all.iter().position(|reference| {
            refs::Backend::of(route, reference)
                .is_some_and(|b| b.namespace == backends.namespace && b.name == name)
        })
    };
    let service = backends.service.clone();
    if refs::namespace(route) != backends.namespace {
        let place = at(&backends.service).or_else(|| at(&backends.canary))?;
        let why = Refusal::Elsewhere { service, namespace: backends.namespace.clone() };
        return Some((format!("backendRefs[{place}].namespace"), why));
    }
    let weight = split::owners_weight(route, rule, backends);
    let held = annotations::held(route, backends);
    let testers = testers::of(route, rule) == Some(&backends.service);
    let by_hand = || Refusal::ByHand { service: service.clone(), canary: backends.canary.clone() };
    if let Some(place) = at(&backends.canary)
        && !(held && (weight.is_some() || testers))
    {
        return Some((format!("backendRefs[{place}].name"), by_hand()));
    }
    let filters = refs::list(rule, "/filters");
    let copies = filters.iter().position(|f| mirror::of(route, f) == Some(&backends.service));
    if let Some(place) = copies.filter(|_| !held) {
        let field = format!("filters[{place}].requestMirror.backendRef.name");
        return Some((field, by_hand()));
    }
    let place = at(&backends.service)?;
    match weight {
        Some(weight) if weight > split::LARGEST => Some((
            format!("backendRefs[{place}].weight"),
            Refusal::Heavy { weight, largest: split::LARGEST },
        )),
        Some(_) => None,
        None => Some((
            format!("backendRefs[{place}]"),
            Refusal::Shared { service, backends: all.len() },
        )),
    }
}

fn parent_refusal(route: &Value) -> Option<Refused> {
    let (route, why) =
        (refs::label(route), parents(route).is_empty().then_some(Refusal::NoParent)?);
    Some(Refused { route, field: "spec.parentRefs".to_owned(), why })
}

/// Any rule sends requests to the Service.
pub(super) fn names(route: &Value, ours: &Backends) -> bool {
    refs::rules(route).iter().any(|rule| {
        refs::backends(route, rule).any(|b| b.namespace == ours.namespace && b.name == ours.service)
    })
}
