//! Brings about what the recorded phase wants. Each effect is absolute: what is so already costs no request.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, OwnerReference};
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::{Resource, ResourceExt};
use providers::traffic::{Managed, NeverRead, SplitBy, TrafficProvider, change, mentions, mesh};
use rollout::{Effect, Revision, Shape, Weight};
use serde_json::{Value, json};

use crate::Context;
use crate::caches::resource;
use crate::destination_rules;
use crate::objects::{Unfit, canary_deployment, canary_service, made, managed_route};
use crate::record::post;
use crate::routes::Route;
use crate::selector::{Select, Wanted, select};
use crate::watched::{Template, Workload};
use crate::world::World;

/// Why an effect could not be brought about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    /// The world has moved on: read it again and decide anew.
    #[error("{what} has changed meanwhile")]
    Stale { what: String },
    #[error("{what}: the API server refused the write")]
    Refused { what: String, source: kube::Error },
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error(transparent)]
    NeverRead(#[from] NeverRead),
}

/// Writes that are tried at once when others write the same object meanwhile.
const ATTEMPTS: usize = 4;

/// Every change is made in our own name.
pub(crate) fn params() -> PatchParams {
    PatchParams { field_manager: Some(api::FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

fn refused(what: impl Into<String>) -> impl FnOnce(kube::Error) -> ApplyError {
    move |source| {
        let what = what.into();
        match &source {
            // 404: it was deleted since it was read.
            kube::Error::Api(status) if matches!(status.code, 404 | 409) => {
                ApplyError::Stale { what }
            }
            _ => ApplyError::Refused { what, source },
        }
    }
}

fn is_unknown(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Applies `effects` in their order. `revision`: what the canary is made of.
///
/// # Errors
/// The first effect that failed; the later ones have not been tried.
pub(crate) async fn apply(
    ctx: &Context,
    world: &World,
    revision: Option<&Revision>,
    effects: &[Effect],
) -> Result<(), ApplyError> {
    let write = Write { ctx, world };
    for effect in effects {
        match effect {
            // One write does for both.
            Effect::Pin(_) | Effect::Route(_) if world.by_selector() => {
                write.select(&select(&Wanted::of(effects))).await?;
            }
            Effect::Pin(to) => write.pin(to.as_ref()).await?,
            Effect::Route(shape) => write.route(shape.as_ref()).await?,
            Effect::Canary(None) => write.remove_canary().await?,
            Effect::Canary(Some(share)) => {
                if let Some(revision) = revision {
                    write.canary(revision, *share).await?;
                }
            }
            Effect::Start(revision) => write.start(revision).await?,
            Effect::Only(revision) => write.only(revision).await?,
            Effect::Hold => write.hold().await?,
        }
    }
    Ok(())
}

struct Write<'a> {
    ctx: &'a Context,
    world: &'a World,
}

impl Write<'_> {
    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.ctx.client.clone(), &self.world.namespace)
    }

    async fn select(&self, select: &Select) -> Result<(), ApplyError> {
        match select {
            Select::AsItIs => Ok(()),
            Select::Target(revision) => self.pin(revision.as_ref()).await,
            Select::Canary => match self.world.canary_hash() {
                Some(hash) => self.pin_to(Some(hash)).await,
                None => Err(ApplyError::Stale { what: "the canary's pods".to_owned() }),
            },
        }
    }

    async fn pin(&self, to: Option<&Revision>) -> Result<(), ApplyError> {
        match to.map(|revision| (revision, self.world.hash_of(revision))) {
            None => self.pin_to(None).await,
            Some((_, Some(hash))) => self.pin_to(Some(hash)).await,
            // The target is gone, and its pods with it: nothing to pin to.
            Some((_, None)) if self.world.target.is_none() => Ok(()),
            Some((revision, None)) => {
                let what = format!("the ReplicaSet of revision {revision}");
                Err(ApplyError::Stale { what })
            }
        }
    }

    async fn pin_to(&self, hash: Option<&str>) -> Result<(), ApplyError> {
        let Some(service) = &self.world.service else { return Ok(()) };
        let what = format!("service {}", service.name_any());
        let selected = |s: &Service| {
            let selector = s.spec.as_ref().and_then(|spec| spec.selector.as_ref());
            selector.and_then(|s| s.get(api::POD_TEMPLATE_HASH)).cloned()
        };
        let label = service.labels().get(api::PIN_LABEL).map(String::as_str);
        if selected(service).as_deref() == hash && label == hash {
            return Ok(());
        }
        let mut patch = json!({"metadata": {
            "resourceVersion": service.resource_version(), "labels": {api::PIN_LABEL: hash},
        }});
        let name = service.name_any();
        let api = self.api::<Service>();
        let write = async |patch: &Value| {
            api.patch(&name, &params(), &Patch::Merge(patch)).await.map_err(refused(&*what))
        };
        let mut stored = write(&patch).await?;
        if selected(&stored).as_deref() != hash {
            // No policy did it for us.
            patch["metadata"]["resourceVersion"] = json!(stored.resource_version());
            patch["spec"] = json!({"selector": {api::POD_TEMPLATE_HASH: hash}});
            stored = write(&patch).await?;
        }
        for _ in 0..ATTEMPTS {
            let Some(others) = others_fields(&stored).filter(|_| hash.is_none()) else { break };
            let version = stored.resource_version();
            let patch = json!({"metadata": {"resourceVersion": version, "managedFields": others}});
            stored = match write(&patch).await {
                Err(ApplyError::Stale { .. }) => api.get(&name).await.map_err(refused(&*what))?,
                other => other?,
            };
        }
        tracing::info!(service = name, hash, "service pinned");
        Ok(())
    }

    async fn route(&self, shape: Option<&Shape>) -> Result<(), ApplyError> {
        for route in &self.world.routes.all {
            self.split(route, shape).await?;
        }
        Ok(())
    }

    async fn split(&self, route: &Route, shape: Option<&Shape>) -> Result<(), ApplyError> {
        let (provider, backends) = (route.provider, &self.world.backends);
        let Some(mut patch) = change(provider, &route.object, backends, shape, SplitBy::Server)?
        else {
            return Ok(());
        };
        if let Some(shape) = shape {
            // Before any proxy can be told of the canary, and at each step again.
            let kept = destination_rules::keep(self.ctx, self.world, &owner(self.world)).await;
            match kept {
                // The way back must not wait for it.
                Err(error) if shape.is_nothing() => {
                    let error = crate::errors::chain(&error);
                    tracing::warn!(error, rule = backends.canary, "destination rule not kept");
                }
                kept => kept.map_err(refused(format!("destinationrule {}", backends.canary)))?,
            }
        }
        let api = self.routes(provider);
        // Without the annotation nobody knows any more that the pair was ours, so it has to go in the same write.
        if shape.is_none() && !self.server_releases(&api, route, &patch).await? {
            let ours = change(provider, &route.object, backends, None, SplitBy::Us)?;
            patch = ours.unwrap_or(patch);
        }
        let write = api.patch(route.name(), &params(), &Patch::Merge(&patch)).await;
        let stored = write.map_err(refused(route.to_string()))?;
        self.finish_split(&api, route, stored, shape).await?;
        let shape = shape.map(ToString::to_string);
        tracing::info!(route = %route, shape, "route written");
        Ok(())
    }

    /// What a policy would have done, and the traces of that. Only where none has is anything left to do.
    async fn finish_split(
        &self,
        api: &Api<DynamicObject>,
        route: &Route,
        mut stored: DynamicObject,
        shape: Option<&Shape>,
    ) -> Result<(), ApplyError> {
        for _ in 0..ATTEMPTS {
            let live = serde_json::to_value(&stored).unwrap_or_default();
            let patch = change(route.provider, &live, &self.world.backends, shape, SplitBy::Us)?;
            let Some(patch) = patch else { return Ok(()) };
            stored = match api.patch(route.name(), &params(), &Patch::Merge(&patch)).await {
                // The gateway writes its status into the route at just this moment. Who owns which field isn't kept in the
                // cache, so a later look wouldn't find the traces.
                Err(kube::Error::Api(status)) if status.code == 409 => {
                    api.get(route.name()).await.map_err(refused(route.to_string()))?
                }
                other => other.map_err(refused(route.to_string()))?,
            };
        }
        Err(ApplyError::Stale { what: route.to_string() })
    }

    /// Whether the API server makes one backend of the two when it takes this patch: tried, as policies come and go.
    async fn server_releases(
        &self,
        api: &Api<DynamicObject>,
        route: &Route,
        patch: &Value,
    ) -> Result<bool, ApplyError> {
        let dry = PatchParams { dry_run: true, ..params() };
        let tried = api.patch(route.name(), &dry, &Patch::Merge(patch)).await;
        let tried = tried.map_err(refused(route.to_string()))?;
        Ok(!mentions(&tried.data, &self.world.backends.canary))
    }

    fn routes(&self, provider: &dyn TrafficProvider) -> Api<DynamicObject> {
        let kind = resource(provider.kind());
        Api::namespaced_with(self.ctx.client.clone(), &self.world.namespace, &kind)
    }

    async fn canary(&self, revision: &Revision, share: Weight) -> Result<(), ApplyError> {
        let existing = self.world.canary_deployment.as_ref().filter(|d| self.world.owns(&***d));
        let Some(existing) = existing else { return self.create_canary(revision, share).await };
        if existing.annotations().get(api::REVISION_ANNOTATION).map(String::as_str)
            != Some(revision.as_str())
        {
            return self.remove_canary().await; // left over from another run; the next look creates it anew
        }
        let full = match &self.world.target {
            Some(target) => target.spec.replicas,
            None => existing
                .annotations()
                .get(api::TARGET_REPLICAS_ANNOTATION)
                .and_then(|n| n.parse().ok())
                .unwrap_or(existing.spec.replicas),
        };
        let replicas = share.canary_pods(full);
        let noted = existing.annotations().get(api::TARGET_REPLICAS_ANNOTATION);
        if existing.spec.replicas == replicas && noted == Some(&full.to_string()) {
            return Ok(());
        }
        let name = existing.name();
        let patch = json!({
            "metadata": {"annotations": {api::TARGET_REPLICAS_ANNOTATION: full.to_string()}},
            "spec": {"replicas": replicas},
        });
        let api = self.api::<Workload>();
        api.patch(name, &params(), &Patch::Merge(&patch))
            .await
            .map_err(refused(format!("deployment {name}")))?;
        tracing::info!(deployment = name, replicas, "canary scaled");
        Ok(())
    }

    async fn create_canary(&self, revision: &Revision, share: Weight) -> Result<(), ApplyError> {
        let Some(target) = &self.world.target else { return Ok(()) };
        let what = format!("deployment {}", target.name());
        let kind = kube::api::ApiResource::erase::<Deployment>(&());
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.ctx.client.clone(), &self.world.namespace, &kind);
        let whole = api.get(target.name()).await.map_err(refused(&*what))?;
        let whole = serde_json::to_value(&whole).unwrap_or_default();
        if Template::of(&whole["spec"]["template"]).revision != *revision {
            return Ok(()); // a newer one is held: what is left to do must not wait for this
        }
        let replicas = share.canary_pods(target.spec.replicas);
        let mut canary = canary_deployment(&whole, &owner(self.world), revision, replicas)?;
        canary["metadata"]["annotations"][api::TARGET_REPLICAS_ANNOTATION] =
            json!(target.spec.replicas.to_string());
        self.apply_owned(&api, &canary).await?;
        tracing::info!(deployment = self.world.canary_name(), replicas, %revision, "canary created");
        Ok(())
    }

    async fn remove_canary(&self) -> Result<(), ApplyError> {
        let Some(canary) = self.world.canary_deployment.as_ref().filter(|d| self.world.owns(&***d))
        else {
            return Ok(());
        };
        if canary.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let only_this = Preconditions { uid: canary.metadata.uid.clone(), resource_version: None };
        let params = DeleteParams::background().preconditions(only_this);
        match self.api::<Workload>().delete(canary.name(), &params).await {
            Ok(_) => tracing::info!(deployment = canary.name(), "canary deleted"),
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(refused(format!("deployment {}", canary.name()))(error)),
        }
        Ok(())
    }

    /// With the resourceVersion that it was decided on: what was written since is not judged, and stays held.
    async fn start(&self, revision: &Revision) -> Result<(), ApplyError> {
        let Some(target) = &self.world.target else { return Ok(()) };
        // One without our label was paused by its owner, or has lost the label a moment ago.
        let ours = target.adopted_by() == Some(&self.world.name());
        if target.spec.template.revision != *revision || !target.spec.paused || !ours {
            return Ok(());
        }
        self.set_paused(target, false).await?;
        tracing::info!(deployment = target.name(), %revision, "revision started");
        Ok(())
    }

    async fn hold(&self) -> Result<(), ApplyError> {
        match &self.world.target {
            Some(target) if !target.spec.paused => self.set_paused(target, true).await,
            Some(_) | None => Ok(()),
        }
    }

    async fn set_paused(&self, target: &Workload, paused: bool) -> Result<(), ApplyError> {
        let patch = json!({
            "metadata": {"resourceVersion": target.metadata.resource_version},
            "spec": {"paused": paused},
        });
        let what = format!("deployment {}", target.name());
        let api = self.api::<Workload>();
        api.patch(target.name(), &params(), &Patch::Merge(&patch)).await.map_err(refused(what))?;
        Ok(())
    }

    /// The controller of a paused Deployment gives all pods to the one ReplicaSet that is left with any. That of the current
    /// template takes them back from any other, so it is deleted; it is made again when the Deployment is started.
    async fn only(&self, revision: &Revision) -> Result<(), ApplyError> {
        let Some(target) = &self.world.target else { return Ok(()) };
        let Some(kept) = self.world.replica_sets.iter().find(|rs| rs.revision == *revision) else {
            return Ok(());
        };
        if !target.spec.paused {
            return self.set_paused(target, true).await;
        }
        if !target.current() {
            return Ok(()); // a rolling update that is still under way would make it again
        }
        // First, else the pods go to whichever other ReplicaSet is the newest.
        if kept.pods.desired == 0 && target.spec.replicas > 0 {
            self.scale(target, &kept.name, target.spec.replicas).await?;
        }
        for rs in self.world.replica_sets.iter().filter(|rs| rs.revision != *revision) {
            if rs.revision == target.spec.template.revision {
                let api = self.api::<ReplicaSet>();
                self.ctx.replica_sets.forget(target);
                match api.delete(&rs.name, &DeleteParams::background()).await {
                    Ok(_) => tracing::info!(replicaset = rs.name, "replicaset deleted"),
                    Err(kube::Error::Api(status)) if status.code == 404 => {}
                    Err(error) => return Err(refused(format!("replicaset {}", rs.name))(error)),
                }
            } else if rs.pods.desired > 0 {
                self.scale(target, &rs.name, 0).await?;
            }
        }
        Ok(())
    }

    async fn scale(
        &self,
        target: &Workload,
        replica_set: &str,
        replicas: u32,
    ) -> Result<(), ApplyError> {
        self.ctx.replica_sets.forget(target);
        let patch = json!({"spec": {"replicas": replicas}});
        self.api::<ReplicaSet>()
            .patch_scale(replica_set, &params(), &Patch::Merge(&patch))
            .await
            .map_err(refused(format!("replicaset {replica_set}")))?;
        tracing::info!(replicaset = replica_set, replicas, "replicaset scaled");
        Ok(())
    }

    /// Makes the canary's Service, and keeps its ports, its selector and what a mesh goes by as the user's Service has them. True if there was nothing to do.
    async fn keep_canary_service(&self, service: &Service) -> Result<bool, ApplyError> {
        let service = serde_json::to_value(service).unwrap_or_default();
        let wanted = canary_service(&service, &owner(self.world))?;
        let Some(live) = &self.world.canary_service else {
            let kind = kube::api::ApiResource::erase::<Service>(&());
            let api: Api<DynamicObject> =
                Api::namespaced_with(self.ctx.client.clone(), &self.world.namespace, &kind);
            self.apply_owned(&api, &wanted).await?;
            return Ok(false);
        };
        let live = serde_json::to_value(&**live).unwrap_or_default();
        let same = |field: &str| live["spec"][field] == wanted["spec"][field];
        let marks = marks(&live, &wanted);
        if same("ports") && same("selector") && marks.is_none() {
            return Ok(true);
        }
        let mut patch = json!({"metadata": marks.unwrap_or_else(|| json!({}))});
        patch["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
        patch["spec"]["ports"] = wanted["spec"]["ports"].clone();
        patch["spec"]["selector"] = wanted["spec"]["selector"].clone();
        // A merge adds keys; those that the user's selector no longer has are taken out.
        for key in live["spec"]["selector"].as_object().into_iter().flat_map(|s| s.keys()) {
            if wanted["spec"]["selector"].get(key).is_none() {
                patch["spec"]["selector"][key] = Value::Null;
            }
        }
        let name = &self.world.backends.canary;
        let what = format!("service {name}");
        let api = self.api::<Service>();
        api.patch(name, &params(), &Patch::Merge(&patch)).await.map_err(refused(what))?;
        tracing::info!(service = name, "the canary's service follows the user's");
        Ok(false)
    }

    /// Makes the route where no other names the Service, and keeps one of ours as the spec says. True if there was nothing to do.
    async fn manage(&self, wanted: &WantedRoute) -> Result<bool, ApplyError> {
        let WantedRoute { provider, managed, object } = wanted;
        let api = self.routes(*provider);
        let routes = &self.world.routes;
        let same_kind = |route: &&Route| route.provider.kind() == provider.kind();
        let ours = routes.all.iter().filter(same_kind).find(|route| managed.owns(&route.object));
        match ours {
            None if routes.all.is_empty() && routes.refused.is_empty() => {
                self.apply_owned(&api, object).await?;
                Ok(false)
            }
            Some(live) if !managed.is_current(*provider, object, &live.object) => {
                let version = &live.object["metadata"]["resourceVersion"];
                let patch =
                    json!({"metadata": {"resourceVersion": version}, "spec": object["spec"]});
                let what = provider.kind().called(&managed.name);
                api.patch(&managed.name, &params(), &Patch::Merge(&patch))
                    .await
                    .map_err(refused(what))?;
                Ok(false)
            }
            None | Some(_) => Ok(true),
        }
    }

    async fn apply_owned(
        &self,
        api: &Api<DynamicObject>,
        object: &Value,
    ) -> Result<(), ApplyError> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
        let what = format!("{kind} {name}");
        let parsed: DynamicObject = serde_json::from_value(object.clone()).map_err(|e| {
            ApplyError::Refused { what: what.clone(), source: kube::Error::SerdeError(e) }
        })?;
        // Created, never applied over: what has the name already isn't ours.
        match api.create(&post(), &parsed).await {
            // Not gone: its kind was never there.
            Err(source @ kube::Error::Api(_)) if is_unknown(&source) => {
                Err(ApplyError::Refused { what, source })
            }
            other => other.map(drop).map_err(refused(what)),
        }
    }
}

/// Labels and annotations that a mesh goes by, where they aren't as `wanted`; `None`: they are. What others have written stays.
fn marks(live: &Value, wanted: &Value) -> Option<Value> {
    let mut patch = json!({});
    for field in ["labels", "annotations"] {
        let counts = |key: &str| match field {
            "labels" => mesh::is_waypoint(key),
            _ => mesh::carried(key),
        };
        let (has, should) = (&live["metadata"][field], &wanted["metadata"][field]);
        let keys = [has, should].into_iter().filter_map(Value::as_object).flat_map(|m| m.keys());
        for key in keys.filter(|k| counts(k)) {
            if has.get(key) != should.get(key) {
                patch[field][key] = should.get(key).cloned().unwrap_or_default();
            }
        }
    }
    (patch != json!({})).then_some(patch)
}

/// `managedFields` without what our own write of the selector has left there, if it has: as long as it is there, the owner's next
/// apply without force is a conflict.
fn others_fields(service: &Service) -> Option<Vec<ManagedFieldsEntry>> {
    let ours = |entry: &&ManagedFieldsEntry| entry.manager.as_deref() == Some(api::FIELD_MANAGER);
    let all = service.metadata.managed_fields.as_deref().unwrap_or_default();
    all.iter().find(ours)?;
    let others: Vec<_> = all.iter().filter(|entry| !ours(entry)).cloned().collect();
    // An empty list would mean: forget everybody.
    (!others.is_empty()).then_some(others)
}

/// What a canary needs beside its target before its first run: a label, a Service, and a route if there is none.
///
/// # Errors
/// The first write that failed.
pub(crate) async fn adopt(ctx: &Context, world: &World) -> Result<bool, ApplyError> {
    let write = Write { ctx, world };
    let mut complete = true;
    if let Some(service) = &world.service {
        complete &= write.keep_canary_service(service).await?;
    }
    if let Some(target) = &world.target {
        let name = world.name();
        if target.adopted_by() != Some(&name) {
            label_target(ctx, target, Some(&name)).await?;
            complete = false;
        }
    }
    if let Some(wanted) = wanted_route(world)? {
        complete &= write.manage(&wanted).await?;
    }
    Ok(complete)
}

/// The last traces on what stays: the label of the target, and that of a route that we made.
///
/// # Errors
/// When a write failed.
pub(crate) async fn disown(ctx: &Context, world: &World) -> Result<(), ApplyError> {
    if let Some(target) = &world.target
        && target.adopted_by() == Some(&world.name())
    {
        label_target(ctx, target, None).await?;
    }
    let write = Write { ctx, world };
    for route in &world.routes.all {
        if route.object["metadata"]["labels"][api::CANARY_LABEL].as_str() == Some(&world.name()) {
            let patch = json!({"metadata": {"labels": {api::CANARY_LABEL: null}}});
            let api = write.routes(route.provider);
            api.patch(route.name(), &params(), &Patch::Merge(&patch))
                .await
                .map_err(refused(route.to_string()))?;
        }
    }
    Ok(())
}

async fn label_target(
    ctx: &Context,
    target: &Workload,
    canary: Option<&str>,
) -> Result<(), ApplyError> {
    let namespace = target.metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<Workload> = Api::namespaced(ctx.client.clone(), namespace);
    let patch = json!({"metadata": {"labels": {api::CANARY_LABEL: canary}}});
    let what = format!("deployment {}", target.name());
    api.patch(target.name(), &params(), &Patch::Merge(&patch)).await.map_err(refused(what))?;
    Ok(())
}

/// A route of ours, as it is to be.
pub(crate) struct WantedRoute {
    pub(crate) provider: &'static dyn TrafficProvider,
    pub(crate) managed: Managed,
    object: Value,
}

/// The route that the spec asks for, if it asks for one.
pub(crate) fn wanted_route(world: &World) -> Result<Option<WantedRoute>, Unfit> {
    let Some(service) = world.service.as_ref().filter(|_| !world.by_selector()) else {
        return Ok(None);
    };
    let service = serde_json::to_value(&**service).unwrap_or_default();
    let managed = managed_route(&world.canary, &service, world.backends.clone())?;
    let Some(managed) = managed else { return Ok(None) };
    let (provider, object) = made(&world.canary, &managed)?;
    Ok(Some(WantedRoute { provider, managed, object }))
}

fn owner(world: &World) -> OwnerReference {
    world.canary.controller_owner_ref(&()).unwrap_or_default()
}
