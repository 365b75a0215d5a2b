use std::fmt;

use chrono::{DateTime, Utc};

use crate::{Look, Plan, Reason, Revision, Run, Shape, Weight};

/// Where a run stands: the cursor that is recorded before its effects are applied. A phase carries what it needs and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The canary goes up step by step while its checks run.
    Progressing(Progress),
    /// Every step passed: the canary serves everything while the target rolls to the new revision.
    Promoting(Promotion),
    /// Traffic goes back, then the canary goes.
    RollingBack(Retreat),
    /// The target was deleted in mid-run: the canary serves what it can until the target is back.
    Orphaned(Orphan),
    /// Over, once and for all.
    Ended(Outcome),
}

/// A stage, since when, and since when all that it wants of the cluster has been seen to be so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timed<S> {
    pub at: S,
    pub since: DateTime<Utc>,
    pub reached: Option<DateTime<Utc>>,
    /// What is asked of the metrics before it is left.
    pub look: Option<Look>,
}

impl<S> Timed<S> {
    pub fn new(at: S, since: DateTime<Utc>) -> Self {
        Self { at, since, reached: None, look: None }
    }

    /// What it wants isn't so, or no longer.
    pub(crate) fn missed(&mut self) {
        (self.reached, self.look) = (None, None);
    }
}

/// The cursor of the steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Index into the plan's steps.
    pub step: usize,
    /// What the route is meant to give the canary; `None` until the route has been split for the first time.
    pub weight: Option<Weight>,
    /// The step whose testers, matches and mirror the route is meant to have beside the weight; `None`: none of them.
    pub routed: Option<usize>,
    pub stage: Timed<Stage>,
    /// Passed checks of this step, up to what it asks for.
    pub passes: u32,
    /// Failed checks of the whole run.
    pub failures: u32,
    /// Since when no check has had a usable verdict.
    pub blind_since: Option<DateTime<Utc>>,
    pub suspended_since: Option<DateTime<Utc>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The Service selects stable only, so that no request reaches the canary but by the route.
    Pin,
    /// The canary's pods come up for the step's shape.
    BringUp,
    /// The route takes the step's shape.
    Shift,
    /// The shape is in effect: checks run, holds are waited for.
    Check(Check),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// When the shape had taken effect and warmed up: no window reaches back before this.
    pub effective: DateTime<Utc>,
    pub next: DateTime<Utc>,
    /// A person has ended the hold.
    pub approved: bool,
}

/// The check that is to be made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueCheck {
    pub step: usize,
    /// When it became due: names the check, so that a verdict is counted once and for one check only.
    pub due: DateTime<Utc>,
    /// Where its window begins. It ends when the metrics are read.
    pub from: DateTime<Utc>,
    /// Whether stable has traffic to compare with.
    pub with_stable: bool,
    /// Requests of the canary's are copies: users never got its answers, and its part of all requests says nothing about their
    /// share.
    pub mirrored: bool,
    /// Only requests that match reach the canary: their part of all requests is nobody's share.
    pub matched: bool,
}

/// The cursor of a promotion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promotion {
    /// What the route gives the canary until traffic returns to the target: everything from `Shift` on, unless the canary is
    /// lost while the target rolls.
    pub from: Option<Weight>,
    pub stage: Timed<PromotionStage>,
}

/// In this order. Each changes one thing and is left only once that is seen to be so and has settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PromotionStage {
    /// The canary grows to the target's full size.
    Fill,
    /// The route gives it everything.
    Shift,
    /// The Service selects every pod again: all of them are judged.
    Open,
    /// The target is started and rolls to the new revision, without routed traffic.
    Roll,
    /// Only after an interruption of `Roll` by a newer revision: the target's pods of the old revision go.
    Isolate,
    /// The route gives everything to the target again.
    Return,
    /// The Service leaves the canary's pods out while they still live.
    Exclude,
    /// The canary's pods go.
    Remove,
    /// Service and route are as their owner wrote them.
    Release,
}

/// The cursor of a rollback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retreat {
    pub cause: Cause,
    /// The revision that gets the traffic.
    pub to: Revision,
    /// What the route gives the canary; `None`: it was never split.
    pub weight: Option<Weight>,
    /// The run has routed requests to the canary, so some may still be on their way to it.
    pub exposed: bool,
    pub stage: Timed<RetreatStage>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RetreatStage {
    /// Only if the target had begun to roll: held again, its pods go back to the old revision.
    Undo,
    /// Stable has no ready pod: traffic stays where it is served, until it has.
    Await,
    /// Traffic goes back.
    Back,
    /// The canary's pods go.
    Remove,
    /// Service and route are as their owner wrote them.
    Release,
}

/// The cursor of a run whose target is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    pub weight: Option<Weight>,
    pub since: DateTime<Utc>,
}

/// Why a run is rolled back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The checks that failed reached the threshold; the sentence of the last one.
    ChecksFailed {
        failures: u32,
        threshold: u32,
        sentence: String,
    },
    /// A container can't run; which, and what it said.
    CannotRun {
        why: String,
    },
    /// A stage took too long; what it waited for.
    DeadlineExceeded {
        waited_for: String,
    },
    /// No usable verdict for too long.
    NoData {
        why: String,
    },
    Aborted {
        by: String,
        why: String,
    },
    /// The owner put the old revision back.
    Reverted,
    /// The owner wrote a newer revision.
    Superseded {
        by: Revision,
    },
    /// The target was started by somebody else before the canary was judged.
    StartedByOthers,
    /// The target was deleted in mid-run.
    Recreated,
    /// The canary object is being deleted.
    Deleted,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Succeeded,
    Failed(Cause),
}

impl Cause {
    /// Whether the revision itself was found wanting, and so isn't tried again unless someone asks.
    pub fn condemns(&self) -> bool {
        match self {
            Self::ChecksFailed { .. }
            | Self::CannotRun { .. }
            | Self::DeadlineExceeded { .. }
            | Self::NoData { .. }
            | Self::Aborted { .. }
            | Self::StartedByOthers => true,
            Self::Reverted | Self::Superseded { .. } | Self::Recreated | Self::Deleted => false,
        }
    }

    /// A stable name, for labels and conditions.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ChecksFailed { .. } => "ChecksFailed",
            Self::CannotRun { .. } => "CannotRun",
            Self::DeadlineExceeded { .. } => "DeadlineExceeded",
            Self::NoData { .. } => "NoData",
            Self::Aborted { .. } => "Aborted",
            Self::Reverted => "Reverted",
            Self::Superseded { .. } => "Superseded",
            Self::StartedByOthers => "StartedByOthers",
            Self::Recreated => "Recreated",
            Self::Deleted => "Deleted",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChecksFailed { failures, threshold, sentence } => {
                write!(f, "failed check {failures} of {threshold}: {sentence}")
            }
            Self::CannotRun { why } => f.write_str(why),
            Self::DeadlineExceeded { waited_for } => write!(f, "took too long: {waited_for}"),
            Self::NoData { why } => write!(f, "no usable metrics for too long: {why}"),
            Self::Aborted { by, why } if why.is_empty() => write!(f, "aborted by {by}"),
            Self::Aborted { by, why } => write!(f, "aborted by {by}: {why}"),
            Self::Reverted => f.write_str("its owner put the previous revision back"),
            Self::Superseded { by } => write!(f, "revision {by} took its place"),
            Self::StartedByOthers => f.write_str(
                "the deployment was unpaused by someone else before the canary was judged",
            ),
            Self::Recreated => f.write_str("the deployment was deleted in the middle of the run"),
            Self::Deleted => f.write_str("the canary object is being deleted"),
        }
    }
}

impl Phase {
    /// Where every run begins.
    pub fn first(now: DateTime<Utc>) -> Self {
        Self::Progressing(Progress {
            step: 0,
            weight: None,
            routed: None,
            stage: Timed::new(Stage::Pin, now),
            passes: 0,
            failures: 0,
            blind_since: None,
            suspended_since: None,
        })
    }

    /// The check that is to be made at `now`, if one is.
    pub fn due_check(&self, plan: &Plan, now: DateTime<Utc>) -> Option<DueCheck> {
        let Self::Progressing(p) = self else { return None };
        let Stage::Check(check) = p.stage.at else { return None };
        let shape = p.shape(plan).unwrap_or_default();
        let due = !shape.is_nothing() && p.suspended_since.is_none() && now >= check.next;
        due.then(|| DueCheck {
            step: p.step,
            due: check.next,
            from: check.effective.max(now - plan.rules.interval),
            with_stable: shape.weight < Weight::FULL,
            mirrored: shape.mirror.is_some(),
            matched: shape.weight == Weight::ZERO && !shape.matches.is_empty(),
        })
    }

    /// What the route is meant to give the canary; `None`: the route is as its owner wrote it.
    pub fn weight(&self) -> Option<Weight> {
        match self {
            Self::Progressing(p) => p.weight,
            Self::Promoting(p) => p.weight(),
            Self::RollingBack(r) => r.weight(),
            Self::Orphaned(o) => o.weight,
            Self::Ended(_) => None,
        }
    }

    /// The run has routed requests to the canary.
    pub(crate) fn exposed(&self, plan: &Plan) -> bool {
        match self {
            Self::Progressing(p) => p.exposed(plan),
            Self::Promoting(p) => {
                p.stage.at > PromotionStage::Fill || (p.from.is_some() && plan.exposes(usize::MAX))
            }
            Self::RollingBack(r) => r.exposed,
            // The step at which it was lost isn't known any more.
            Self::Orphaned(o) => o.weight.is_some(),
            Self::Ended(_) => false,
        }
    }

    /// What the route is meant to look like; `None`: as its owner wrote it.
    pub fn shape(&self, run: &Run) -> Option<Shape> {
        match self {
            Self::Progressing(p) => p.shape(&run.plan),
            Self::Promoting(p) => p.shape(&run.plan),
            // Testers and the like are for a canary that may still be promoted.
            Self::RollingBack(_) | Self::Orphaned(_) | Self::Ended(_) => {
                self.weight().map(Shape::weight)
            }
        }
    }
}

impl Progress {
    pub(crate) fn enter(&mut self, stage: Stage, now: DateTime<Utc>) {
        self.stage = Timed::new(stage, now);
    }

    pub(crate) fn shape(&self, plan: &Plan) -> Option<Shape> {
        let weight = self.weight?;
        Some(match self.routed {
            Some(step) => Shape { weight, ..plan.shape(step) },
            None => Shape::weight(weight),
        })
    }

    fn exposed(&self, plan: &Plan) -> bool {
        match (self.weight, self.routed) {
            (None, _) => false,
            (Some(_), Some(step)) => plan.exposes(step + 1),
            // It was lost in this step, and its requests went back.
            (Some(_), None) => plan.exposes(self.step + 1),
        }
    }

    /// No request is meant to reach the canary, nor a copy of one.
    pub(crate) fn is_unrouted(&self, plan: &Plan) -> bool {
        self.shape(plan).is_none_or(|shape| shape.is_nothing())
    }
}

impl Promotion {
    /// From here on the target has been started.
    pub fn started(&self) -> bool {
        self.stage.at >= PromotionStage::Roll
    }

    pub fn weight(&self) -> Option<Weight> {
        match self.stage.at {
            PromotionStage::Fill
            | PromotionStage::Shift
            | PromotionStage::Open
            | PromotionStage::Roll
            | PromotionStage::Isolate => self.from,
            PromotionStage::Return | PromotionStage::Exclude | PromotionStage::Remove => {
                Some(Weight::ZERO)
            }
            PromotionStage::Release => None,
        }
    }

    /// Whoever reaches the canary by what they send goes on to, until everybody does; nothing else of a step outlives it.
    pub(crate) fn shape(&self, plan: &Plan) -> Option<Shape> {
        let last = plan.steps().len().saturating_sub(1);
        let matches = match self.stage.at {
            PromotionStage::Fill => plan.shape(last).matches,
            PromotionStage::Shift
            | PromotionStage::Open
            | PromotionStage::Roll
            | PromotionStage::Isolate
            | PromotionStage::Return
            | PromotionStage::Exclude
            | PromotionStage::Remove
            | PromotionStage::Release => vec![],
        };
        self.weight().map(|weight| Shape { matches, ..Shape::weight(weight) })
    }
}

impl Retreat {
    pub fn weight(&self) -> Option<Weight> {
        match self.stage.at {
            RetreatStage::Undo
            | RetreatStage::Await
            | RetreatStage::Back
            | RetreatStage::Remove => self.weight,
            RetreatStage::Release => None,
        }
    }
}

impl Outcome {
    pub fn reason(&self, run: &Run) -> Reason {
        match self {
            Self::Succeeded => Reason::Succeeded { revision: run.canary.clone() },
            Self::Failed(cause) => Reason::RolledBack { cause: cause.clone() },
        }
    }
}
