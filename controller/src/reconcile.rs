//! Observe, decide, record, apply, and say what was seen: one look at one canary.

use std::sync::Arc;
use std::time::Duration;

use api::{Canary, CanaryRun, Cursor, Parsed};
use chrono::{DateTime, TimeDelta, Utc};
use kube::ResourceExt;
use kube::runtime::controller::Action;
use rollout::{
    Answer, Effect, HeldBy, Observation, Outcome, Phase, Reason, Request, Revision, Run, decide,
};

use crate::Context;
use crate::action::{answer, pending};
use crate::apply::{ApplyError, adopt, apply};
use crate::around;
use crate::events::{Notice, publish};
use crate::proof;
use crate::record::{Change, record};
use crate::rest::at_rest;
use crate::status::{self, News, State};
use crate::time::from_kube;
use crate::world::{Runs, World};

/// Why a look at a canary came to nothing. Each is tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the API server gave no usable answer")]
    Kube(#[from] kube::Error),
    #[error("the API server has not answered within {0:?}; is it reachable?")]
    Timeout(Duration),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("canaryrun {run}")]
    Cursor { run: String, source: api::CursorError },
    #[error("canaryrun {run}: spec.plan")]
    Plan { run: String, source: api::Invalid },
}

/// Soon, because something has changed while we looked; its event usually comes first.
pub(crate) const SOON: Duration = Duration::from_millis(200);

/// How long until a proof that nobody tells us of is looked for again: a weight is in effect about as long before it is believed.
const PROOF: TimeDelta = TimeDelta::seconds(1);

/// One look at one canary.
pub(crate) async fn reconcile(canary: Arc<Canary>, ctx: Arc<Context>) -> Result<Action, Error> {
    let runs = Runs::of(&ctx, &canary);
    let mut world = World::read(&ctx, &canary, runs.on.as_deref()).await?;
    if runs.on.is_some() {
        // What isn't known proves nothing, and keeps nobody from ending a run.
        match around::evidence(&ctx, &world).await {
            Ok(around) => world.around = Some(around),
            Err(error) => {
                let error = crate::errors::chain(&error);
                world.unproved = Some(format!("what proves the route could not be read: {error}"));
            }
        }
    }
    let result = match &runs.on {
        Some(run) => in_run(&ctx, &world, &runs, run).await,
        None => at_rest(&ctx, &world, &runs).await,
    };
    match result {
        Err(Error::Kube(kube::Error::Api(status))) if status.code == 409 => {
            Ok(Action::requeue(SOON))
        }
        Err(Error::Apply(ApplyError::Stale { what })) => {
            tracing::debug!(what, "changed meanwhile, looking again");
            Ok(Action::requeue(SOON))
        }
        other => other,
    }
}

async fn in_run(
    ctx: &Arc<Context>,
    world: &World,
    runs: &Runs,
    run: &CanaryRun,
) -> Result<Action, Error> {
    let now = ctx.clock.now();
    let name = run.name_any();
    let parsed =
        api::parse(&run.spec.plan).map_err(|source| Error::Plan { run: name.clone(), source })?;
    let Parsed { plan, checks } = parsed;
    let frozen = Run {
        plan,
        canary: Revision::new(run.spec.revision.clone()),
        stable: Revision::new(run.spec.stable_revision.clone()),
    };
    let phase = phase_of(run).map_err(|source| Error::Cursor { run: name.clone(), source })?;
    let (action, asked) = pending(ctx, world, runs, Some(&name));
    let mut seen = observation(world, &phase.effects(&frozen), None, asked.clone());
    let due = phase.due_check(&frozen.plan, now);
    seen.verdict = due.and_then(|due| ctx.analyst.verdict(ctx, world, run, &checks, due));
    let look = phase.due_look(&frozen.plan, now);
    seen.left = look.and_then(|look| ctx.analyst.leftover(ctx, world, run, look));

    let decision = decide(&frozen, &phase, &seen, now);
    let counted = seen.verdict.as_ref().filter(|_| due.is_some()).map(|v| &v.verdict);
    let accepted = action.as_ref().filter(|_| decision.answer == Some(Answer::Accepted));
    let change = Change {
        decision: &decision,
        phase: &phase,
        verdict: counted,
        left: seen.left.as_ref().map(|leftover| &leftover.left),
        // Copies aren't users' requests, and those that match aren't a share of them.
        tells_share: due.is_some_and(|due| !due.mirrored && !due.matched),
        accepted: accepted.and_then(|a| a.uid()),
    };
    let written = match record(ctx, run, &frozen, &change).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {
            // Somebody has deleted the run: what it has left is put right at rest.
            ctx.written.forget(&world.canary.uid().unwrap_or_default());
            return Ok(Action::requeue(SOON));
        }
        other => other?,
    };
    let entry = |run: &CanaryRun| run.status.as_ref().and_then(|s| s.history.last().cloned());
    let is_news = written.as_ref().is_some_and(|written| entry(written) != entry(run));
    let is_recorded = written.is_some();
    let run = written.as_ref().unwrap_or(run);
    if is_recorded {
        let next = Cursor::new(&decision.next, &frozen.plan);
        tracing::info!(
            phase = next.phase, stage = next.stage, step = next.step, weight = next.weight,
            revision = run.spec.revision, reason = decision.reason.name(), message = %decision.reason,
            "decided"
        );
    }
    let applied = apply(ctx, world, Some(&frozen.canary), &decision.next.effects(&frozen)).await;
    // What was there before the run may have been taken away by hand: without its label a target isn't held any more.
    let kept = if seen.deleting { Ok(true) } else { adopt(ctx, world).await };
    if asked.is_none() || decision.answer.is_some() {
        answer(ctx, action.as_deref(), decision.answer.as_ref()).await?;
    }
    if is_recorded {
        count(ctx, world, &decision.reason, counted);
    }
    if is_news {
        say(ctx, world, run, &decision.reason).await;
    }
    if let Phase::Ended(outcome) = &decision.next {
        ended(ctx, world, run, outcome);
    }
    let cursor = Cursor::new(&decision.next, &frozen.plan);
    let news = News {
        phase: cursor.phase,
        reason: &decision.reason,
        next_at: decision.look_again_at,
        run: Some(run),
        intended: decision.next.shape(&frozen).unwrap_or_default(),
        held_by: held_by(ctx, world, &decision.next).await,
        traffic: &seen.traffic,
        systems: None,
        state: match &decision.next {
            Phase::Ended(Outcome::Failed(cause)) if cause.condemns() => State::Stalled,
            Phase::Ended(Outcome::Succeeded) => State::Current,
            _ => State::InProgress,
        },
    };
    // A look that is followed by another at once leaves the status to that one, as one does that waits for a check to be made. What a
    // check has found is said all the same: where checks take longer than their interval, the next is due at once, and so on.
    let at_once = counted.is_none() && decision.look_again_at.is_some_and(|at| at <= now);
    let being_checked = due.is_some() && seen.verdict.is_none();
    let being_looked = look.is_some() && seen.left.is_none();
    let being_asked = !is_recorded && (being_checked || being_looked);
    if applied.is_err() || !(at_once || being_asked) {
        status::write(ctx, world, &news).await?;
    }
    applied?;
    kept?;
    let more = matches!(decision.next, Phase::Ended(_)).then_some(now);
    let next = decision.look_again_at.or(more);
    let unproved = !seen.traffic.accepted && around::is_unwatched(world);
    let next = match next {
        _ if unproved => Some(next.map_or(now + PROOF, |at| at.min(now + PROOF))),
        next => next,
    };
    Ok(look_again(next, now))
}

/// Asked again when a run ends: what the policies don't hold any more has to be paused at rest.
async fn held_by(ctx: &Context, world: &World, next: &Phase) -> Option<HeldBy> {
    let known = status::held_by(&world.canary);
    match (next, &world.target) {
        (Phase::Ended(_), Some(target)) => {
            proof::held_by(ctx, target, &world.name()).await.ok().or(known)
        }
        _ => known,
    }
}

pub(crate) fn phase_of(run: &CanaryRun) -> Result<Phase, api::CursorError> {
    match run.status.as_ref().and_then(|s| s.cursor.as_ref()) {
        Some(cursor) => cursor.parse(),
        None => Ok(Phase::first(
            run.metadata.creation_timestamp.as_ref().map(from_kube).unwrap_or_default(),
        )),
    }
}

fn look_again(at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Action {
    match at {
        // Rounded up, so as not to look a moment too early.
        Some(at) => {
            let wait = (at - now).to_std().unwrap_or_default();
            Action::requeue(wait + Duration::from_millis(u64::from(!wait.is_zero())))
        }
        None => Action::await_change(),
    }
}

/// `wanted`: what was asked for before this look.
pub(crate) fn observation(
    world: &World,
    wanted: &[Effect],
    blocker: Option<String>,
    request: Option<Request>,
) -> Observation {
    let (pinned, traffic) = world.seen_split(wanted);
    Observation {
        target: world.seen_target(),
        canary: world.seen_canary(),
        traffic,
        pinned,
        verdict: None,
        left: None,
        request,
        blocker,
        suspended: world.canary.spec.suspend,
        deleting: world.canary.metadata.deletion_timestamp.is_some(),
        held_by: status::held_by(&world.canary).unwrap_or(HeldBy::Policies),
    }
}

/// Waits that follow from what was said before, and need no event of their own.
fn is_chatter(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::CheckNotDue { .. }
            | Reason::WarmingUp { .. }
            | Reason::PinningService
            | Reason::OpeningService
            | Reason::ReturningTraffic
            | Reason::ExcludingCanary
            | Reason::RemovingCanary { .. }
            | Reason::Releasing
    )
}

fn count(ctx: &Context, world: &World, reason: &Reason, counted: Option<&analysis::Verdict>) {
    let (namespace, name) = (&world.namespace, world.name());
    ctx.observability.reason(namespace, &name, reason.name());
    if let Some(verdict) = counted {
        ctx.observability.check(namespace, &name, verdict);
    }
}

async fn say(ctx: &Context, world: &World, run: &CanaryRun, reason: &Reason) {
    if is_chatter(reason) {
        return;
    }
    let status = run.status.clone().unwrap_or_default();
    let over = status.ended_at.is_some();
    let warning = matches!(
        reason,
        Reason::CheckFailed { .. }
            | Reason::BothArmsBad { .. }
            | Reason::NoVerdict { .. }
            | Reason::CanaryLost { .. }
            | Reason::StableNotReady { .. }
            | Reason::RollingBack { .. }
            | Reason::RolledBack { .. }
            | Reason::TargetGone { .. }
            | Reason::NothingToReturnTo
            | Reason::NotReturned { .. }
            | Reason::StillServed { .. }
            | Reason::NobodySaw { .. }
    );
    // One event for the end of a run; the others are told apart by the version of the record that they belong to.
    let suffix = if over { "ended".to_owned() } else { run.resource_version().unwrap_or_default() };
    let note = reason.to_string();
    let notice = Notice {
        name: format!("{}.{suffix}", run.name_any()),
        reason: reason.name(),
        note: &note,
        warning,
    };
    publish(ctx, &world.canary, notice).await;
}

fn ended(ctx: &Context, world: &World, run: &CanaryRun, outcome: &Outcome) {
    let status = run.status.clone().unwrap_or_default();
    let began = run.metadata.creation_timestamp.as_ref().map(from_kube);
    let took = began.zip(status.ended_at).map(|(began, ended)| (ended - began).num_milliseconds());
    #[expect(clippy::cast_precision_loss, reason = "runs take less than 285,000 years")]
    let seconds = took.unwrap_or_default() as f64 / 1000.0;
    let (name, cause) = match outcome {
        Outcome::Succeeded => ("Succeeded", ""),
        Outcome::Failed(cause) => ("Failed", cause.name()),
    };
    ctx.observability.ended(&world.namespace, &world.name(), name, cause, seconds);
    ctx.analyst.forget(&world.canary.uid().unwrap_or_default());
}
