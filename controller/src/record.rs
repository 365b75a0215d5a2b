//! The run's record: made when a run starts, and written, by compare and swap, before anything is done about it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use analysis::{MetricVerdict, Observed, Unit, Verdict};
use api::{
    Canary, CanaryRun, CanaryRunSpec, CanaryRunStatus, Cursor, Entry, MetricStatus, PlanSpec,
};
use chrono::{DateTime, Utc};
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams};
use kube::{Resource, ResourceExt};
use rollout::{Decision, Left, Phase, Reason, Run};

use crate::Context;

/// Entries that a run keeps of what happened, the newest.
const HISTORY: usize = 100;
/// Runs that a canary keeps once they have ended, the newest.
const RUNS: usize = 10;
/// An action of this UID made the run: with it a retry is answered once only.
const ACTION_ANNOTATION: &str = "tidegate.dev/action";

/// What we have written ourselves of each canary's newest run, by the canary's uid: the watch may still be behind it.
#[derive(Debug, Default)]
pub(crate) struct Written(Mutex<BTreeMap<String, Arc<CanaryRun>>>);

impl Written {
    /// The runs that the watch has seen, newest first, with what we have written since.
    pub(crate) fn over(&self, canary: &str, mut seen: Vec<Arc<CanaryRun>>) -> Vec<Arc<CanaryRun>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(written) = all.get(canary) else { return seen };
        match seen.iter_mut().find(|run| run.metadata.uid == written.metadata.uid) {
            None => seen.insert(0, written.clone()),
            Some(run) if version(&**written) > version(&**run) => *run = written.clone(),
            Some(_) => {
                all.remove(canary);
            }
        }
        seen
    }

    fn keep(&self, run: &CanaryRun) {
        let owner = run.owner_references().first().map(|o| o.uid.clone()).unwrap_or_default();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(owner, Arc::new(run.clone()));
    }

    /// The canary is gone, or somebody has deleted its run.
    pub(crate) fn forget(&self, canary: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(canary);
    }
}

/// Resource versions of one kind compare as numbers (a promise of Kubernetes since 1.35, and true long before).
pub(crate) fn version(object: &impl ResourceExt) -> u128 {
    object.resource_version().and_then(|v| v.parse().ok()).unwrap_or_default()
}

/// What a new run is about.
pub(crate) struct Start<'a> {
    pub(crate) revision: &'a str,
    pub(crate) stable: &'a str,
    pub(crate) image: &'a str,
    pub(crate) plan: PlanSpec,
    /// The UID of the retry that asked for it.
    pub(crate) action: Option<String>,
}

/// Creates the run: the record that it has begun. One that exists already is what an earlier try has made.
///
/// # Errors
/// When the API server refuses it; 409 if a stale cache hid a run of the same name.
pub(crate) async fn start(
    ctx: &Context,
    canary: &Canary,
    runs: &[Arc<CanaryRun>],
    start: Start<'_>,
) -> Result<CanaryRun, kube::Error> {
    let namespace = canary.namespace().unwrap_or_default();
    let name = next_name(&format!("{}-{}-", canary.name_any(), start.revision), runs);
    let spec = CanaryRunSpec {
        canary: canary.name_any(),
        revision: start.revision.to_owned(),
        stable_revision: start.stable.to_owned(),
        image: start.image.to_owned(),
        plan: start.plan,
    };
    let mut run = CanaryRun::new(&name, spec);
    run.metadata = ObjectMeta {
        name: Some(name),
        owner_references: canary.controller_owner_ref(&()).map(|owner| vec![owner]),
        annotations: start.action.map(|uid| [(ACTION_ANNOTATION.to_owned(), uid)].into()),
        ..ObjectMeta::default()
    };
    let api: Api<CanaryRun> = Api::namespaced(ctx.client.clone(), &namespace);
    let run = api.create(&post(), &run).await?;
    ctx.written.keep(&run);
    Ok(run)
}

/// One more than the highest number that is taken: old runs are pruned, their numbers don't come back.
fn next_name(prefix: &str, runs: &[Arc<CanaryRun>]) -> String {
    let number = |run: &Arc<CanaryRun>| run.name_any().strip_prefix(prefix)?.parse::<u32>().ok();
    let highest = runs.iter().filter_map(number).max().unwrap_or_default();
    format!("{prefix}{}", highest + 1)
}

/// Every object of ours is created, and every status written, in our own name.
pub(crate) fn post() -> PostParams {
    PostParams { field_manager: Some(api::FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

/// Whether the action with this UID has been answered by one of the runs.
pub(crate) fn has_answered(runs: &[Arc<CanaryRun>], uid: &str) -> bool {
    runs.iter().any(|run| {
        let made = run.annotations().get(ACTION_ANNOTATION).is_some_and(|a| a == uid);
        made || run.status.as_ref().is_some_and(|s| s.answered.iter().any(|a| a == uid))
    })
}

/// What a decision adds to the record.
pub(crate) struct Change<'a> {
    pub(crate) decision: &'a Decision,
    /// What it was taken in.
    pub(crate) phase: &'a Phase,
    /// The check that it counted.
    pub(crate) verdict: Option<&'a Verdict>,
    /// What the look saw that it counted.
    pub(crate) left: Option<&'a Left>,
    /// The canary's part of the requests that the check saw is its share of the users' requests.
    pub(crate) tells_share: bool,
    /// The UID of the action that it accepted.
    pub(crate) accepted: Option<String>,
}

/// Writes the decision into the run, if it says anything new. `None`: it doesn't.
///
/// # Errors
/// 409 when somebody else has written since `run` was read: nothing may be done about this decision.
pub(crate) async fn record(
    ctx: &Context,
    run: &CanaryRun,
    frozen: &Run,
    change: &Change<'_>,
) -> Result<Option<CanaryRun>, kube::Error> {
    let before = run.status.clone().unwrap_or_default();
    let after = status(ctx, &before, frozen, change);
    if after == before {
        return Ok(None);
    }
    let mut run = run.clone();
    run.status = Some(after);
    let namespace = run.namespace().unwrap_or_default();
    let api: Api<CanaryRun> = Api::namespaced(ctx.client.clone(), &namespace);
    let written = api.replace_status(&run.name_any(), &post(), &run).await?;
    ctx.written.keep(&written);
    Ok(Some(written))
}

fn status(
    ctx: &Context,
    before: &CanaryRunStatus,
    frozen: &Run,
    change: &Change<'_>,
) -> CanaryRunStatus {
    let Change { decision, phase: _, verdict, left, tells_share, accepted } = change;
    let now = ctx.clock.now();
    let mut cursor = Cursor::new(&decision.next, &frozen.plan);
    if let (None, Some(before)) = (cursor.step, &before.cursor) {
        // Off the steps, it is still told how far it came.
        let counted = cursor.cause.as_ref().and_then(|cause| cause.failures);
        (cursor.step, cursor.failures) = (before.step, counted.unwrap_or(before.failures));
    }
    let reason = decision.reason.name();
    let mut after = before.clone();
    let first = before.history.last().is_none_or(|last| last.reason != reason)
        || before.cursor.as_ref().is_none_or(|c| c.step != cursor.step);
    // Between two checks, what the last one found says more.
    let waits =
        matches!(decision.reason, Reason::CheckNotDue { .. }) && last_check(before).is_some();
    if !waits && (first || verdict.is_some()) {
        after.message = decision.reason.to_string();
    }
    if match decision.reason {
        // What has passed and failed counts each time. A check during a hold, or the tenth without data, is no news.
        Reason::CheckPassed { .. } | Reason::CheckFailed { .. } => first || verdict.is_some(),
        // Nor is the wait between two checks.
        Reason::CheckNotDue { .. } => false,
        _ => first,
    } {
        after.history.push(Entry {
            at: now,
            phase: cursor.phase.clone(),
            reason: reason.to_owned(),
            message: after.message.clone(),
        });
        let excess = after.history.len().saturating_sub(HISTORY);
        after.history.drain(..excess);
    }
    if let Some(verdict) = verdict {
        after.metrics = metrics(verdict);
        after.observed = observed(verdict).filter(|_| *tells_share);
        after.observed_at = after.observed.map(|_| verdict.window.end);
    }
    if let Some(share) = left.and_then(share_left) {
        (after.observed, after.observed_at) = (Some(share), Some(now));
    }
    after.agreed_at = agreed(before, frozen, change, now);
    after.answered.extend(accepted.clone());
    if matches!(decision.next, Phase::Ended(_)) {
        after.ended_at = after.ended_at.or(Some(now));
    }
    after.cursor = Some(cursor);
    after
}

/// What the last check at this weight came to, if that is the newest thing that happened; the sentence is the run's message.
pub(crate) fn last_check(run: &CanaryRunStatus) -> Option<&str> {
    let reason = run.history.last()?.reason.as_str();
    let checked = matches!(
        reason,
        "CheckPassed"
            | "CheckFailed"
            | "BothArmsBad"
            | "NoData"
            | "MetricsError"
            | "TooEarly"
            | "ShareDiffers"
    );
    checked.then_some(reason)
}

/// When the metrics last agreed with what the route is meant to look like from now on.
fn agreed(
    before: &CanaryRunStatus,
    frozen: &Run,
    change: &Change<'_>,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let shape = change.phase.shape(frozen);
    if shape != change.decision.next.shape(frozen) {
        return None;
    }
    let share = change.verdict.zip(shape).and_then(|(v, shape)| shape.share(&v.requests));
    match (share, change.left) {
        (Some(Observed::Agrees(_)), _) | (None, Some(Left::None)) => Some(now),
        (Some(Observed::Differs(_)), _) | (None, Some(Left::Requests(_))) => None,
        (Some(Observed::TooFew { .. }), _) | (None, Some(Left::Unseen { .. }) | None) => {
            before.agreed_at
        }
    }
}

/// The canary's share of the requests that the check saw, in percent.
fn observed(verdict: &Verdict) -> Option<f64> {
    // Where stable isn't asked, at 100 %, nothing is known of its part.
    let (canary, stable) = (verdict.requests.canary?, verdict.requests.stable?);
    percent(canary, canary + stable)
}

/// The same of a look.
fn share_left(left: &Left) -> Option<f64> {
    match left {
        Left::None => Some(0.0),
        #[expect(clippy::cast_precision_loss, reason = "no window has 2^53 requests")]
        Left::Requests(sighting) => percent(sighting.canary as f64, sighting.all as f64),
        Left::Unseen { .. } => None,
    }
}

fn percent(part: f64, all: f64) -> Option<f64> {
    (all > 0.0).then(|| (part / all * 1000.0).round() / 10.0)
}

fn metrics(verdict: &Verdict) -> Vec<MetricStatus> {
    let status = |m: &MetricVerdict| MetricStatus {
        name: m.name.clone(),
        canary: m.canary.map(rounded),
        stable: m.stable.map(rounded),
        unit: match m.unit {
            Unit::Percent => "%",
            Unit::Milliseconds => "ms",
            Unit::Plain => "",
        }
        .to_owned(),
        limit: m.limit.to_string(),
        requests: verdict.requests.canary.map(f64::round),
        verdict: m.outcome.to_string(),
        query: m.query.clone(),
    };
    verdict.metrics.iter().map(status).collect()
}

/// Four significant digits after the point are more than anybody reads.
fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

/// Keeps the newest runs, and the actions that are about them.
///
/// # Errors
/// When a deletion fails.
pub(crate) async fn prune(
    ctx: &Context,
    canary: &Canary,
    runs: &[Arc<CanaryRun>],
) -> Result<(), kube::Error> {
    let namespace = canary.namespace().unwrap_or_default();
    let api: Api<CanaryRun> = Api::namespaced(ctx.client.clone(), &namespace);
    for run in runs.iter().skip(RUNS) {
        gone(api.delete(&run.name_any(), &DeleteParams::default()).await.map(drop))?;
    }
    let answered = ctx.caches.actions_of(canary).into_iter().filter(|a| a.status.is_some());
    let old = answered.rev().skip(RUNS * 5);
    let api: Api<api::CanaryAction> = Api::namespaced(ctx.client.clone(), &namespace);
    for action in old {
        gone(api.delete(&action.name_any(), &DeleteParams::default()).await.map(drop))?;
    }
    Ok(())
}

fn gone(result: Result<(), kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other,
    }
}
