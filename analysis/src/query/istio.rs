//! Istio's standard metrics: what a client's sidecar or a gateway reports, or a waypoint.
//!
//! Each request is reported by every proxy on its way, so one kind of reporter is asked. The client's
//! side also knows of requests that no pod answered. What had no pod to go to at all (503 UH) names
//! no workload, only the Service: it is the arm's failure all the same.
//!
//! Code 0 is a client that went away before the answer, which says nothing about the pod: such
//! requests are in no number. `istio_request_duration_milliseconds` has Envoy's buckets, from 0.5 ms
//! to an hour.

use super::promql::{GRPC_FAILURES, any_of};
use super::series::{Counter, Histogram, Series, Unit, selector};
use super::{ArmContext, Protocol};

const REQUESTS: &str = "istio_requests_total";
const DURATION: &str = "istio_request_duration_milliseconds_bucket";

/// Whose view of a request counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reporter {
    /// The client's sidecar, or the gateway.
    Source,
    /// Ambient mode's proxy of a namespace or Service.
    Waypoint,
}

pub(super) fn series(arm: &ArmContext, reporter: Reporter) -> Series {
    let reporter = match reporter {
        Reporter::Source => "source",
        Reporter::Waypoint => "waypoint",
    };
    let (namespace, workload, service) = (&arm.namespace, &arm.workload, &arm.service);
    let (protocol, failures) = match arm.protocol {
        Protocol::Http => ("", vec!["response_code=~\"5..\"".to_owned()]),
        Protocol::Grpc => (
            ",request_protocol=\"grpc\"",
            vec![
                format!("grpc_response_status=~\"{}\"", any_number(&GRPC_FAILURES)),
                "response_code=~\"5..\"".to_owned(),
            ],
        ),
    };
    let common = format!("reporter=\"{reporter}\"{protocol},response_code!=\"0\"");
    let pods = format!(
        "{common},destination_workload_namespace=\"{namespace}\",destination_workload=\"{workload}\",\
         destination_service_name=~\"{}\"",
        any_of([&arm.apex, &arm.service, &format!("{}-canary", arm.apex)])
    );
    let nobody = format!(
        "{common},destination_service_namespace=\"{namespace}\",\
         destination_service_name=\"{service}\",destination_workload=\"unknown\""
    );
    let failed = [&pods, &nobody]
        .into_iter()
        .flat_map(|labels| failures.iter().map(move |one| format!("{labels},{one}")))
        .map(|labels| selector(REQUESTS, &labels))
        .collect();
    Series {
        answered: vec![Counter(vec![selector(REQUESTS, &pods), selector(REQUESTS, &nobody)])],
        failed: Counter(failed),
        durations: Histogram { buckets: selector(DURATION, &pods), unit: Unit::Milliseconds },
    }
}

fn any_number(statuses: &[(u8, &str)]) -> String {
    let all: Vec<String> = statuses.iter().map(|(number, _)| number.to_string()).collect();
    all.join("|")
}
