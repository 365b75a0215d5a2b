//! Traefik's metrics for a backend of a route.
//!
//! Needs `metrics.prometheus.addServicesLabels`, which is on by default. Traefik's default buckets
//! (0.1, 0.3, 1.2 and 5 s) make quantiles coarse: a limit between two of them is interpolated.

use super::promql::{any_of, literal};
use super::series::{Counter, Histogram, Series, Unit, selector};
use super::{ArmContext, Protocol};

const REQUESTS: &str = "traefik_service_requests_total";
const DURATION: &str = "traefik_service_request_duration_seconds_bucket";

/// Codes of gRPC calls are gRPC's own since Traefik 3. It reads them from the headers, where most
/// servers write only the status of calls that fail before they have an answer. All others, the
/// good ones among them, it takes for 2 (unknown), so that 2 says nothing here. Before that the
/// code was HTTP's.
const FAILED_GRPC: &str = "4|12|13|14|15|5..";

/// Of a Gateway API route.
pub(super) fn route(arm: &ArmContext) -> Series {
    series(arm, &gateway_service(arm))
}

/// Of a `TraefikService`. Its `weighted` entries are `<ns>-<service>-<port>`, or since 3.7 with the
/// provider's `safeNaming` `<ns>_<traefik service>_wrr_<index>_<ns>_<service>_<port>`.
pub(super) fn traefik_service(arm: &ArmContext) -> Series {
    let (namespace, service) = (literal(&arm.namespace), literal(&arm.service));
    let port = arm.port_pattern();
    series(
        arm,
        &format!(
            "service=~\"({namespace}-{service}-{port}\
             |[^@]+_{namespace}_{service}_{port})@kubernetescrd\""
        ),
    )
}

fn series(arm: &ArmContext, service: &str) -> Series {
    let failed = match arm.protocol {
        Protocol::Http => "5..",
        Protocol::Grpc => FAILED_GRPC,
    };
    Series {
        answered: vec![Counter::of(selector(REQUESTS, service))],
        failed: Counter::any(REQUESTS, service, &[&format!("code=~\"{failed}\"")]),
        durations: Histogram { buckets: selector(DURATION, service), unit: Unit::Seconds },
    }
}

/// The label of the arm's backend, in both shapes that Traefik 3 has had:
///
/// - from 3.7.6, one for each place where a route names the Service, with the place's index last:
///   `httproute-<ns>-<route>-gw-<ns>-<gateway>-ep-<entry point>-<rule>-<hash>-svc-<ns>-<service>-<index>`
/// - before, one for all routes, with the Service's port last: `<ns>-<service>-http-<port>`, and for a
///   `GRPCRoute` with `grpc` or nothing in its place
///
/// In both the number follows the name at once, so that `checkout` is not `checkout-canary` too.
fn gateway_service(arm: &ArmContext) -> String {
    let (kind, protocol) = match arm.protocol {
        Protocol::Http => ("httproute", "http-"),
        Protocol::Grpc => ("grpcroute", "(grpc-)?"),
    };
    let namespace = normalize(&arm.namespace);
    let routes: Vec<String> = arm.routes.iter().map(|route| normalize(route)).collect();
    let route = if routes.is_empty() { ".+".to_owned() } else { any_of(&routes) };
    let (backend_namespace, backend) = (literal(&arm.namespace), literal(&arm.service));
    let shared = normalize(&format!("{}-{}", arm.namespace, arm.service));
    format!(
        "service=~\"({kind}-{namespace}-({route})-gw-.+-svc-{backend_namespace}-{backend}-[0-9]+\
         |{shared}-{protocol}[0-9]+)@kubernetesgateway\""
    )
}

/// As Traefik writes names: letters and digits, and one dash for whatever is between them.
fn normalize(name: &str) -> String {
    name.split(|c: char| !c.is_alphanumeric())
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("-")
}
