//! The last look before the canary's pods go: whether the metrics saw a request reach them where the route gives them nothing.

use chrono::{DateTime, TimeDelta, Utc};

use crate::{Observation, Phase, Plan, PromotionStage, RetreatStage, Run, Timed};

/// How long the way out waits for an answer that may never come: that the route was taken, or what the metrics saw. Silence must not
/// keep a broken canary alive for ever, nor a lost route the canary object. Requests that were seen are no silence.
pub(crate) const GIVE_UP: TimeDelta = TimeDelta::minutes(2);

/// The longest window: rarely anybody wants to see each canary live for longer.
const LONGEST: TimeDelta = TimeDelta::seconds(60);
const SHORTEST: TimeDelta = TimeDelta::seconds(1);

/// A look that is to be made before a stage is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// When its window is over. Names the look, so that each answer counts once.
    pub due: DateTime<Utc>,
    /// What the last look saw that got an answer, if that was requests.
    pub sighting: Option<Sighting>,
}

/// Requests that reached the canary where none should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    pub canary: u64,
    /// Of both arms.
    pub all: u64,
}

/// The look that is to be made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueLook {
    pub due: DateTime<Utc>,
    /// Where its window begins: not before the route without the canary had settled. It ends when the metrics are read.
    pub from: DateTime<Utc>,
}

/// The answer to one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// [`DueLook::due`] of the look.
    pub due: DateTime<Utc>,
    pub left: Left,
}

/// What the metrics saw of the canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// No request. So it is where they saw none at all: idle services exist.
    None,
    Requests(Sighting),
    /// They didn't answer, and why.
    Unseen {
        why: String,
    },
}

/// Whether a stage may be left.
pub(crate) enum Clear {
    /// No request reaches the canary, or there was no need to look.
    Yes,
    /// Not known. `until`: when the next look is due; `None`: it is being made, and its answer wakes us.
    NotYet { until: Option<DateTime<Utc>> },
    /// Nobody saw, for too long.
    Unseen { why: String },
}

impl Phase {
    /// The look that is to be made at `now`, if one is.
    pub fn due_look(&self, plan: &Plan, now: DateTime<Utc>) -> Option<DueLook> {
        let look = match self {
            Self::RollingBack(r) if r.stage.at == RetreatStage::Back => r.stage.look,
            Self::Promoting(p) if p.stage.at == PromotionStage::Exclude => p.stage.look,
            Self::RollingBack(_)
            | Self::Promoting(_)
            | Self::Progressing(_)
            | Self::Orphaned(_)
            | Self::Ended(_) => None,
        }?;
        (now >= look.due).then(|| DueLook { due: look.due, from: look.due - window(plan) })
    }
}

fn window(plan: &Plan) -> TimeDelta {
    plan.rules.interval.clamp(SHORTEST, LONGEST)
}

/// Asks the metrics before `stage` is left, where they can tell. Nothing has been meant to reach the canary since `settled`, and
/// something may have before.
pub(crate) fn look<S>(
    run: &Run,
    stage: &mut Timed<S>,
    settled: DateTime<Utc>,
    seen: &Observation,
    now: DateTime<Utc>,
) -> Clear {
    // Somebody has taken its Deployment away: nothing is left to be kept.
    let kept = seen.canary.revision.is_some();
    if run.plan.rules.skip_analysis || !seen.traffic.observable || !kept {
        return Clear::Yes;
    }
    let window = window(&run.plan);
    let look = stage.look.get_or_insert(Look { due: settled + window, sighting: None });
    let answer = seen.left.as_ref().filter(|answer| answer.due == look.due);
    match answer.map(|answer| &answer.left) {
        Some(Left::None) => return Clear::Yes,
        Some(Left::Unseen { why }) => {
            let silent = look.sighting.map_or(stage.since, |s| s.to.max(stage.since));
            if now >= silent + GIVE_UP {
                return Clear::Unseen { why: why.clone() };
            }
            look.due = now.max(look.due) + window;
        }
        Some(Left::Requests(sighting)) => {
            *look = Look { due: now.max(look.due) + window, sighting: Some(*sighting) };
        }
        None => {}
    }
    Clear::NotYet { until: (now < look.due).then_some(look.due) }
}
