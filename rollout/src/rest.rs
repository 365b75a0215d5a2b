use crate::effect::released;
use crate::{
    Answer, Effect, HeldBy, Observation, Outcome, Reason, Request, Revision, Target, Verb, Workload,
};

/// Where a canary stands that has no run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Something that it needs isn't there or isn't right.
    Initializing,
    Idle,
    /// A new revision is held and may not start yet.
    Waiting,
    /// A new revision is held: a run begins.
    Start,
    /// Idle, after a run that promoted what serves now.
    Succeeded,
    /// The revision of the last run was found wanting, and is still held.
    Failed,
    Terminating,
}

/// How the last run ended, and what it was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub revision: Revision,
    pub outcome: Outcome,
}

/// What a canary without a run does.
#[must_use = "a decision has no effect until it is recorded and applied"]
#[derive(Clone, Debug, PartialEq)]
pub struct RestDecision {
    pub rest: Rest,
    pub effects: Vec<Effect>,
    pub reason: Reason,
    pub answer: Option<Answer>,
}

/// As pure and total as [`decide`](crate::decide()). `last` is the newest run that has ended.
///
/// At rest nothing is pinned, split or, where the API server holds new revisions, paused: the data path works without Tidegate.
pub fn rest(last: Option<&Ended>, seen: &Observation) -> RestDecision {
    // Blocked may mean that another canary owns these objects: hands off.
    let clean = if seen.blocker.is_none() { released() } else { vec![] };
    if seen.deleting {
        let effects = match &seen.blocker {
            Some(_) => vec![],
            None => [clean, release_target(seen)].concat(),
        };
        return at_rest(Rest::Terminating, Reason::LettingGo, effects, seen);
    }
    if let Some(why) = &seen.blocker {
        return at_rest(Rest::Initializing, Reason::NotReady { why: why.clone() }, clean, seen);
    }
    let Target::Found(target) = &seen.target else {
        let why = "the deployment is gone".to_owned();
        return at_rest(Rest::Initializing, Reason::NotReady { why }, clean, seen);
    };
    match target.serving() {
        Some(stable) if target.revision == *stable => {
            let (rest, reason) = settled(last, stable);
            at_rest(rest, reason, [clean, release_target(seen)].concat(), seen)
        }
        Some(_) if target.paused => new_revision(last, target, seen),
        None if target.paused && target.replicas == 0 => new_revision(last, target, seen),
        None if target.paused && target.pods.is_empty() => {
            let why = "the deployment was created paused, and has no pod to be judged against; \
                       take the label tidegate.dev/canary off and resume it once";
            at_rest(Rest::Initializing, Reason::NotReady { why: why.to_owned() }, clean, seen)
        }
        None if target.paused => {
            let why = "the deployment is paused in the middle of a rollout; scale the ReplicaSet that should not serve to 0";
            at_rest(Rest::Initializing, Reason::NotReady { why: why.to_owned() }, clean, seen)
        }
        Some(_) | None => at_rest(Rest::Initializing, Reason::TargetRolling, clean, seen),
    }
}

fn new_revision(last: Option<&Ended>, target: &Workload, seen: &Observation) -> RestDecision {
    let revision = target.revision.clone();
    let retry = seen.request.as_ref().is_some_and(|r| r.verb == Verb::Retry);
    let condemned = last.filter(|l| l.revision == revision).and_then(|l| match &l.outcome {
        Outcome::Failed(cause) if cause.condemns() => Some(cause.clone()),
        Outcome::Failed(_) | Outcome::Succeeded => None,
    });
    let waits = |why| {
        let reason = Reason::WaitingToStart { revision: revision.clone(), why };
        let decision = at_rest(Rest::Waiting, reason, released(), seen);
        let answer = if retry { Some(Answer::Refused(why.to_owned())) } else { decision.answer };
        RestDecision { answer, ..decision }
    };
    match condemned {
        Some(cause) if !retry => {
            let reason = Reason::StillHeld { revision, cause };
            at_rest(Rest::Failed, reason, released(), seen)
        }
        _ if seen.suspended => waits("spec.suspend is true"),
        _ if target.replicas == 0 => waits("the deployment has 0 replicas; scale it up"),
        // What an interrupted run has left must not meet the next one; a request waits with it.
        _ if !seen.released() => RestDecision {
            rest: Rest::Waiting,
            effects: released(),
            reason: Reason::Releasing,
            answer: None,
        },
        condemned => RestDecision {
            rest: Rest::Start,
            effects: vec![],
            reason: Reason::NewRevision { revision },
            answer: match &seen.request {
                Some(_) if retry && condemned.is_some() => Some(Answer::Accepted),
                Some(r) => Some(Answer::Refused(no_run(r))),
                None => None,
            },
        },
    }
}

fn settled(last: Option<&Ended>, stable: &Revision) -> (Rest, Reason) {
    match last {
        Some(Ended { revision, outcome: Outcome::Succeeded }) if revision == stable => {
            (Rest::Succeeded, Reason::Succeeded { revision: revision.clone() })
        }
        Some(_) | None => (Rest::Idle, Reason::AtRest { revision: stable.clone() }),
    }
}

/// What is asked of the target at rest. Only what was judged, or what serves already, is ever started.
fn release_target(seen: &Observation) -> Vec<Effect> {
    let Target::Found(target) = &seen.target else { return vec![] };
    let serves = target.serving() == Some(&target.revision);
    match (seen.held_by, serves, target.paused) {
        (HeldBy::Pause, true, false) if !seen.deleting => vec![Effect::Hold],
        (HeldBy::Policies, true, true) => vec![Effect::Start(target.revision.clone())],
        (HeldBy::Pause, true, true) if seen.deleting => {
            vec![Effect::Start(target.revision.clone())]
        }
        (HeldBy::Policies | HeldBy::Pause, _, _) => vec![],
    }
}

fn at_rest(rest: Rest, reason: Reason, effects: Vec<Effect>, seen: &Observation) -> RestDecision {
    let refusal = |r| seen.blocker.clone().unwrap_or_else(|| no_run(r));
    let answer = seen.request.as_ref().map(|r| Answer::Refused(refusal(r)));
    RestDecision { rest, effects, reason, answer }
}

fn no_run(request: &Request) -> String {
    match request.verb {
        Verb::Promote | Verb::Abort => "no run is on".to_owned(),
        Verb::Retry => "no revision is held after a failed run".to_owned(),
    }
}
