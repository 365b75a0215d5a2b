//! The `DestinationRule` of the canary's host: what Istio's proxies do to the connections to the user's Service, they have to do to
//! those to the canary's as well.
//!
//! It isn't watched: it is compared when a run is about to start, and before each write of a split, which for the first one means
//! before any proxy can be told of the canary.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams};
use kube::api::{Patch, Preconditions};
use kube::{Client, Resource};
use providers::traffic::{Companion, Parent, System, companion};
use serde_json::{Value, json};

use crate::Context;
use crate::apply::params;
use crate::record::post;
use crate::world::World;

/// What the user's rules mean for the canary's host. Nothing, where Istio isn't behind a route, or isn't installed.
///
/// # Errors
/// When the API server doesn't answer.
pub(crate) async fn wanted(ctx: &Context, world: &World) -> Result<Companion, kube::Error> {
    Ok(read(ctx, world).await?.map(|rules| rules.companion).unwrap_or_default())
}

/// Makes it, keeps it as it should be, or takes it away.
///
/// # Errors
/// When the API server doesn't answer, or refuses; `Conflict` and `NotFound` mean that it has changed meanwhile.
pub(crate) async fn keep(
    ctx: &Context,
    world: &World,
    owner: &OwnerReference,
) -> Result<(), kube::Error> {
    let Some(Rules { companion, ours }) = read(ctx, world).await? else { return Ok(()) };
    let api = api(&ctx.client, Some(&world.namespace));
    let name = &world.backends.canary;
    match (companion.wanted, ours) {
        (Some(mut wanted), None) => {
            wanted["metadata"]["ownerReferences"] = json!([owner]);
            let wanted = serde_json::from_value(wanted).map_err(kube::Error::SerdeError)?;
            // Created, never applied over: what has the name already isn't ours.
            api.create(&post(), &wanted).await?;
        }
        (Some(wanted), Some(live)) if live.data["spec"] != wanted["spec"] => {
            // As JSON, since a merge would leave what the user's rule no longer has.
            let version = live.metadata.resource_version.as_deref().unwrap_or_default();
            let patch = serde_json::from_value(json!([
                {"op": "test", "path": "/metadata/resourceVersion", "value": version},
                {"op": "replace", "path": "/spec", "value": wanted["spec"]},
            ]))
            .map_err(kube::Error::SerdeError)?;
            api.patch(name, &params(), &Patch::Json::<()>(patch)).await?;
        }
        (None, Some(live)) => {
            let only_this = Preconditions { uid: live.metadata.uid, resource_version: None };
            let params = DeleteParams::background().preconditions(only_this);
            api.delete(name, &params).await?;
        }
        (Some(_), Some(_)) | (None, None) => return Ok(()),
    }
    tracing::info!(destinationrule = name, "the canary's destination rule follows the service's");
    Ok(())
}

struct Rules {
    companion: Companion,
    ours: Option<DynamicObject>,
}

async fn read(ctx: &Context, world: &World) -> Result<Option<Rules>, kube::Error> {
    let istio = Parent::Of(System::Istio);
    let routes = &world.routes.all;
    let (Some(target), true) = (&world.target, routes.iter().any(|r| r.parents.contains(&istio)))
    else {
        return Ok(None);
    };
    let api = api(&ctx.client, ctx.namespace.as_deref());
    let rules = match api.list(&ListParams::default()).await {
        // Nobody has installed that kind.
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
        other => other?.items,
    };
    let objects: Vec<Value> =
        rules.iter().filter_map(|rule| serde_json::to_value(rule).ok()).collect();
    let objects: Vec<&Value> = objects.iter().collect();
    let routes: Vec<&Value> = routes.iter().map(|route| &route.object).collect();
    let labels = [(api::CANARY_LABEL.to_owned(), world.name())].into();
    let pods = &target.spec.template.labels;
    let companion = companion(&objects, &routes, &world.backends, pods, &labels);
    let ours = rules.into_iter().find(|rule| {
        let meta = rule.meta();
        meta.namespace.as_deref() == Some(&world.namespace)
            && meta.name.as_ref() == Some(&world.backends.canary)
            && world.owns(rule)
    });
    Ok(Some(Rules { companion, ours }))
}

fn api(client: &Client, namespace: Option<&str>) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("networking.istio.io", "v1", "DestinationRule");
    let kind = ApiResource::from_gvk(&kind);
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &kind),
        None => Api::all_with(client.clone(), &kind),
    }
}
