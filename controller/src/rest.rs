//! One look at a canary that has no run: adopted, proved, and left alone until there is a new revision.

use std::sync::Arc;
use std::time::Duration;

use api::{Canary, CanaryAction, CanaryRun};
use kube::ResourceExt;
use kube::api::{Api, Patch};
use kube::runtime::controller::Action;
use rollout::{
    Answer, Ended, HeldBy, Phase, Plan, Reason, Rest, RestDecision, Revision, Shape, Target, rest,
};
use serde_json::json;

use crate::Context;
use crate::action::{answer, pending};
use crate::apply::{ApplyError, adopt, apply, disown, params};
use crate::events::{Notice, publish};
use crate::preflight::{Facts, blocker, claimed_by_another};
use crate::proof;
use crate::reconcile::{Error, SOON, observation, phase_of};
use crate::record::{self, Start};
use crate::status::{self, News, State, is_ready, rest_name};
use crate::world::{Runs, World};

/// How long a blocked canary goes without a look, if nothing that is watched has changed: autoscalers, Gateways and metric templates
/// aren't.
const BLOCKED: Duration = Duration::from_secs(30);

pub(crate) async fn at_rest(
    ctx: &Arc<Context>,
    world: &World,
    runs: &Runs,
) -> Result<Action, Error> {
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
    let ask = !deleting && (!known || holds_new_revision(world));
    let facts = if ask { Some(Facts::read(ctx, world).await?) } else { None };
    let mut why_not = if deleting {
        // Whatever else is wrong, what is ours goes.
        claimed_by_another(ctx, world)
    } else {
        match parsed(ctx, world).await? {
            Ok(plan) => blocker(ctx, world, &plan, facts.as_ref()),
            Err(why) => Some(why),
        }
    };
    let fit = why_not.is_none();
    let mut news = RestNews {
        held_by: status::held_by(&world.canary),
        systems: facts.as_ref().and_then(Facts::systems),
        adopted: true,
    };
    if fit && !deleting {
        news.adopted = match adopt(ctx, world).await {
            Err(error @ (ApplyError::Refused { .. } | ApplyError::Unfit(_))) => {
                why_not = Some(crate::errors::chain(&error));
                true
            }
            other => other?,
        };
        let proved = why_not.is_some() || known && ctx.policies.knows(&world.canary);
        if let (true, false, Some(target)) = (news.adopted, proved, &world.target) {
            let at = ctx.policies.now();
            news.held_by = Some(proof::held_by(ctx, target, &world.name()).await?);
            ctx.policies.proved(&world.canary, at);
        }
    }
    let (action, asked) = pending(ctx, world, runs, None);
    let mut seen = observation(world, &[], why_not, asked.clone());
    seen.held_by = news.held_by.unwrap_or(seen.held_by);
    let last = runs.last.as_ref().and_then(|run| last_run(run));
    let decision = rest(last.as_ref(), &seen);

    if decision.rest == Rest::Start && news.adopted {
        return start(ctx, world, runs, action.as_deref(), &decision, &news).await;
    }
    apply(ctx, world, None, &decision.effects).await?;
    if asked.is_none() || decision.answer.is_some() {
        answer(ctx, action.as_deref(), decision.answer.as_ref()).await?;
    }
    if decision.rest == Rest::Terminating {
        if decision.effects.iter().any(|e| matches!(e, rollout::Effect::Start(_))) {
            return Ok(Action::requeue(SOON)); // first see that it has been started
        }
        return let_go(ctx, world, fit).await;
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
    systems: Option<Vec<String>>,
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
    // Not ready before it is adopted and what holds its new revisions has been proved.
    let proved = news.adopted && news.held_by.is_some();
    let rest = match decision.rest {
        Rest::Idle | Rest::Succeeded if !proved => Rest::Initializing,
        rest => rest,
    };
    let (_, traffic) = world.seen_split(&[]);
    let news = News {
        traffic: &traffic,
        phase: rest_name(rest).to_owned(),
        reason: &decision.reason,
        next_at: None,
        run: runs.last.as_deref(),
        intended: Shape::default(),
        held_by: news.held_by,
        systems: news.systems.clone(),
        state: match &decision.reason {
            Reason::TargetRolling => State::InProgress,
            _ if rest != decision.rest => State::InProgress,
            _ => State::at_rest(rest),
        },
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

/// The plan, or what the schema can't see: metrics' templates, above all.
async fn parsed(ctx: &Context, world: &World) -> Result<Result<Plan, String>, Error> {
    let plan = plan(ctx, world).await?.and_then(|plan| api::parse(&plan));
    Ok(plan.map(|parsed| parsed.plan).map_err(|invalid| format!("spec.{invalid}")))
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
    news: &RestNews,
) -> Result<Action, Error> {
    let (Some(target), Target::Found(seen)) = (&world.target, world.seen_target()) else {
        return Ok(Action::await_change());
    };
    // Asked again before each run: policies come and go.
    let proved = proof::held_by(ctx, target, &world.name()).await?;
    // A run goes by what the status says of the systems, and the route may have moved since.
    let known =
        world.canary.status.as_ref().and_then(|s| Some(s.traffic.as_ref()?.systems.clone()));
    if news.held_by != Some(proved) || news.systems.is_some() && news.systems != known {
        let news = RestNews { held_by: Some(proved), systems: news.systems.clone(), adopted: true };
        write_rest(ctx, world, runs, decision, &news).await?;
        return Ok(Action::requeue(SOON));
    }
    let Some(stable) = seen.serving() else { return Ok(Action::await_change()) };
    let Ok(mut plan) = plan(ctx, world).await? else { return Ok(Action::requeue(SOON)) };
    plan.provider = world.routes.provider.as_ref().and_then(|(name, _)| api::Provider::named(name));
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
///
/// `ours`: what the canary names isn't looked after by another one.
async fn let_go(ctx: &Context, world: &World, ours: bool) -> Result<Action, Error> {
    let seen = observation(world, &[], None, None);
    let left =
        seen.traffic.stored.is_some() || seen.pinned.is_some() || seen.canary.revision.is_some();
    if ours && left {
        return Ok(Action::requeue(SOON)); // what was asked for is not seen yet
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
    ctx.said.forget(&uid);
    ctx.policies.forget(&world.canary);
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
    match api.patch(&canary.name_any(), &params(), &Patch::Merge(&patch)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop).map_err(Error::Kube),
    }
}
