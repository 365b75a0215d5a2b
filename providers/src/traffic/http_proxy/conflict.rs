use serde_json::Value;

use crate::traffic::object::{annotation, label, name, namespace, text};
use crate::traffic::{Backends, Conflict, conflict};

/// Other roots of the same host, and other canaries that split this proxy with a Service of ours.
pub(super) fn conflicts(proxy: &Value, others: &[&Value], backends: &Backends) -> Vec<Conflict> {
    let own = (namespace(proxy), name(proxy));
    let others = others.iter().filter(|o| (namespace(o), name(o)) != own);
    others
        .filter_map(|other| same_host(proxy, other))
        .chain(conflict::split_by_another(proxy, backends))
        .collect()
}

/// Contour takes neither of two: no request of that host is answered.
fn same_host(proxy: &Value, other: &Value) -> Option<Conflict> {
    let host = |proxy| text(proxy, "/spec/virtualhost/fqdn").to_lowercase();
    let ours = host(proxy);
    let conflict = !ours.is_empty() && ours == host(other) && class(proxy) == class(other);
    conflict.then(|| {
        Conflict::Other(format!(
            "{}, spec.virtualhost.fqdn: {} has host {ours} as well, and Contour takes neither; give one of them another host, or let one include the other",
            label(proxy),
            label(other),
        ))
    })
}

/// Which Contour it is for.
fn class(proxy: &Value) -> &str {
    let annotated = ["projectcontour.io/ingress.class", "kubernetes.io/ingress.class"];
    annotated
        .iter()
        .find_map(|key| annotation(proxy, key))
        .unwrap_or_else(|| text(proxy, "/spec/ingressClassName"))
}
