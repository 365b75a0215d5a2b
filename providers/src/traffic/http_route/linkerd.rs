//! Linkerd's own `HTTPRoute`, for clusters without Gateway API: the same fields under another group.

use rollout::Shape;
use serde_json::Value;

use super::HttpRoute;
use crate::traffic::{
    Answer, Around, Backends, Conflict, Managed, Parent, Proof, Refused, RouteKind, Stored,
    TrafficProvider, Wanted,
};

/// `HTTPRoute` of `policy.linkerd.io`, on a Service. One is never made where there is no route: that is one of Gateway API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkerdRoute;

impl TrafficProvider for LinkerdRoute {
    fn kind(&self) -> &'static RouteKind {
        &RouteKind {
            group: "policy.linkerd.io",
            version: "v1beta3",
            kind: "HTTPRoute",
            plural: "httproutes",
            rules: "rules",
            provider: "gateway-api",
        }
    }

    fn services(&self, route: &Value) -> Vec<String> {
        HttpRoute.services(route)
    }

    fn parents(&self, route: &Value) -> Vec<Parent> {
        HttpRoute.parents(route)
    }

    fn can_split(&self, route: &Value, backends: &Backends) -> bool {
        HttpRoute.can_split(route, backends)
    }

    fn refusals(&self, route: &Value, backends: &Backends) -> Vec<Refused> {
        HttpRoute.refusals(route, backends)
    }

    fn conflicts(&self, route: &Value, others: &[&Value], backends: &Backends) -> Vec<Conflict> {
        HttpRoute.conflicts(route, others, backends)
    }

    fn obstacle(&self, route: &Value, backends: &Backends, shape: &Shape) -> Option<Refused> {
        HttpRoute.obstacle(route, backends, shape)
    }

    fn render(&self, live: &Value, backends: &Backends, shape: Option<&Shape>) -> Value {
        HttpRoute.render(live, backends, shape)
    }

    fn on_the_way(&self, live: &Value, backends: &Backends, shape: &Shape) -> Option<Value> {
        HttpRoute.on_the_way(live, backends, shape)
    }

    fn stored(&self, live: &Value, backends: &Backends) -> Stored {
        HttpRoute.stored(live, backends)
    }

    fn answer(&self, live: &Value) -> Answer {
        HttpRoute.answer(live)
    }

    fn evidence(&self, live: &Value) -> Vec<Wanted> {
        HttpRoute.evidence(live)
    }

    fn proof(&self, live: &Value, backends: &Backends, around: &Around) -> Proof {
        HttpRoute.proof(live, backends, around)
    }

    fn managed(&self, _: &Managed) -> Result<Value, String> {
        Err("no route of policy.linkerd.io is made; install Gateway API, or write the route yourself".into())
    }
}
