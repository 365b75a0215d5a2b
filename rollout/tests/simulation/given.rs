//! A run in the middle of its life, and what is seen of it.

use std::collections::BTreeMap;

use analysis::Window;
use rollout::{
    CanaryPods, Cause, Check, DueVerdict, HeldBy, Observation, Phase, Pods, Progress, Promotion,
    PromotionStage, Request, Retreat, RetreatStage, Run, Stage, Step, Target, Timed, Traffic, Verb,
    Weight, Workload,
};

use crate::clock::{after, secs, start};
use crate::metrics::Metrics;
use crate::plans::{plan, revision, rules, share, step, weight};

/// 0, 50 with two checks, 100; a check each 10 s, 2 failures end it, a minute for everything else.
pub(crate) fn run() -> Run {
    let steps = [step(0), Step { checks: 2, ..step(50) }, step(100)];
    Run { plan: plan(steps, rules()), canary: revision("v2"), stable: revision("v1") }
}

pub(crate) fn pods(n: u32) -> Pods {
    Pods { desired: n, existing: n, ready: n, available: n }
}

pub(crate) fn target(old: u32, new: u32) -> Workload {
    Workload {
        revision: revision("v2"),
        paused: new == 0,
        replicas: 4,
        current: true,
        pods: BTreeMap::from([(revision("v1"), pods(old)), (revision("v2"), pods(new))]),
    }
}

/// `v2` is held, `v1` serves, the canary has two pods and half of the traffic.
pub(crate) fn seen() -> Observation {
    Observation {
        target: Target::Found(target(4, 0)),
        canary: CanaryPods {
            revision: Some(revision("v2")),
            ready: 2,
            existing: 2,
            broken: None,
            trouble: None,
        },
        traffic: Traffic {
            stored: Some(share(50)),
            accepted: true,
            trouble: None,
            settle: secs(3),
            observable: true,
            by_weight: true,
        },
        pinned: Some(revision("v1")),
        verdict: None,
        left: None,
        request: None,
        blocker: None,
        suspended: false,
        deleting: false,
        held_by: HeldBy::Policies,
    }
}

/// Nothing of a run is left.
pub(crate) fn at_rest_seen() -> Observation {
    let traffic = Traffic { stored: None, ..seen().traffic };
    Observation { canary: CanaryPods::default(), traffic, pinned: None, ..seen() }
}

pub(crate) fn asks(verb: Verb, step: Option<usize>) -> Request {
    let (by, why) = ("ann".to_owned(), "odd".to_owned());
    Request { verb, by, why, run: None, step, names_this_run: true }
}

pub(crate) fn found(metrics: Metrics, due: i64) -> DueVerdict {
    let window = Window { start: after(due - 10), end: after(due) };
    DueVerdict { step: 1, due: after(due), verdict: metrics.verdict(window, weight(50)) }
}

/// In the second step, whose weight is in effect since second 0; the next check is due at `next`.
pub(crate) fn checking(next: i64, passes: u32, failures: u32) -> Progress {
    let check = Check { effective: start(), next: after(next), approved: false };
    Progress { passes, failures, ..progress(Stage::Check(check)) }
}

pub(crate) fn progress(stage: Stage) -> Progress {
    Progress {
        step: 1,
        weight: Some(weight(50)),
        routed: Some(1),
        stage: Timed::new(stage, start()),
        passes: 0,
        failures: 0,
        blind_since: None,
        suspended_since: None,
    }
}

pub(crate) fn promotion(at: PromotionStage) -> Phase {
    let from = Some(if at == PromotionStage::Fill { weight(50) } else { Weight::FULL });
    Phase::Promoting(Promotion { from, stage: Timed::new(at, start()) })
}

pub(crate) fn retreat(at: RetreatStage) -> Phase {
    let (cause, to) = (Cause::NoData { why: "silence".to_owned() }, revision("v1"));
    Phase::RollingBack(Retreat {
        cause,
        to,
        weight: Some(weight(50)),
        exposed: true,
        stage: Timed::new(at, start()),
    })
}
