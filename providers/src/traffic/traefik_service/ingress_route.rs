use rollout::Shape;
use serde_json::Value;

use super::{GROUP, PROVIDER, VERSION, split};
use crate::traffic::{
    Answer, Backends, Conflict, Managed, Parent, Refusal, Refused, RouteKind, Stored, System,
    TrafficProvider, object,
};

/// `IngressRoute` of Traefik: never split. One that names the Service itself is found, because its requests would go past the
/// `TraefikService` that is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IngressRoute;

impl TrafficProvider for IngressRoute {
    fn kind(&self) -> &'static RouteKind {
        &RouteKind {
            group: GROUP,
            version: VERSION,
            kind: "IngressRoute",
            plural: "ingressroutes",
            rules: "",
            provider: PROVIDER,
        }
    }

    fn services(&self, route: &Value) -> Vec<String> {
        let home = object::namespace(route);
        let mut names: Vec<_> = places(route)
            .filter(|(_, service)| object::text(service, "/kind") != "TraefikService")
            .filter(|(_, service)| matches!(object::text(service, "/namespace"), n if n.is_empty() || n == home))
            .map(|(_, service)| object::text(service, "/name").to_owned())
            .filter(|name| !name.is_empty())
            .collect();
        names.sort();
        names.dedup();
        names
    }

    fn parents(&self, _: &Value) -> Vec<Parent> {
        vec![Parent::Of(System::TraefikService)]
    }

    fn can_split(&self, _: &Value, _: &Backends) -> bool {
        false
    }

    fn refusals(&self, route: &Value, backends: &Backends) -> Vec<Refused> {
        let why = |service: &Value| {
            let is = |name: &str| split::is_service(route, service, backends, name);
            let Backends { namespace: _, service, canary } = backends;
            if is(canary) {
                let (service, canary) = (service.clone(), canary.clone());
                return Some(Refusal::ByHand { service, canary });
            }
            is(service).then(|| {
                Refusal::Other(format!(
                    "an IngressRoute has no shares that can be split; name a TraefikService here (kind: TraefikService) whose spec.weighted.services has {service} alone"
                ))
            })
        };
        places(route)
            .filter_map(|(field, service)| {
                Some(Refused { route: object::label(route), field, why: why(service)? })
            })
            .collect()
    }

    fn conflicts(&self, _: &Value, _: &[&Value], _: &Backends) -> Vec<Conflict> {
        vec![]
    }

    fn obstacle(&self, _: &Value, _: &Backends, _: &Shape) -> Option<Refused> {
        None
    }

    fn render(&self, live: &Value, _: &Backends, _: Option<&Shape>) -> Value {
        live.clone()
    }

    fn stored(&self, _: &Value, _: &Backends) -> Stored {
        Stored::default()
    }

    fn answer(&self, _: &Value) -> Answer {
        Answer::default()
    }

    fn managed(&self, _: &Managed) -> Result<Value, String> {
        Err("spec.traffic.route: an IngressRoute can't be split; let it name a TraefikService"
            .into())
    }
}

/// The services of all routes, each with its field.
fn places(route: &Value) -> impl Iterator<Item = (String, &Value)> {
    object::list(route, "/spec/routes").iter().enumerate().flat_map(|(i, rule)| {
        let services = object::list(rule, "/services").iter().enumerate();
        services.map(move |(j, service)| (format!("spec.routes[{i}].services[{j}]"), service))
    })
}
