//! Single decisions: what is given, what happens, what comes of it.

use rollout::{
    Answer, Blind, Cause, Check, Hold, NoData, Observation, Phase, Plan, PlanError, Progress,
    Reason, Rest, RetreatStage, Run, Stage, Step, Timed, Verb, Weight, decide,
};

use crate::clock::{after, secs, start};
use crate::given::{asks, checking, found, progress, run, seen};
use crate::metrics::Metrics;
use crate::plans::{plan, revision, rules, step, weight};
use crate::transcript::place;

#[test]
fn a_step_ends_when_its_checks_have_passed() {
    let enough = Progress { passes: 0, step: 2, ..progress(Stage::BringUp) };
    let enough = Progress { stage: Timed::new(Stage::BringUp, after(21)), ..enough };
    check(checking(20, 0, 0), Metrics::Good, 20, 21, &checking(30, 1, 0));
    check(checking(20, 1, 0), Metrics::Good, 20, 21, &enough);
    // Not the check that is due: an old one, or one of the future.
    check(checking(20, 1, 0), Metrics::Good, 10, 21, &checking(20, 1, 0));
    check(checking(20, 1, 0), Metrics::Good, 30, 31, &checking(20, 1, 0));
}

#[test]
fn a_check_that_does_not_pass_leaves_the_step_where_it_is() {
    let blind = Progress { blind_since: Some(after(21)), ..checking(30, 1, 0) };
    check(checking(20, 1, 0), Metrics::Slow, 20, 21, &checking(30, 1, 1));
    check(checking(20, 1, 1), Metrics::BothSlow, 20, 21, &checking(30, 1, 1));
    check(checking(20, 1, 1), Metrics::Silent, 20, 21, &Progress { failures: 1, ..blind.clone() });
    check(checking(20, 1, 0), Metrics::Erring, 20, 21, &blind);
    check(checking(20, 1, 0), Metrics::TooFew, 20, 21, &blind);
    // A verdict of any kind that says something ends the silence.
    let blinded = Progress { blind_since: Some(start()), ..checking(20, 1, 0) };
    check(blinded, Metrics::Slow, 20, 21, &checking(30, 1, 1));
}

#[test]
fn the_failure_that_reaches_the_threshold_rolls_it_back() {
    let seen = Observation { verdict: Some(found(Metrics::Slow, 20)), ..seen() };
    let decided = decide(&run(), &Phase::Progressing(checking(20, 1, 1)), &seen, after(21));
    let Phase::RollingBack(retreat) = decided.next else { panic!("{:?}", decided.next) };
    assert_eq!(retreat.cause.name(), "ChecksFailed");
    assert_eq!((retreat.stage.at, retreat.weight), (RetreatStage::Back, Some(Weight::ZERO)));
}

#[track_caller] // a failing case is reported at its own line
fn check(given: Progress, when: Metrics, due: i64, at: i64, then: &Progress) {
    let seen = Observation { verdict: Some(found(when, due)), ..seen() };
    let decided = decide(&run(), &Phase::Progressing(given), &seen, after(at));
    assert_eq!(decided.next, Phase::Progressing(then.clone()), "because {}", decided.reason);
}

#[test]
fn a_promote_ends_the_hold_of_a_step_that_has_passed_and_nothing_else() {
    let held = |hold, passes, asked| {
        let steps = [Step { hold, ..step(50) }];
        let run = Run { plan: plan(steps, rules()), ..run() };
        let at = Progress { step: 0, ..checking(20, passes, 0) };
        let seen = Observation { request: Some(asks(Verb::Promote, asked)), ..seen() };
        let decided = decide(&run, &Phase::Progressing(at), &seen, after(15));
        (place(Some(&decided.next), Rest::Idle), decided.answer.unwrap())
    };
    let stays = |why: &str| ("step 1 Check".to_owned(), Answer::Refused(why.to_owned()));
    let goes = ("Promoting Fill".to_owned(), Answer::Accepted);
    assert_eq!(held(Hold::UntilApproved, 1, None), goes);
    assert_eq!(held(Hold::UntilApproved, 1, Some(1)), goes);
    assert_eq!(held(Hold::For(secs(500)), 1, None), goes);
    assert_eq!(
        held(Hold::UntilApproved, 0, None),
        stays("step 1 has passed 0 of 1 checks; there is nothing to approve yet")
    );
    assert_eq!(
        held(Hold::UntilApproved, 1, Some(2)),
        stays("step 2 was seen, but the run is at step 1; look again")
    );
}

#[test]
fn a_due_check_is_not_waited_for_by_the_clock() {
    let looks = |now| {
        let phase = Phase::Progressing(checking(20, 0, 0));
        let due = phase.due_check(&run().plan, after(now)).map(|c| (c.due, c.from, c.with_stable));
        (due, decide(&run(), &phase, &seen(), after(now)).look_again_at)
    };
    assert_eq!(looks(19), (None, Some(after(20))));
    assert_eq!(looks(20), (Some((after(20), after(10), true)), None));
    assert_eq!(looks(25), (Some((after(20), after(15), true)), None));
}

#[test]
fn a_window_never_reaches_back_before_the_weight_was_in_effect() {
    let at = Check { effective: after(15), next: after(20), approved: false };
    let phase = Phase::Progressing(progress(Stage::Check(at)));
    assert_eq!(phase.due_check(&run().plan, after(20)).unwrap().from, after(15));
}

#[test]
fn being_suspended_takes_no_time() {
    let asleep = Progress { suspended_since: Some(after(5)), ..checking(20, 1, 0) };
    let decided = decide(&run(), &Phase::Progressing(asleep), &seen(), after(105));
    let check = Check { effective: after(100), next: after(120), approved: false };
    let stage = Timed { at: Stage::Check(check), since: after(100), reached: None };
    let awake = Progress { stage, ..checking(20, 1, 0) };
    assert_eq!(decided.next, Phase::Progressing(awake));
    assert_eq!(decided.look_again_at, Some(after(120)));
}

#[test]
fn silence_does_what_the_plan_says_once_it_has_lasted() {
    let after_silence = |then, seconds| {
        let mut run = run();
        run.plan.rules.no_data = NoData { deadline: secs(60), then };
        let at = Progress { blind_since: Some(start()), ..checking(50, 1, 0) };
        let seen = Observation { verdict: Some(found(Metrics::Silent, 50)), ..seen() };
        let decided = decide(&run, &Phase::Progressing(at), &seen, after(seconds));
        (place(Some(&decided.next), Rest::Idle), decided.reason.name())
    };
    let held = ("step 2 Check".to_owned(), "NoData");
    assert_eq!(after_silence(Blind::Rollback, 59), held);
    assert_eq!(after_silence(Blind::Rollback, 60), ("RollingBack Back".to_owned(), "RollingBack"));
    assert_eq!(after_silence(Blind::Hold, 9999), held);
    assert_eq!(after_silence(Blind::Promote, 59), held);
    assert_eq!(after_silence(Blind::Promote, 60), ("step 3 BringUp".to_owned(), "NoData"));
}

#[test]
fn a_plan_rises_and_can_be_judged() {
    let new = |steps: &[(u8, u32, Hold)]| {
        let steps = steps.iter().map(|(w, checks, hold)| Step {
            weight: weight(*w),
            checks: *checks,
            hold: *hold,
        });
        Plan::new(steps.collect(), rules()).map(|_| ()).map_err(|e| e.to_string())
    };
    let none = Hold::None;
    assert_eq!(new(&[(0, 0, none), (10, 1, none), (10, 2, none), (100, 1, none)]), Ok(()));
    assert_eq!(new(&[(0, 0, Hold::UntilApproved)]), Ok(()));
    let refused = |why: &str| Err(why.to_owned());
    assert_eq!(new(&[]), refused("steps: at least one step is needed"));
    assert_eq!(
        new(&[(50, 1, none), (10, 1, none)]),
        refused(
            "steps[1].weight: 10 is below the 50 of the step before; weights rise from step to step"
        )
    );
    assert_eq!(
        new(&[(0, 1, none)]),
        refused(
            "steps[0].checks: no request reaches the canary at weight 0, so there is nothing to check; \
             remove `checks` or give the step a weight"
        )
    );
    assert_eq!(
        new(&[(10, 0, Hold::UntilApproved)]),
        refused(
            "steps[0].checks: 0 checks at a weight above 0 would go on unjudged; ask for 1 or more, or set skipAnalysis"
        )
    );
    assert_eq!(Plan::new(vec![], rules()), Err(PlanError::NoSteps));
}

#[test]
fn a_share_of_pods_is_rounded_up() {
    let of = |percent, replicas| weight(percent).of(replicas);
    assert_eq!((of(0, 4), of(1, 4), of(25, 4), of(26, 4), of(100, 4)), (0, 1, 1, 2, 4));
    assert_eq!((of(50, 0), of(10, 3), of(99, u32::MAX)), (0, 1, 4_252_017_623));
    assert_eq!((weight(30).rest(), Weight::new(101)), (weight(70), None));
}

#[test]
fn a_reason_is_one_sentence_that_stands_by_itself() {
    says(
        &Reason::BringingUp { step: 2, ready: 1, wanted: 3, trouble: Some("no room".to_owned()) },
        "BringingUp",
        "step 2: 1 of 3 canary pods ready; no room",
    );
    says(
        &Reason::HeldForTime { step: 1, weight: weight(25), hold: secs(5400) },
        "HeldForTime",
        "step 1: stays at 25 % for 1h30m",
    );
    let cause = Cause::Aborted { by: "ann".to_owned(), why: String::new() };
    says(
        &Reason::StillHeld { revision: revision("v2"), cause },
        "StillHeld",
        "revision v2 stays held: aborted by ann; revert it where it is kept, write a newer one, or retry",
    );
    let sentence = "no data for requests in 10s".to_owned();
    says(
        &Reason::NoVerdict { step: 3, outcome: "MetricsError", sentence },
        "MetricsError",
        "step 3: held: no data for requests in 10s",
    );
}

#[track_caller]
fn says(reason: &Reason, name: &str, sentence: &str) {
    assert_eq!((reason.name(), reason.to_string()), (name, sentence.to_owned()));
}
