//! What the pods count themselves, for traffic that no proxy counts: `http_requests_total` with a
//! label `code`, and `http_request_duration_seconds`, both scraped with the labels `namespace` and
//! `pod`.
//!
//! A pod counts whatever it answers, so probes count too unless the application leaves them out;
//! and it knows nothing of requests that never reached it.

use super::ArmContext;
use super::promql::any_of;
use super::series::{Counter, Histogram, Series, Unit, selector};

const REQUESTS: &str = "http_requests_total";
const DURATION: &str = "http_request_duration_seconds_bucket";

pub(super) fn series(arm: &ArmContext) -> Series {
    let pods = pods(arm);
    Series {
        answered: vec![Counter::of(selector(REQUESTS, &pods))],
        failed: Counter::any(REQUESTS, &pods, &["code=~\"5..\""]),
        durations: durations(arm),
    }
}

pub(super) fn durations(arm: &ArmContext) -> Histogram {
    Histogram { buckets: selector(DURATION, &pods(arm)), unit: Unit::Seconds }
}

fn pods(arm: &ArmContext) -> String {
    let names = any_of(arm.pods.iter().map(|pod| &pod.name));
    format!("namespace=\"{}\",pod=~\"{names}\"", arm.namespace)
}
