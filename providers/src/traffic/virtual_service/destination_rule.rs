//! `DestinationRule`s: what proxies do to a host's connections. The canary's host needs what the Service's has.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::hosts::{self, Arm, HOST, list};
use crate::traffic::{Backends, Refusal, Refused};

/// The rule for the canary's host beside the one for the Service's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Companion {
    /// To be there before the first split, and for as long as there is one: without it the canary's connections would have another
    /// TLS mode, other limits, and none of the subsets. `None`: the Service's host has no rule, so neither needs the canary's.
    pub wanted: Option<Value>,
    /// What keeps a run from starting.
    pub refused: Vec<Refused>,
}

/// Of all `DestinationRule`s, `rules`, those of the Service of namespace `backends.namespace`; `routes` are the `VirtualService`s that
/// are to be split, `pods` the labels of the canary's pods, `labels` those by which an object is known as ours.
///
/// A rule for a wildcard, such as one that sets the TLS mode of `*.local`, is for both hosts already, as long as neither has one of its
/// own: Istio takes the most specific, whole. So with a copy of the Service's own, both have the same again.
pub fn companion(
    rules: &[&Value],
    routes: &[&Value],
    backends: &Backends,
    pods: &BTreeMap<String, String>,
    labels: &BTreeMap<String, String>,
) -> Companion {
    let arm = |rule: &Value| {
        let host = rule.pointer("/spec/host").and_then(Value::as_str)?;
        Some(match Arm::of(host, hosts::namespace(rule), backends)? {
            Arm::Stable(ending) => (true, ending.to_owned()),
            Arm::Canary(ending) => (false, ending.to_owned()),
        })
    };
    let (mut apex, mut refused) = (Vec::new(), Vec::new());
    for rule in rules {
        let home = hosts::namespace(rule) == backends.namespace;
        let name = home && hosts::name(rule) == backends.canary;
        match arm(rule) {
            Some((true, ending)) if home && !name => apex.push((*rule, ending)),
            // A client's own, or one of istiod's namespace, counts for the Service's host alone: the canary's would be reached otherwise.
            Some((true, _)) if !home => refused.push(elsewhere(rule, backends)),
            Some((false, _)) if !labelled(rule, labels) => refused.push(by_hand(rule, backends)),
            Some(_) | None if name && !labelled(rule, labels) => {
                refused.push(taken(rule, backends));
            }
            Some(_) | None => {}
        }
    }
    if let [(first, _), (second, _), ..] = &apex[..] {
        refused.push(several(first, second, backends));
    }
    let rule = apex.first().map(|(rule, _)| *rule);
    refused.extend(routes.iter().filter_map(|route| subset(route, rule, backends, pods)));
    let wanted = apex.first().map(|(rule, ending)| copy(rule, ending, backends, labels));
    Companion { wanted, refused }
}

/// The same but for the host.
fn copy(
    rule: &Value,
    ending: &str,
    backends: &Backends,
    labels: &BTreeMap<String, String>,
) -> Value {
    let mut spec = rule.get("spec").cloned().unwrap_or_default();
    spec["host"] = json!(format!("{}{ending}", backends.canary));
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": backends.canary, "namespace": backends.namespace, "labels": labels},
        "spec": spec,
    })
}

pub(super) fn labelled(object: &Value, labels: &BTreeMap<String, String>) -> bool {
    let stored = object.pointer("/metadata/labels");
    labels.iter().all(|(key, value)| {
        stored.and_then(|labels| labels.get(key)).and_then(Value::as_str) == Some(value)
    })
}

/// A subset that a destination names, and that would have none of the canary's pods.
fn subset(
    route: &Value,
    rule: Option<&Value>,
    backends: &Backends,
    pods: &BTreeMap<String, String>,
) -> Option<Refused> {
    let from = hosts::namespace(route);
    let entries = list(route, "/spec/http").iter().enumerate();
    entries
        .flat_map(|(i, e)| list(e, "/route").iter().enumerate().map(move |(j, d)| (i, e, j, d)))
        .filter(|(_, _, _, d)| matches!(Arm::at(d, HOST, from, backends), Some(Arm::Stable(_))))
        .find_map(|(i, entry, j, destination)| {
            let name = destination.pointer("/destination/subset")?.as_str()?;
            let why = without_canary(name, rule, pods)?;
            let field = format!("{}.route[{j}].destination.subset", hosts::entry_label(i, entry));
            Some(Refused { route: hosts::label(route), field, why: Refusal::Other(why) })
        })
}

fn without_canary(
    name: &str,
    rule: Option<&Value>,
    pods: &BTreeMap<String, String>,
) -> Option<String> {
    let Some(rule) = rule else {
        return Some(format!(
            "no DestinationRule beside it has a subset {name}; add it, or name none"
        ));
    };
    let place = label(rule);
    let subsets = list(rule, "/spec/subsets");
    let Some(subset) = subsets.iter().find(|s| s["name"] == name) else {
        return Some(format!("{place} has no subset {name}; add it, or name none"));
    };
    let labels = subset.get("labels").and_then(Value::as_object);
    let (key, value) = labels
        .into_iter()
        .flatten()
        .find(|(key, value)| pods.get(*key).map(String::as_str) != value.as_str())?;
    let value = value.as_str().unwrap_or_default();
    Some(format!(
        "subset {name} of {place} wants label {key}={value}, which the new revision's pods don't have; select them by what all revisions have, or name no subset"
    ))
}

fn label(rule: &Value) -> String {
    format!("destinationrule {}/{}", hosts::namespace(rule), hosts::name(rule))
}

fn refused(rule: &Value, field: &str, why: Refusal) -> Refused {
    Refused { route: label(rule), field: field.to_owned(), why }
}

fn elsewhere(rule: &Value, backends: &Backends) -> Refused {
    let Backends { namespace, service, canary } = backends;
    let why = format!(
        "it is for service {service} and not for {canary}, so the two would be reached in different ways; move it to namespace {namespace}"
    );
    refused(rule, "spec.host", Refusal::Other(why))
}

fn by_hand(rule: &Value, backends: &Backends) -> Refused {
    let (service, canary) = (backends.service.clone(), backends.canary.clone());
    refused(rule, "spec.host", Refusal::ByHand { service, canary })
}

fn taken(rule: &Value, backends: &Backends) -> Refused {
    let why = format!(
        "the copy for {} has this name, and this one isn't Tidegate's; rename it",
        backends.canary
    );
    refused(rule, "metadata.name", Refusal::Other(why))
}

fn several(rule: &Value, other: &Value, backends: &Backends) -> Refused {
    let why = format!(
        "{} is for service {} as well, and only one can be copied for {}; put both into one",
        label(other),
        backends.service,
        backends.canary
    );
    refused(rule, "spec.host", Refusal::Other(why))
}
