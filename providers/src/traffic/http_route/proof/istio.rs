//! A waypoint has to be there, or nobody follows the route.

use super::{Place, refused};
use crate::traffic::Proof;
use crate::traffic::http_route::status::{Condition, Entry};
use crate::traffic::object;

/// With ambient on it is written for every parent, and always True.
const RESOLVED: &str = "ResolvedWaypoints";
const BOUND: &str = "istio.io/WaypointBound";
/// The message of [`RESOLVED`] that is meant well: `upstream/istio/accepted.yaml`.
const WELL: &str = "All waypoints resolved";
const WAY_OUT: &str = "label the service or its namespace istio.io/use-waypoint with the name of a waypoint that is ready, or clients in \
    ambient mode get past the route";

pub(super) fn proof(place: &Place<'_>, said: Option<&Entry>) -> Proof {
    let ambient = match said {
        Some(entry) => match entry.condition(RESOLVED) {
            // Without ambient all clients have sidecars, which follow routes by themselves.
            None => return Proof::default(),
            Some(resolved) if resolved.message != WELL => {
                return refused(Some(format!("{}; {WAY_OUT}", resolved.says())));
            }
            Some(_) => true,
        },
        None => place.namespace().is_some_and(|n| {
            object::text(n, "/metadata/labels/istio.io~1dataplane-mode") == "ambient"
        }),
    };
    let Some(service) = place.service() else { return Proof::default() };
    match Condition::of(&service["status"], BOUND) {
        Some(bound) if bound.status != "True" => {
            refused(Some(format!("the service has {}; {WAY_OUT}", bound.says())))
        }
        Some(bound) => Proof {
            complaint: bound
                .message
                .contains("Ingress traffic is not using the waypoint")
                .then(|| bound.says()),
            ..Proof::default()
        },
        None => {
            let label = object::text(service, "/metadata/labels/istio.io~1use-waypoint");
            let because = match label {
                "none" => "its label istio.io/use-waypoint is none".to_owned(),
                _ => format!("it has no condition {BOUND}"),
            };
            let why = format!("the service isn't bound to a waypoint: {because}; {WAY_OUT}");
            refused((ambient || !label.is_empty()).then_some(why))
        }
    }
}
