use serde_json::{Value, json};

use super::{find, refs, split, testers};
use crate::traffic::{Backends, Conflict, conflict};

/// Other routes that claim the same host and path on the same parent, and other canaries that split this one with a Service of ours.
pub(super) fn conflicts(route: &Value, others: &[&Value], backends: &Backends) -> Vec<Conflict> {
    let own = (refs::namespace(route), refs::name(route));
    let others = others.iter().filter(|o| (refs::namespace(o), refs::name(o)) != own);
    let claims = claims(route, |rule| split::owners_weight(route, rule, backends).is_some());
    others
        .filter_map(|other| claimed(route, &claims, other, backends))
        .chain(conflict::split_by_another(route, backends))
        .collect()
}

/// The rule of `other` that has the same match as a rule of `route` that is split.
pub(super) fn same_claim(route: &Value, other: &Value, backends: &Backends) -> Option<String> {
    let ours = claims(route, |rule| split::owners_weight(route, rule, backends).is_some());
    let mut theirs = claims(other, |_| true).into_iter();
    theirs.find(|t| ours.iter().any(|own| own.wanted == t.wanted)).map(|t| t.rule)
}

/// A match of a rule, normalised so that equal ones are equal.
struct Claim {
    rule: String,
    path: String,
    wanted: Value,
}

fn claims(route: &Value, of: impl Fn(&Value) -> bool) -> Vec<Claim> {
    let mut all = Vec::new();
    for (i, rule) in refs::rules(route).iter().enumerate().filter(|(_, rule)| of(rule)) {
        let everything = [json!({})];
        let matches = match refs::list(rule, "/matches") {
            [] => &everything[..],
            some => some,
        };
        all.extend(matches.iter().map(|m| claim(refs::rule_label(i, rule), m)));
    }
    all
}

fn claim(rule: String, wanted: &Value) -> Claim {
    let text = |pointer: &str, default: &str| {
        wanted.pointer(pointer).and_then(Value::as_str).unwrap_or(default).to_owned()
    };
    let kind = text("/path/type", "PathPrefix");
    let mut path = text("/path/value", "/");
    if kind == "PathPrefix" && path.len() > 1 {
        path = path.trim_end_matches('/').to_owned();
    }
    let method = wanted.get("method");
    if let Some(Value::Object(_)) = method {
        // Of a GRPCRoute. That is the path of its requests.
        path = format!("/{}/{}", text("/method/service", ""), text("/method/method", ""));
    }
    let wanted = json!([
        kind,
        path,
        method,
        conditions(wanted, "/headers"),
        conditions(wanted, "/queryParams"),
    ]);
    Claim { rule, path, wanted }
}

/// Headers or query parameters, in any order; `Exact` is the default.
fn conditions(wanted: &Value, pointer: &str) -> Vec<String> {
    let part = |c: &Value, field: &str, default: &str| {
        c.get(field).and_then(Value::as_str).unwrap_or(default).to_owned()
    };
    let mut all: Vec<_> = refs::list(wanted, pointer)
        .iter()
        .map(|c| {
            let name = part(c, "name", "");
            // Header names have no case, names of query parameters do.
            let name = if pointer == "/headers" { name.to_lowercase() } else { name };
            json!([name, part(c, "type", "Exact"), part(c, "value", "")]).to_string()
        })
        .collect();
    all.sort();
    all
}

fn claimed(route: &Value, ours: &[Claim], other: &Value, backends: &Backends) -> Option<Conflict> {
    let parents = refs::parents(other);
    let gateway = refs::parents(route)
        .into_iter()
        .find(|p| parents.iter().any(|theirs| p.overlaps(theirs)))?;
    let host = shared_host(route, other)?;
    // A rule that is split the same way may win: it makes no difference. Testers' rules are meant to win, and are as many as ours.
    let with_us = |rule: &Value| {
        let split =
            find::names(other, backends) && split::owners_weight(other, rule, backends).is_some();
        split || testers::is_added(other, rule)
    };
    let theirs = claims(other, |rule| !with_us(rule));
    let (own, their) =
        ours.iter().find_map(|own| Some((own, theirs.iter().find(|t| t.wanted == own.wanted)?)))?;
    Some(Conflict::Claimed {
        route: refs::label(route),
        rule: own.rule.clone(),
        other: refs::label(other),
        other_rule: their.rule.clone(),
        gateway: gateway.to_string(),
        host,
        path: own.path.clone(),
    })
}

/// The same words: of two that merely overlap, the more specific one gets the requests, and that is meant.
fn shared_host(route: &Value, other: &Value) -> Option<String> {
    let hosts = |route| {
        let all = refs::list(route, "/spec/hostnames").iter();
        all.filter_map(Value::as_str).map(str::to_lowercase).collect::<Vec<_>>()
    };
    let (ours, theirs) = (hosts(route), hosts(other));
    if ours.is_empty() && theirs.is_empty() {
        return Some("every host".to_owned());
    }
    ours.into_iter().find(|host| theirs.contains(host)).map(|host| format!("host {host}"))
}
