use serde_json::{Map, Value, json};

use super::hosts::{self, list};
use super::split;
use crate::traffic::{Backends, Conflict, conflict};

/// The gateway that stands for the clients in the mesh; also where none is named.
const MESH: &str = "mesh";

/// Other `VirtualService`s that claim the same requests, and other canaries that split this one with a Service of ours.
pub(super) fn conflicts(route: &Value, others: &[&Value], backends: &Backends) -> Vec<Conflict> {
    let own = (hosts::namespace(route), hosts::name(route));
    let others = others.iter().filter(|o| (hosts::namespace(o), hosts::name(o)) != own);
    others
        .filter_map(|other| claimed(route, other, backends))
        .chain(conflict::split_by_another(route, backends))
        .collect()
}

/// Istio says of two for one host: in the mesh, which of them counts is undefined (IST0109). On a gateway their entries are put
/// together, in an undefined order; there, only the same match is a conflict, since parts of one host in several objects are meant.
fn claimed(route: &Value, other: &Value, backends: &Backends) -> Option<Conflict> {
    if !meet(route, other) {
        return None;
    }
    let theirs = hosts_of(other);
    let host = hosts_of(route).into_iter().find(|host| theirs.contains(host))?;
    let gateways = gateways(other);
    let shared = |gateway: &String| gateways.contains(gateway);
    let all = self::gateways(route);
    let (label, named) = (hosts::label(route), hosts::label(other));
    if all.iter().any(|gateway| gateway == MESH && shared(gateway)) {
        return Some(Conflict::Other(format!(
            "{label}, spec.hosts: {named} has host {host} for clients in the mesh as well, and Istio doesn't say which of the two counts (IST0109); put both into one, or take the host out of one"
        )));
    }
    let gateway = all.iter().find(|gateway| shared(gateway))?;
    let from = hosts::namespace(other);
    let with_us = |e: &Value| {
        from == backends.namespace
            && (split::owners_weight(e, from, backends).is_some()
                || split::is_ours(e, from, backends))
    };
    let theirs = list(other, "/spec/http").iter().enumerate().filter(|(_, e)| !with_us(e));
    let home = hosts::namespace(route);
    let ours = list(route, "/spec/http").iter().enumerate();
    let ours = ours.filter(|(_, e)| split::owners_weight(e, home, backends).is_some());
    let (i, own, j, their) = ours.into_iter().find_map(|(i, own)| {
        let claims = claims(own);
        let same = |e: &Value| self::claims(e).iter().any(|c| claims.contains(c));
        theirs.clone().find(|(_, e)| same(e)).map(|(j, their)| (i, own, j, their))
    })?;
    Some(Conflict::Other(format!(
        "{label}, {}: {named}, {} matches the same requests of host {host} on gateway {gateway}, and Istio doesn't say which of the two comes first; give one of them another match, or put both into one",
        hosts::entry_label(i, own),
        hosts::entry_label(j, their),
    )))
}

/// Somebody may see both: `exportTo: ["."]` keeps one to its own namespace.
fn meet(a: &Value, b: &Value) -> bool {
    let at_home = |v: &Value| {
        let to = list(v, "/spec/exportTo");
        let home = |to: &Value| to == "." || *to == hosts::namespace(v);
        !to.is_empty() && to.iter().all(home)
    };
    hosts::namespace(a) == hosts::namespace(b) || !(at_home(a) && at_home(b))
}

/// In full: a short name is a Service's beside the object.
fn hosts_of(route: &Value) -> Vec<String> {
    let all = list(route, "/spec/hosts").iter().filter_map(Value::as_str);
    all.map(|host| match host.split('.').collect::<Vec<_>>()[..] {
        ["*"] => host.to_owned(),
        [name] => format!("{name}.{}.svc.cluster.local", hosts::namespace(route)),
        _ => host.to_lowercase(),
    })
    .collect()
}

/// `<namespace>/<name>`, or `mesh`.
fn gateways(route: &Value) -> Vec<String> {
    let all = list(route, "/spec/gateways").iter().filter_map(Value::as_str);
    let mut all: Vec<_> = all
        .map(|gateway| {
            if gateway == MESH || gateway.contains('/') {
                gateway.to_owned()
            } else {
                format!("{}/{gateway}", hosts::namespace(route))
            }
        })
        .collect();
    // A delegate has neither: who points to it says when it counts.
    if all.is_empty() && !list(route, "/spec/hosts").is_empty() {
        all.push(MESH.to_owned());
    }
    all
}

/// What an entry matches; without anything: everything, as a prefix that all paths have does.
fn claims(entry: &Value) -> Vec<Value> {
    let all = list(entry, "/match");
    if all.is_empty() {
        return vec![Map::new().into()];
    }
    let everything = json!({"prefix": "/"});
    let claim = |m: &Value| {
        let mut m = m.clone();
        if let Some(fields) = m.as_object_mut() {
            fields.retain(|key, value| match &key[..] {
                "name" | "statPrefix" => false,
                "uri" => *value != everything,
                _ => true,
            });
        }
        m
    };
    all.iter().map(claim).collect()
}
