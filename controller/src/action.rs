//! What people ask for: found, handed to the state machine, answered.

use std::sync::Arc;

use api::{ActionState, ActionStatus, ActionVerb, CanaryAction};
use kube::ResourceExt;
use kube::api::{Api, Patch};
use rollout::{Answer, Request, Verb};
use serde_json::json;

use crate::Context;
use crate::apply::params;
use crate::record::has_answered;
use crate::world::{Runs, World};

/// The oldest action that nobody has answered.
pub(crate) fn pending(
    ctx: &Context,
    world: &World,
    runs: &Runs,
    on: Option<&str>,
) -> (Option<Arc<CanaryAction>>, Option<Request>) {
    let actions = ctx.caches.actions_of(&world.canary);
    let Some(action) =
        actions.into_iter().find(|action| action.status.is_none() && !is_older(action, world))
    else {
        return (None, None);
    };
    let uid = action.uid().unwrap_or_default();
    if has_answered(&runs.all, &uid) {
        // The record says so, only the answer on the action itself is missing.
        return (Some(action), None);
    }
    let spec = &action.spec;
    let request = Request {
        verb: match spec.verb {
            ActionVerb::Promote => Verb::Promote,
            ActionVerb::Abort => Verb::Abort,
            ActionVerb::Retry => Verb::Retry,
        },
        by: spec.actor.clone().unwrap_or_default(),
        why: spec.reason.clone().unwrap_or_default(),
        run: spec.run.clone(),
        step: spec.step.map(|s| s as usize),
        names_this_run: spec.run.as_deref().is_none_or(|named| Some(named) == on),
    };
    (Some(action), Some(request))
}

/// It was about another canary of the same name, which is gone.
fn is_older(action: &CanaryAction, world: &World) -> bool {
    action.creation_timestamp() < world.canary.creation_timestamp()
}

/// Writes what became of an action. One without an answer here has been accepted in an earlier look.
pub(crate) async fn answer(
    ctx: &Context,
    action: Option<&CanaryAction>,
    answer: Option<&Answer>,
) -> Result<(), kube::Error> {
    let Some(action) = action else { return Ok(()) };
    let (state, message) = match answer {
        Some(Answer::Refused(why)) => (ActionState::Refused, why.clone()),
        Some(Answer::Accepted) | None => (ActionState::Accepted, String::new()),
    };
    let status = ActionStatus { state, message, at: ctx.clock.now() };
    let namespace = action.namespace().unwrap_or_default();
    let api: Api<CanaryAction> = Api::namespaced(ctx.client.clone(), &namespace);
    let patch = Patch::Merge(json!({"status": status}));
    match api.patch_status(&action.name_any(), &params(), &patch).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop),
    }
}
