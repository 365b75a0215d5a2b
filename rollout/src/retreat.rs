//! The way back: the target's pods if need be, then traffic, then the canary, then what users own.

use chrono::{DateTime, TimeDelta, Utc};

use crate::decide::ended;
use crate::progress::PIN_SETTLE;
use crate::{
    Cause, Decision, Observation, Outcome, Phase, Reason, Retreat, RetreatStage, Revision, Run,
    Shape, Target, Timed, Weight, Workload,
};

/// How long a rollback waits for the traffic system and the Service to confirm that nothing goes to the canary any more, once the
/// route says so. An answer that never comes must not keep a broken canary alive for ever, nor a lost route the canary object.
const GIVE_UP: TimeDelta = TimeDelta::minutes(2);

impl Retreat {
    /// The first stage of a way back to `to`.
    pub(crate) fn from(
        phase: &Phase,
        to: Revision,
        seen: &Observation,
        cause: Cause,
        now: DateTime<Utc>,
    ) -> Self {
        let stage = Timed::new(RetreatStage::Back, now);
        let retreat = Self { cause, to, weight: phase.weight(), stage }.amended(seen);
        // What was seen may be older than our own start: hold it again, whatever it looks like.
        let started = matches!(phase, Phase::Promoting(p) if p.started());
        let first = if started { RetreatStage::Undo } else { retreat.next_move(seen) };
        retreat.at(first, now).amended(seen)
    }

    /// Once traffic goes back, it stays there: whatever happens then, the canary has none.
    fn at(self, stage: RetreatStage, now: DateTime<Utc>) -> Self {
        let back = stage >= RetreatStage::Back;
        let weight = self.weight.map(|weight| if back { Weight::ZERO } else { weight });
        Self { weight, stage: Timed::new(stage, now), ..self }
    }

    /// What has to happen before traffic can go back; `Back` if nothing has.
    fn next_move(&self, seen: &Observation) -> RetreatStage {
        let serves = seen.canary.ready > 0 && self.weight > Some(Weight::ZERO);
        match &seen.target {
            Target::Missing if serves && !seen.deleting => RetreatStage::Await,
            Target::Found(t) if t.strays_from(&self.to) => RetreatStage::Undo,
            Target::Found(t) if serves && t.replicas > 0 && t.of(&self.to).ready == 0 => {
                RetreatStage::Await
            }
            Target::Missing | Target::Found(_) => RetreatStage::Back,
        }
    }

    /// As it is, unless what it relied on is gone: the revision to go back to (then it is what serves), or the canary (then
    /// whatever the target runs serves, while it is undone).
    fn amended(&self, seen: &Observation) -> Self {
        let mut at = self.clone();
        let Target::Found(target) = &seen.target else { return at };
        if let Some(serving) = target.serving().filter(|_| !target.remembers(&at.to)) {
            at.to = serving.clone();
        }
        let lost = at.stage.at == RetreatStage::Undo && seen.canary.ready == 0 && target.serves();
        at.weight = at.weight.map(|weight| if lost { Weight::ZERO } else { weight });
        at
    }
}

/// One decision about a run that is being rolled back.
pub(crate) fn decide(run: &Run, at: &Retreat, seen: &Observation, now: DateTime<Utc>) -> Decision {
    use RetreatStage as S;
    let go = Go { at: at.amended(seen), seen, now };
    let next = go.at.next_move(seen);
    match at.stage.at {
        S::Await | S::Back | S::Remove | S::Release if next == S::Undo => go.enter(S::Undo),
        S::Undo => go.undo(),
        S::Await if next == S::Await => {
            Decision::new(Phase::RollingBack(go.at), Reason::NothingToReturnTo)
        }
        S::Await => go.enter(next),
        S::Back => go.back(),
        S::Remove if seen.canary.gone() => go.enter(S::Release),
        S::Remove => {
            let left = seen.canary.existing;
            Decision::new(Phase::RollingBack(go.at), Reason::RemovingCanary { left })
        }
        S::Release if seen.released() => ended(Outcome::Failed(go.at.cause), run),
        S::Release => Decision::new(Phase::RollingBack(go.at), Reason::Releasing),
    }
}

struct Go<'a> {
    at: Retreat,
    seen: &'a Observation,
    now: DateTime<Utc>,
}

impl Go<'_> {
    fn undo(self) -> Decision {
        let Target::Found(target) = &self.seen.target else {
            let next = self.at.next_move(self.seen);
            return self.enter(next);
        };
        let (to, wanted) = (&self.at.to, target.replicas);
        let available = target.of(to).available;
        if available >= wanted && !target.strays_from(to) {
            return self.enter(RetreatStage::Back);
        }
        let left = of_others(target, to);
        let reason = Reason::Undoing { available, wanted, left };
        Decision::new(Phase::RollingBack(self.at), reason)
    }

    fn back(mut self) -> Decision {
        let seen = self.seen;
        let give_up = self.at.stage.since + GIVE_UP;
        let pinned = seen.pinned.as_ref() == Some(&self.at.to) || seen.target == Target::Missing;
        let confirmed = seen.traffic.returned() && pinned;
        let gone = seen.traffic.stored.as_ref().is_none_or(Shape::is_nothing);
        let overdue = self.now >= give_up && gone;
        let reason = Reason::RollingBack { cause: self.at.cause.clone() };
        if !confirmed && !overdue {
            self.at.stage.reached = None;
            let decision = Decision::new(Phase::RollingBack(self.at), reason);
            return if self.now < give_up { decision.at(give_up) } else { decision };
        }
        // Pods that served requests may not go before the last of them is routed elsewhere.
        let settle = PIN_SETTLE.max(seen.traffic.settle);
        let settled = *self.at.stage.reached.get_or_insert(self.now) + settle;
        if self.now < settled {
            return Decision::new(Phase::RollingBack(self.at), reason).at(settled);
        }
        self.enter(RetreatStage::Remove)
    }

    fn enter(self, stage: RetreatStage) -> Decision {
        let reason = Reason::RollingBack { cause: self.at.cause.clone() };
        let next = self.at.at(stage, self.now);
        Decision::new(Phase::RollingBack(next), reason).at(self.now)
    }
}

fn of_others(target: &Workload, to: &Revision) -> u32 {
    target.pods.iter().filter(|(r, _)| *r != to).map(|(_, p)| p.existing).sum()
}
