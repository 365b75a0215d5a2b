//! `tidegate promote`, `abort` and `retry`: asks, and waits until it is answered.

use std::time::Duration;

use api::{ActionState, ActionStatus, ActionVerb, Canary, CanaryAction, CanaryActionSpec};
use futures::StreamExt;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::Api;
use kube::api::PostParams;
use kube::runtime::{WatchStreamExt, watcher};

use crate::args::{ActArgs, Program};
use crate::by_hand;
use crate::cluster::{Cluster, ClusterError};
use crate::exit::Exit;

/// A controller that is up answers in less than one.
const PATIENCE: Duration = Duration::from_secs(5);
/// Not the controller's: the guard trusts that name.
const FIELD_MANAGER: &str = "tidegate-cli";

pub(crate) async fn run(
    verb: ActionVerb,
    args: ActArgs,
    program: Program,
) -> Result<Exit, ClusterError> {
    let ActArgs { name, reason, cluster } = args;
    let cluster = Cluster::connect(&cluster).await?;
    let canaries: Api<Canary> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let canary = cluster.answer(canaries.get_opt(&name)).await?.ok_or_else(|| {
        ClusterError::NoCanary { name: name.clone(), namespace: cluster.namespace.clone() }
    })?;
    let asked = match ask(verb, &canary, reason) {
        Ok(asked) => asked,
        Err(why) => {
            eprintln!("{} {name}: {why}", word(verb));
            return Ok(Exit::Refused);
        }
    };
    let actions: Api<CanaryAction> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let action = create(&cluster, &actions, verb, &name, asked).await?;
    let action_name = action.metadata.name.clone().unwrap_or_default();
    let waited = tokio::time::timeout(PATIENCE, answered(&cluster, &actions, &action_name)).await;
    if let Ok(status) = waited {
        return Ok(report(&action, &status?, &cluster.namespace, program));
    }
    eprintln!(
        "no controller has answered within {} s; the request stays, for the first that comes up",
        PATIENCE.as_secs()
    );
    for line in by_hand::look(&cluster, &canary).await.lines(verb, &action_name) {
        eprintln!("{line}");
    }
    Ok(Exit::Unanswered)
}

/// What to ask for: of what the person has seen, as far as the verb allows.
fn ask(
    verb: ActionVerb,
    canary: &Canary,
    reason: Option<String>,
) -> Result<CanaryActionSpec, &'static str> {
    let run = canary.status.as_ref().and_then(|s| s.run.as_ref()).filter(|r| r.ended_at.is_none());
    let (name, step) = match (verb, run) {
        (ActionVerb::Promote, Some(run)) => (Some(run.name.clone()), Some(run.step)),
        (ActionVerb::Promote, None) => return Err("no run is on, so there is nothing to promote"),
        (ActionVerb::Abort, run) => (run.map(|run| run.name.clone()), None),
        (ActionVerb::Retry, _) => (None, None),
    };
    Ok(CanaryActionSpec {
        canary: canary.metadata.name.clone().unwrap_or_default(),
        verb,
        run: name,
        step,
        reason,
        actor: None,
    })
}

async fn create(
    cluster: &Cluster,
    actions: &Api<CanaryAction>,
    verb: ActionVerb,
    canary: &str,
    asked: CanaryActionSpec,
) -> Result<CanaryAction, ClusterError> {
    let mut action = CanaryAction::new("", asked);
    action.spec.actor = myself(cluster).await;
    action.metadata.name = None;
    action.metadata.generate_name = Some(format!("{canary}-{}-", word(verb)));
    let params =
        PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    cluster.answer(actions.create(&params, &action)).await
}

/// Who asks, as the API server knows them. It writes that itself, over whatever is said here, where it can; where it can't, it only
/// compares.
async fn myself(cluster: &Cluster) -> Option<String> {
    let reviews: Api<SelfSubjectReview> = Api::all(cluster.client.clone());
    let asked = SelfSubjectReview::default();
    let review = cluster.answer(reviews.create(&PostParams::default(), &asked)).await.ok()?;
    review.status?.user_info?.username
}

/// What the controller makes of it. Without end: somebody else has the clock.
async fn answered(
    cluster: &Cluster,
    actions: &Api<CanaryAction>,
    name: &str,
) -> Result<ActionStatus, ClusterError> {
    let mut seen = watcher::watch_object(actions.clone(), name).default_backoff().boxed();
    while let Some(next) = seen.next().await {
        match next {
            Ok(Some(CanaryAction { status: Some(status), .. })) => return Ok(status),
            Err(
                watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error),
            ) => return Err(cluster.fault(error)),
            // The watch begins again by itself.
            Ok(_) | Err(_) => {}
        }
    }
    std::future::pending().await
}

fn report(action: &CanaryAction, status: &ActionStatus, namespace: &str, program: Program) -> Exit {
    let CanaryActionSpec { canary, verb, run, step, actor, .. } = &action.spec;
    let message = match status.message.as_str() {
        "" => String::new(),
        message => format!(": {message}"),
    };
    let verb = word(*verb);
    match status.state {
        ActionState::Accepted => {
            let of = match (run, step) {
                (Some(run), Some(step)) => format!(" (run {run}, step {step})"),
                (Some(run), None) => format!(" (run {run})"),
                (None, _) => String::new(),
            };
            let by = actor.as_ref().map(|actor| format!(" by {actor}")).unwrap_or_default();
            println!("{verb} {canary}{of}: accepted{by}{message}");
            println!("follow it with: {} status {canary} -n {namespace} -w", program.0);
            Exit::Done
        }
        ActionState::Refused => {
            eprintln!("{verb} {canary}: refused{message}");
            eprintln!("see why with: {} status {canary} -n {namespace}", program.0);
            Exit::Refused
        }
    }
}

pub(crate) fn word(verb: ActionVerb) -> &'static str {
    match verb {
        ActionVerb::Promote => "promote",
        ActionVerb::Abort => "abort",
        ActionVerb::Retry => "retry",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canary(status: &serde_json::Value) -> Canary {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "Canary",
            "metadata": {"name": "checkout", "namespace": "shop"},
            "spec": {"targetRef": {"name": "checkout"}, "traffic": {"service": {"name": "checkout"}}},
            "status": status,
        }))
        .unwrap()
    }

    fn with_run(ended_at: Option<&str>) -> Canary {
        canary(&serde_json::json!({"phase": "Progressing", "run": {
            "name": "checkout-7f9c4", "revision": "7f9c4", "startedAt": "2026-11-24T03:00:00Z",
            "step": 3, "steps": 5, "failures": 0, "threshold": 5, "endedAt": ended_at,
        }}))
    }

    #[track_caller]
    fn asks(verb: ActionVerb, canary: &Canary, run: Option<&str>, step: Option<u32>) {
        let asked = ask(verb, canary, Some("because".to_owned())).unwrap();
        assert_eq!((asked.run.as_deref(), asked.step), (run, step));
        assert_eq!((asked.canary.as_str(), asked.actor), ("checkout", None));
        assert_eq!(asked.reason.as_deref(), Some("because"));
    }

    #[test]
    fn a_promotion_names_the_run_and_the_step_that_were_seen() {
        asks(ActionVerb::Promote, &with_run(None), Some("checkout-7f9c4"), Some(3));
    }

    #[test]
    fn there_is_nothing_to_promote_without_a_run() {
        for canary in
            [with_run(Some("2026-11-24T03:10:00Z")), canary(&serde_json::json!({"phase": "Idle"}))]
        {
            assert!(ask(ActionVerb::Promote, &canary, None).is_err());
        }
    }

    #[test]
    fn an_abort_names_the_run_if_there_is_one_and_is_asked_for_anyway() {
        asks(ActionVerb::Abort, &with_run(None), Some("checkout-7f9c4"), None);
        asks(ActionVerb::Abort, &with_run(Some("2026-11-24T03:10:00Z")), None, None);
    }

    #[test]
    fn a_retry_names_the_canary_alone() {
        asks(ActionVerb::Retry, &with_run(Some("2026-11-24T03:10:00Z")), None, None);
    }
}
