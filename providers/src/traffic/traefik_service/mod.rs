//! `TraefikService`: the user's own, split for the time of a run, or one of ours where there is none. `IngressRoute`: only found where it
//! goes past it.

mod find;
mod ingress_route;
mod split;

use rollout::Shape;
use serde_json::{Value, json};

use super::{
    Answer, Backends, Conflict, Managed, Parent, Refusal, Refused, RouteKind, Stored, System,
    TrafficProvider, conflict, object,
};

pub use ingress_route::IngressRoute;

/// `TraefikService` with `spec.weighted`, which the user's `IngressRoute`s name.
///
/// | when | annotation | `spec.weighted.services` |
/// |---|---|---|
/// | at rest | none | as its owner wrote it: `shop`, with a weight or without |
/// | a run's first step | `split.tidegate.dev/shop: "0"` | the same |
/// | at a step of c % | `"c"` | `shop` 100−c, `shop-canary` c |
/// | at 100 % | `"100"` | `shop-canary`, with what else its owner gave `shop` |
/// | released, or the canary is deleted | none | as its owner wrote it |
///
/// Who gets nothing isn't named: unless Traefik is told `allowEmptyServices`, one service without a ready pod makes it forget the whole
/// `TraefikService`, whatever the weights, and everybody is answered 404 (3.7.13). At 0 that would be the canary before it has pods,
/// at 100 stable, should it lose its own.
///
/// A weight that isn't written means 1. So that it comes back as it was, the sum of the two keeps it: 100 stands for none, 100·(w+1)
/// for a w that was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraefikService;

const GROUP: &str = "traefik.io";
const VERSION: &str = "v1alpha1";
const PROVIDER: &str = "traefik";

impl TrafficProvider for TraefikService {
    fn kind(&self) -> &'static RouteKind {
        &RouteKind {
            group: GROUP,
            version: VERSION,
            kind: "TraefikService",
            plural: "traefikservices",
            rules: "weighted",
            provider: PROVIDER,
        }
    }

    fn services(&self, route: &Value) -> Vec<String> {
        find::services(route)
    }

    fn parents(&self, _: &Value) -> Vec<Parent> {
        vec![Parent::Of(System::TraefikService)]
    }

    fn can_split(&self, route: &Value, backends: &Backends) -> bool {
        split::Whole::of(route, backends).is_some_and(|whole| whole.can_be_split())
    }

    fn refusals(&self, route: &Value, backends: &Backends) -> Vec<Refused> {
        find::refusals(route, backends)
    }

    /// Several may name one Service: none takes requests from another.
    fn conflicts(&self, route: &Value, _: &[&Value], backends: &Backends) -> Vec<Conflict> {
        conflict::split_by_another(route, backends).into_iter().collect()
    }

    /// What it can't tell apart, its capabilities say.
    fn obstacle(&self, _: &Value, _: &Backends, _: &Shape) -> Option<Refused> {
        None
    }

    fn render(&self, live: &Value, backends: &Backends, shape: Option<&Shape>) -> Value {
        split::render(live, backends, shape)
    }

    fn stored(&self, live: &Value, backends: &Backends) -> Stored {
        split::read(live, backends)
    }

    /// It has no status.
    fn answer(&self, _: &Value) -> Answer {
        Answer::default()
    }

    fn managed(&self, wanted: &Managed) -> Result<Value, String> {
        let Managed { name, backends, port, gateways, mesh, hosts, labels: _ } = wanted;
        if !gateways.is_empty() || !hosts.is_empty() || *mesh {
            return Err(format!(
                "spec.traffic.route: a TraefikService has neither gateways nor hosts; leave them out, and name it in an IngressRoute of yours: kind: TraefikService, name: {name}"
            ));
        }
        let service = json!({"kind": "Service", "name": backends.service, "port": port});
        Ok(wanted.object(self.kind(), &json!({"weighted": {"services": [service]}})))
    }
}

#[cfg(test)]
mod tests;
