//! Asked, not believed: whether the API server holds a new revision, by a write that it only pretends to make.

use kube::api::{Api, Patch, PatchParams};
use rollout::HeldBy;
use serde_json::json;

use crate::Context;
use crate::watched::Workload;

/// A server-side dry run of a new revision: if it comes back paused, the policy is in force.
///
/// # Errors
/// When the API server doesn't answer.
pub(crate) async fn held_by(
    ctx: &Context,
    target: &Workload,
    canary: &str,
) -> Result<HeldBy, kube::Error> {
    let namespace = target.metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<Workload> = Api::namespaced(ctx.client.clone(), namespace);
    // The label too, as adoption will write it: the policy looks at nothing without it.
    let probe = json!({
        "metadata": {"labels": {api::CANARY_LABEL: canary}},
        "spec": {"template": {"metadata": {"annotations": {"tidegate.dev/probe": "held"}}}},
    });
    let params = PatchParams { dry_run: true, ..PatchParams::apply(api::FIELD_MANAGER) };
    // A target that is paused already proves nothing, unless it is unpaused in the same breath.
    let probe = if target.spec.paused { with_unpausing(probe) } else { probe };
    let answer = api.patch(target.name(), &params, &Patch::Merge(&probe)).await?;
    Ok(if answer.spec.paused { HeldBy::Policies } else { HeldBy::Pause })
}

fn with_unpausing(mut probe: serde_json::Value) -> serde_json::Value {
    probe["spec"]["paused"] = json!(false);
    probe
}
