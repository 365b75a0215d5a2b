//! `HTTPRoute`: the user's own, split for the time of a run, or one of ours where there is none.

mod conflict;
mod find;
mod managed;
mod refs;
mod split;
mod status;

use rollout::Shape;
use serde_json::Value;

use super::{
    Answer, Backends, Conflict, Managed, Parent, Refused, RouteKind, Stored, TrafficProvider,
};

/// `HTTPRoute` of Gateway API, on a Gateway or on a Service.
///
/// | when | annotation | the rule of the Service |
/// |---|---|---|
/// | at rest | none | as its owner wrote it: `shop`, weight w (1 unless given) |
/// | a run's first step | `split.tidegate.dev/shop: "0"` | `shop` w·100, `shop-canary` 0 |
/// | at a step of c % | `"c"` | `shop` w·(100−c), `shop-canary` w·c |
/// | released, or the canary is deleted | none | as its owner wrote it |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HttpRoute;

impl TrafficProvider for HttpRoute {
    fn kind(&self) -> &'static RouteKind {
        &RouteKind {
            group: "gateway.networking.k8s.io",
            version: "v1",
            kind: "HTTPRoute",
            plural: "httproutes",
            rules: "rules",
            provider: "gateway-api",
        }
    }

    fn services(&self, route: &Value) -> Vec<String> {
        refs::services(route)
    }

    fn parents(&self, route: &Value) -> Vec<Parent> {
        find::parents(route)
    }

    fn can_split(&self, route: &Value, backends: &Backends) -> bool {
        find::can_split(route, backends)
    }

    fn refusals(&self, route: &Value, backends: &Backends) -> Vec<Refused> {
        find::refusals(route, backends)
    }

    fn conflicts(&self, route: &Value, others: &[&Value], backends: &Backends) -> Vec<Conflict> {
        conflict::conflicts(route, others, backends)
    }

    fn obstacle(&self, _: &Value, _: &Backends, _: &Shape) -> Option<Refused> {
        None
    }

    fn render(&self, live: &Value, backends: &Backends, shape: Option<&Shape>) -> Value {
        split::render(live, backends, shape)
    }

    fn stored(&self, live: &Value, backends: &Backends) -> Stored {
        split::read(live, backends)
    }

    fn managed(&self, wanted: &Managed) -> Result<Value, String> {
        Ok(wanted.object(self.kind(), &managed::spec(wanted)))
    }

    fn answer(&self, live: &Value) -> Answer {
        status::read(live)
    }
}

#[cfg(test)]
mod tests;
