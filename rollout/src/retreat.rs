//! The way back: the target's pods if need be, then traffic, then the canary, then what users own.

use chrono::{DateTime, TimeDelta, Utc};

use crate::decide::ended;
use crate::{
    Cause, Decision, Observation, Outcome, Phase, Reason, Retreat, RetreatStage, Revision, Run,
    Target, Timed, Weight,
};

impl Retreat {
    /// The first stage of a way back to `to`.
    pub(crate) fn from(
        weight: Option<Weight>,
        to: Revision,
        seen: &Observation,
        cause: Cause,
        now: DateTime<Utc>,
    ) -> Self {
        let mut retreat = Self { cause, to, weight, stage: Timed::new(RetreatStage::Back, now) };
        retreat.stage.at = retreat.next_move(seen);
        retreat
    }

    /// What has to happen before traffic can go back; `Back` if nothing has.
    fn next_move(&self, seen: &Observation) -> RetreatStage {
        let Target::Found(target) = &seen.target else { return RetreatStage::Back };
        let serves = seen.canary.ready > 0 && self.weight.is_some_and(|w| w > Weight::ZERO);
        if target.leaves(&self.to) || !target.only(&self.to) {
            RetreatStage::Undo
        } else if serves && target.of(&self.to).ready == 0 {
            RetreatStage::Await
        } else {
            RetreatStage::Back
        }
    }
}

/// One decision about a run that is being rolled back.
pub(crate) fn decide(run: &Run, at: &Retreat, seen: &Observation, now: DateTime<Utc>) -> Decision {
    use RetreatStage as S;
    let go = Go { at, seen, now };
    match at.stage.at {
        S::Undo => go.undo(),
        S::Await => match at.next_move(seen) {
            S::Await => Decision::new(Phase::RollingBack(at.clone()), Reason::NothingToReturnTo),
            next => go.enter(next, go.rolling_back()),
        },
        S::Back => go.back(),
        S::Remove => {
            let left = seen.canary.existing;
            let gone = seen.canary.revision.is_none() && left == 0;
            go.when(gone, TimeDelta::zero(), S::Release, Reason::RemovingCanary { left })
        }
        S::Release if seen.pinned.is_none() && seen.traffic.stored.is_none() => {
            ended(Outcome::Failed(at.cause.clone()), run)
        }
        S::Release => Decision::new(Phase::RollingBack(at.clone()), Reason::Releasing),
    }
}

struct Go<'a> {
    at: &'a Retreat,
    seen: &'a Observation,
    now: DateTime<Utc>,
}

impl Go<'_> {
    fn undo(&self) -> Decision {
        let Target::Found(target) = &self.seen.target else {
            return self.enter(RetreatStage::Back, self.rolling_back());
        };
        let (to, wanted) = (&self.at.to, target.replicas);
        let available = target.of(to).available;
        let left = target.pods.iter().filter(|(r, _)| *r != to).map(|(_, p)| p.existing).sum();
        let undone = target.only(to) && available >= wanted && !target.leaves(to);
        let reason = Reason::Undoing { available, wanted, left };
        self.when(undone, TimeDelta::zero(), RetreatStage::Back, reason)
    }

    fn back(&self) -> Decision {
        if self.at.next_move(self.seen) == RetreatStage::Undo {
            return self.enter(RetreatStage::Undo, self.rolling_back());
        }
        let Some(weight) = self.at.weight else {
            return self.enter(RetreatStage::Remove, self.rolling_back());
        };
        let back = self.seen.traffic.stored == Some(Weight::ZERO);
        // An answer that the system doesn't give must not keep a broken canary alive for ever, nor a dead route the canary object.
        let given_up = self.now >= self.at.stage.since + GIVE_UP;
        let done = back && (self.seen.traffic.accepted || given_up);
        let gone = self.seen.deleting && self.seen.traffic.stored.is_none();
        // Pods that served requests may not go before the last of them is routed elsewhere.
        let settle =
            if weight > Weight::ZERO { self.seen.traffic.settle } else { TimeDelta::zero() };
        self.when(done || gone, settle, RetreatStage::Remove, self.rolling_back())
    }

    fn when(&self, so: bool, settle: TimeDelta, then: RetreatStage, reason: Reason) -> Decision {
        let mut at = self.at.clone();
        if !so {
            at.stage.reached = None;
            let give_up = at.stage.since + GIVE_UP;
            let decision = Decision::new(Phase::RollingBack(at), reason);
            return if self.now < give_up { decision.at(give_up) } else { decision };
        }
        let settled = *at.stage.reached.get_or_insert(self.now) + settle;
        if self.now < settled {
            return Decision::new(Phase::RollingBack(at), reason).at(settled);
        }
        self.enter(then, reason)
    }

    fn enter(&self, stage: RetreatStage, reason: Reason) -> Decision {
        let stage = Timed::new(stage, self.now);
        Decision::new(Phase::RollingBack(Retreat { stage, ..self.at.clone() }), reason).at(self.now)
    }

    fn rolling_back(&self) -> Reason {
        Reason::RollingBack { cause: self.at.cause.clone() }
    }
}

/// How long a rollback waits for the traffic system to accept the weight that has been stored, before the canary goes anyway.
const GIVE_UP: TimeDelta = TimeDelta::minutes(2);
