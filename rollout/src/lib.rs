//! What to do next in a rollout, and why: plain functions over plain data.
//!
//! [`decide`] takes a [`Run`], the [`Phase`] that is recorded for it and what was [`seen`](Observation), and says which phase
//! comes next. [`rest`] does the same for a canary that has no run. What a phase wants of the cluster is
//! [`Phase::effects`]: a function of the recorded phase alone, absolute and repeatable. Nothing here knows
//! Kubernetes, a clock or a network.

mod decide;
mod effect;
mod look;
mod observation;
mod phase;
mod plan;
mod progress;
mod promotion;
mod reason;
mod rest;
mod retreat;
mod shape;
mod weight;

pub use decide::{Answer, Decision, decide};
pub use effect::Effect;
pub use look::{DueLook, Left, Leftover, Look, Sighting};
pub use observation::{
    CanaryPods, DueVerdict, HeldBy, Observation, Pods, Request, Target, Traffic, Verb, Workload,
};
pub use phase::{
    Cause, Check, DueCheck, Orphan, Outcome, Phase, Progress, Promotion, PromotionStage, Retreat,
    RetreatStage, Stage, Timed,
};
pub use plan::{Blind, Hold, NoData, Plan, PlanError, Rules, Run, Step};
pub use reason::{Ending, Reason, Routed};
pub use rest::{Ended, Rest, RestDecision, rest};
pub use shape::{Condition, Match, Part, Pattern, Shape};
pub use weight::{Revision, Weight};
