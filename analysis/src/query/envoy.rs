//! An Envoy that has a cluster of its own for each Service and port: Contour, kgateway, and a
//! gateway that istiod configures.
//!
//! `upstream_rq` has one series for each code that was answered, once for each request however often
//! it was retried, and counts a 503 or 504 where no pod answered. Of gRPC calls Envoy counts the
//! HTTP code: a status that a pod answers is a 200. `upstream_rq_time` has buckets from 0.5 ms to an
//! hour, and times only what a pod answered.

use super::ArmContext;
use super::promql::literal;
use super::series::{Counter, Histogram, Series, Unit, selector};

const REQUESTS: &str = "envoy_cluster_upstream_rq";
const DURATION: &str = "envoy_cluster_upstream_rq_time_bucket";

/// What Envoy's tags are called.
struct Tags {
    cluster: &'static str,
    code: &'static str,
}

/// Envoy's own.
const DEFAULT: Tags = Tags { cluster: "envoy_cluster_name", code: "envoy_response_code" };

/// Of Istio's bootstrap, which also cuts the class out of the name (`upstream_rq_5xx`). So
/// [`REQUESTS`] has each request twice, and only one of the two has a code.
const ISTIO: Tags = Tags { cluster: "cluster_name", code: "response_code" };

/// A cluster's statistics are `<ns>_<service>_<port>`, which it is told by `alt_stat_name`.
pub(super) fn contour(arm: &ArmContext) -> Series {
    series(&DEFAULT, &by_underscores("", arm))
}

/// A cluster is `kube_<ns>_<service>_<port>`.
pub(super) fn kgateway(arm: &ArmContext) -> Series {
    series(&DEFAULT, &by_underscores("kube_", arm))
}

/// A cluster is `outbound|<port>|<subset>|<service>.<ns>.svc.<domain>`.
pub(super) fn istio_proxy(arm: &ArmContext) -> Series {
    let (namespace, service) = (literal(&arm.namespace), literal(&arm.service));
    let bar = literal("|");
    let dot = literal(".");
    let port = arm.port_pattern();
    let cluster =
        format!("outbound{bar}{port}{bar}[^|]*{bar}{service}{dot}{namespace}{dot}svc{dot}.+");
    series(&ISTIO, &cluster)
}

/// Names have no underscores in Kubernetes, so where one ends is certain.
fn by_underscores(prefix: &str, arm: &ArmContext) -> String {
    let (namespace, service) = (literal(&arm.namespace), literal(&arm.service));
    format!("{prefix}{namespace}_{service}_{}", arm.port_pattern())
}

fn series(tags: &Tags, cluster: &str) -> Series {
    let Tags { cluster: name, code } = tags;
    let cluster = format!("{name}=~\"{cluster}\"");
    Series {
        answered: vec![Counter::any(REQUESTS, &cluster, &[&format!("{code}!=\"\"")])],
        failed: Counter::any(REQUESTS, &cluster, &[&format!("{code}=~\"5..\"")]),
        durations: Histogram { buckets: selector(DURATION, &cluster), unit: Unit::Milliseconds },
    }
}
