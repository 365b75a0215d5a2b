//! `HTTPRoute` and `GRPCRoute`: the user's own, split for the time of a run, or an `HTTPRoute` of ours where there is none.

mod conflict;
mod find;
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

use std::fmt;

use rollout::Shape;
use serde_json::{Value, json};

use super::{
    Answer, Around, Backends, Conflict, Managed, Parent, Proof, Refused, RouteKind, Stored,
    TrafficProvider, Wanted,
};

/// What a route is about.
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

/// `GRPCRoute` of Gateway API: split as an [`HttpRoute`] is, but its requests have no query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GrpcRoute;

/// Linkerd's own `HTTPRoute`, of `policy.linkerd.io`, on a Service: for clusters without Gateway API, the same fields under another
/// group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkerdRoute;

/// A kind of route with the fields of Gateway API, and all that differs between two of them.
trait GatewayRoute: fmt::Debug + Send + Sync {
    const KIND: &RouteKind;
    const REQUESTS: Requests;

    /// As [`TrafficProvider::managed`].
    fn made(wanted: &Managed) -> Result<Value, String>;
}

impl GatewayRoute for HttpRoute {
    const KIND: &RouteKind = &RouteKind {
        group: "gateway.networking.k8s.io",
        version: "v1",
        kind: "HTTPRoute",
        plural: "httproutes",
        rules: "rules",
        provider: "gateway-api",
    };
    const REQUESTS: Requests = Requests::Http;

    fn made(wanted: &Managed) -> Result<Value, String> {
        Ok(wanted.object(Self::KIND, &managed::spec(wanted)))
    }
}

impl GatewayRoute for GrpcRoute {
    const KIND: &RouteKind =
        &RouteKind { kind: "GRPCRoute", plural: "grpcroutes", ..*HttpRoute::KIND };
    const REQUESTS: Requests = Requests::Grpc;

    fn made(_: &Managed) -> Result<Value, String> {
        Err("gateways: no GRPCRoute is made where there is none; write one that names the service"
            .into())
    }
}

impl GatewayRoute for LinkerdRoute {
    const KIND: &RouteKind =
        &RouteKind { group: "policy.linkerd.io", version: "v1beta3", ..*HttpRoute::KIND };
    const REQUESTS: Requests = Requests::Http;

    fn made(_: &Managed) -> Result<Value, String> {
        Err("no route of policy.linkerd.io is made; install Gateway API, or write the route yourself".into())
    }
}

impl<R: GatewayRoute> TrafficProvider for R {
    fn kind(&self) -> &'static RouteKind {
        R::KIND
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
        obstacle::find(R::REQUESTS, route, backends, shape)
    }

    fn render(&self, live: &Value, backends: &Backends, shape: Option<&Shape>) -> Value {
        split::render(R::REQUESTS, live, backends, shape)
    }

    fn on_the_way(&self, live: &Value, backends: &Backends, shape: &Shape) -> Option<Value> {
        split::on_the_way(R::REQUESTS, live, backends, shape)
    }

    fn stored(&self, live: &Value, backends: &Backends) -> Stored {
        stored::read(R::REQUESTS, live, backends)
    }

    fn managed(&self, wanted: &Managed) -> Result<Value, String> {
        R::made(wanted)
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
