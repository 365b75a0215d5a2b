//! Traefik's metrics for a backend of an `HTTPRoute`.
//!
//! Needs `metrics.prometheus.addServicesLabels`, which is on by default. Traefik's default buckets
//! (0.1, 0.3, 1.2 and 5 s) make quantiles coarse: a limit between two of them is interpolated.

use super::ArmContext;
use super::promql::{literal, quantile_ms};

const REQUESTS: &str = "traefik_service_requests_total";
const DURATION: &str = "traefik_service_request_duration_seconds_bucket";

pub(super) fn requests(arm: &ArmContext, range: &str) -> String {
    format!("sum(increase({REQUESTS}{{{}}}[{range}]))", service(arm))
}

/// A `code` has its own series from the first answer with that code on. So failures are counted
/// and may be absent: counting successes would find no data where nothing succeeds.
pub(super) fn success_rate(arm: &ArmContext, range: &str) -> String {
    let service = service(arm);
    format!(
        "100 - 100 * (sum(rate({REQUESTS}{{{service},code=~\"5..\"}}[{range}])) or vector(0)) \
         / sum(rate({REQUESTS}{{{service}}}[{range}]))"
    )
}

pub(super) fn duration(arm: &ArmContext, quantile: f64, range: &str) -> String {
    quantile_ms(quantile, DURATION, &service(arm), range)
}

/// The label of the arm's backend, in both shapes that Traefik 3 has had:
///
/// - from 3.7.6, one for each place where a route names the Service, with the place's index last:
///   `httproute-<ns>-<route>-gw-<ns>-<gateway>-ep-<entry point>-<rule>-<hash>-svc-<ns>-<service>-<index>`
/// - before, one for all routes, with the Service's port last: `<ns>-<service>-http-<port>`
///
/// In both the number follows the name at once, so that `checkout` is not `checkout-canary` too.
fn service(arm: &ArmContext) -> String {
    let namespace = normalize(&arm.namespace);
    let routes: Vec<String> = arm.routes.iter().map(|route| normalize(route)).collect();
    let route = if routes.is_empty() { ".+".to_owned() } else { super::promql::any_of(&routes) };
    let (backend_namespace, backend) = (literal(&arm.namespace), literal(&arm.service));
    let shared = normalize(&format!("{}-{}", arm.namespace, arm.service));
    format!(
        "service=~\"(httproute-{namespace}-({route})-gw-.+-svc-{backend_namespace}-{backend}-[0-9]+\
         |{shared}-http-[0-9]+)@kubernetesgateway\""
    )
}

/// As Traefik writes names: letters and digits, and one dash for whatever is between them.
fn normalize(name: &str) -> String {
    name.split(|c: char| !c.is_alphanumeric())
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("-")
}
