//! The way back: the target's pods if need be, then traffic, then the canary, then what users own.

use chrono::{DateTime, Utc};

use crate::decide::ended;
use crate::look::{Clear, GIVE_UP, look};
use crate::progress::PIN_SETTLE;
use crate::{
    Cause, Decision, Ending, Observation, Outcome, Phase, Reason, Retreat, RetreatStage, Revision,
    Routed, Run, Shape, Target, Timed, Weight, Workload,
};

impl Retreat {
    /// The first stage of a way back to `to`.
    pub(crate) fn from(
        run: &Run,
        phase: &Phase,
        to: Revision,
        seen: &Observation,
        cause: Cause,
        now: DateTime<Utc>,
    ) -> Self {
        let stage = Timed::new(RetreatStage::Back, now);
        let (weight, exposed) = (phase.weight(), phase.exposed(&run.plan));
        let retreat = Self { cause, to, weight, exposed, stage }.amended(seen);
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
    let go = Go { run, at: at.amended(seen), seen, now };
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
    run: &'a Run,
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
        let reason = if confirmed || self.now < give_up {
            Reason::RollingBack { cause: self.at.cause.clone() }
        } else {
            Reason::NotReturned {
                ending: Ending::Rollback,
                read: Routed::new(&seen.traffic, pinned),
            }
        };
        if !confirmed && !overdue {
            self.at.stage.missed();
            let decision = Decision::new(Phase::RollingBack(self.at), reason);
            return if self.now < give_up { decision.at(give_up) } else { decision };
        }
        // Pods that served requests may not go before the last of them is routed elsewhere.
        let settle = PIN_SETTLE.max(seen.traffic.settle);
        let settled = *self.at.stage.reached.get_or_insert(self.now) + settle;
        if self.now < settled {
            return Decision::new(Phase::RollingBack(self.at), reason).at(settled);
        }
        if !self.at.exposed {
            return self.enter(RetreatStage::Remove);
        }
        let ending = Ending::Rollback;
        match look(self.run, &mut self.at.stage, settled, seen, self.now) {
            Clear::Yes => self.enter(RetreatStage::Remove),
            Clear::Unseen { why } => {
                self.enter_because(RetreatStage::Remove, Reason::NobodySaw { ending, why })
            }
            Clear::NotYet { until } => {
                let served = Reason::still_served(ending, &self.at.stage, self.now);
                let decision = Decision::new(Phase::RollingBack(self.at), served.unwrap_or(reason));
                match until {
                    Some(until) => decision.at(until),
                    None => decision,
                }
            }
        }
    }

    fn enter(self, stage: RetreatStage) -> Decision {
        let reason = Reason::RollingBack { cause: self.at.cause.clone() };
        self.enter_because(stage, reason)
    }

    fn enter_because(self, stage: RetreatStage, reason: Reason) -> Decision {
        let next = self.at.at(stage, self.now);
        Decision::new(Phase::RollingBack(next), reason).at(self.now)
    }
}

fn of_others(target: &Workload, to: &Revision) -> u32 {
    target.pods.iter().filter(|(r, _)| *r != to).map(|(_, p)| p.existing).sum()
}
