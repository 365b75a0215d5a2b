//! Linkerd says yes and goes on with what it had, or never looks.

use serde_json::Value;

use super::{Place, refused};
use crate::traffic::http_route::{conflict, refs, refs::Parent};
use crate::traffic::{HttpRoute, ObjectKind, Proof, TrafficProvider, Wanted, mesh, object};

/// Of rules and of backends; any other is an error that only its log tells: `upstream/linkerd/dropped-update.yaml`.
const FILTERS: [&str; 3] = ["RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect"];

pub(super) fn evidence(parent: &Parent) -> Vec<Wanted> {
    let Some((namespace, _)) = parent.of_service() else { return vec![] };
    let routes = [ObjectKind::HTTP_ROUTE, ObjectKind::GRPC_ROUTE, ObjectKind::LINKERD_ROUTE];
    let kinds = routes.into_iter().chain([ObjectKind::SERVICE_PROFILE]);
    kinds.map(|kind| Wanted::all(kind, namespace)).collect()
}

pub(super) fn proof(place: &Place<'_>) -> Proof {
    let why = dropped(place.route)
        .or_else(|| bypassed(place))
        .or_else(|| profiled(place))
        .or_else(|| beaten(place));
    refused(why)
}

/// What keeps it from reading the route as it is now, silently.
fn dropped(route: &Value) -> Option<String> {
    let own = object::text(route, "/apiVersion").starts_with("policy.linkerd.io/");
    refs::rules(route).iter().enumerate().find_map(|(i, rule)| {
        let at = refs::rule_label(i, rule);
        let kind = |filter: &Value| object::text(filter, "/type").to_owned();
        let mut rules = refs::list(rule, "/filters").iter().map(kind);
        if let Some(filter) = rules.find(|f| !FILTERS.contains(&f.as_str())) {
            return Some(format!(
                "{at}.filters: linkerd can't do {filter}, goes on with the route as it was and doesn't say so; take the filter out"
            ));
        }
        let headers = |f: &Value| own && kind(f) == "ResponseHeaderModifier";
        if refs::list(rule, "/filters").iter().any(headers) {
            return Some(format!(
                "{at}.filters: linkerd gives what a ResponseHeaderModifier of a rule adds to the backend instead of the client; put it \
                 under backendRefs, or use an HTTPRoute of gateway.networking.k8s.io"
            ));
        }
        refs::list(rule, "/backendRefs").iter().enumerate().find_map(|(k, backend)| {
            let mut filters = refs::list(backend, "/filters").iter().map(kind);
            if let Some(filter) = filters.find(|f| !FILTERS.contains(&f.as_str())) {
                return Some(format!(
                    "{at}.backendRefs[{k}].filters: linkerd can't do {filter} and answers 500 for this backend; take the filter out"
                ));
            }
            backend.get("port").is_none_or(Value::is_null).then(|| {
                format!("{at}.backendRefs[{k}].port: none, and linkerd answers 500 for a backend without one; name it")
            })
        })
    })
}

/// The Service's connections are balanced, its requests aren't looked at.
fn bypassed(place: &Place<'_>) -> Option<String> {
    let service = place.service()?;
    if object::text(service, "/spec/clusterIP") == "None" {
        return Some("the service is headless, and linkerd splits only what has an address of its own; give it a clusterIP".into());
    }
    let opaque = mesh::annotation(service, "config.linkerd.io/opaque-ports");
    let ports = refs::list(service, "/spec/ports").iter();
    let ports = ports.filter_map(|p| p.get("port")?.as_u64()?.try_into().ok());
    let meant = |port: &u32| place.parent.port().is_none_or(|p| p == *port);
    let port =
        ports.filter(meant).find(|port| opaque.split(',').any(|range| holds(range, *port)))?;
    Some(format!(
        "port {port} of the service is opaque (annotation config.linkerd.io/opaque-ports is `{opaque}`), so no request is looked at; \
         take it out of the annotation"
    ))
}

/// `8080` or `8000-9000`.
fn holds(range: &str, port: u32) -> bool {
    let range = range.trim();
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    match (first.trim().parse::<u32>(), last.trim().parse::<u32>()) {
        (Ok(first), Ok(last)) => (first..=last).contains(&port),
        _ => false,
    }
}

/// A `ServiceProfile` with routes wins over every route of Gateway API. It is called after the Service's host.
fn profiled(place: &Place<'_>) -> Option<String> {
    let (namespace, service) = place.parent.of_service()?;
    let host = format!("{service}.{namespace}.svc.");
    let mut profiles = place.around.all(ObjectKind::SERVICE_PROFILE);
    let (profile, field) = profiles.find_map(|profile| {
        let used = |field: &&str| !object::list(profile, &format!("/spec/{field}")).is_empty();
        let field = ["routes", "dstOverrides"].into_iter().find(used)?;
        object::name(profile).starts_with(&host).then_some((profile, field))
    })?;
    Some(format!(
        "serviceprofile {}/{}, spec.{field}: wins over every route of the service; move what is in it to annotations and routes, and \
         delete it",
        object::namespace(profile),
        object::name(profile)
    ))
}

/// By a route of the same Service that is looked at first.
fn beaten(place: &Place<'_>) -> Option<String> {
    let own = |other: &&Value| {
        object::text(other, "/kind") == object::text(place.route, "/kind")
            && object::text(other, "/apiVersion") == object::text(place.route, "/apiVersion")
            && refs::name(other) == refs::name(place.route)
            && refs::namespace(other) == refs::namespace(place.route)
    };
    let here = |other: &&Value| refs::parents(other).iter().any(|p| p.overlaps(place.parent));
    let of = |kind| place.around.all(kind).filter(|o| !own(o)).filter(here);
    if object::text(place.route, "/kind") == "HTTPRoute"
        && let Some(grpc) = of(ObjectKind::GRPC_ROUTE).next()
    {
        return Some(format!(
            "grpcroute {}/{} has the same service and port, and linkerd heeds GRPCRoutes alone there; give one of the two a service \
             of its own",
            refs::namespace(grpc),
            refs::name(grpc)
        ));
    }
    let age = |r: &Value| {
        (object::text(r, "/metadata/creationTimestamp").to_owned(), refs::name(r).to_owned())
    };
    let shape = |r: &Value| HttpRoute.stored(r, place.backends).shape;
    let (older, rule) = of(ObjectKind::HTTP_ROUTE)
        .chain(of(ObjectKind::LINKERD_ROUTE))
        .filter(|other| age(other) < age(place.route))
        // One that is split the same way may win: it makes no difference.
        .filter(|other| shape(other) != shape(place.route))
        .find_map(|other| {
            Some((other, conflict::same_claim(place.route, other, place.backends)?))
        })?;
    Some(format!(
        "{}, {rule}: is older and claims the same requests, so they never reach this route; give one of the two other matches",
        refs::label(older)
    ))
}
