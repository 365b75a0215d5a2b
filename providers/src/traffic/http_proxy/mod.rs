//! `HTTPProxy`: the user's own, split for the time of a run, or one of ours where there is none.

mod conflict;
mod find;
mod managed;
mod routes;
mod split;
mod status;

use rollout::Shape;
use serde_json::Value;

use super::{
    Answer, Backends, Conflict, Managed, Parent, Refused, RouteKind, Stored, System,
    TrafficProvider,
};

/// `HTTPProxy` of Contour, a root with a host or a child that a root includes.
///
/// | when | annotation | the route of the Service |
/// |---|---|---|
/// | at rest | none | as its owner wrote it: `shop`, with a weight or without |
/// | a run's first step | `split.tidegate.dev/shop: "0"` | `shop` 100, `shop-canary` 0 |
/// | at a step of c % | `"c"` | `shop` 100−c, `shop-canary` c |
/// | released, or the canary is deleted | none | as its owner wrote it |
///
/// Weights have no default here, and the one of a service that is alone means nothing. So that it comes back as it was, the sum of the
/// two keeps it: 100 stands for none, 100·(w+2) for a w that was written.
///
/// It comes and goes with no requests to the canary: Contour tells its Envoy of clusters and of routes apart from each other, and requests
/// to a cluster that is gone a few milliseconds before its route get a 503.
///
/// Testers get a route of their own behind it, a copy with more conditions: of two routes that fit, Contour takes the one with more of
/// them, wherever it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HttpProxy;

impl TrafficProvider for HttpProxy {
    fn kind(&self) -> &'static RouteKind {
        &RouteKind {
            group: "projectcontour.io",
            version: "v1",
            kind: "HTTPProxy",
            plural: "httpproxies",
            rules: "routes",
            provider: "contour",
        }
    }

    fn services(&self, proxy: &Value) -> Vec<String> {
        routes::services(proxy)
    }

    fn parents(&self, _: &Value) -> Vec<Parent> {
        vec![Parent::Of(System::Contour)]
    }

    fn can_split(&self, proxy: &Value, backends: &Backends) -> bool {
        find::can_split(proxy, backends)
    }

    fn refusals(&self, proxy: &Value, backends: &Backends) -> Vec<Refused> {
        find::refusals(proxy, backends)
    }

    fn conflicts(&self, proxy: &Value, others: &[&Value], backends: &Backends) -> Vec<Conflict> {
        conflict::conflicts(proxy, others, backends)
    }

    fn obstacle(&self, proxy: &Value, backends: &Backends, shape: &Shape) -> Option<Refused> {
        find::obstacle(proxy, backends, shape)
    }

    fn render(&self, live: &Value, backends: &Backends, shape: Option<&Shape>) -> Value {
        split::render(live, backends, shape)
    }

    fn stored(&self, live: &Value, backends: &Backends) -> Stored {
        split::read(live, backends)
    }

    fn answer(&self, live: &Value) -> Answer {
        status::read(live)
    }

    fn managed(&self, wanted: &Managed) -> Result<Value, String> {
        Ok(wanted.object(self.kind(), &managed::spec(wanted)?))
    }
}

#[cfg(test)]
mod tests;
