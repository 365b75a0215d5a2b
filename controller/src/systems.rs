//! Which traffic systems are behind the routes: what only the API server can say.

use std::collections::{BTreeMap, BTreeSet};

use analysis::{Arm, Query, Subject};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use providers::traffic::{Around, Capabilities, Features, GatewayName, Parent, System, mesh};
use serde_json::Value;

use crate::Context;
use crate::world::World;

/// What is behind the canary's routes.
pub(crate) struct Behind {
    /// Each once.
    pub(crate) systems: Vec<System>,
    /// What all of them can do, as far as their Gateways' classes say.
    pub(crate) capabilities: Capabilities,
}

/// The systems behind the canary's routes; or why there is none.
///
/// # Errors
/// When the API server doesn't answer.
pub(crate) async fn behind(
    ctx: &Context,
    world: &World,
    around: &Around,
) -> Result<Result<Behind, String>, kube::Error> {
    let parents: BTreeSet<&Parent> =
        world.routes.all.iter().flat_map(|route| &route.parents).collect();
    let mut found: BTreeMap<System, Capabilities> = BTreeMap::new();
    if world.by_selector() {
        let weights = world.canary.spec.traffic.by_pods;
        let able = Capabilities { weights, ..System::Kubernetes.capabilities() };
        found.insert(System::Kubernetes, able);
    }
    for parent in parents {
        let system = match parent {
            Parent::Gateway(name) => class_of(ctx, name).await?.map(|class| {
                let system = System::of_gateway(&text(&class, "/spec/controllerName"));
                (system, Features::of(&class.data))
            }),
            Parent::Service { name, controller } => {
                mesh::behind(&world.namespace, name, controller.as_deref(), around)
                    .map(|system| (system, None))
            }
            Parent::Of(system) => Ok((system.clone(), None)),
        };
        let (system, features) = match system {
            Ok(found) => found,
            Err(why) => return Ok(Err(why)),
        };
        let system =
            if is_silent(ctx, &system).await { system.without_telemetry() } else { system };
        let able = system.capabilities().with_features(features.as_ref());
        let both = match found.remove(&system) {
            Some(before) => before.and(&able),
            None => able,
        };
        found.insert(system, both);
    }
    let capabilities = found.values().cloned().reduce(|a, b| a.and(&b));
    Ok(Ok(Behind {
        systems: found.into_keys().collect(),
        capabilities: capabilities.unwrap_or_else(|| System::Other(String::new()).capabilities()),
    }))
}

/// Whether this is Istio, with proxies that count only as any Envoy does, wherever in the mesh. Where there are no counts yet, or the
/// source of metrics doesn't answer, they will be Istio's own: that is what an installation has.
async fn is_silent(ctx: &Context, system: &System) -> bool {
    if system.clone().without_telemetry() == *system {
        return false;
    }
    let counts = async |promql: &str| {
        let promql = promql.to_owned();
        let query = Query { subject: Subject::Requests, arm: Arm::Stable, promql };
        ctx.metrics.value(&query, ctx.clock.now()).await
    };
    // One after the other: Istio's proxies don't export the first unless told to, and the second can be large.
    let envoys = counts("count(envoy_cluster_upstream_rq{cluster_name=~\"outbound[|].*\"})").await;
    matches!(envoys, Ok(Some(_))) && matches!(counts("count(istio_requests_total)").await, Ok(None))
}

fn gateway_api(kind: &str, plural: &str) -> ApiResource {
    let gvk = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", kind);
    ApiResource::from_gvk_with_plural(&gvk, plural)
}

fn text(object: &DynamicObject, path: &str) -> String {
    object.data.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A Gateway's class.
async fn class_of(
    ctx: &Context,
    name: &GatewayName,
) -> Result<Result<DynamicObject, String>, kube::Error> {
    let kind = gateway_api("Gateway", "gateways");
    let api: Api<DynamicObject> = Api::namespaced_with(ctx.client.clone(), &name.namespace, &kind);
    let Some(gateway) = if_known(api.get(&name.name).await)? else {
        return Ok(Err(format!(
            "gateway {name} not found; create it, or correct the route's parentRefs (is Gateway API installed?)"
        )));
    };
    let class = text(&gateway, "/spec/gatewayClassName");
    let kind = gateway_api("GatewayClass", "gatewayclasses");
    let api: Api<DynamicObject> = Api::all_with(ctx.client.clone(), &kind);
    let found = if_known(api.get(&class).await)?;
    Ok(found.ok_or_else(|| format!("gateway {name}: gatewayclass {class} not found; create it")))
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

/// What keeps these systems from being judged as one.
pub(crate) fn trouble(systems: &[System]) -> Option<String> {
    if systems.len() > 1 {
        return Some(format!(
            "the routes of the service are programmed by different systems ({}), whose metrics can't be read as one; \
             give each system's routes a Service of its own",
            names(systems).join(", ")
        ));
    }
    systems.iter().find(|system| system.capabilities().profile.is_none()).map(|system| {
        format!(
            "the routes are programmed by {system}, whose metrics are not known yet; have them programmed by another, or split by none: spec.provider kubernetes"
        )
    })
}

/// As the status keeps them.
pub(crate) fn names(systems: &[System]) -> Vec<String> {
    systems.iter().map(ToString::to_string).collect()
}
