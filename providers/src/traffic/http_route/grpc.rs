use rollout::Shape;
use serde_json::Value;

use super::{Requests, conflict, find, obstacle, proof, refs, split, status, stored};
use crate::traffic::{
    Answer, Around, Backends, Conflict, Managed, Parent, Proof, Refused, RouteKind, Stored,
    TrafficProvider, Wanted,
};

/// `GRPCRoute` of Gateway API: split as an [`HttpRoute`](super::HttpRoute) is, but its requests have no query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GrpcRoute;

impl TrafficProvider for GrpcRoute {
    fn kind(&self) -> &'static RouteKind {
        &RouteKind {
            group: "gateway.networking.k8s.io",
            version: "v1",
            kind: "GRPCRoute",
            plural: "grpcroutes",
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
        obstacle::find(Requests::Grpc, route, backends, shape)
    }

    fn render(&self, live: &Value, backends: &Backends, shape: Option<&Shape>) -> Value {
        split::render(Requests::Grpc, live, backends, shape)
    }

    fn on_the_way(&self, live: &Value, backends: &Backends, shape: &Shape) -> Option<Value> {
        split::on_the_way(Requests::Grpc, live, backends, shape)
    }

    fn stored(&self, live: &Value, backends: &Backends) -> Stored {
        stored::read(Requests::Grpc, live, backends)
    }

    fn managed(&self, _: &Managed) -> Result<Value, String> {
        Err("gateways: no GRPCRoute is made where there is none; write one that names the service"
            .into())
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
