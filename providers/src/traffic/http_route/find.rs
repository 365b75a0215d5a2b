use serde_json::Value;

use super::{refs, split};
use crate::traffic::{Backends, GatewayName};

/// The routes that a Service gets its requests by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// All of them are split together, in the order in which they were given. One that is split stays here whatever has become of it,
    /// so that it can be released.
    pub routes: Vec<Route>,
    /// What keeps a run from starting: a part of the Service's requests could not be split.
    pub refused: Vec<Refused>,
}

/// A route that is, or can be, split for a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub name: String,
    /// Of `spec.rules`, by position: those with the Service as their one backend.
    pub rules: Vec<usize>,
    /// Its parents, each once, in the order of `spec.parentRefs`.
    pub gateways: Vec<GatewayName>,
}

/// A place in a route that stands in the way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{route}, {field}: {why}")]
pub struct Refused {
    pub route: String,
    pub field: String,
    pub why: Refusal,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "service {service} is one of {backends} backends, and only one that is alone can be split; give it a rule of its own"
    )]
    Shared { service: String, backends: usize },
    #[error(
        "{weight} is too large to be split (at most {}); it is the only backend, so 1 means the same",
        split::LARGEST
    )]
    Heavy { weight: u64 },
    #[error(
        "{canary} is named by hand, and Tidegate adds it when a run starts; name only {service}"
    )]
    ByHand { service: String, canary: String },
    #[error(
        "service {service} is named from another namespace, where its canary can't be; move the route to namespace {namespace}"
    )]
    Elsewhere { service: String, namespace: String },
    #[error(
        "{parent} is a Service, and routes of a mesh can't be split yet; name {service} only in routes whose parents are Gateways"
    )]
    Mesh { parent: String, service: String },
    #[error("no parent is a Gateway, so there is nobody to split; name one")]
    NoGateway,
}

/// The routes that name this Service, of all `HTTPRoute`s that are handed in. Those of other namespaces, if there are any among them, are
/// only ever refused.
pub fn find<'a>(routes: impl IntoIterator<Item = &'a Value>, backends: &Backends) -> Found {
    let mut found = Found::default();
    for route in routes {
        let refused = refusals(route, backends);
        let rules = splittable(route, backends);
        let held = refs::annotation(route, &backends.annotation()).is_some();
        let home = refs::namespace(route) == backends.namespace;
        if home && (held || (refused.is_empty() && !rules.is_empty())) {
            let name = refs::name(route).to_owned();
            found.routes.push(Route { name, rules, gateways: gateways(route) });
        }
        found.refused.extend(refused);
    }
    found
}

fn splittable(route: &Value, backends: &Backends) -> Vec<usize> {
    let alone =
        |rule| split::owners_weight(route, rule, backends).is_some_and(|w| w <= split::LARGEST);
    refs::rules(route).iter().enumerate().filter(|(_, r)| alone(r)).map(|(i, _)| i).collect()
}

fn gateways(route: &Value) -> Vec<GatewayName> {
    let mut all = Vec::new();
    for gateway in refs::parents(route).iter().filter_map(refs::Parent::gateway) {
        if !all.contains(&gateway) {
            all.push(gateway);
        }
    }
    all
}

fn refusals(route: &Value, backends: &Backends) -> Vec<Refused> {
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
        all.extend(parent_refusal(route, backends));
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
    let held = refs::annotation(route, &backends.annotation()).is_some();
    if let Some(place) = at(&backends.canary)
        && !(held && weight.is_some())
    {
        let why = Refusal::ByHand { service, canary: backends.canary.clone() };
        return Some((format!("backendRefs[{place}].name"), why));
    }
    let place = at(&backends.service)?;
    match weight {
        Some(weight) if weight > split::LARGEST => {
            Some((format!("backendRefs[{place}].weight"), Refusal::Heavy { weight }))
        }
        Some(_) => None,
        None => Some((
            format!("backendRefs[{place}]"),
            Refusal::Shared { service, backends: all.len() },
        )),
    }
}

fn parent_refusal(route: &Value, backends: &Backends) -> Option<Refused> {
    let parents = refs::parents(route);
    let mesh = parents.iter().position(refs::Parent::is_service);
    let (field, why) = match mesh {
        Some(i) => (
            format!("spec.parentRefs[{i}]"),
            Refusal::Mesh { parent: parents[i].to_string(), service: backends.service.clone() },
        ),
        None if gateways(route).is_empty() => ("spec.parentRefs".to_owned(), Refusal::NoGateway),
        None => return None,
    };
    Some(Refused { route: refs::label(route), field, why })
}

/// Any rule sends requests to the Service.
pub(super) fn names(route: &Value, ours: &Backends) -> bool {
    refs::rules(route).iter().any(|rule| {
        refs::backends(route, rule).any(|b| b.namespace == ours.namespace && b.name == ours.service)
    })
}
