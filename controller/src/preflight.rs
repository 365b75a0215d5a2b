//! What keeps a canary from working, found before anything moves: one sentence with object, field, value and the way out.

use analysis::Protocol;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams};
use providers::traffic::{
    Around, Refused, TrafficProvider, find, mentions, names_of_kinds, policies, uncovered,
};
use rollout::{Plan, Shape};
use serde_json::Value;

use crate::Context;
use crate::apply::wanted_route;
use crate::around;
use crate::destination_rules;
use crate::routes::Routes;
use crate::systems::{self, Behind};
use crate::time::from_kube;
use crate::watched::Workload;
use crate::world::World;

/// What only the API server can say.
pub(crate) struct Facts {
    /// Autoscalers whose target is ours.
    autoscalers: Vec<String>,
    /// What is behind the routes, or why nothing is.
    pub(crate) behind: Result<Behind, String>,
    /// What stands in the way of the canary's host, beside the routes.
    refused: Vec<Refused>,
    /// What proves what the systems say, and policies that go by the Service's name.
    around: Around,
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
        let mut around = around::evidence(ctx, world).await?;
        let behind = systems::behind(ctx, world, &around).await?;
        for system in behind.iter().flat_map(|b| &b.systems) {
            around = around.and(around::read(ctx, policies(system, &world.backends)).await?);
        }
        Ok(Self {
            autoscalers: autoscalers.collect(),
            behind,
            refused: destination_rules::wanted(ctx, world).await?.refused,
            around,
        })
    }

    /// The systems' names, as the status keeps them.
    pub(crate) fn systems(&self) -> Option<Vec<String>> {
        self.behind.as_ref().ok().map(|b| systems::names(&b.systems))
    }
}

/// The first thing that is wrong. Without `facts`, what they say was found right before.
pub(crate) fn blocker(
    ctx: &Context,
    world: &World,
    plan: &Plan,
    facts: Option<&Facts>,
) -> Option<String> {
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
        .or_else(|| facts.and_then(|facts| system_trouble(world, plan, facts)))
        .or_else(|| facts.and_then(|facts| facts.refused.first()).map(ToString::to_string))
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
    if let Some((kind, route)) = foreign_route(ctx, world) {
        return taken(&kind, &route);
    }
    match (&world.canary_deployment, &world.canary_service) {
        (Some(d), _) if !world.owns(&**d) => taken("deployment", &world.canary_name()),
        (_, Some(s)) if !world.owns(&**s) => taken("service", &world.backends.canary),
        _ => None,
    }
}

/// A route is to be made, and its name is taken.
fn foreign_route(ctx: &Context, world: &World) -> Option<(String, String)> {
    let wanted = wanted_route(world).ok().flatten().filter(|_| world.routes.all.is_empty())?;
    let (provider, name) = (wanted.provider, wanted.managed.name);
    let same = |route: &DynamicObject| {
        route.metadata.namespace.as_ref() == Some(&world.namespace)
            && route.metadata.name.as_ref() == Some(&name)
    };
    let taken = !ctx.caches.routes_like(provider, same).is_empty();
    taken.then(|| (provider.kind().kind.to_lowercase(), name))
}

fn route_trouble(world: &World) -> Option<String> {
    let (routes, service) = (&world.routes, &world.backends.service);
    if !routes.candidates.is_empty() {
        return Some(format!(
            "service {service} gets requests by routes of several providers: {}; set spec.provider to the one that is to be split",
            routes.candidates.join(", ")
        ));
    }
    if let Some(refused) = routes.refused.first() {
        return Some(refused.to_string());
    }
    if let Some(mixed) = mixed_protocols(routes) {
        return Some(mixed);
    }
    if routes.all.is_empty() && !world.by_selector() {
        return match wanted_route(world) {
            Ok(Some(_)) => None,
            Err(unfit) => Some(unfit.to_string()),
            Ok(None) => {
                let kinds = names_of_kinds(world.canary.spec.provider.map(api::Provider::name));
                Some(format!(
                    "no {kinds} in namespace {} names service {service}; write one, set spec.traffic.route, or set spec.provider to kubernetes if no proxy routes its requests",
                    world.namespace
                ))
            }
        };
    }
    None
}

/// What fails is told otherwise with gRPC, and a check asks for one of the two.
fn mixed_protocols(routes: &Routes) -> Option<String> {
    let of = |wanted| routes.all.iter().find(|r| r.provider.kind().protocol() == wanted);
    let (http, grpc) = (of(Protocol::Http)?, of(Protocol::Grpc)?);
    Some(format!(
        "{http} and {grpc} both name the service, and failures of gRPC are counted otherwise; give each a Service and a canary of its own"
    ))
}

/// Routes of others that take a part of the requests, wherever they are. All routes are looked through, so not at rest.
fn claimed_route(ctx: &Context, world: &World) -> Option<String> {
    let mut kinds: Vec<&'static dyn TrafficProvider> =
        world.routes.all.iter().map(|route| route.provider).collect();
    kinds.dedup_by_key(|p| p.kind().crd());
    kinds.into_iter().find_map(|provider| claimed_by(ctx, world, provider))
}

fn claimed_by(
    ctx: &Context,
    world: &World,
    provider: &'static dyn TrafficProvider,
) -> Option<String> {
    let own = || world.routes.all.iter().filter(|r| r.provider.kind() == provider.kind());
    let near = ctx.caches.routes_like(provider, |route| {
        mentions(&route.data, &world.backends.service) || own().any(|o| meets(&o.object, route))
    });
    let mut near: Vec<Value> =
        near.iter().filter_map(|route| serde_json::to_value(&**route).ok()).collect();
    near.sort_by_key(|route| route["metadata"]["uid"].to_string());
    let refused = find(provider, &near, &world.backends).refused.first().map(ToString::to_string);
    let near: Vec<&Value> = near.iter().collect();
    refused.or_else(|| {
        let mut all = own().flat_map(|o| provider.conflicts(&o.object, &near, &world.backends));
        all.next().map(|conflict| conflict.to_string())
    })
}

/// Whether requests could be for both: a cheap look before a thorough one. Kinds without hosts of that shape all might.
fn meets(own: &Value, other: &DynamicObject) -> bool {
    let hosts = |data: &Value| data.pointer("/spec/hostnames").and_then(Value::as_array).cloned();
    let (ours, theirs) = (hosts(own).unwrap_or_default(), hosts(&other.data).unwrap_or_default());
    let same_host = ours.is_empty() || theirs.is_empty() || ours.iter().any(|h| theirs.contains(h));
    let wild = |all: &[Value]| all.iter().any(|h| h.as_str().is_some_and(|h| h.starts_with('*')));
    same_host || wild(&ours) || wild(&theirs)
}

fn system_trouble(world: &World, plan: &Plan, facts: &Facts) -> Option<String> {
    let behind = match &facts.behind {
        Err(why) => return Some(why.clone()),
        Ok(behind) => behind,
    };
    let backends = &world.backends;
    systems::trouble(&behind.systems)
        .or_else(|| {
            let proofs = world.routes.all.iter().map(|route| route.proof(backends, &facts.around));
            proofs.into_iter().find_map(|proof| proof.refused)
        })
        .or_else(|| {
            behind.systems.iter().find_map(|system| uncovered(system, backends, &facts.around))
        })
        .or_else(|| shape_trouble(world, plan, behind))
}

/// A shape that the systems, or one of the routes, can't take: found before the run that would need it.
fn shape_trouble(world: &World, plan: &Plan, behind: &Behind) -> Option<String> {
    let testers = Shape { matches: plan.testers().to_vec(), ..Shape::default() };
    // One that testers are put in front of is none of the owner's.
    let own = world.canary.spec.steps.len();
    let first = plan.steps().len().saturating_sub(own);
    let steps = (0..own).map(|i| (format!("spec.steps[{i}]"), plan.shape(first + i)));
    let shapes = [("spec.testers".to_owned(), testers)].into_iter().chain(steps);
    shapes.into_iter().find_map(|(field, shape)| {
        if let Some(lacks) = behind.capabilities.lacks(&shape) {
            let systems = systems::names(&behind.systems).join(", ");
            return Some(format!(
                "{field} needs {lacks} ({systems}); change it, or use another system"
            ));
        }
        let mut routes = world.routes.all.iter();
        let refused =
            routes.find_map(|r| r.provider.obstacle(&r.object, &world.backends, &shape))?;
        Some(format!("{field}: {refused}"))
    })
}
