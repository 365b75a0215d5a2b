use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use kube::Api;
use kube::api::{
    ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, ValidationDirective,
};
use providers::traffic::{Backends, SplitBy, TrafficProvider, change};
use rollout::Shape;
use serde_json::Value;
use tests::{Cluster, wait_for};

use crate::ENOUGH;

/// The objects of a kind in a namespace, written as the controller writes: strictly, and under its name.
pub(crate) struct Objects {
    pub(crate) provider: &'static dyn TrafficProvider,
    api: Api<DynamicObject>,
    backends: Backends,
}

impl Objects {
    /// Of the Service `shop`.
    pub(crate) fn of(
        cluster: &Cluster,
        provider: &'static dyn TrafficProvider,
        namespace: &str,
    ) -> Result<Self> {
        let kind = provider.kind();
        let kind = GroupVersionKind::gvk(kind.group, kind.version, kind.kind);
        let api = Api::namespaced_with(cluster.client(), namespace, &ApiResource::from_gvk(&kind));
        Ok(Self { provider, api, backends: Backends::new(namespace, "shop")? })
    }

    pub(crate) fn backends(&self) -> &Backends {
        &self.backends
    }

    pub(crate) async fn get(&self, name: &str) -> Result<Value> {
        Ok(serde_json::to_value(self.api.get(name).await?)?)
    }

    /// As the owner's tool does, by force.
    pub(crate) async fn apply(&self, object: &Value) -> Result<Value> {
        let name = object["metadata"]["name"].as_str().context("a name")?;
        let params = PatchParams {
            field_validation: Some(ValidationDirective::Strict),
            ..PatchParams::apply("owner").force()
        };
        let stored = self.api.patch(name, &params, &Patch::Apply(object)).await;
        Ok(serde_json::to_value(stored.with_context(|| format!("applying {name}"))?)?)
    }

    /// Brings this shape about, and is sure that what is stored is what `providers` renders; again where the plane's status came between.
    pub(crate) async fn change(
        &self,
        name: &str,
        shape: Option<&Shape>,
        by: SplitBy,
    ) -> Result<Value> {
        let (stored, wanted) = wait_for("a write that nobody came between", ENOUGH, async || {
            let live = self.get(name).await?;
            let wanted = self.provider.render(&live, &self.backends, shape);
            let patch = change(self.provider, &live, &self.backends, shape, by)?;
            let patch = patch.with_context(|| format!("nothing to write: {live}"))?;
            match self.patch(name, &patch, false).await {
                Ok(stored) => Ok(Some((stored, wanted))),
                Err(error) if format!("{error:#}").contains("the object has been modified") => {
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        })
        .await?;
        same(name, &stored, &wanted)?;
        Ok(stored)
    }

    pub(crate) async fn patch(&self, name: &str, patch: &Value, dry_run: bool) -> Result<Value> {
        let params = PatchParams {
            dry_run,
            field_manager: Some("tidegate".to_owned()),
            field_validation: Some(ValidationDirective::Strict),
            ..PatchParams::default()
        };
        let stored = self.api.patch(name, &params, &Patch::Merge(patch)).await;
        Ok(serde_json::to_value(stored.with_context(|| format!("patching {name}: {patch}"))?)?)
    }
}

pub(crate) fn same(case: &str, stored: &Value, wanted: &Value) -> Result<()> {
    let told = |object: &Value| (object["spec"].clone(), object["metadata"]["annotations"].clone());
    ensure!(told(stored) == told(wanted), "{case}: stored {stored}\nrendered {wanted}");
    Ok(())
}

pub(crate) fn repository() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
