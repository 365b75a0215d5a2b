//! Envoy Gateway's metrics for the pods behind a route.
//!
//! All backends of a rule are one Envoy cluster, so an arm is told by its pods' addresses, which
//! needs `telemetry.metrics.enablePerEndpointStats` on the `EnvoyProxy`. Envoy measures no time per
//! endpoint: durations come from the pods' own `http_request_duration_seconds`, scraped with the
//! labels `namespace` and `pod`.
//!
//! What Envoy's router counts per endpoint: `rq_success` is an answer other than 5xx (so 4xx is a
//! success; with gRPC the status that 5xx stands for decides), `rq_error` a 5xx, and also a reset,
//! a time-out, a refused connection and an attempt that it retried. `rq_total` counts attempts that
//! got a connection: it has no refused ones, and has those still in flight. So requests are
//! successes and errors, both of which are there from an endpoint's first moment.

use super::promql::{any_of, literal};
use super::series::{Counter, Series, selector};
use super::{ArmContext, Protocol, pods};

const SUCCESS: &str = "envoy_cluster_endpoint_rq_success";
const ERROR: &str = "envoy_cluster_endpoint_rq_error";

pub(super) fn series(arm: &ArmContext) -> Series {
    let endpoints = endpoints(arm);
    let of = |name| Counter::of(selector(name, &endpoints));
    Series {
        answered: vec![of(SUCCESS), of(ERROR)],
        failed: of(ERROR),
        durations: pods::durations(arm),
    }
}

/// The cluster's name keeps apart what else has had an address, here or in another Kubernetes
/// cluster that the same Prometheus watches. It is the route's, or the Service's own where Envoy
/// Gateway is told to share clusters between routes.
fn endpoints(arm: &ArmContext) -> String {
    let kind = match arm.protocol {
        Protocol::Http => "httproute",
        Protocol::Grpc => "grpcroute",
    };
    let namespace = literal(&arm.namespace);
    let route = if arm.routes.is_empty() { "[^/]+".to_owned() } else { any_of(&arm.routes) };
    let addresses = any_of(arm.pods.iter().map(|pod| address(&pod.ip)));
    format!(
        "envoy_cluster_name=~\"{kind}/{namespace}/({route})/.+|service/{namespace}/{}/.+\",\
         envoy_endpoint_address=~\"({addresses}):[0-9]+\"",
        literal(&arm.service)
    )
}

/// As Envoy writes it: an IPv6 address in brackets.
fn address(ip: &str) -> String {
    if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() }
}
