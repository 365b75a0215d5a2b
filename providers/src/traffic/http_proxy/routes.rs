//! The services of a proxy's routes. What isn't of the right shape isn't there.

use serde_json::Value;

use crate::traffic::Backends;
use crate::traffic::object::{list, text};

pub(super) fn routes(proxy: &Value) -> &[Value] {
    list(proxy, "/spec/routes")
}

/// Of a route, or of `tcpproxy`.
pub(super) fn services_of(route: &Value) -> &[Value] {
    list(route, "/services")
}

pub(super) fn name(service: &Value) -> &str {
    text(service, "/name")
}

/// It gets a copy of each request, and nobody its answers.
pub(super) fn is_mirror(service: &Value) -> bool {
    service.get("mirror") == Some(&Value::Bool(true))
}

/// Every Service that the proxy names, each once.
pub(super) fn services(proxy: &Value) -> Vec<String> {
    let tcp = services_of(&proxy["spec"]["tcpproxy"]).iter();
    let all = routes(proxy).iter().flat_map(services_of).chain(tcp).map(name);
    let mut names: Vec<_> = all.filter(|n| !n.is_empty()).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}

/// As it is written. What can't be a weight counts as the largest that Envoy knows, which is too large to be split; so sums and products
/// stay in range.
pub(super) fn weight(service: &Value) -> Option<u64> {
    let written = service.get("weight").filter(|w| !w.is_null())?;
    let largest = u64::from(u32::MAX);
    Some(written.as_u64().map_or(largest, |weight| weight.min(largest)))
}

/// A route that names the canary's Service and no other is one of ours, for testers.
pub(super) fn is_testers(route: &Value, ours: &Backends) -> bool {
    let all = services_of(route);
    !all.is_empty() && all.iter().all(|s| name(s) == ours.canary)
}

/// `spec.routes[1]`.
pub(super) fn route_label(index: usize) -> String {
    format!("spec.routes[{index}]")
}
