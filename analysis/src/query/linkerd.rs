//! Linkerd's metrics for a backend of a route whose parent is the user's Service, as the proxies of
//! the clients count them.
//!
//! What ends with an error has one in `error` (`FAIL_FAST` without a pod to go to, time-outs,
//! resets), often without a status. An answer that the client didn't read to its end has
//! `error="UNKNOWN"`, so clients that hang up count as failures. Buckets end at 0.025, 0.05, 0.1,
//! 0.25, 0.5, 1 and 10 s: a quantile above a second is a guess. Durations run from the request's end
//! to the answer's.

use super::promql::{GRPC_FAILURES, any_of};
use super::series::{Counter, Histogram, Series, Unit, selector};
use super::{ArmContext, Protocol};

pub(super) fn series(arm: &ArmContext) -> Series {
    let (family, status) = match arm.protocol {
        Protocol::Http => ("http", "http_status=~\"5..\"".to_owned()),
        Protocol::Grpc => ("grpc", format!("grpc_status=~\"{}\"", any_name(&GRPC_FAILURES))),
    };
    let answers = format!("outbound_{family}_route_backend_response_statuses_total");
    let durations = format!("outbound_{family}_route_backend_response_duration_seconds_bucket");
    let backend = backend(arm);
    Series {
        answered: vec![Counter::of(selector(&answers, &backend))],
        failed: Counter::any(&answers, &backend, &[&status, "error!=\"\""]),
        durations: Histogram { buckets: selector(&durations, &backend), unit: Unit::Seconds },
    }
}

fn backend(arm: &ArmContext) -> String {
    let ArmContext { namespace, service, apex, routes, .. } = arm;
    let route = if routes.is_empty() {
        String::new()
    } else {
        format!("route_namespace=\"{namespace}\",route_name=~\"{}\",", any_of(routes))
    };
    format!(
        "parent_kind=\"Service\",parent_namespace=\"{namespace}\",parent_name=\"{apex}\",{route}\
         backend_kind=\"Service\",backend_namespace=\"{namespace}\",backend_name=\"{service}\""
    )
}

fn any_name(statuses: &[(u8, &str)]) -> String {
    let all: Vec<&str> = statuses.iter().map(|(_, name)| *name).collect();
    all.join("|")
}
