use rollout::{Match, Pattern, Shape, Weight};
use serde_json::Value;

use super::{routes, split};
use crate::traffic::annotations::{self, Lowered};
use crate::traffic::{Backends, Refusal, Refused, object};

/// In some route the Service alone answers.
pub(super) fn can_split(proxy: &Value, backends: &Backends) -> bool {
    split_routes(proxy, backends).next().is_some()
}

fn split_routes<'a>(
    proxy: &'a Value,
    backends: &'a Backends,
) -> impl Iterator<Item = (usize, &'a Value)> {
    let can = |route: &Value| split::Whole::of(route, backends).is_some_and(|w| w.can_be_split());
    routes::routes(proxy).iter().enumerate().filter(move |(_, route)| can(route))
}

/// An `HTTPProxy` names Services of its own namespace only.
pub(super) fn refusals(proxy: &Value, backends: &Backends) -> Vec<Refused> {
    if object::namespace(proxy) != backends.namespace {
        return vec![];
    }
    let held = annotations::held(proxy, backends);
    let refused = |field: String, why| Refused { route: object::label(proxy), field, why };
    let mut all: Vec<_> = routes::routes(proxy)
        .iter()
        .enumerate()
        .filter_map(|(i, route)| {
            let (place, why) = route_refusal(route, backends, held)?;
            Some(refused(format!("{}.{place}", routes::route_label(i)), why))
        })
        .collect();
    let tcp = routes::services_of(&proxy["spec"]["tcpproxy"]).iter();
    let ours =
        |s: &Value| [&backends.service, &backends.canary].iter().any(|n| *n == routes::name(s));
    all.extend(tcp.enumerate().find(|(_, s)| ours(s)).map(|(i, service)| {
        let why = format!(
            "{} gets connections here, whose requests nobody sees; split it in spec.routes, or let tcpproxy name another service",
            routes::name(service)
        );
        refused(format!("spec.tcpproxy.services[{i}]"), Refusal::Other(why))
    }));
    all
}

fn route_refusal(route: &Value, backends: &Backends, held: bool) -> Option<(String, Refusal)> {
    let all = routes::services_of(route);
    let service = backends.service.clone();
    let whole = split::Whole::of(route, backends);
    let made_by_us = held && (whole.is_some() || routes::is_testers(route, backends));
    if let Some(place) = all.iter().position(|s| routes::name(s) == backends.canary)
        && !made_by_us
    {
        let why = Refusal::ByHand { service, canary: backends.canary.clone() };
        return Some((format!("services[{place}].name"), why));
    }
    // A copy of requests for the Service is none of ours.
    let answers = |s: &Value| routes::name(s) == service && !routes::is_mirror(s);
    let place = all.iter().position(answers)?;
    match whole {
        Some(whole) if whole.can_be_split() => None,
        Some(whole) => {
            let weight = whole.weight().unwrap_or_default();
            let why = Refusal::Heavy { weight, largest: split::LARGEST };
            Some((format!("services[{place}].weight"), why))
        }
        None => {
            let backends = all.iter().filter(|s| !routes::is_mirror(s)).count();
            Some((format!("services[{place}]"), Refusal::Shared { service, backends }))
        }
    }
}

pub(super) fn obstacle(proxy: &Value, backends: &Backends, shape: &Shape) -> Option<Refused> {
    split_routes(proxy, backends).find_map(|(i, route)| {
        let mirrored = shape.mirror.filter(|share| *share > Weight::ZERO);
        let (place, why) = mirrored
            .and_then(|_| second_mirror(route, backends))
            .or_else(|| shape.matches.iter().find_map(|m| contradiction(route, m)))?;
        let field = format!("{}.{place}", routes::route_label(i));
        Some(Refused { route: object::label(proxy), field, why: Refusal::Other(why) })
    })
}

/// Contour refuses a route with two.
fn second_mirror(route: &Value, backends: &Backends) -> Option<(String, String)> {
    let all = routes::services_of(route);
    let theirs = |s: &Value| routes::is_mirror(s) && routes::name(s) != backends.canary;
    let place = all.iter().position(theirs)?;
    let why = format!(
        "requests are mirrored to {} already, and Contour takes one mirror for a route; take it out, or the mirror out of the canary's steps",
        routes::name(&all[place])
    );
    Some((format!("services[{place}].mirror"), why))
}

/// What Contour refuses in the conditions of one route.
fn contradiction(route: &Value, wanted: &Match) -> Option<(String, String)> {
    let ours = annotations::lowered(wanted);
    let conditions = object::list(route, "/conditions");
    ours.iter().enumerate().find_map(|(i, one)| {
        let Lowered { query, name, value: Pattern::Exact(value) } = one else { return None };
        let part = if *query { "query parameter" } else { "header" };
        if value.is_empty() {
            let why = format!(
                "{part} {name} with an empty value can't be told here; use a pattern such as ^$"
            );
            return Some(("conditions".to_owned(), why));
        }
        let twice = ours[..i].iter().any(|other| {
            let exact = matches!(other.value, Pattern::Exact(_));
            exact && other.query == *query && other.name.eq_ignore_ascii_case(name)
        });
        let place = conditions.iter().position(|theirs| collides(theirs, one));
        if !twice && place.is_none() {
            return None;
        }
        let place = place.map_or_else(|| "conditions".to_owned(), |p| format!("conditions[{p}]"));
        let why = format!(
            "Contour takes no second condition on {part} {name} beside this one; tell the testers by another {part}, or by a pattern"
        );
        Some((place, why))
    })
}

/// A condition of the owner's, and one of ours for exactly one value.
fn collides(theirs: &Value, ours: &Lowered) -> bool {
    let pointer = if ours.query { "/queryParameter" } else { "/header" };
    let Some(theirs) = theirs.pointer(pointer) else { return false };
    let text = |field: &str| theirs.get(field).and_then(Value::as_str).unwrap_or_default();
    let Pattern::Exact(value) = &ours.value else { return false };
    text("name").eq_ignore_ascii_case(&ours.name)
        && (!text("exact").is_empty() || text("notexact") == value)
}
