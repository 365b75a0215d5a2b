//! Hubble's metrics `httpV2`, with
//! `labelsContext=destination_namespace,destination_workload` among its options.
//!
//! Hubble sees HTTP where Cilium's Envoy is on the way, and knows the workload of pods on its own
//! node only. So the server's side is asked: `reporter="server"` needs an L7 rule for the pods'
//! ingress, such as `rules: {http: [{}]}`. The client's side, which a Gateway or a route on a Service
//! gives by itself, has an empty `destination_workload` for pods on other nodes.
//!
//! Of gRPC calls Hubble counts the HTTP code. Buckets are the usual ones, from 5 ms to 10 s.

use super::ArmContext;
use super::series::{Counter, Histogram, Series, Unit, selector};

const REQUESTS: &str = "hubble_http_requests_total";
const DURATION: &str = "hubble_http_request_duration_seconds_bucket";

pub(super) fn series(arm: &ArmContext) -> Series {
    let workload = format!(
        "reporter=\"server\",destination_namespace=\"{}\",destination_workload=\"{}\"",
        arm.namespace, arm.workload
    );
    Series {
        answered: vec![Counter::of(selector(REQUESTS, &workload))],
        failed: Counter::any(REQUESTS, &workload, &["status=~\"5..\""]),
        durations: Histogram { buckets: selector(DURATION, &workload), unit: Unit::Seconds },
    }
}
