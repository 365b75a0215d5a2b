//! The canary's status: what was observed, and a summary of its run.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use api::{Canary, CanaryRun, CanaryStatus, Condition, RunSummary, TrafficStatus, WaitingFor};
use chrono::{DateTime, Utc};
use kube::ResourceExt;
use kube::api::Api;
use providers::traffic::Verification;
use rollout::{HeldBy, Reason, Rest, Shape, Traffic, Weight};

use crate::Context;
use crate::record::{last_check, post, version};
use crate::time::from_kube;
use crate::world::World;

/// What there is to say about a canary now.
pub(crate) struct News<'a> {
    pub(crate) phase: String,
    pub(crate) reason: &'a Reason,
    pub(crate) next_at: Option<DateTime<Utc>>,
    /// The run that is on, or the last one.
    pub(crate) run: Option<&'a CanaryRun>,
    pub(crate) intended: Shape,
    pub(crate) traffic: &'a Traffic,
    pub(crate) held_by: Option<HeldBy>,
    /// The systems behind the routes, if they were asked for.
    pub(crate) systems: Option<Vec<String>>,
    pub(crate) state: State,
}

impl News<'_> {
    /// Reason and sentence. Between two checks they are the last one's: that the next isn't due yet tells nobody anything.
    fn said(&self) -> (&str, String) {
        let run = self.run.and_then(|run| run.status.as_ref());
        match (self.reason, run.and_then(|run| Some((last_check(run)?, &run.message)))) {
            (Reason::CheckNotDue { .. }, Some((check, message))) => (check, message.clone()),
            _ => (self.reason.name(), self.reason.to_string()),
        }
    }
}

/// What kstatus, and so Argo CD, Flux and Helm, make of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// What is wanted serves.
    Current,
    /// It is on its way there.
    InProgress,
    /// It will not get there unless someone does something.
    Stalled,
}

impl State {
    pub(crate) fn at_rest(rest: Rest) -> Self {
        match rest {
            Rest::Idle | Rest::Succeeded => Self::Current,
            Rest::Waiting | Rest::Start | Rest::Terminating => Self::InProgress,
            Rest::Initializing | Rest::Failed => Self::Stalled,
        }
    }
}

pub(crate) fn held_by(canary: &Canary) -> Option<HeldBy> {
    match canary.status.as_ref()?.held_by.as_deref()? {
        "ApiServer" => Some(HeldBy::Policies),
        "Pause" => Some(HeldBy::Pause),
        _ => None,
    }
}

fn held_by_name(held_by: HeldBy) -> String {
    match held_by {
        HeldBy::Policies => "ApiServer",
        HeldBy::Pause => "Pause",
    }
    .to_owned()
}

/// Whether the canary was found fit for work as its spec is now.
pub(crate) fn is_ready(canary: &Canary) -> bool {
    let Some(status) = &canary.status else { return false };
    let stalled = status.conditions.iter().any(|c| c.kind == "Stalled" && c.reason == "NotReady");
    status.observed_generation == canary.metadata.generation
        && status.held_by.is_some()
        && !status.phase.is_empty()
        && !stalled
}

/// Writes the status if it says anything new.
///
/// # Errors
/// When the API server refuses it. 409 is none: what is newer wakes us anyway.
pub(crate) async fn write(
    ctx: &Context,
    world: &World,
    news: &News<'_>,
) -> Result<(), kube::Error> {
    let canary = &world.canary;
    let before = canary.status.clone().unwrap_or_default();
    let after = status(ctx, world, &before, news);
    let (namespace, name) = (&world.namespace, world.name());
    ctx.observability.observe(namespace, &name, &after);
    if after == before || ctx.said.is_newer_than(canary) {
        return Ok(());
    }
    let mut canary = Canary::clone(canary);
    canary.status = Some(after);
    let api: Api<Canary> = Api::namespaced(ctx.client.clone(), namespace);
    match api.replace_status(&name, &post(), &canary).await {
        Ok(stored) => {
            ctx.said.keep(&stored);
            Ok(())
        }
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The version of each canary, by its uid, that our newest status made. Whoever looks at an older one would be refused, and is woken
/// when the watch has caught up.
#[derive(Debug, Default)]
pub(crate) struct Said(Mutex<BTreeMap<String, u128>>);

impl Said {
    fn is_newer_than(&self, canary: &Canary) -> bool {
        let said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.get(&canary.uid().unwrap_or_default()).is_some_and(|said| *said > version(canary))
    }

    fn keep(&self, canary: &Canary) {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.insert(canary.uid().unwrap_or_default(), version(canary));
    }

    /// The canary is gone.
    pub(crate) fn forget(&self, canary: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(canary);
    }
}

fn status(ctx: &Context, world: &World, before: &CanaryStatus, news: &News<'_>) -> CanaryStatus {
    let now = ctx.clock.now();
    let canary = &world.canary;
    let run = news.run.map(summary);
    let on = run.as_ref().is_some_and(|run| run.ended_at.is_none());
    let last = news.run.and_then(|run| run.status.as_ref());
    let seen = news.traffic;
    let previous = before.traffic.clone().unwrap_or_default();
    CanaryStatus {
        observed_generation: canary.metadata.generation,
        phase: news.phase.clone(),
        step: run.as_ref().filter(|_| on).map(|run| format!("{}/{}", run.step, run.steps)),
        waiting_for: waiting_for(before, news, canary, now),
        traffic: Some(TrafficStatus {
            intended: news.intended.weight.percent(),
            stored: seen.stored.clone().unwrap_or_default().weight.percent(),
            matches: news.intended.matches.iter().map(ToString::to_string).collect(),
            mirrored: news.intended.mirror.map(Weight::percent),
            accepted: seen.accepted,
            verified: verified(world, news).filter(|_| on),
            observed: last.and_then(|s| s.observed).filter(|_| on),
            observed_at: last.and_then(|s| s.observed_at).filter(|_| on),
            provider: world.routes.provider.as_ref().map(|(name, _)| (*name).to_owned()),
            because: world.routes.provider.as_ref().map(|(_, because)| because.clone()),
            routes: world.routes.all.iter().map(ToString::to_string).collect(),
            systems: news.systems.clone().unwrap_or(previous.systems),
        }),
        held_by: news.held_by.map(held_by_name),
        metrics: last.map(|s| s.metrics.clone()).unwrap_or_default(),
        conditions: conditions(before, news, canary, now),
        run,
    }
}

/// How far it is known that the requests go where the route is meant to send them.
fn verified(world: &World, news: &News<'_>) -> Option<String> {
    let (seen, last) = (news.traffic, news.run.and_then(|run| run.status.as_ref()));
    if seen.stored.clone().unwrap_or_default() != news.intended {
        return None;
    }
    let agreed = last.is_some_and(|s| s.agreed_at.is_some());
    Some(
        match world.capabilities.verification {
            _ if agreed => "Observed",
            Verification::Programmed if seen.accepted => "Programmed",
            Verification::Accepted if seen.accepted => "Accepted",
            Verification::Programmed | Verification::Accepted | Verification::Stored => "Stored",
        }
        .to_owned(),
    )
}

fn summary(run: &CanaryRun) -> RunSummary {
    let status = run.status.clone().unwrap_or_default();
    let steps = u32::try_from(run.spec.plan.steps.len()).unwrap_or(u32::MAX);
    let cursor = status.cursor;
    let ended = status.ended_at.is_some();
    RunSummary {
        name: run.name_any(),
        revision: run.spec.revision.clone(),
        started_at: run.metadata.creation_timestamp.as_ref().map(from_kube).unwrap_or_default(),
        step: cursor.as_ref().and_then(|c| c.step).unwrap_or(1),
        steps,
        failures: cursor.as_ref().map_or(0, |c| c.failures),
        threshold: run.spec.plan.analysis.threshold,
        ended_at: status.ended_at,
        outcome: cursor.filter(|_| ended).map(|c| c.phase),
    }
}

fn waiting_for(
    before: &CanaryStatus,
    news: &News<'_>,
    canary: &Canary,
    now: DateTime<Utc>,
) -> Option<WaitingFor> {
    let (reason, message) = news.said();
    let done = matches!(news.reason, Reason::AtRest { .. } | Reason::Succeeded { .. });
    let since = before.waiting_for.as_ref().filter(|w| w.reason == reason).map_or(now, |w| w.since);
    (!done).then(|| WaitingFor {
        reason: reason.to_owned(),
        message,
        since,
        next_at: news.next_at.filter(|at| *at > now),
        unblock: unblock(reason, canary),
    })
}

/// The command that ends the wait, where a person can.
fn unblock(reason: &str, canary: &Canary) -> Option<String> {
    let (name, namespace) = (canary.name_any(), canary.namespace().unwrap_or_default());
    let target = &canary.spec.target_ref.name;
    let verb = match reason {
        "AwaitingApproval" | "HeldForTime" => "promote",
        "StillHeld" => "retry",
        "BothArmsBad" | "NoData" | "MetricsError" | "TooEarly" | "ShareDiffers" => "abort",
        "StillServed" => {
            return Some(format!(
                "kubectl delete deployment {target}{} -n {namespace}",
                api::SUFFIX
            ));
        }
        "Suspended" => {
            let patch = r#"'{"spec":{"suspend":false}}'"#;
            return Some(format!(
                "kubectl patch canary {name} -n {namespace} --type merge -p {patch}"
            ));
        }
        _ => return None,
    };
    Some(format!("tidegate {verb} {name} -n {namespace}"))
}

fn conditions(
    before: &CanaryStatus,
    news: &News<'_>,
    canary: &Canary,
    now: DateTime<Utc>,
) -> Vec<Condition> {
    let (reason, message) = news.said();
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        let same = before.conditions.iter().find(|c| c.kind == kind && c.status == status);
        Condition {
            kind: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            observed_generation: canary.metadata.generation,
            last_transition_time: same.map_or(now, |c| c.last_transition_time),
        }
    };
    let mut all = vec![match (news.state, news.held_by) {
        (State::Current, Some(HeldBy::Pause)) => {
            let paused = format!(
                "{message}; the admission policies are not in force, so the deployment is paused at rest"
            );
            condition("Ready", "True", "PausedAtRest", &paused)
        }
        (State::Current, _) => condition("Ready", "True", reason, &message),
        (State::InProgress, _) => condition("Ready", "Unknown", reason, &message),
        (State::Stalled, _) => condition("Ready", "False", reason, &message),
    }];
    // By kstatus' rules the abnormal ones are absent when they are not true.
    match news.state {
        State::Current => {}
        State::InProgress => all.push(condition("Reconciling", "True", reason, &message)),
        State::Stalled => all.push(condition("Stalled", "True", reason, &message)),
    }
    let outcome = news.run.and_then(|run| run.status.as_ref()).filter(|s| s.ended_at.is_some());
    match outcome.and_then(|s| s.cursor.as_ref().map(|c| (c.phase.as_str(), s.message.as_str()))) {
        Some(("Succeeded", message)) => {
            all.push(condition("Promoted", "True", "Succeeded", message));
        }
        Some((_, message)) => all.push(condition("Promoted", "False", "RolledBack", message)),
        None if news.run.is_some() => all.push(condition("Promoted", "Unknown", reason, &message)),
        None => {}
    }
    let held = matches!(
        news.reason,
        Reason::StillHeld { .. } | Reason::WaitingToStart { .. } | Reason::Suspended
    );
    all.push(if held {
        condition("Held", "True", reason, &message)
    } else {
        condition("Held", "False", reason, "no revision waits")
    });
    all
}

/// The phase of a canary without a run, as the status has it.
pub(crate) fn rest_name(rest: Rest) -> &'static str {
    match rest {
        Rest::Initializing => "Initializing",
        Rest::Idle => "Idle",
        Rest::Waiting => "Waiting",
        Rest::Start => "Progressing",
        Rest::Succeeded => "Succeeded",
        Rest::Failed => "Failed",
        Rest::Terminating => "Terminating",
    }
}
