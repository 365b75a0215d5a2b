//! Observe, decide, record, apply, and say what was seen: one look at one canary.

use std::sync::Arc;
use std::time::Duration;

use api::{ActionState, ActionStatus, ActionVerb, Canary, CanaryAction, CanaryRun, Cursor, Parsed};
use chrono::{DateTime, Utc};
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::controller::Action;
use rollout::{
    Answer, Ended, HeldBy, Observation, Outcome, Phase, Reason, Request, Rest, RestDecision,
    Revision, Run, Target, Verb, Weight, decide, rest,
};
use serde_json::json;

use crate::Context;
use crate::apply::{ApplyError, adopt, apply, disown};
use crate::events::{Notice, publish};
use crate::preflight::{Facts, blocker};
use crate::proof;
use crate::record::{self, Change, Start, record};
use crate::status::{self, News, State, gateway_names, is_ready, rest_name};
use crate::time::from_kube;
use crate::world::{Runs, World};

/// Why a look at a canary came to nothing. Each is tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the API server gave no usable answer")]
    Kube(#[from] kube::Error),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("canaryrun {run}")]
    Cursor { run: String, source: api::CursorError },
    #[error("canaryrun {run}: spec.plan")]
    Plan { run: String, source: api::Invalid },
}

/// Soon, because something has changed while we looked; its event usually comes first.
const SOON: Duration = Duration::from_millis(200);

/// How long a blocked canary goes without a look, if nothing that is watched has changed: autoscalers, Gateways and metric templates
/// aren't.
const BLOCKED: Duration = Duration::from_secs(30);

/// One look at one canary.
pub(crate) async fn reconcile(canary: Arc<Canary>, ctx: Arc<Context>) -> Result<Action, Error> {
    let world = World::read(&ctx, &canary).await?;
    let runs = Runs::of(&ctx, &canary);
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
    let mut seen = observation(world, None, asked.clone());
    let due = phase.due_check(&frozen.plan, now);
    seen.verdict = due.and_then(|due| ctx.analyst.verdict(ctx, world, run, &checks, due));

    let decision = decide(&frozen, &phase, &seen, now);
    let counted = seen.verdict.as_ref().filter(|_| due.is_some()).map(|v| &v.verdict);
    let accepted = action.as_ref().filter(|_| decision.answer == Some(Answer::Accepted));
    let change =
        Change { decision: &decision, verdict: counted, accepted: accepted.and_then(|a| a.uid()) };
    let written = match record(ctx, run, &frozen, &change).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {
            // Somebody has deleted the run: what it has left is put right at rest.
            ctx.written.forget(&world.canary.uid().unwrap_or_default());
            return Ok(Action::requeue(SOON));
        }
        other => other?,
    };
    let run = written.as_ref().unwrap_or(run);
    if written.is_some() {
        let next = Cursor::new(&decision.next, &frozen.plan);
        tracing::info!(
            phase = next.phase, stage = next.stage, step = next.step, weight = next.weight,
            revision = run.spec.revision, reason = decision.reason.name(), message = %decision.reason,
            "decided"
        );
    }
    let applied = apply(ctx, world, Some(&frozen.canary), &decision.next.effects(&frozen)).await;
    if asked.is_none() || decision.answer.is_some() {
        answer(ctx, action.as_deref(), decision.answer.as_ref()).await?;
    }
    if written.is_some() {
        say(ctx, world, run, &decision.reason, counted).await;
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
        intended: decision.next.weight().unwrap_or_default(),
        held_by: status::held_by(&world.canary),
        gateway: None,
        state: match &decision.next {
            Phase::Ended(Outcome::Failed(cause)) if cause.condemns() => State::Stalled,
            Phase::Ended(Outcome::Succeeded) => State::Current,
            _ => State::InProgress,
        },
    };
    status::write(ctx, world, &news).await?;
    applied?;
    let more = matches!(decision.next, Phase::Ended(_)).then_some(now);
    Ok(look_again(decision.look_again_at.or(more), now))
}

fn phase_of(run: &CanaryRun) -> Result<Phase, api::CursorError> {
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

fn observation(world: &World, blocker: Option<String>, request: Option<Request>) -> Observation {
    Observation {
        target: world.seen_target(),
        canary: world.seen_canary(),
        traffic: world.seen_traffic(),
        pinned: world.pinned(),
        verdict: None,
        request,
        blocker,
        suspended: world.canary.spec.suspend,
        deleting: world.canary.metadata.deletion_timestamp.is_some(),
        held_by: status::held_by(&world.canary).unwrap_or(HeldBy::Policies),
    }
}

/// The oldest action that nobody has answered.
fn pending(
    ctx: &Context,
    world: &World,
    runs: &Runs,
    on: Option<&str>,
) -> (Option<Arc<CanaryAction>>, Option<Request>) {
    let actions = ctx.caches.actions_of(&world.canary);
    let Some(action) = actions.into_iter().find(|action| action.status.is_none()) else {
        return (None, None);
    };
    let uid = action.uid().unwrap_or_default();
    if record::has_answered(&runs.all, &uid) {
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

/// Writes what became of an action. One without an answer here has been accepted in an earlier look.
async fn answer(
    ctx: &Context,
    action: Option<&CanaryAction>,
    answer: Option<&Answer>,
) -> Result<(), Error> {
    let Some(action) = action else { return Ok(()) };
    let (state, message) = match answer {
        Some(Answer::Refused(why)) => (ActionState::Refused, why.clone()),
        Some(Answer::Accepted) | None => (ActionState::Accepted, String::new()),
    };
    let status = ActionStatus { state, message, at: ctx.clock.now() };
    let namespace = action.namespace().unwrap_or_default();
    let api: Api<CanaryAction> = Api::namespaced(ctx.client.clone(), &namespace);
    let params = PatchParams {
        field_manager: Some(api::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(json!({"status": status}));
    match api.patch_status(&action.name_any(), &params, &patch).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop).map_err(Error::Kube),
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

async fn say(
    ctx: &Context,
    world: &World,
    run: &CanaryRun,
    reason: &Reason,
    counted: Option<&analysis::Verdict>,
) {
    let (namespace, name) = (&world.namespace, world.name());
    ctx.observability.reason(namespace, &name, reason.name());
    if let Some(verdict) = counted {
        ctx.observability.check(namespace, &name, verdict);
    }
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

async fn at_rest(ctx: &Arc<Context>, world: &World, runs: &Runs) -> Result<Action, Error> {
    let deleting = world.canary.metadata.deletion_timestamp.is_some();
    let has_finalizer = world.canary.finalizers().iter().any(|f| f == api::FINALIZER);
    if deleting && !has_finalizer {
        return Ok(Action::await_change());
    }
    if !deleting && !has_finalizer {
        set_finalizer(ctx, &world.canary, true).await?;
        return Ok(Action::requeue(SOON));
    }
    let known = is_ready(&world.canary);
    // What only the API server can say is asked before the first run, after a change of the spec, and before each run.
    let ask = !known || deleting || holds_new_revision(world);
    let facts = if ask { Some(Facts::read(ctx, world).await?) } else { None };
    let why_not = spec_trouble(ctx, world).await?.or_else(|| blocker(ctx, world, facts.as_ref()));
    let fit = why_not.is_none();
    let gateways = facts.as_ref().and_then(|f| f.gateways.as_deref().ok());
    let mut news = RestNews {
        held_by: status::held_by(&world.canary),
        gateway: gateways.map(gateway_names),
        adopted: true,
    };
    if fit && !deleting {
        news.adopted = adopt(ctx, world).await?;
        if let (true, false, Some(target)) = (news.adopted, known, &world.target) {
            news.held_by = Some(proof::held_by(ctx, target, &world.name()).await?);
        }
    }
    let (action, asked) = pending(ctx, world, runs, None);
    let mut seen = observation(world, why_not, asked.clone());
    seen.held_by = news.held_by.unwrap_or(seen.held_by);
    let last = runs.last.as_ref().and_then(|run| last_run(run));
    let decision = rest(last.as_ref(), &seen);

    if decision.rest == Rest::Start && news.adopted {
        return start(ctx, world, runs, action.as_deref(), &decision, news.held_by).await;
    }
    apply(ctx, world, None, &decision.effects).await?;
    if asked.is_none() || decision.answer.is_some() {
        answer(ctx, action.as_deref(), decision.answer.as_ref()).await?;
    }
    if decision.rest == Rest::Terminating {
        return let_go(ctx, world).await;
    }
    write_rest(ctx, world, runs, &decision, &news).await?;
    record::prune(ctx, &world.canary, &runs.all).await?;
    Ok(match (decision.rest, news.adopted) {
        (_, false) => Action::requeue(SOON),
        // What blocks it may be something that isn't watched.
        (Rest::Initializing, true) => Action::requeue(BLOCKED),
        (_, true) => Action::await_change(),
    })
}

fn holds_new_revision(world: &World) -> bool {
    match world.seen_target() {
        Target::Found(target) => target.paused && target.serving() != Some(&target.revision),
        Target::Missing => true,
    }
}

struct RestNews {
    held_by: Option<HeldBy>,
    gateway: Option<String>,
    adopted: bool,
}

async fn write_rest(
    ctx: &Context,
    world: &World,
    runs: &Runs,
    decision: &RestDecision,
    news: &RestNews,
) -> Result<(), Error> {
    let before = world.canary.status.as_ref().and_then(|s| s.waiting_for.as_ref());
    let changed = before.is_none_or(|w| w.reason != decision.reason.name());
    let news = News {
        phase: rest_name(decision.rest).to_owned(),
        reason: &decision.reason,
        next_at: None,
        run: runs.last.as_deref(),
        intended: Weight::ZERO,
        held_by: news.held_by,
        gateway: news.gateway.clone(),
        state: State::at_rest(decision.rest),
    };
    status::write(ctx, world, &news).await?;
    if changed && news.state == State::Stalled {
        let note = decision.reason.to_string();
        let version = world.canary.resource_version().unwrap_or_default();
        let reason = decision.reason.name();
        let name = format!("{}.{}.{version}", world.name(), reason.to_lowercase());
        publish(ctx, &world.canary, Notice { name, reason, note: &note, warning: true }).await;
    }
    Ok(())
}

/// What the schema can't see: metrics' templates, above all.
async fn spec_trouble(ctx: &Context, world: &World) -> Result<Option<String>, Error> {
    let plan = match plan(ctx, world).await? {
        Ok(plan) => plan,
        Err(invalid) => return Ok(Some(format!("spec.{invalid}"))),
    };
    Ok(api::parse(&plan).err().map(|invalid| format!("spec.{invalid}")))
}

async fn plan(
    ctx: &Context,
    world: &World,
) -> Result<Result<api::PlanSpec, api::Invalid>, kube::Error> {
    let spec = &world.canary.spec;
    let mut templates = std::collections::BTreeMap::new();
    let api: Api<api::MetricTemplate> = Api::namespaced(ctx.client.clone(), &world.namespace);
    for reference in spec.analysis.metrics.iter().filter_map(|m| m.template_ref.as_ref()) {
        if let Some(template) = api.get_opt(&reference.name).await? {
            templates.insert(reference.name.clone(), template.spec);
        }
    }
    Ok(api::plan_of(spec, &templates))
}

fn last_run(run: &CanaryRun) -> Option<Ended> {
    let Ok(Phase::Ended(outcome)) = phase_of(run) else { return None };
    Some(Ended { revision: Revision::new(run.spec.revision.clone()), outcome })
}

async fn start(
    ctx: &Context,
    world: &World,
    runs: &Runs,
    action: Option<&CanaryAction>,
    decision: &RestDecision,
    held_by: Option<HeldBy>,
) -> Result<Action, Error> {
    let (Some(target), Target::Found(seen)) = (&world.target, world.seen_target()) else {
        return Ok(Action::await_change());
    };
    // Asked again before each run: policies come and go.
    let proved = proof::held_by(ctx, target, &world.name()).await?;
    if held_by != Some(proved) {
        let news = RestNews { held_by: Some(proved), gateway: None, adopted: true };
        write_rest(ctx, world, runs, decision, &news).await?;
        return Ok(Action::requeue(SOON));
    }
    let Some(stable) = seen.serving() else { return Ok(Action::await_change()) };
    let Ok(plan) = plan(ctx, world).await? else { return Ok(Action::requeue(SOON)) };
    let retry = action.filter(|_| decision.answer == Some(Answer::Accepted));
    let begun = Start {
        revision: seen.revision.as_str(),
        stable: stable.as_str(),
        image: &target.spec.template.image,
        plan,
        action: retry.and_then(ResourceExt::uid),
    };
    let run = record::start(ctx, &world.canary, &runs.all, begun).await?;
    tracing::info!(run = run.name_any(), revision = run.spec.revision, "run started");
    answer(ctx, action, decision.answer.as_ref()).await?;
    let note = format!("{} ({}): run {}", decision.reason, run.spec.image, run.name_any());
    let notice = Notice {
        name: format!("{}.started", run.name_any()),
        reason: decision.reason.name(),
        note: &note,
        warning: false,
    };
    publish(ctx, &world.canary, notice).await;
    Ok(Action::requeue(SOON)) // the watch brings it at once
}

/// The last thing that is done for a canary that is being deleted.
async fn let_go(ctx: &Context, world: &World) -> Result<Action, Error> {
    let seen = observation(world, None, None);
    if seen.traffic.stored.is_some() || seen.pinned.is_some() || seen.canary.revision.is_some() {
        let blocked = world
            .target
            .as_ref()
            .is_some_and(|t| t.adopted_by().is_some_and(|by| by != world.name()));
        if !blocked {
            return Ok(Action::requeue(SOON)); // what was asked for is not seen yet
        }
    }
    disown(ctx, world).await?;
    if let Some(target) = world.target.as_ref().filter(|t| t.spec.paused) {
        let note = format!(
            "deployment {} is left paused, as a revision that was not judged is held in it; to start it: \
             kubectl rollout resume deployment {} -n {}",
            target.name(),
            target.name(),
            world.namespace
        );
        let name =
            format!("{}.leftpaused.{}", world.name(), world.canary.uid().unwrap_or_default());
        publish(
            ctx,
            &world.canary,
            Notice { name, reason: "LeftPaused", note: &note, warning: true },
        )
        .await;
    }
    let uid = world.canary.uid().unwrap_or_default();
    ctx.analyst.forget(&uid);
    ctx.written.forget(&uid);
    ctx.observability.forget(&world.namespace, &world.name());
    set_finalizer(ctx, &world.canary, false).await?;
    Ok(Action::await_change())
}

async fn set_finalizer(ctx: &Context, canary: &Canary, on: bool) -> Result<(), Error> {
    let mut finalizers = canary.finalizers().to_vec();
    finalizers.retain(|f| f != api::FINALIZER);
    if on {
        finalizers.push(api::FINALIZER.to_owned());
    }
    let patch = json!({"metadata": {
        "resourceVersion": canary.resource_version(), "finalizers": finalizers,
    }});
    let namespace = canary.namespace().unwrap_or_default();
    let api: Api<Canary> = Api::namespaced(ctx.client.clone(), &namespace);
    let params = PatchParams {
        field_manager: Some(api::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    match api.patch(&canary.name_any(), &params, &Patch::Merge(&patch)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop).map_err(Error::Kube),
    }
}
