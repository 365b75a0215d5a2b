//! The steps: pods, then the route, then checks, then holds, then the next step.

use analysis::{Observed, Outcome as Found, Verdict};
use chrono::{DateTime, Utc};

use crate::decide::go_back;
use crate::{
    Answer, Blind, CanaryPods, Cause, Check, Decision, Hold, Observation, Phase, Plan, Progress,
    Promotion, PromotionStage, Reason, Request, Run, Shape, Stage, Step, Target, Timed, Verb,
    Weight, Workload,
};

/// How long the Service's endpoints may lag behind its selector. Nothing of the canary exists before this has passed, so its
/// first pod is never a backend of the user's Service. (The EndpointSlice controller answers within 100 ms when idle.)
pub(crate) const PIN_SETTLE: chrono::TimeDelta = chrono::TimeDelta::seconds(1);

/// One decision about a run in its steps, after [`leave`](crate::decide) has found no reason to end them.
pub(crate) fn decide(
    run: &Run,
    at: &Progress,
    seen: &Observation,
    request: Option<&Request>,
    now: DateTime<Utc>,
) -> Decision {
    let Target::Found(target) = &seen.target else {
        return stay(at.clone(), Reason::TargetGone { ready: seen.canary.ready });
    };
    let mut at = at.clone();
    let (step, shape) = (run.plan.step(at.step), run.plan.shape(at.step));
    let size = run.plan.size(at.step);
    let go = Go { run, step, size, shape, target, seen, now };
    if seen.canary.ready == 0 && !at.is_unrouted(&run.plan) {
        return go.fall_back(at);
    }
    if let Some(decision) = suspension(&mut at, seen, now) {
        return decision;
    }
    match at.stage.at {
        Stage::Pin => go.pin(at),
        Stage::BringUp => go.bring_up(at),
        Stage::Shift => go.shift(at),
        Stage::Check(check) => go.check(at, check, request),
    }
}

/// While suspended nothing moves and no clock of the run's goes on.
fn suspension(at: &mut Progress, seen: &Observation, now: DateTime<Utc>) -> Option<Decision> {
    match (seen.suspended, at.suspended_since) {
        (true, _) => {
            at.suspended_since = at.suspended_since.or(Some(now));
            Some(stay(at.clone(), Reason::Suspended))
        }
        (false, Some(since)) => {
            let slept = now - since;
            at.suspended_since = None;
            at.stage.since += now - since.max(at.stage.since);
            at.blind_since = at.blind_since.map(|t| t + slept);
            if let Stage::Check(check) = &mut at.stage.at {
                check.effective += slept;
                check.next += slept;
            }
            None
        }
        (false, None) => None,
    }
}

struct Go<'a> {
    run: &'a Run,
    step: Step,
    /// How many pods the canary needs in this step, as a share of the target's.
    size: Weight,
    /// What the route looks like in this step.
    shape: Shape,
    target: &'a Workload,
    seen: &'a Observation,
    now: DateTime<Utc>,
}

impl Go<'_> {
    fn plan(&self) -> &Plan {
        &self.run.plan
    }

    fn pin(&self, mut at: Progress) -> Decision {
        if self.seen.pinned.as_ref() != Some(&self.run.stable) {
            at.stage.missed();
            return stay(at, Reason::PinningService);
        }
        let settled = *at.stage.reached.get_or_insert(self.now) + PIN_SETTLE;
        if self.now < settled {
            return stay(at, Reason::PinningService).at(settled);
        }
        if self.plan().rules.skip_analysis {
            return self.promote(&at);
        }
        at.enter(Stage::BringUp, self.now);
        self.bring_up(at)
    }

    fn bring_up(&self, mut at: Progress) -> Decision {
        let (ready, wanted) = (self.seen.canary.ready, self.wanted());
        if ready >= wanted && self.seen.canary.revision.as_ref() == Some(&self.run.canary) {
            if !self.stable_carries(self.step.weight) {
                return stay(at, self.stable_not_ready(self.step.weight));
            }
            at.weight = Some(self.step.weight);
            at.routed = Some(at.step);
            at.enter(Stage::Shift, self.now);
            let reason = self.shifting(&at);
            return stay(at, reason).at(self.now);
        }
        let trouble = self.seen.canary.trouble.clone();
        let reason = Reason::BringingUp { step: number(&at), ready, wanted, trouble };
        self.in_time(at, reason)
    }

    fn shift(&self, mut at: Progress) -> Decision {
        let traffic = &self.seen.traffic;
        if traffic.stored.as_ref() != Some(&self.shape) || !traffic.accepted {
            at.stage.missed();
            let reason = self.shifting(&at);
            return self.in_time(at, reason);
        }
        let reached = *at.stage.reached.get_or_insert(self.now);
        let effective = reached + traffic.settle + self.plan().rules.warm_up;
        let before = at.step.checked_sub(1).map(|before| self.plan().shape(before));
        // Where no request has reached the canary, and none does now, there is nothing that could settle.
        let settles = !self.shape.is_nothing() || before.is_some_and(|b| !b.is_nothing());
        if settles && self.now < effective {
            let reason = Reason::WarmingUp { step: number(&at), shape: self.shape.clone() };
            return stay(at, reason).at(effective);
        }
        let effective = if settles { effective } else { reached };
        let next = effective + self.plan().rules.interval;
        at.enter(Stage::Check(Check { effective, next, approved: false }), self.now);
        self.complete(at, None)
    }

    fn check(&self, mut at: Progress, mut check: Check, request: Option<&Request>) -> Decision {
        if self.seen.traffic.stored.as_ref() != Some(&self.shape) {
            // Somebody else has rewritten the route. What was measured since is of no use.
            at.enter(Stage::Shift, self.now);
            return self.shift(at);
        }
        let answer =
            request.filter(|r| r.verb == Verb::Promote).map(|_| self.approve(&at, &mut check));
        at.stage.at = Stage::Check(check);
        let verdict =
            self.seen.verdict.as_ref().filter(|v| v.step == at.step && v.due == check.next);
        let decision = match verdict {
            Some(v) => self.count(at, check, &v.verdict),
            None => self.complete(at, None),
        };
        match answer {
            Some(answer) => decision.answered(answer),
            None => decision,
        }
    }

    /// A promote ends the hold of a step whose checks have passed, and nothing else: it never skips a check.
    fn approve(&self, at: &Progress, check: &mut Check) -> Answer {
        let (passes, checks) = (at.passes, self.step.checks);
        if passes < checks {
            return Answer::Refused(format!(
                "step {} has passed {passes} of {checks} checks; there is nothing to approve yet",
                number(at)
            ));
        }
        if self.step.hold == Hold::None {
            return Answer::Refused(format!("step {} waits for nobody's approval", number(at)));
        }
        check.approved = true;
        Answer::Accepted
    }

    fn count(&self, mut at: Progress, mut check: Check, verdict: &Verdict) -> Decision {
        // Later than it was, whatever the verdict says: no check is counted twice.
        check.next = verdict.window.end.max(check.next) + self.plan().rules.interval;
        at.stage.at = Stage::Check(check);
        let (step, sentence) = (number(&at), verdict.sentence());
        match verdict.outcome {
            Found::Pass => {
                if let Some(sentence) = self.disobeyed(verdict) {
                    return self.blind(at, check, "ShareDiffers", sentence);
                }
                at.blind_since = None;
                let news = self.passed(&mut at);
                let (passes, checks) = (at.passes, self.step.checks);
                let reason = Reason::CheckPassed { step, passes, checks, sentence };
                self.complete(at, news.then_some(reason))
            }
            Found::Fail if verdict.blames_canary() => {
                at.blind_since = None;
                self.failed(at, sentence)
            }
            Found::Fail => {
                at.blind_since = None;
                stay(at, Reason::BothArmsBad { step, sentence }).at(check.next)
            }
            Found::NoData => self.blind(at, check, "NoData", sentence),
            Found::Error => self.blind(at, check, "MetricsError", sentence),
            Found::TooEarly => self.blind(at, check, "TooEarly", sentence),
        }
    }

    /// How the canary's share of the requests differs from its weight: the traffic system does something else than the route says, so
    /// nobody knows what was judged.
    fn disobeyed(&self, verdict: &Verdict) -> Option<String> {
        if !self.seen.traffic.by_weight {
            return None;
        }
        let observed = self.shape.share(&verdict.requests)?;
        matches!(observed, Observed::Differs(share) if share.is_enough())
            .then(|| observed.to_string())
    }

    /// Counts up to what the step asks for; whether it still counted.
    fn passed(&self, at: &mut Progress) -> bool {
        let before = at.passes;
        at.passes = (before + 1).min(self.step.checks);
        at.passes > before
    }

    fn failed(&self, mut at: Progress, sentence: String) -> Decision {
        at.failures += 1;
        let (failures, threshold) = (at.failures, self.threshold());
        if failures >= threshold {
            return self.back(at, Cause::ChecksFailed { failures, threshold, sentence });
        }
        let step = number(&at);
        let next = check_of(&at).map_or(self.now, |c| c.next);
        stay(at, Reason::CheckFailed { step, failures, threshold, sentence }).at(next)
    }

    /// Silence neither passes nor fails: the route stays as it is, until the deadline does what the plan says.
    fn blind(
        &self,
        mut at: Progress,
        check: Check,
        outcome: &'static str,
        sentence: String,
    ) -> Decision {
        if !self.expects_requests(&at) {
            at.blind_since = None;
            return self.complete(at, None);
        }
        let since = *at.blind_since.get_or_insert(self.now);
        let policy = self.plan().rules.no_data;
        let over = self.now >= since + policy.deadline;
        let step = number(&at);
        match policy.then {
            Blind::Rollback if over => self.back(at, Cause::NoData { why: sentence }),
            Blind::Promote if over => {
                self.passed(&mut at);
                self.complete(at, Some(Reason::NoVerdict { step, outcome, sentence }))
            }
            Blind::Rollback | Blind::Promote | Blind::Hold => {
                stay(at, Reason::NoVerdict { step, outcome, sentence }).at(check.next)
            }
        }
    }

    /// Whether silence is news. Where only requests that match reach the canary, it isn't once the step has its passes: nobody
    /// has promised that testers stay until someone approves.
    fn expects_requests(&self, at: &Progress) -> bool {
        self.shape.takes_a_share() || at.passes < self.step.checks
    }

    /// On to the next step, if nothing holds this one. `because`: what has just happened, if it is worth saying.
    fn complete(&self, at: Progress, because: Option<Reason>) -> Decision {
        let Some(check) = check_of(&at) else { return stay(at, Reason::Releasing) };
        let step = number(&at);
        let shape = || self.shape.clone();
        let wait = |reason, at| stay(at, because.clone().unwrap_or(reason));
        if at.passes < self.step.checks {
            let (passes, checks) = (at.passes, self.step.checks);
            let decision = wait(Reason::CheckNotDue { step, passes, checks }, at);
            // Overdue: it is being made, and its verdict wakes us.
            return if self.now < check.next { decision.at(check.next) } else { decision };
        }
        let checks_go_on = |d: Decision| {
            let made = !self.shape.is_nothing();
            if made && self.now < check.next { d.at(check.next) } else { d }
        };
        let held = match self.step.hold {
            _ if check.approved => None,
            Hold::None => None,
            Hold::For(hold) => (self.now < check.effective + hold).then(|| {
                let reason = Reason::HeldForTime { step, shape: shape(), hold };
                (reason, Some(check.effective + hold))
            }),
            Hold::UntilApproved => Some((Reason::AwaitingApproval { step, shape: shape() }, None)),
        };
        if let Some((reason, until)) = held {
            let decision = checks_go_on(wait(reason, at));
            // What has happened is said first, then what is waited for.
            let until = if because.is_some() { Some(self.now) } else { until };
            return match until {
                Some(until) => decision.at(until),
                None => decision,
            };
        }
        if self.blind_now(&at, check) {
            let sentence = "the last check had no usable verdict".to_owned();
            return checks_go_on(wait(Reason::NoVerdict { step, outcome: "NoData", sentence }, at));
        }
        let (ready, wanted) = (self.seen.canary.ready, self.wanted());
        if ready < wanted {
            return checks_go_on(stay(at, Reason::CanaryNotReady { ready, wanted }));
        }
        if !self.stable_carries(self.step.weight) {
            let reason = self.stable_not_ready(self.step.weight);
            return checks_go_on(stay(at, reason));
        }
        self.next_step(at, because)
    }

    /// Nobody knows how the canary does, and neither the plan nor a person has said to go on regardless.
    fn blind_now(&self, at: &Progress, check: Check) -> bool {
        let policy = self.plan().rules.no_data;
        let over = |since| self.now >= since + policy.deadline;
        let regardless = |since| check.approved || (policy.then == Blind::Promote && over(since));
        self.expects_requests(at) && at.blind_since.is_some_and(|since| !regardless(since))
    }

    fn next_step(&self, mut at: Progress, because: Option<Reason>) -> Decision {
        if at.step + 1 >= self.plan().steps().len() {
            let decision = self.promote(&at);
            return Decision { reason: because.unwrap_or(decision.reason), ..decision };
        }
        let next = self.plan().shape(at.step + 1);
        let reason = Reason::StepPassed { step: number(&at), shape: self.shape.clone(), next };
        at.step += 1;
        at.passes = 0;
        at.enter(Stage::BringUp, self.now);
        stay(at, because.unwrap_or(reason)).at(self.now)
    }

    /// No canary pod is left: its requests go back to stable at once, testers' too, and come again when pods do.
    fn fall_back(&self, mut at: Progress) -> Decision {
        at.failures += 1;
        let (failures, threshold) = (at.failures, self.threshold());
        let trouble = self.seen.canary.trouble.clone();
        if failures >= threshold {
            let sentence = Reason::CanaryLost { failures, threshold, trouble }.to_string();
            return self.back(at, Cause::ChecksFailed { failures, threshold, sentence });
        }
        (at.weight, at.routed) = (Some(Weight::ZERO), None);
        at.enter(Stage::BringUp, self.now);
        stay(at, Reason::CanaryLost { failures, threshold, trouble }).at(self.now)
    }

    fn in_time(&self, at: Progress, reason: Reason) -> Decision {
        let deadline = at.stage.since + self.plan().rules.progress_deadline;
        if self.now >= deadline {
            return self.back(at, Cause::DeadlineExceeded { waited_for: reason.to_string() });
        }
        stay(at, reason).at(deadline)
    }

    fn back(&self, at: Progress, cause: Cause) -> Decision {
        let to = self.run.stable.clone();
        go_back(self.run, to, &Phase::Progressing(at), self.seen, cause, self.now)
    }

    fn wanted(&self) -> u32 {
        self.size.canary_pods(self.target.replicas)
    }

    fn threshold(&self) -> u32 {
        self.plan().rules.threshold.max(1)
    }

    fn stable_carries(&self, canary: Weight) -> bool {
        self.target.of(&self.run.stable).ready >= canary.rest().of(self.target.replicas)
    }

    fn stable_not_ready(&self, canary: Weight) -> Reason {
        Reason::StableNotReady {
            ready: self.target.of(&self.run.stable).ready,
            wanted: canary.rest().of(self.target.replicas),
        }
    }

    fn shifting(&self, at: &Progress) -> Reason {
        let trouble = self.seen.traffic.trouble.clone();
        Reason::ShiftingTraffic { step: number(at), shape: self.shape.clone(), trouble }
    }

    /// Always from 100 % on a full-size canary, whatever the plan's last weight was.
    fn promote(&self, at: &Progress) -> Decision {
        let CanaryPods { ready, trouble, .. } = self.seen.canary.clone();
        let wanted = Weight::FULL.canary_pods(self.target.replicas);
        let stage = Timed::new(PromotionStage::Fill, self.now);
        let next = Phase::Promoting(Promotion { from: at.weight, stage });
        Decision::new(next, Reason::FillingCanary { ready, wanted, trouble }).at(self.now)
    }
}

/// As people count.
fn number(at: &Progress) -> usize {
    at.step + 1
}

fn check_of(at: &Progress) -> Option<Check> {
    match at.stage.at {
        Stage::Check(check) => Some(check),
        Stage::Pin | Stage::BringUp | Stage::Shift => None,
    }
}

fn stay(at: Progress, reason: Reason) -> Decision {
    Decision::new(Phase::Progressing(at), reason)
}
