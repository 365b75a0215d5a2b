//! Which Service a destination's host is. What isn't of the right shape isn't there.

use serde_json::Value;

use crate::traffic::Backends;
pub(super) use crate::traffic::object::{label, list, name, namespace, text};

/// Where a host stands in an entry of `route` and of `mirrors`.
pub(super) const HOST: &str = "/destination/host";

/// What follows the name in a host that is a Service of `home`, as somebody in `from` writes it: nothing, or `.<home>` with `.svc` and
/// the cluster's domain after it or not. The canary's host ends the same way.
fn ending<'a>(host: &'a str, from: &str, home: &str) -> Option<(&'a str, &'a str)> {
    let (name, ending) = host.split_at(host.find('.').unwrap_or(host.len()));
    let known = match ending.strip_prefix('.') {
        None => from == home,
        Some(rest) => rest
            .strip_prefix(home)
            .is_some_and(|domain| matches!(domain, "" | ".svc") || domain.starts_with(".svc.")),
    };
    known.then_some((name, ending))
}

/// The name of the Service of its own namespace that a host is.
fn own<'a>(host: &'a str, object: &Value) -> Option<&'a str> {
    ending(host, namespace(object), namespace(object)).map(|(name, _)| name)
}

/// What a host is to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arm<'a> {
    /// The user's Service, and how its host ends.
    Stable(&'a str),
    /// Ours, and how its host ends.
    Canary(&'a str),
}

impl<'a> Arm<'a> {
    /// Of `host` in an object of namespace `from`.
    pub(super) fn of(host: &'a str, from: &str, backends: &Backends) -> Option<Self> {
        let (name, ending) = ending(host, from, &backends.namespace)?;
        if name == backends.service {
            Some(Self::Stable(ending))
        } else if name == backends.canary {
            Some(Self::Canary(ending))
        } else {
            None
        }
    }

    /// Of the host at the end of `pointer`.
    pub(super) fn at(
        part: &'a Value,
        pointer: &str,
        from: &str,
        backends: &Backends,
    ) -> Option<Self> {
        Self::of(part.pointer(pointer)?.as_str()?, from, backends)
    }
}

/// Every Service of the object's own namespace that gets requests by it, each once.
pub(super) fn services(route: &Value) -> Vec<String> {
    let entries = ["/spec/http", "/spec/tls", "/spec/tcp"].map(|p| list(route, p));
    let destinations = entries.iter().flat_map(|e| e.iter()).flat_map(|e| list(e, "/route"));
    let hosts = destinations.filter_map(|d| own(d.pointer(HOST)?.as_str()?, route));
    let mut names: Vec<_> = hosts.map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}

/// `spec.http[1]`, and its name if it has one.
pub(super) fn entry_label(index: usize, entry: &Value) -> String {
    match entry.get("name").and_then(Value::as_str) {
        Some(name) => format!("spec.http[{index}] ({name})"),
        None => format!("spec.http[{index}]"),
    }
}
