use serde_json::Value;

use super::{Backends, Refusal, Refused, object, split};
use crate::traffic::annotations;

/// Every place that names something to send requests to, with its field. Copies of requests go to nobody that matters here.
fn places(route: &Value) -> Vec<(String, &Value)> {
    let mut all = Vec::new();
    for list in ["weighted", "highestRandomWeight"] {
        let services = object::list(route, &format!("/spec/{list}/services")).iter();
        let field = |i: usize| format!("spec.{list}.services[{i}]");
        all.extend(services.enumerate().map(|(i, service)| (field(i), service)));
    }
    for one in ["mirroring", "failover/service", "failover/fallback"] {
        let place = route.pointer(&format!("/spec/{one}"));
        all.extend(place.map(|place| (format!("spec.{}", one.replace('/', ".")), place)));
    }
    all
}

/// Every Service of its own namespace that it names, each once.
pub(super) fn services(route: &Value) -> Vec<String> {
    let home = object::namespace(route);
    let own = |place: &Value| {
        let text = |field: &str, default: &str| {
            place.get(field).and_then(Value::as_str).unwrap_or(default).to_owned()
        };
        let service = text("kind", "Service") == "Service" && text("namespace", home) == home;
        service.then(|| text("name", "")).filter(|name| !name.is_empty())
    };
    let mut names: Vec<_> = places(route).into_iter().filter_map(|(_, p)| own(p)).collect();
    names.sort();
    names.dedup();
    names
}

pub(super) fn refusals(route: &Value, backends: &Backends) -> Vec<Refused> {
    let whole = split::Whole::of(route, backends);
    let held = annotations::held(route, backends);
    let refusal = |field: &str, place: &Value| {
        let is = |name: &str| split::is_service(route, place, backends, name);
        let (stable, canary) = (is(&backends.service), is(&backends.canary));
        let service = backends.service.clone();
        if !stable && !canary {
            None
        } else if object::namespace(route) != backends.namespace {
            Some(Refusal::Elsewhere { service, namespace: backends.namespace.clone() })
        } else if canary && !(held && whole.is_some()) {
            Some(Refusal::ByHand { service, canary: backends.canary.clone() })
        } else if !field.starts_with("spec.weighted") {
            Some(Refusal::Other(format!(
                "only spec.weighted can be split; let it name {service} in a TraefikService of its own, and name that one here with kind: TraefikService"
            )))
        } else {
            weight_refusal(whole.as_ref(), split::services(route).len(), service)
        }
    };
    places(route)
        .into_iter()
        .filter_map(|(field, place)| {
            let why = refusal(&field, place)?;
            Some(Refused { route: object::label(route), field, why })
        })
        .collect()
}

fn weight_refusal(
    whole: Option<&split::Whole>,
    backends: usize,
    service: String,
) -> Option<Refusal> {
    let Some(whole) = whole else { return Some(Refusal::Shared { service, backends }) };
    match whole.weight() {
        Some(0) => Some(Refusal::Other(
            "weight 0 gives it no request, so there is nothing to split; it is the only one, so leave the weight out"
                .to_owned(),
        )),
        Some(weight) if weight > split::LARGEST => {
            Some(Refusal::Heavy { weight, largest: split::LARGEST })
        }
        Some(_) | None => None,
    }
}
