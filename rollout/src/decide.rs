use chrono::{DateTime, Utc};

use crate::{
    Cause, Observation, Orphan, Outcome, Phase, Promotion, PromotionStage, Reason, Request,
    Retreat, Revision, Run, Target, Timed, Verb, Weight, Workload, progress, promotion, retreat,
};

/// What comes next, and why.
#[must_use = "a decision has no effect until it is recorded and applied"]
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Equal to the phase that was given when nothing changes. What it wants is [`Phase::effects`].
    pub next: Phase,
    pub reason: Reason,
    /// When to look again though nothing has happened; `None`: only an event can change anything.
    pub look_again_at: Option<DateTime<Utc>>,
    /// What became of the request that was seen; never `None` if there was one.
    pub answer: Option<Answer>,
}

/// What became of a person's request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Accepted,
    Refused(String),
}

impl Decision {
    pub(crate) fn new(next: Phase, reason: Reason) -> Self {
        Self { next, reason, look_again_at: None, answer: None }
    }

    /// At the earliest of the times that are given.
    pub(crate) fn at(mut self, when: DateTime<Utc>) -> Self {
        self.look_again_at = Some(self.look_again_at.map_or(when, |before| before.min(when)));
        self
    }

    pub(crate) fn answered(mut self, answer: Answer) -> Self {
        self.answer = Some(answer);
        self
    }
}

/// Pure and total: no clock, no I/O, no randomness, no error, no panic.
pub fn decide(run: &Run, phase: &Phase, seen: &Observation, now: DateTime<Utc>) -> Decision {
    let settled = seen.request.as_ref().and_then(|r| answer(r, run, phase, seen));
    let request = seen.request.as_ref().filter(|_| settled.is_none());
    let mut decision = leave(run, phase, seen, request, now).unwrap_or_else(|| match phase {
        Phase::Progressing(at) => progress::decide(run, at, seen, request, now),
        Phase::Promoting(at) => promotion::decide(run, at, seen, now),
        Phase::RollingBack(at) => retreat::decide(run, at, seen, now),
        Phase::Orphaned(at) => orphaned(run, at, seen, now),
        Phase::Ended(outcome) => Decision::new(phase.clone(), outcome.reason(run)),
    });
    if let Some(answer) = settled {
        decision.answer = Some(answer);
    } else if request.is_some() && decision.answer.is_none() {
        // Never left for later: it was asked of what the person saw.
        decision.answer = Some(Answer::Refused(format!("not now: {}", decision.reason)));
    }
    decision
}

/// The answer to a request that changes nothing: it can't be met, or has been met already. `None` for every other.
fn answer(request: &Request, run: &Run, phase: &Phase, seen: &Observation) -> Option<Answer> {
    let refused = |why: &str| Some(Answer::Refused(why.to_owned()));
    if !request.names_this_run {
        let named = request.run.as_deref().unwrap_or_default();
        return refused(&format!("run {named} is not the run that is on"));
    }
    match (request.verb, phase) {
        // Met before a restart that lost the answer.
        (
            Verb::Abort,
            Phase::RollingBack(Retreat { cause, .. }) | Phase::Ended(Outcome::Failed(cause)),
        ) if *cause == aborted(request) => Some(Answer::Accepted),
        (_, Phase::Ended(_)) => refused("the run has ended"),
        (Verb::Retry, _) => refused("the run is still on; abort it first"),
        (Verb::Promote, Phase::Progressing(p)) => {
            let is = p.step + 1;
            let asked = request.step.filter(|asked| *asked != is)?;
            refused(&format!("step {asked} was seen, but the run is at step {is}; look again"))
        }
        (Verb::Promote, Phase::Promoting(_)) => refused("the run is being promoted already"),
        (Verb::Promote | Verb::Abort, Phase::RollingBack(_)) => {
            refused("the run is being rolled back already")
        }
        (Verb::Promote | Verb::Abort, Phase::Orphaned(_)) => {
            refused("the deployment is gone; the canary serves until it is back")
        }
        (Verb::Abort, Phase::Promoting(p)) if p.stage.at >= PromotionStage::Remove => {
            refused("the revision serves everything already; revert it where it is kept")
        }
        (Verb::Abort, Phase::Promoting(p)) if p.started() && !returnable(run, seen) => {
            refused("the old revision's ReplicaSet is gone; revert it where it is kept")
        }
        (Verb::Abort, Phase::Progressing(_) | Phase::Promoting(_)) => None,
    }
}

fn aborted(request: &Request) -> Cause {
    Cause::Aborted { by: request.by.clone(), why: request.why.clone() }
}

/// `revisionHistoryLimit: 0` leaves nothing to go back to, once the new revision has rolled out.
pub(crate) fn returnable(run: &Run, seen: &Observation) -> bool {
    match &seen.target {
        Target::Found(target) => target.remembers(&run.stable),
        Target::Missing => true,
    }
}

/// What ends a phase whatever it is doing: the world has changed under it, or a person says so.
fn leave(
    run: &Run,
    phase: &Phase,
    seen: &Observation,
    request: Option<&Request>,
    now: DateTime<Utc>,
) -> Option<Decision> {
    let promotion = match phase {
        Phase::Progressing(_) => None,
        Phase::Promoting(p) if p.stage.at < PromotionStage::Remove => Some(p),
        Phase::Promoting(_) | Phase::RollingBack(_) | Phase::Orphaned(_) | Phase::Ended(_) => {
            return None;
        }
    };
    let back = |cause| Some(go_back(run, run.stable.clone(), phase, seen, cause, now));
    let Target::Found(target) = &seen.target else {
        return match seen.canary.ready {
            _ if seen.deleting => back(Cause::Deleted),
            0 => back(Cause::Recreated),
            ready => {
                let next = Phase::Orphaned(Orphan { weight: phase.weight(), since: now });
                Some(Decision::new(next, Reason::TargetGone { ready }))
            }
        };
    };
    if let Some(request) = request.filter(|r| r.verb == Verb::Abort) {
        return back(aborted(request)).map(|d| d.answered(Answer::Accepted));
    }
    let started = target.started(&run.canary);
    if target.revision == run.stable && (!started || target.remembers(&run.stable)) {
        return back(Cause::Reverted);
    }
    match promotion {
        // It has been judged: what others have started is rolled out to its end.
        Some(p) if started => (!p.started()).then(|| roll(p, now)),
        None if started => back(Cause::StartedByOthers),
        _ if seen.deleting => back(Cause::Deleted),
        _ => match stranger(run, target) {
            Some(by) => back(Cause::Superseded { by: by.clone() }),
            None => back(Cause::CannotRun { why: unfit(run, promotion, seen)? }),
        },
    }
}

/// A revision that has no part in the run: a newer one in the template; or an old one with pods, for a held target that is
/// scaled from 0 gets them from its newest ReplicaSet, whichever that is.
fn stranger<'a>(run: &Run, target: &'a Workload) -> Option<&'a Revision> {
    let live = target.pods.iter().filter(|(_, p)| p.live()).map(|(revision, _)| revision);
    let mut all = std::iter::once(&target.revision).chain(live);
    all.find(|revision| **revision != run.stable && **revision != run.canary)
}

/// Why the canary can't go on, if it can't. In a promotion there is no step left to begin again.
fn unfit(run: &Run, promotion: Option<&Promotion>, seen: &Observation) -> Option<String> {
    let serves = |p: &Promotion| p.shape(&run.plan).is_some_and(|shape| !shape.is_nothing());
    let lost = promotion.is_some_and(|p| !p.started() && serves(p)) && seen.canary.ready == 0;
    let no_pod = || {
        let trouble = seen.canary.trouble.as_deref().unwrap_or("the pods are gone");
        format!("no canary pod was ready while the canary served: {trouble}")
    };
    seen.canary.broken.clone().or_else(|| lost.then(no_pod))
}

fn roll(promotion: &Promotion, now: DateTime<Utc>) -> Decision {
    let stage = Timed::new(PromotionStage::Roll, now);
    let next = Phase::Promoting(Promotion { stage, ..promotion.clone() });
    Decision::new(next, Reason::OpeningService).at(now)
}

/// The way back from any phase.
pub(crate) fn go_back(
    run: &Run,
    to: Revision,
    phase: &Phase,
    seen: &Observation,
    cause: Cause,
    now: DateTime<Utc>,
) -> Decision {
    let retreat = Retreat::from(run, phase, to, seen, cause.clone(), now);
    Decision::new(Phase::RollingBack(retreat), Reason::RollingBack { cause }).at(now)
}

/// Whatever the owner puts in the place of a deleted target has been started by them: traffic goes there once it has rolled out.
fn orphaned(run: &Run, orphan: &Orphan, seen: &Observation, now: DateTime<Utc>) -> Decision {
    let serves = matches!(&seen.target, Target::Found(t) if t.serves());
    let lost = seen.canary.ready == 0 && serves;
    let weight = orphan.weight.map(|weight| if lost { Weight::ZERO } else { weight });
    let phase = Phase::Orphaned(Orphan { weight, ..orphan.clone() });
    let cause = if seen.deleting { Cause::Deleted } else { Cause::Recreated };
    match &seen.target {
        Target::Found(t) if t.rolled_to(&t.revision) => {
            go_back(run, t.revision.clone(), &phase, seen, cause, now)
        }
        Target::Missing if seen.deleting => {
            go_back(run, run.stable.clone(), &phase, seen, cause, now)
        }
        Target::Found(_) | Target::Missing => {
            Decision::new(phase, Reason::TargetGone { ready: seen.canary.ready })
        }
    }
}

pub(crate) fn ended(outcome: Outcome, run: &Run) -> Decision {
    let reason = outcome.reason(run);
    Decision::new(Phase::Ended(outcome), reason)
}
