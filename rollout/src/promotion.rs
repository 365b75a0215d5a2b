//! From a canary that serves everything to a target that does. The order is the one that lost no request when every other was
//! tried under load: see `docs/decisions/promotion-order.md`.

use chrono::{DateTime, TimeDelta, Utc};

use crate::decide::{ended, go_back, returnable};
use crate::look::{Clear, GIVE_UP, look};
use crate::progress::PIN_SETTLE;
use crate::{
    Cause, Decision, Ending, Observation, Outcome, Phase, Promotion, PromotionStage, Reason,
    Routed, Run, Shape, Target, Timed, Weight, Workload,
};

/// One decision about a run in its promotion, after [`leave`](crate::decide) has found no reason to end it.
pub(crate) fn decide(
    run: &Run,
    at: &Promotion,
    seen: &Observation,
    now: DateTime<Utc>,
) -> Decision {
    use PromotionStage as S;
    let traffic = &seen.traffic;
    let settle = PIN_SETTLE.max(traffic.settle);
    let target = match &seen.target {
        Target::Found(target) => Some(target),
        Target::Missing => None,
    };
    let wanted = Weight::FULL.canary_pods(target.map_or(0, |t| t.replicas));
    let available = target.map_or(0, |t| t.of(&run.canary).available);
    let strays = target.is_some_and(|t| t.strays_from(&run.canary));
    let go = Go { run, at: at.without_lost_canary(seen, target), seen, now };
    match at.stage.at {
        S::Fill => {
            let (ready, trouble) = (seen.canary.ready, seen.canary.trouble.clone());
            let same = seen.canary.revision.as_ref() == Some(&run.canary);
            let reason = Reason::FillingCanary { ready, wanted, trouble };
            go.when(ready >= wanted && same, TimeDelta::zero(), S::Shift, reason)
        }
        S::Shift => {
            let step = run.plan.steps().len();
            let trouble = traffic.trouble.clone();
            let everything = Shape::weight(Weight::FULL);
            let so = traffic.stored.as_ref() == Some(&everything) && traffic.accepted;
            let reason = Reason::ShiftingTraffic { step, shape: everything, trouble };
            go.when(so, traffic.settle, S::Open, reason)
        }
        S::Open => go.when(seen.pinned.is_none(), settle, S::Roll, Reason::OpeningService),
        S::Roll => {
            let rolled = target.is_some_and(|t| t.rolled_to(&run.canary));
            // A newer revision came in the middle: both ReplicaSets stay until one of them is scaled down.
            let newer = target.is_some_and(|t| t.revision != run.canary);
            if newer && !rolled && target.is_some_and(|t| t.of(&run.canary).existing > 0) {
                return go.enter(S::Isolate, Reason::Isolating { available, wanted });
            }
            let reason = Reason::RollingOut { available, wanted };
            // Some gateways still know the old pods.
            go.when(rolled, settle, S::Return, reason)
        }
        S::Isolate => {
            let alone = !strays && target.is_some_and(|t| available >= t.replicas);
            let reason = Reason::Isolating { available, wanted };
            go.when(alone, settle, S::Return, reason)
        }
        // Started by others, for nobody else may: the Service must not point at pods that are about to go.
        S::Return | S::Exclude if strays => {
            go.enter(S::Isolate, Reason::Isolating { available, wanted })
        }
        S::Return => {
            let so = traffic.returned();
            go.when(so, traffic.settle, S::Exclude, Reason::ReturningTraffic)
        }
        S::Exclude => {
            let excluded = seen.pinned.as_ref() == Some(&run.canary) && traffic.returned();
            go.when_clear(excluded, settle, S::Remove)
        }
        S::Remove => {
            let left = seen.canary.existing;
            let so = seen.canary.gone() || strays;
            go.when(so, TimeDelta::zero(), S::Release, Reason::RemovingCanary { left })
        }
        S::Release if seen.released() => ended(Outcome::Succeeded, run),
        S::Release => Decision::new(Phase::Promoting(go.at), Reason::Releasing),
    }
}

impl Promotion {
    /// While the target rolls every pod of it is judged, and the Service selects them all: if the canary is lost, they serve.
    fn without_lost_canary(&self, seen: &Observation, target: Option<&Workload>) -> Self {
        let rolls = matches!(self.stage.at, PromotionStage::Roll | PromotionStage::Isolate);
        let lost = seen.canary.ready == 0 && target.is_some_and(Workload::serves);
        match self.from {
            Some(_) if rolls && lost => Self { from: Some(Weight::ZERO), ..self.clone() },
            Some(_) | None => self.clone(),
        }
    }
}

struct Go<'a> {
    run: &'a Run,
    at: Promotion,
    seen: &'a Observation,
    now: DateTime<Utc>,
}

impl Go<'_> {
    /// Goes on to `then` once what this stage wants has been so for `settle`.
    fn when(self, so: bool, settle: TimeDelta, then: PromotionStage, reason: Reason) -> Decision {
        let mut at = self.at.clone();
        if !so {
            at.stage.missed();
            return self.wait(at, reason);
        }
        let settled = *at.stage.reached.get_or_insert(self.now) + settle;
        if self.now < settled {
            return Decision::new(Phase::Promoting(at), reason).at(settled);
        }
        self.enter(then, reason)
    }

    /// The same, and no request was seen to reach the canary's pods by then: they are about to go. Before the Service leaves them out
    /// it sends them requests, so there is nothing to see any earlier.
    fn when_clear(mut self, so: bool, settle: TimeDelta, then: PromotionStage) -> Decision {
        let reason = Reason::ExcludingCanary;
        let settled = self.at.stage.reached.unwrap_or(self.now) + settle;
        if !so || self.now < settled {
            return self.when(so, settle, then, reason);
        }
        let ending = Ending::Promotion;
        match look(self.run, &mut self.at.stage, settled, self.seen, self.now) {
            Clear::Yes => self.enter(then, reason),
            Clear::Unseen { why } => self.enter(then, Reason::NobodySaw { ending, why }),
            Clear::NotYet { until } => {
                let served = Reason::still_served(ending, &self.at.stage, self.now);
                let decision = Decision::new(Phase::Promoting(self.at), served.unwrap_or(reason));
                match until {
                    Some(until) => decision.at(until),
                    None => decision,
                }
            }
        }
    }

    fn enter(self, stage: PromotionStage, reason: Reason) -> Decision {
        let from = if stage == PromotionStage::Shift { Some(Weight::FULL) } else { self.at.from };
        let next = Promotion { from, stage: Timed::new(stage, self.now) };
        Decision::new(Phase::Promoting(next), reason).at(self.now)
    }

    /// What takes too long ends the run, as long as the target doesn't serve yet and can go back. After that every pod has been
    /// judged, and users are served.
    fn wait(&self, at: Promotion, reason: Reason) -> Decision {
        let deadline = at.stage.since + self.run.plan.rules.progress_deadline;
        let can_fail = at.stage.at <= PromotionStage::Isolate && returnable(self.run, self.seen);
        if can_fail && self.now >= deadline {
            let cause = Cause::DeadlineExceeded { waited_for: reason.to_string() };
            return go_back(
                self.run,
                self.run.stable.clone(),
                &Phase::Promoting(at),
                self.seen,
                cause,
                self.now,
            );
        }
        if can_fail {
            return Decision::new(Phase::Promoting(at), reason).at(deadline);
        }
        let returns = matches!(at.stage.at, PromotionStage::Return | PromotionStage::Exclude);
        let overdue = at.stage.since + GIVE_UP;
        match returns {
            true if self.now >= overdue => {
                let pinned = at.stage.at == PromotionStage::Return
                    || self.seen.pinned.as_ref() == Some(&self.run.canary);
                let read = Routed::new(&self.seen.traffic, pinned);
                let reason = Reason::NotReturned { ending: Ending::Promotion, read };
                Decision::new(Phase::Promoting(at), reason)
            }
            true => Decision::new(Phase::Promoting(at), reason).at(overdue),
            false => Decision::new(Phase::Promoting(at), reason),
        }
    }
}
