//! Reads what stands around the routes: from the caches where they have it.

use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams};
use providers::traffic::{Around, KINDS, ObjectKind, Wanted};
use serde_json::Value;

use crate::Context;
use crate::world::World;

/// What the proofs of the routes' shares need. Routes that prove themselves cost no request.
///
/// # Errors
/// When the API server doesn't answer, or we may not read it.
pub(crate) async fn evidence(ctx: &Context, world: &World) -> Result<Around, kube::Error> {
    read(ctx, wanted(world)).await
}

/// Whether the routes are proved by objects that nobody watches, so that it is known only when it is read.
pub(crate) fn is_unwatched(world: &World) -> bool {
    wanted(world).iter().any(|w| w.kind == ObjectKind::CILIUM_ENVOY_CONFIG)
}

fn wanted(world: &World) -> Vec<Wanted> {
    let routes = world.routes.all.iter();
    let mut all: Vec<Wanted> =
        routes.flat_map(|route| route.provider.evidence(&route.object)).collect();
    all.sort();
    all.dedup();
    all
}

/// # Errors
/// When the API server doesn't answer, or we may not read it.
pub(crate) async fn read(ctx: &Context, wanted: Vec<Wanted>) -> Result<Around, kube::Error> {
    let mut objects = Vec::new();
    for one in wanted {
        let kind = one.kind;
        let found = match cached(ctx, &one) {
            Some(found) => found,
            None => asked(ctx, &one).await?,
        };
        objects.extend(found.into_iter().map(|object| named(object, kind)));
    }
    Ok(Around::of(objects))
}

/// `None`: of this kind there is no cache.
fn cached(ctx: &Context, wanted: &Wanted) -> Option<Vec<Value>> {
    let namespace = wanted.namespace.as_deref()?;
    let whole = |o: &DynamicObject| serde_json::to_value(o).ok();
    if wanted.kind == ObjectKind::SERVICE {
        let service = ctx.caches.service(namespace, wanted.name.as_deref()?);
        return Some(service.and_then(|s| serde_json::to_value(&*s).ok()).into_iter().collect());
    }
    let same = |p: &&dyn providers::traffic::TrafficProvider| {
        p.kind().group == wanted.kind.group && p.kind().plural == wanted.kind.plural
    };
    let kind = KINDS.iter().position(same)?;
    Some(ctx.caches.routes_in(kind, namespace).iter().filter_map(|o| whole(o)).collect())
}

async fn asked(ctx: &Context, wanted: &Wanted) -> Result<Vec<Value>, kube::Error> {
    let ObjectKind { group, version, kind, plural } = wanted.kind;
    let kind =
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
    let api: Api<DynamicObject> = match &wanted.namespace {
        Some(namespace) => Api::namespaced_with(ctx.client.clone(), namespace, &kind),
        None => Api::all_with(ctx.client.clone(), &kind),
    };
    let found = match &wanted.name {
        Some(name) => api.get(name).await.map(|object| vec![object]),
        None => api.list(&ListParams::default()).await.map(|list| list.items),
    };
    match found {
        Ok(all) => Ok(all.iter().filter_map(|o| serde_json::to_value(o).ok()).collect()),
        // It isn't there, or nobody has installed its kind.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(vec![]),
        Err(error) => Err(error),
    }
}

/// What comes from a list or a typed cache doesn't say what it is.
fn named(mut object: Value, kind: ObjectKind) -> Value {
    let ObjectKind { group, version, kind, .. } = kind;
    let slash = if group.is_empty() { "" } else { "/" };
    object["apiVersion"] = format!("{group}{slash}{version}").into();
    object["kind"] = kind.into();
    object
}
