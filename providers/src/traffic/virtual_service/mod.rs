//! `VirtualService` of Istio: the user's own, split for the time of a run, or one of ours where there is none.

mod conflict;
mod destination_rule;
mod find;
mod hosts;
mod managed;
mod split;
mod status;
mod stored;

use rollout::Shape;
use serde_json::Value;

use super::{
    Answer, Backends, Conflict, Managed, Parent, Refused, RouteKind, Stored, System,
    TrafficProvider,
};

pub use destination_rule::{Companion, companion};

/// `VirtualService` of Istio, for gateways, for clients in the mesh, or for both.
///
/// | when | annotation | the entry of the Service in `spec.http` |
/// |---|---|---|
/// | at rest | none | as its owner wrote it: one destination, weight w or none |
/// | a run's first step | `split.tidegate.dev/shop: "0"` | `shop` w·100, `shop-canary` 0 |
/// | at a step of c % | `"c"` | `shop` w·(100−c), `shop-canary` w·c |
/// | released, or the canary is deleted | none | as its owner wrote it |
///
/// w is 1 where the owner gave none, 0 or 1: that is the same for a destination that is alone, and comes back as none, as an empty list
/// of `mirrors` does.
///
/// Requests that are told apart get an entry of their own in front of the owner's, since the first that matches gets a request: a copy
/// of it with the canary alone. Copies are sent by one more of its `mirrors`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VirtualService;

impl TrafficProvider for VirtualService {
    fn kind(&self) -> &'static RouteKind {
        &RouteKind {
            group: "networking.istio.io",
            version: "v1",
            kind: "VirtualService",
            plural: "virtualservices",
            rules: "http",
            provider: "istio",
        }
    }

    fn services(&self, route: &Value) -> Vec<String> {
        hosts::services(route)
    }

    /// Who takes them, its `gateways` say, but all of those are told by one istiod.
    fn parents(&self, _: &Value) -> Vec<Parent> {
        vec![Parent::Of(System::Istio)]
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
        find::obstacle(route, backends, shape)
    }

    fn render(&self, live: &Value, backends: &Backends, shape: Option<&Shape>) -> Value {
        split::render(live, backends, shape)
    }

    fn stored(&self, live: &Value, backends: &Backends) -> Stored {
        stored::read(live, backends)
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
