//! Which mesh a Service is in, as far as it and its namespace show; and what its canary has to have of it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Around, System, object};

/// Labels and annotations that a mesh goes by. Where each is from: `presence` in `upstream/controllers.yaml`.
pub(super) fn marks(around: &Around, namespace: &str, service: &str) -> BTreeSet<System> {
    let service = around.service(namespace, service);
    let namespace = around.namespace(namespace);
    let both = || service.into_iter().chain(namespace);
    let value = |of: &str, key: &str| {
        both().find_map(|o| o.pointer(of)?.get(key)?.as_str()).map(str::to_owned)
    };
    let has = |of: &str, key: &str, wanted: &dyn Fn(&str) -> bool| {
        value(of, key).is_some_and(|v| wanted(&v))
    };
    let condition = |prefix: &str| {
        let conditions = service.into_iter().flat_map(|s| object::list(s, "/status/conditions"));
        conditions.into_iter().any(|c| object::text(c, "/type").starts_with(prefix))
    };
    let istio = has("/metadata/labels", "istio.io/use-waypoint", &|v| v != "none")
        || has("/metadata/labels", "istio.io/dataplane-mode", &|v| v == "ambient")
        || condition("istio.io/WaypointBound");
    let linkerd =
        has("/metadata/annotations", "linkerd.io/inject", &|v| v == "enabled" || v == "ingress");
    [
        (System::IstioAmbient, istio),
        (System::Linkerd, linkerd),
        (System::CiliumMesh, condition("gamma.cilium.io/")),
    ]
    .into_iter()
    .filter_map(|(system, marked)| marked.then_some(system))
    .collect()
}

/// The mesh that splits the requests to a Service: the one that has answered, or else the one whose marks it has.
///
/// # Errors
/// None or several, as a sentence with the way out.
pub fn behind(
    namespace: &str,
    service: &str,
    controller: Option<&str>,
    around: &Around,
) -> Result<System, String> {
    let marks = marks(around, namespace, service);
    let answered = controller.map(System::of_service);
    // Who never says which generation it is about may have answered before the Service changed hands.
    let answered = answered.filter(|s| {
        s.tells_generation()
            || marks.is_empty()
            || marks.contains(s)
            || matches!(s, System::Other(_))
    });
    let names =
        |all: &BTreeSet<System>| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match (answered, marks.len()) {
        (Some(System::IstioMesh(_)), _) if marks.contains(&System::IstioAmbient) => {
            Ok(System::IstioAmbient)
        }
        (Some(system), _) => Ok(system),
        (None, 1) => Ok(marks.into_iter().next().unwrap_or(System::IstioAmbient)),
        (None, 0) => Err(format!(
            "no mesh has answered for the route on service {service} yet, and neither it nor namespace {namespace} has the mark of one \
             (label istio.io/use-waypoint or istio.io/dataplane-mode, annotation linkerd.io/inject, a condition gamma.cilium.io/…); \
             is a mesh installed that routes by HTTPRoute, and is the service in it?"
        )),
        (None, _) => Err(format!(
            "service {service} and namespace {namespace} have the marks of several meshes ({}), and none has answered for the route yet; \
             take the marks of all but one off",
            names(&marks)
        )),
    }
}

/// Prefixes of a Service's annotations that say how its requests are sent, or whether they are looked at: a backend without them
/// is another one. Linkerd's and Istio's are in `upstream/linkerd/canary-service.yaml` and `upstream/istio/canary-service.yaml`;
/// Contour's name the protocol and the limits of an upstream, Traefik's its scheme.
const CARRIED: [&str; 7] = [
    "istio.io/",
    "config.linkerd.io/",
    "balancer.linkerd.io/",
    "timeout.linkerd.io/",
    "retry.linkerd.io/",
    "projectcontour.io/",
    "traefik.ingress.kubernetes.io/service.",
];

/// Whether the canary's Service has to have this annotation of the user's Service.
pub fn carried(annotation: &str) -> bool {
    CARRIED.iter().any(|prefix| annotation.starts_with(prefix))
}

/// Whether this label says which waypoint a Service has.
pub fn is_waypoint(label: &str) -> bool {
    label.starts_with("istio.io/use-waypoint") || label == "istio.io/ingress-use-waypoint"
}

/// The value of an annotation, or of the empty text.
pub(super) fn annotation<'a>(object: &'a Value, key: &str) -> &'a str {
    object::annotation(object, key).unwrap_or_default()
}
