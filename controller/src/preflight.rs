//! What keeps a canary from working, found before anything moves: one sentence with object, field, value and the way out.

use std::collections::BTreeSet;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::runtime::reflector::ObjectRef;
use providers::traffic::{Gateway, GatewayName, conflicts, find};
use serde_json::Value;

use crate::Context;
use crate::apply::wanted_route;
use crate::caches::{backend_names, http_route};
use crate::time::from_kube;
use crate::watched::Workload;
use crate::world::World;

/// What only the API server can say.
pub(crate) struct Facts {
    /// Autoscalers whose target is ours.
    autoscalers: Vec<String>,
    /// The controllers behind the routes' Gateways, or why there is none.
    pub(crate) gateways: Result<Vec<Gateway>, String>,
}

impl Facts {
    /// # Errors
    /// When the API server doesn't answer.
    pub(crate) async fn read(ctx: &Context, world: &World) -> Result<Self, kube::Error> {
        let api: Api<HorizontalPodAutoscaler> =
            Api::namespaced(ctx.client.clone(), &world.namespace);
        let target = &world.canary.spec.target_ref.name;
        let all = api.list(&ListParams::default()).await?;
        let aims = |hpa: &HorizontalPodAutoscaler| {
            let aim = &hpa.spec.scale_target_ref;
            aim.kind == "Deployment" && aim.name == *target
        };
        let autoscalers = all.items.iter().filter(|hpa| aims(hpa)).map(ResourceExt::name_any);
        Ok(Self { autoscalers: autoscalers.collect(), gateways: gateways(ctx, world).await? })
    }
}

async fn gateways(
    ctx: &Context,
    world: &World,
) -> Result<Result<Vec<Gateway>, String>, kube::Error> {
    let names: BTreeSet<GatewayName> =
        world.found.routes.iter().flat_map(|r| r.gateways.iter().cloned()).collect();
    let mut kinds = BTreeSet::new();
    for name in names {
        match controller_of(ctx, &name).await? {
            Ok(controller) => kinds.insert(Gateway::by(&controller)),
            Err(why) => return Ok(Err(why)),
        };
    }
    Ok(Ok(kinds.into_iter().collect()))
}

fn gateway_api(kind: &str, plural: &str) -> ApiResource {
    let gvk = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", kind);
    ApiResource::from_gvk_with_plural(&gvk, plural)
}

/// The `controllerName` of a Gateway's class.
async fn controller_of(
    ctx: &Context,
    name: &GatewayName,
) -> Result<Result<String, String>, kube::Error> {
    let kind = gateway_api("Gateway", "gateways");
    let api: Api<DynamicObject> = Api::namespaced_with(ctx.client.clone(), &name.namespace, &kind);
    let Some(gateway) = if_known(api.get(&name.name).await)? else {
        return Ok(Err(format!(
            "gateway {name} not found; create it, or correct the route's parentRefs (is Gateway API installed?)"
        )));
    };
    let text = |o: &DynamicObject, path: &str| {
        o.data.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let class = text(&gateway, "/spec/gatewayClassName");
    let kind = gateway_api("GatewayClass", "gatewayclasses");
    let api: Api<DynamicObject> = Api::all_with(ctx.client.clone(), &kind);
    let Some(found) = if_known(api.get(&class).await)? else {
        return Ok(Err(format!("gateway {name}: gatewayclass {class} not found; create it")));
    };
    Ok(Ok(text(&found, "/spec/controllerName")))
}

/// `None` also where the API server doesn't know the kind, whose 404 is another one.
fn if_known(
    answer: Result<DynamicObject, kube::Error>,
) -> Result<Option<DynamicObject>, kube::Error> {
    match answer {
        Ok(object) => Ok(Some(object)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

/// The first thing that is wrong. Without `facts`, what they say was found right before.
pub(crate) fn blocker(ctx: &Context, world: &World, facts: Option<&Facts>) -> Option<String> {
    let Some(target) = &world.target else {
        return Some(format!(
            "spec.targetRef.name: deployment {} not found in namespace {}; create it, or correct the name",
            world.canary.spec.target_ref.name, world.namespace
        ));
    };
    claimed_by_another(ctx, world)
        .or_else(|| paused_by_owner(world, target))
        .or_else(|| facts.and_then(|facts| autoscaled(target, facts)))
        .or_else(|| service_trouble(world, target))
        .or_else(|| foreign(ctx, world))
        .or_else(|| route_trouble(world))
        .or_else(|| facts.and_then(gateway_trouble))
        .or_else(|| facts.and_then(|_| claimed_route(ctx, world)))
}

/// Two canaries for one Deployment or one Service would undo each other's work: the older one has it.
pub(crate) fn claimed_by_another(ctx: &Context, world: &World) -> Option<String> {
    let age = |c: &api::Canary| {
        (c.metadata.creation_timestamp.as_ref().map(from_kube), c.metadata.name.clone())
    };
    let spec = &world.canary.spec;
    ctx.caches.canaries_in(&world.namespace).iter().find_map(|other| {
        if other.metadata.uid == world.canary.metadata.uid || age(other) > age(&world.canary) {
            return None;
        }
        let field = if other.spec.target_ref.name == spec.target_ref.name {
            format!("spec.targetRef.name: deployment {}", spec.target_ref.name)
        } else if other.spec.traffic.service.name == spec.traffic.service.name {
            format!("spec.traffic.service.name: service {}", spec.traffic.service.name)
        } else {
            return None;
        };
        Some(format!(
            "{field} is looked after by canary {}; delete one of the two",
            other.name_any()
        ))
    })
}

fn paused_by_owner(world: &World, target: &Workload) -> Option<String> {
    let name = target.name();
    let adopted = target.adopted_by() == world.canary.metadata.name.as_deref();
    (target.spec.paused && !adopted).then(|| {
        format!(
            "deployment {name} is paused by its owner; resume it once, so that it is known what serves: \
             kubectl rollout resume deployment {name} -n {}",
            world.namespace
        )
    })
}

fn autoscaled(target: &Workload, facts: &Facts) -> Option<String> {
    let hpa = facts.autoscalers.first()?;
    Some(format!(
        "horizontalpodautoscaler {hpa} scales deployment {}, which is not supported yet; remove one of the two",
        target.name()
    ))
}

fn service_trouble(world: &World, target: &Workload) -> Option<String> {
    let name = &world.backends.service;
    let field = "spec.traffic.service.name";
    let Some(service) = &world.service else {
        return Some(format!(
            "{field}: service {name} not found in namespace {}; create it, or correct the name",
            world.namespace
        ));
    };
    let selector = service.spec.as_ref().and_then(|s| s.selector.clone()).unwrap_or_default();
    let labels = &target.spec.template.labels;
    let mut own = selector.iter().filter(|(k, _)| *k != api::POD_TEMPLATE_HASH).peekable();
    if own.peek().is_none() {
        return Some(format!(
            "{field}: service {name} has no selector, so it can't tell pods apart; give it one"
        ));
    }
    let (key, value) = own.find(|(k, v)| labels.get(*k) != Some(*v))?;
    Some(format!(
        "{field}: service {name} selects {key}={value}, which the pods of deployment {} don't have; correct either",
        target.name()
    ))
}

/// Objects that have the names that ours need.
fn foreign(ctx: &Context, world: &World) -> Option<String> {
    let taken = |kind: &str, name: &str| {
        Some(format!(
            "{kind} {name} exists and isn't this canary's; remove or rename it, its name is needed"
        ))
    };
    if let Some(route) = foreign_route(ctx, world) {
        return taken("httproute", &route);
    }
    match (&world.canary_deployment, &world.canary_service) {
        (Some(d), _) if !world.owns(&**d) => taken("deployment", &world.canary_name()),
        (_, Some(s)) if !world.owns(&**s) => taken("service", &world.backends.canary),
        _ => None,
    }
}

/// A route is to be made, and its name is taken.
fn foreign_route(ctx: &Context, world: &World) -> Option<String> {
    let managed = wanted_route(world).ok().flatten().filter(|_| world.routes.is_empty())?;
    let route = ObjectRef::new_with(&managed.name, http_route()).within(&world.namespace);
    ctx.caches.routes.get(&route).map(|_| managed.name)
}

fn route_trouble(world: &World) -> Option<String> {
    if let Some(refused) = world.found.refused.first() {
        return Some(refused.to_string());
    }
    if world.routes.is_empty() {
        return match wanted_route(world) {
            Ok(Some(_)) => None,
            Err(unfit) => Some(unfit.to_string()),
            Ok(None) => Some(format!(
                "no HTTPRoute in namespace {} names service {}; write one, or set spec.traffic.route",
                world.namespace, world.backends.service
            )),
        };
    }
    None
}

/// Routes of others that take a part of the requests, wherever they are. All routes are looked through, so not at rest.
fn claimed_route(ctx: &Context, world: &World) -> Option<String> {
    let service = &world.backends.service;
    let near = ctx.caches.routes.state_filter(|route| {
        backend_names(&route.data).contains(service)
            || world.routes.iter().any(|own| meets(own, route))
    });
    let mut near: Vec<Value> =
        near.iter().filter_map(|route| serde_json::to_value(&**route).ok()).collect();
    near.sort_by_key(|route| route["metadata"]["uid"].to_string());
    let refused = find(&near, &world.backends).refused.first().map(ToString::to_string);
    refused.or_else(|| {
        let mut all = world.routes.iter().flat_map(|r| conflicts(r, &near, &world.backends));
        all.next().map(|conflict| conflict.to_string())
    })
}

/// Whether requests could be for both: a cheap look before a thorough one.
fn meets(own: &Value, other: &DynamicObject) -> bool {
    let hosts = |data: &Value| data.pointer("/spec/hostnames").and_then(Value::as_array).cloned();
    let (ours, theirs) = (hosts(own).unwrap_or_default(), hosts(&other.data).unwrap_or_default());
    let same_host = ours.is_empty() || theirs.is_empty() || ours.iter().any(|h| theirs.contains(h));
    let wild = |all: &[Value]| all.iter().any(|h| h.as_str().is_some_and(|h| h.starts_with('*')));
    same_host || wild(&ours) || wild(&theirs)
}

fn gateway_trouble(facts: &Facts) -> Option<String> {
    match &facts.gateways {
        Err(why) => Some(why.clone()),
        Ok(kinds) if kinds.len() > 1 => Some(format!(
            "the routes of the service are on gateways of different controllers ({}), whose metrics can't be read as one; \
             give each controller's routes a Service of its own",
            names(kinds)
        )),
        Ok(kinds) => kinds.iter().find_map(|kind| match kind {
            Gateway::Traefik | Gateway::EnvoyGateway => None,
            Gateway::Other(name) => Some(format!(
                "the gateway's controller is {name}, whose metrics are not known yet; \
                 Traefik and Envoy Gateway are supported"
            )),
        }),
    }
}

/// The controllers' names, as the status keeps them.
pub(crate) fn names(gateways: &[Gateway]) -> String {
    let name = |g: &Gateway| match g {
        Gateway::Traefik => "traefik.io/gateway-controller".to_owned(),
        Gateway::EnvoyGateway => "gateway.envoyproxy.io/gatewayclass-controller".to_owned(),
        Gateway::Other(name) => name.clone(),
    };
    gateways.iter().map(name).collect::<Vec<_>>().join(", ")
}
