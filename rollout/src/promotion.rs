//! From a canary that serves everything to a target that does. The order is the one that lost no request when every other was
//! tried under load: see `docs/decisions/promotion-order.md`.

use chrono::{DateTime, TimeDelta, Utc};

use crate::decide::{ended, go_back};
use crate::progress::PIN_SETTLE;
use crate::{
    Cause, Decision, Observation, Outcome, Phase, Promotion, PromotionStage, Reason, Run, Target,
    Timed, Weight,
};

/// One decision about a run in its promotion.
pub(crate) fn decide(
    run: &Run,
    at: &Promotion,
    seen: &Observation,
    now: DateTime<Utc>,
) -> Decision {
    use PromotionStage as S;
    let traffic = &seen.traffic;
    let target = match &seen.target {
        Target::Found(target) => Some(target),
        Target::Missing => None,
    };
    let wanted = target.map_or(0, |t| t.replicas).max(1);
    let go = Go { run, at, seen, now };
    match at.stage.at {
        S::Fill => {
            let (ready, trouble) = (seen.canary.ready, seen.canary.trouble.clone());
            let same = seen.canary.revision.as_ref() == Some(&run.canary);
            let reason = Reason::FillingCanary { ready, wanted, trouble };
            go.when(ready >= wanted && same, TimeDelta::zero(), S::Shift, reason)
        }
        S::Shift => {
            let reason = Reason::ShiftingTraffic {
                step: run.plan.steps().len(),
                weight: Weight::FULL,
                trouble: traffic.trouble.clone(),
            };
            go.when(go.routed(Weight::FULL), traffic.settle, S::Open, reason)
        }
        S::Open => go.when(
            seen.pinned.is_none(),
            PIN_SETTLE.max(traffic.settle),
            S::Roll,
            Reason::OpeningService,
        ),
        S::Roll => go.roll(wanted),
        S::Isolate => {
            let available = target.map_or(0, |t| t.of(&run.canary).available);
            let alone = target.is_some_and(|t| t.only(&run.canary) && available >= t.replicas);
            go.when(alone, TimeDelta::zero(), S::Return, Reason::Isolating { available, wanted })
        }
        S::Return => {
            go.when(go.routed(Weight::ZERO), traffic.settle, S::Exclude, Reason::ReturningTraffic)
        }
        S::Exclude => {
            let excluded = seen.pinned.as_ref() == Some(&run.canary);
            go.when(excluded, PIN_SETTLE.max(traffic.settle), S::Remove, Reason::ExcludingCanary)
        }
        S::Remove => {
            let left = seen.canary.existing;
            let gone = seen.canary.revision.is_none() && left == 0;
            go.when(gone, TimeDelta::zero(), S::Release, Reason::RemovingCanary { left })
        }
        S::Release if seen.pinned.is_none() && traffic.stored.is_none() => {
            ended(Outcome::Succeeded, run)
        }
        S::Release => Decision::new(Phase::Promoting(at.clone()), Reason::Releasing),
    }
}

struct Go<'a> {
    run: &'a Run,
    at: &'a Promotion,
    seen: &'a Observation,
    now: DateTime<Utc>,
}

impl Go<'_> {
    /// Goes on to `then` once what this stage wants has been so for `settle`.
    fn when(&self, so: bool, settle: TimeDelta, then: PromotionStage, reason: Reason) -> Decision {
        let mut at = self.at.clone();
        if !so {
            at.stage.reached = None;
            return self.wait(at, reason);
        }
        let settled = *at.stage.reached.get_or_insert(self.now) + settle;
        if self.now < settled {
            return Decision::new(Phase::Promoting(at), reason).at(settled);
        }
        at.stage = Timed::new(then, self.now);
        Decision::new(Phase::Promoting(at), reason).at(self.now)
    }

    /// Before the target is started a stage that takes too long ends the run. After that only the roll itself has a deadline:
    /// every pod has been judged, and users are served.
    fn wait(&self, at: Promotion, reason: Reason) -> Decision {
        let deadline = at.stage.since + self.run.plan.rules.progress_deadline;
        if at.stage.at > PromotionStage::Roll {
            return Decision::new(Phase::Promoting(at), reason);
        }
        if self.now < deadline {
            return Decision::new(Phase::Promoting(at), reason).at(deadline);
        }
        let cause = Cause::DeadlineExceeded { waited_for: reason.to_string() };
        go_back(self.run.stable.clone(), &Phase::Promoting(at), self.seen, cause, self.now)
    }

    fn roll(&self, wanted: u32) -> Decision {
        let canary = &self.run.canary;
        let Target::Found(target) = &self.seen.target else {
            return self.wait(self.at.clone(), Reason::OpeningService);
        };
        if target.revision != *canary && target.of(canary).existing > 0 {
            // A newer revision was held in the middle of the roll: both ReplicaSets stay until one of them is scaled down.
            let stage = Timed::new(PromotionStage::Isolate, self.now);
            let next = Phase::Promoting(Promotion { stage, ..self.at.clone() });
            let available = target.of(canary).available;
            return Decision::new(next, Reason::Isolating { available, wanted }).at(self.now);
        }
        let reason = Reason::RollingOut { available: target.of(canary).available, wanted };
        self.when(target.rolled_to(canary), TimeDelta::zero(), PromotionStage::Return, reason)
    }

    fn routed(&self, weight: Weight) -> bool {
        self.seen.traffic.stored == Some(weight) && self.seen.traffic.accepted
    }
}
