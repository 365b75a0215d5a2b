//! `HTTPRoute` and `GRPCRoute`: the user's own, split for the time of a run, or an `HTTPRoute` of ours where there is none.

mod conflict;
mod find;
mod grpc;
mod linkerd;
mod managed;
mod mirror;
mod obstacle;
mod proof;
mod refs;
mod split;
mod status;
mod stored;
mod testers;
mod traefik;

use rollout::Shape;
use serde_json::{Value, json};

use super::{
    Answer, Around, Backends, Conflict, Managed, Parent, Proof, Refused, RouteKind, Stored,
    TrafficProvider, Wanted,
};

pub use grpc::GrpcRoute;
pub use linkerd::LinkerdRoute;

/// What a route is about: all that differs between the two kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Requests {
    Http,
    Grpc,
}

impl Requests {
    /// The match that a rule has without one.
    fn everything(self) -> Value {
        match self {
            Self::Http => json!({"path": {"type": "PathPrefix", "value": "/"}}),
            Self::Grpc => json!({}),
        }
    }
}

/// `HTTPRoute` of Gateway API, on a Gateway or on a Service.
///
/// | when | annotation | the rule of the Service |
/// |---|---|---|
/// | at rest | none | as its owner wrote it: `shop`, weight w (1 unless given) |
/// | a run's first step | `split.tidegate.dev/shop: "0"` | `shop` w·100, `shop-canary` 0 |
/// | at a step of c % | `"c"` | `shop` w·(100−c), `shop-canary` w·c |
/// | with testers | and `match.tidegate.dev/shop` | as before; at the end a copy of the rule per line, with its conditions and `shop-canary` alone |
/// | with copies | and `mirror.tidegate.dev/shop` | and a last filter `RequestMirror` |
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

    fn obstacle(&self, route: &Value, backends: &Backends, shape: &Shape) -> Option<Refused> {
        obstacle::find(Requests::Http, route, backends, shape)
    }

    fn render(&self, live: &Value, backends: &Backends, shape: Option<&Shape>) -> Value {
        split::render(Requests::Http, live, backends, shape)
    }

    fn on_the_way(&self, live: &Value, backends: &Backends, shape: &Shape) -> Option<Value> {
        split::on_the_way(Requests::Http, live, backends, shape)
    }

    fn stored(&self, live: &Value, backends: &Backends) -> Stored {
        stored::read(Requests::Http, live, backends)
    }

    fn managed(&self, wanted: &Managed) -> Result<Value, String> {
        Ok(wanted.object(self.kind(), &managed::spec(wanted)))
    }

    fn answer(&self, live: &Value) -> Answer {
        status::read(live)
    }

    fn evidence(&self, live: &Value) -> Vec<Wanted> {
        proof::evidence(live)
    }

    fn proof(&self, live: &Value, backends: &Backends, around: &Around) -> Proof {
        proof::of(live, backends, around)
    }
}

#[cfg(test)]
mod tests;
