use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};

use crate::look::GIVE_UP;
use crate::{Cause, Revision, Shape, Sighting, Timed, Traffic};

/// Why a decision is what it is: waits included. One of these becomes the condition, the event, the log line, the metric label
/// and what the command line says that it waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    // in the steps
    PinningService,
    BringingUp {
        step: usize,
        ready: u32,
        wanted: u32,
        trouble: Option<String>,
    },
    ShiftingTraffic {
        step: usize,
        shape: Shape,
        trouble: Option<String>,
    },
    WarmingUp {
        step: usize,
        shape: Shape,
    },
    /// Between two checks; the last one's sentence, if there was one since the weight changed.
    CheckNotDue {
        step: usize,
        passes: u32,
        checks: u32,
    },
    CheckPassed {
        step: usize,
        passes: u32,
        checks: u32,
        sentence: String,
    },
    CheckFailed {
        step: usize,
        failures: u32,
        threshold: u32,
        sentence: String,
    },
    /// Stable breaks the same limit: not the canary's fault.
    BothArmsBad {
        step: usize,
        sentence: String,
    },
    /// A check without a usable verdict, whose kind is `outcome`.
    NoVerdict {
        step: usize,
        outcome: &'static str,
        sentence: String,
    },
    CanaryLost {
        failures: u32,
        threshold: u32,
        trouble: Option<String>,
    },
    CanaryNotReady {
        ready: u32,
        wanted: u32,
    },
    StableNotReady {
        ready: u32,
        wanted: u32,
    },
    HeldForTime {
        step: usize,
        shape: Shape,
        hold: TimeDelta,
    },
    AwaitingApproval {
        step: usize,
        shape: Shape,
    },
    StepPassed {
        step: usize,
        shape: Shape,
        next: Shape,
    },
    Suspended,
    // in a promotion
    FillingCanary {
        ready: u32,
        wanted: u32,
        trouble: Option<String>,
    },
    OpeningService,
    RollingOut {
        available: u32,
        wanted: u32,
    },
    Isolating {
        available: u32,
        wanted: u32,
    },
    ReturningTraffic,
    ExcludingCanary,
    RemovingCanary {
        left: u32,
    },
    Releasing,
    Succeeded {
        revision: Revision,
    },
    // in a rollback
    RollingBack {
        cause: Cause,
    },
    Undoing {
        available: u32,
        wanted: u32,
        left: u32,
    },
    NothingToReturnTo,
    RolledBack {
        cause: Cause,
    },
    TargetGone {
        ready: u32,
    },
    // on the way out, either way
    /// Nothing is meant to reach the canary any more, and what was read says otherwise, for too long.
    NotReturned {
        ending: Ending,
        read: Routed,
    },
    /// The route gives the canary nothing, and requests reach it all the same, for too long.
    StillServed {
        ending: Ending,
        sighting: Sighting,
    },
    /// The canary's pods go though the metrics couldn't say whether requests reach them.
    NobodySaw {
        ending: Ending,
        why: String,
    },
    // without a run
    NotReady {
        why: String,
    },
    AtRest {
        revision: Revision,
    },
    TargetRolling,
    StillHeld {
        revision: Revision,
        cause: Cause,
    },
    NewRevision {
        revision: Revision,
    },
    WaitingToStart {
        revision: Revision,
        why: &'static str,
    },
    LettingGo,
}

/// Which way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Promotion,
    Rollback,
}

/// What was read where nothing was to be routed to the canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routed {
    /// `None`: the route is as its owner wrote it.
    pub stored: Option<Shape>,
    pub accepted: bool,
    /// The Service leaves the canary's pods out.
    pub pinned: bool,
    /// What the traffic system says.
    pub trouble: Option<String>,
}

impl Routed {
    pub(crate) fn new(traffic: &Traffic, pinned: bool) -> Self {
        let Traffic { stored, accepted, trouble, settle: _, observable: _, by_weight: _ } =
            traffic.clone();
        Self { stored, accepted, pinned, trouble }
    }
}

impl Reason {
    /// What the last look saw, once it has been so for too long: until then requests may be the last ones.
    pub(crate) fn still_served<S>(
        ending: Ending,
        stage: &Timed<S>,
        now: DateTime<Utc>,
    ) -> Option<Self> {
        let sighting = stage.look.as_ref()?.sighting?;
        (now >= stage.since + GIVE_UP).then_some(Self::StillServed { ending, sighting })
    }

    /// A stable name: condition reasons, event reasons and metric labels are these and no others.
    #[rustfmt::skip]
    pub fn name(&self) -> &'static str {
        match self {
            Self::PinningService => "PinningService",
            Self::BringingUp { .. } => "BringingUp",
            Self::ShiftingTraffic { .. } => "ShiftingTraffic",
            Self::WarmingUp { .. } => "WarmingUp",
            Self::CheckNotDue { .. } => "CheckNotDue",
            Self::CheckPassed { .. } => "CheckPassed",
            Self::CheckFailed { .. } => "CheckFailed",
            Self::BothArmsBad { .. } => "BothArmsBad",
            Self::NoVerdict { outcome, .. } => outcome,
            Self::CanaryLost { .. } => "CanaryLost",
            Self::CanaryNotReady { .. } => "CanaryNotReady",
            Self::StableNotReady { .. } => "StableNotReady",
            Self::HeldForTime { .. } => "HeldForTime",
            Self::AwaitingApproval { .. } => "AwaitingApproval",
            Self::StepPassed { .. } => "StepPassed",
            Self::Suspended => "Suspended",
            Self::FillingCanary { .. } => "FillingCanary",
            Self::OpeningService => "OpeningService",
            Self::RollingOut { .. } => "RollingOut",
            Self::Isolating { .. } => "Isolating",
            Self::ReturningTraffic => "ReturningTraffic",
            Self::ExcludingCanary => "ExcludingCanary",
            Self::RemovingCanary { .. } => "RemovingCanary",
            Self::Releasing => "Releasing",
            Self::Succeeded { .. } => "Succeeded",
            Self::RollingBack { .. } => "RollingBack",
            Self::Undoing { .. } => "Undoing",
            Self::NothingToReturnTo => "NothingToReturnTo",
            Self::RolledBack { .. } => "RolledBack",
            Self::TargetGone { .. } => "TargetGone",
            Self::NotReturned { .. } => "NotReturned",
            Self::StillServed { .. } => "StillServed",
            Self::NobodySaw { .. } => "NobodySaw",
            Self::NotReady { .. } => "NotReady",
            Self::AtRest { .. } => "AtRest",
            Self::TargetRolling => "TargetRolling",
            Self::StillHeld { .. } => "StillHeld",
            Self::NewRevision { .. } => "NewRevision",
            Self::WaitingToStart { .. } => "WaitingToStart",
            Self::LettingGo => "LettingGo",
        }
    }
}

impl fmt::Display for Reason {
    #[expect(clippy::too_many_lines, reason = "one sentence for each reason, in one place")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PinningService => f.write_str("the service is being pinned to stable"),
            Self::BringingUp { step, ready, wanted, trouble } => {
                write!(
                    f,
                    "step {step}: {ready} of {wanted} canary pods ready{}",
                    also(trouble.as_deref())
                )
            }
            Self::ShiftingTraffic { step, shape, trouble } => {
                write!(f, "step {step}: {}, not in effect yet", told(shape, "written"))?;
                f.write_str(&also(trouble.as_deref()))
            }
            Self::WarmingUp { step, shape } => write!(
                f,
                "step {step}: {}, warming up before anything is measured",
                told(shape, "in effect")
            ),
            Self::CheckNotDue { step, passes, checks } => {
                write!(f, "step {step}: {passes} of {checks} checks passed, waiting for the next")
            }
            Self::CheckPassed { step, passes, checks, sentence } => {
                write!(f, "step {step}: {passes} of {checks} checks passed: {sentence}")
            }
            Self::CheckFailed { step, failures, threshold, sentence } => {
                write!(f, "step {step}: failed check {failures} of {threshold}: {sentence}")
            }
            Self::BothArmsBad { step, sentence } => {
                write!(f, "step {step}: held, stable is as bad as the canary: {sentence}")
            }
            Self::NoVerdict { step, sentence, .. } => write!(f, "step {step}: held: {sentence}"),
            Self::CanaryLost { failures, threshold, trouble } => write!(
                f,
                "no canary pod is ready, its traffic went back to stable (counts as failed check {failures} of {threshold}){}",
                also(trouble.as_deref())
            ),
            Self::CanaryNotReady { ready, wanted } => {
                write!(f, "held: {ready} of {wanted} canary pods ready")
            }
            Self::StableNotReady { ready, wanted } => {
                write!(
                    f,
                    "held: stable has {ready} of {wanted} pods ready, which is not the canary's fault"
                )
            }
            Self::HeldForTime { step, shape, hold } if shape.is_weight() => {
                write!(f, "step {step}: stays at {} for {}", shape.weight, span(*hold))
            }
            Self::HeldForTime { step, shape, hold } => {
                write!(f, "step {step}: {}; stays so for {}", shape.sentence(), span(*hold))
            }
            Self::AwaitingApproval { step, shape } if shape.is_weight() => {
                write!(f, "step {step}: waits at {} until someone promotes", shape.weight)
            }
            Self::AwaitingApproval { step, shape } => {
                write!(f, "step {step}: {}; waits until someone promotes", shape.sentence())
            }
            Self::StepPassed { step, shape, next } if shape.is_weight() && next.is_weight() => {
                write!(f, "step {step} passed at {}, next is {}", shape.weight, next.weight)
            }
            Self::StepPassed { step, next, .. } => {
                write!(f, "step {step} passed; next: {}", next.sentence())
            }
            Self::Suspended => f.write_str("suspended: nothing moves until spec.suspend is false"),
            Self::FillingCanary { ready, wanted, trouble } => write!(
                f,
                "promoting: {ready} of {wanted} canary pods ready to take everything{}",
                also(trouble.as_deref())
            ),
            Self::OpeningService => f.write_str("promoting: the service selects all pods again"),
            Self::RollingOut { available, wanted } => write!(
                f,
                "promoting: the deployment rolls out, {available} of {wanted} pods available; the canary serves meanwhile"
            ),
            Self::Isolating { available, wanted } => write!(
                f,
                "promoting: interrupted by a newer revision, {available} of {wanted} pods of this one available"
            ),
            Self::ReturningTraffic => {
                f.write_str("finalising: traffic moves from the canary's pods to the deployment's")
            }
            Self::ExcludingCanary => f.write_str("finalising: the canary's pods leave the service"),
            Self::RemovingCanary { left } => write!(f, "{left} canary pods are going"),
            Self::Releasing => f.write_str("service and route are being given back"),
            Self::Succeeded { revision } => write!(f, "revision {revision} is promoted"),
            Self::RollingBack { cause } => write!(f, "rolling back: {cause}"),
            Self::Undoing { available, wanted, left } => write!(
                f,
                "rolling back: {available} of {wanted} pods of the old revision available, {left} of the new one left"
            ),
            Self::NothingToReturnTo => {
                f.write_str("rolling back: held, stable has no ready pod to take the traffic")
            }
            Self::RolledBack { cause } => write!(f, "rolled back: {cause}"),
            Self::TargetGone { ready } => write!(
                f,
                "the deployment is gone; {ready} canary pods serve until it is back or the canary object is deleted"
            ),
            Self::NotReturned { ending, read } => write!(
                f,
                "{ending}: it isn't confirmed that requests no longer go to the canary: expected {NOTHING}, read {read}"
            ),
            Self::StillServed { ending, sighting } => {
                write!(
                    f,
                    "{ending}: {sighting} still reached the canary where none should; its pods stay"
                )
            }
            Self::NobodySaw { ending, why } => {
                write!(
                    f,
                    "{ending}: the canary's pods go, unseen whether requests still reach them: {why}"
                )
            }
            Self::NotReady { why } => f.write_str(why),
            Self::AtRest { revision } => write!(f, "revision {revision} serves everything"),
            Self::TargetRolling => {
                f.write_str("the deployment is rolling out; waiting until it has")
            }
            Self::StillHeld { revision, cause } => write!(
                f,
                "revision {revision} stays held: {cause}; revert it where it is kept, write a newer one, or retry"
            ),
            Self::NewRevision { revision } => write!(f, "new revision {revision}"),
            Self::WaitingToStart { revision, why } => {
                write!(f, "revision {revision} is held and waits: {why}")
            }
            Self::LettingGo => f.write_str("the canary object is being deleted"),
        }
    }
}

/// What is to be read before the canary's pods may go.
const NOTHING: &str = "0 % stored and accepted";

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ending::Promotion => "finalising",
            Ending::Rollback => "rolling back",
        })
    }
}

impl fmt::Display for Routed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stored {
            None => f.write_str("a route as its owner wrote it")?,
            Some(shape) => {
                let accepted = if self.accepted { "accepted" } else { "not accepted" };
                write!(f, "{shape} stored, {accepted}")?;
            }
        }
        if !self.pinned {
            f.write_str(", and a service that still selects the canary's pods")?;
        }
        f.write_str(&also(self.trouble.as_deref()))
    }
}

impl fmt::Display for Sighting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, canary, all } = self;
        write!(
            f,
            "{} of {} requests in the last {}",
            thousands(*canary),
            thousands(*all),
            span(*to - *from)
        )
    }
}

/// `1204` as `1,204`.
fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `10 % written`; more than a weight takes a sentence.
fn told(shape: &Shape, how: &str) -> String {
    if shape.is_weight() {
        format!("{} {how}", shape.weight)
    } else {
        format!("{}: {how}", shape.sentence())
    }
}

fn also(trouble: Option<&str>) -> String {
    trouble.map(|t| format!("; {t}")).unwrap_or_default()
}

/// `90s` as `1m30s`: whole seconds, the two largest units are enough for a person.
fn span(d: TimeDelta) -> String {
    let s = d.num_seconds().max(0);
    match (s / 3600, s / 60 % 60, s % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, 0) => format!("{m}m"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, 0, _) => format!("{h}h"),
        (h, m, _) => format!("{h}h{m}m"),
    }
}
