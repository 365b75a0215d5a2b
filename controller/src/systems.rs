//! Which traffic systems are behind the routes: what only the API server can say.

use std::collections::BTreeSet;

use analysis::{Arm, Query, Subject};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use providers::traffic::{GatewayName, Parent, System};
use serde_json::Value;

use crate::Context;
use crate::world::World;

/// The systems behind the canary's routes, each once; or why there is none.
///
/// # Errors
/// When the API server doesn't answer.
pub(crate) async fn behind(
    ctx: &Context,
    world: &World,
) -> Result<Result<Vec<System>, String>, kube::Error> {
    let parents: BTreeSet<&Parent> =
        world.routes.all.iter().flat_map(|route| &route.parents).collect();
    let mut systems = BTreeSet::new();
    if world.by_selector() {
        systems.insert(System::Kubernetes);
    }
    for parent in parents {
        let system = match parent {
            Parent::Gateway(name) => {
                controller_of(ctx, name).await?.map(|name| System::of_gateway(&name))
            }
            Parent::Service { name, controller } => of_service(name, controller.as_deref()),
            Parent::Of(System::Istio) => Ok(istio(ctx).await),
            Parent::Of(system) => Ok(system.clone()),
        };
        match system {
            Ok(system) => systems.insert(system),
            Err(why) => return Ok(Err(why)),
        };
    }
    Ok(Ok(systems.into_iter().collect()))
}

fn of_service(service: &str, controller: Option<&str>) -> Result<System, String> {
    let unknown = || {
        format!(
            "no mesh has answered for the route on service {service} yet; is a mesh installed that routes by HTTPRoute, and is the service in it?"
        )
    };
    controller.map(System::of_service).ok_or_else(unknown)
}

/// Istio, by what its proxies count, wherever in the mesh: its own metrics, unless there are only Envoy's. Where there are none yet, or
/// the source of metrics doesn't answer, they will be Istio's own: that is what an installation has.
async fn istio(ctx: &Context) -> System {
    let counts = async |promql: &str| {
        let promql = promql.to_owned();
        let query = Query { subject: Subject::Requests, arm: Arm::Stable, promql };
        ctx.metrics.value(&query, ctx.clock.now()).await
    };
    // One after the other: Istio's proxies don't export the first unless told to, and the second can be large.
    let envoys = counts("count(envoy_cluster_upstream_rq{cluster_name=~\"outbound[|].*\"})").await;
    if !matches!(envoys, Ok(Some(_))) {
        return System::Istio;
    }
    match counts("count(istio_requests_total)").await {
        Ok(None) => System::IstioWithoutTelemetry,
        Ok(Some(_)) | Err(_) => System::Istio,
    }
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

/// What keeps these systems from being judged as one.
pub(crate) fn trouble(systems: &[System]) -> Option<String> {
    if systems.len() > 1 {
        return Some(format!(
            "the routes of the service are programmed by different systems ({}), whose metrics can't be read as one; \
             give each system's routes a Service of its own",
            names(systems).join(", ")
        ));
    }
    let known = System::KNOWN.map(|system| system.to_string()).join(", ");
    systems.iter().find(|system| system.capabilities().profile.is_none()).map(|system| {
        format!(
            "the routes are programmed by {system}, whose metrics are not known yet; known: {known}"
        )
    })
}

/// As the status keeps them.
pub(crate) fn names(systems: &[System]) -> Vec<String> {
    systems.iter().map(ToString::to_string).collect()
}
