use chrono::{DateTime, Utc};

use crate::{
    Cause, Observation, Orphan, Outcome, Phase, PromotionStage, Reason, Request, Retreat, Revision,
    Run, Target, Verb, progress, promotion, retreat,
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
    /// What became of the request that was seen, if there was one.
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
    let refusal = seen.request.as_ref().and_then(|r| refuse(r, run, phase, seen));
    let request = if refusal.is_none() { seen.request.as_ref() } else { None };
    let left = leave(run, phase, seen, request, now);
    let decision = left.unwrap_or_else(|| match phase {
        Phase::Progressing(at) => progress::decide(run, at, seen, request, now),
        Phase::Promoting(at) => promotion::decide(run, at, seen, now),
        Phase::RollingBack(at) => retreat::decide(run, at, seen, now),
        Phase::Orphaned(at) => orphaned(at, seen, now),
        Phase::Ended(outcome) => Decision::new(phase.clone(), outcome.reason(run)),
    });
    match refusal {
        Some(why) => decision.answered(Answer::Refused(why)),
        None => decision,
    }
}

/// Why a request can't be met now.
fn refuse(request: &Request, run: &Run, phase: &Phase, seen: &Observation) -> Option<String> {
    if !request.names_this_run {
        let named = request.run.as_deref().unwrap_or_default();
        return Some(format!("run {named} is not the run that is on"));
    }
    let why = match (request.verb, phase) {
        (_, Phase::Ended(_)) => "the run has ended",
        (Verb::Retry, _) => "the run is still on; abort it first",
        (Verb::Promote, Phase::Progressing(p)) => {
            let is = p.step + 1;
            return request.step.filter(|asked| *asked != is).map(|asked| {
                format!("step {asked} was seen, but the run is at step {is}; look again")
            });
        }
        (Verb::Promote, Phase::Promoting(_)) => "the run is being promoted already",
        (Verb::Promote | Verb::Abort, Phase::RollingBack(_)) => {
            "the run is being rolled back already"
        }
        (Verb::Promote | Verb::Abort, Phase::Orphaned(_)) => {
            "the deployment is gone; the canary serves until it is back"
        }
        (Verb::Abort, Phase::Progressing(_)) => return None,
        (Verb::Abort, Phase::Promoting(p)) => match &seen.target {
            _ if p.stage.at >= PromotionStage::Remove => {
                "the revision serves everything already; revert it where it is kept"
            }
            // revisionHistoryLimit: 0 leaves nothing to go back to.
            Target::Found(t) if p.started() && !t.pods.contains_key(&run.stable) => {
                "the old revision's ReplicaSet is gone; revert it where it is kept"
            }
            Target::Found(_) | Target::Missing => return None,
        },
    };
    Some(why.to_owned())
}

/// What ends a phase whatever it is doing: the world has changed under it, or a person says so.
fn leave(
    run: &Run,
    phase: &Phase,
    seen: &Observation,
    request: Option<&Request>,
    now: DateTime<Utc>,
) -> Option<Decision> {
    let progressing = match phase {
        Phase::Progressing(_) => true,
        Phase::Promoting(p) if p.stage.at < PromotionStage::Remove => false,
        Phase::Promoting(_) | Phase::RollingBack(_) | Phase::Orphaned(_) | Phase::Ended(_) => {
            return None;
        }
    };
    let back = |cause| Some(go_back(run.stable.clone(), phase, seen, cause, now));
    let Target::Found(target) = &seen.target else {
        if seen.deleting {
            return back(Cause::Deleted); // nobody is left to serve for
        }
        let next = Phase::Orphaned(Orphan { weight: phase.weight(), since: now });
        return Some(Decision::new(next, Reason::TargetGone { ready: seen.canary.ready }));
    };
    if let Some(Request { verb: Verb::Abort, by, why, .. }) = request {
        let cause = Cause::Aborted { by: by.clone(), why: why.clone() };
        return back(cause).map(|d| d.answered(Answer::Accepted));
    }
    if target.started(&run.canary) {
        // A judged revision is rolled out to its end; one that isn't has no business there.
        return if progressing { back(Cause::StartedByOthers) } else { None };
    }
    if seen.deleting {
        return back(Cause::Deleted);
    }
    if target.revision == run.stable {
        return back(Cause::Reverted);
    }
    if target.revision != run.canary {
        return back(Cause::Superseded { by: target.revision.clone() });
    }
    match &seen.canary.broken {
        Some(why) => back(Cause::CannotRun { why: why.clone() }),
        None => None,
    }
}

/// The way back from any phase.
pub(crate) fn go_back(
    to: Revision,
    phase: &Phase,
    seen: &Observation,
    cause: Cause,
    now: DateTime<Utc>,
) -> Decision {
    let retreat = Retreat::from(phase.weight(), to, seen, cause.clone(), now);
    Decision::new(Phase::RollingBack(retreat), Reason::RollingBack { cause }).at(now)
}

/// Whatever the owner puts in the place of a deleted target has been started by them: traffic goes there once it has rolled out.
fn orphaned(orphan: &Orphan, seen: &Observation, now: DateTime<Utc>) -> Decision {
    let phase = Phase::Orphaned(orphan.clone());
    match &seen.target {
        Target::Found(t) if t.replicas > 0 && t.rolled_to(&t.revision) => {
            go_back(t.revision.clone(), &phase, seen, Cause::Recreated, now)
        }
        Target::Found(_) | Target::Missing if seen.deleting => {
            go_back(Revision::new(""), &phase, seen, Cause::Deleted, now)
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
