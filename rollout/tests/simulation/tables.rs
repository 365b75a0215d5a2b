//! Single decisions: what is given, what happens, what comes of it.

use rollout::{
    Answer, Blind, Cause, Check, DueVerdict, Effect, Hold, Match, NoData, Observation, Phase, Plan,
    PlanError, Progress, Reason, Rest, RetreatStage, Rules, Run, Shape, Stage, Step, Timed,
    Traffic, Verb, Weight, decide,
};

use crate::clock::{after, secs, start};
use crate::given::{asks, checking, found, progress, run, seen};
use crate::metrics::Metrics;
use crate::plans::{header, plan, revision, rules, share, step, tested, weight};
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
        let at = Progress { step: 0, routed: Some(0), ..checking(20, passes, 0) };
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
    let stage = Timed { at: Stage::Check(check), since: after(100), reached: None, look: None };
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
            ..Step::default()
        });
        Plan::new(steps.collect(), vec![], rules()).map(|_| ()).map_err(|e| e.to_string())
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
             remove `checks`, give the step a weight, a match or a mirror, or name testers"
        )
    );
    assert_eq!(
        new(&[(10, 0, Hold::UntilApproved)]),
        refused(
            "steps[0].checks: 0 checks at a weight above 0, with a match or with a mirror would go on unjudged; \
             ask for 1 or more, or set skipAnalysis"
        )
    );
    assert_eq!(Plan::new(vec![], vec![], rules()), Err(PlanError::NoSteps));
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
        &Reason::HeldForTime { step: 1, shape: share(25), hold: secs(5400) },
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

#[test]
fn a_plan_can_judge_what_it_asks_to_judge() {
    let b = || vec![header("x-group", "b")];
    let mirror = |percent| Step { mirror: Some(weight(percent)), ..Step::default() };
    let matched = || Step { matches: b(), ..Step::default() };
    let new = |step: Step, testers: Vec<Match>| {
        Plan::new(vec![step], testers, rules()).map(|_| ()).map_err(|e| e.to_string())
    };
    let checked = |step: Step| Step { checks: 1, ..step };
    for fine in
        [checked(mirror(1)), checked(matched()), Step { weight: weight(5), ..checked(matched()) }]
    {
        assert_eq!(new(fine, vec![]), Ok(()));
    }
    // Nobody has promised that testers come, so a step of theirs is judged or not, as the plan likes.
    assert_eq!(new(step(0), b()), Ok(()));
    assert_eq!(new(checked(step(0)), b()), Ok(()));
    let unjudged = "steps[0].checks: 0 checks at a weight above 0, with a match or with a mirror would go on unjudged; \
                    ask for 1 or more, or set skipAnalysis";
    assert_eq!(new(matched(), b()), Err(unjudged.to_owned()));
    assert_eq!(new(mirror(10), b()), Err(unjudged.to_owned()));
    let nothing = "steps[0].mirror.percent: 0 mirrors nothing; 1 to 100, or remove mirror";
    assert_eq!(new(checked(mirror(0)), vec![]), Err(nothing.to_owned()));
    let both = "steps[0].mirror: together with match nobody could tell whose requests were judged; make them two steps";
    let two = Step { matches: b(), ..checked(mirror(10)) };
    assert_eq!(new(two, vec![]), Err(both.to_owned()));
}

#[test]
fn a_step_has_pods_for_all_that_may_come() {
    let of = |percent, matched: bool, mirror: Option<u8>| {
        let matches = if matched { vec![header("x-group", "b")] } else { vec![] };
        Step { weight: weight(percent), matches, mirror: mirror.map(weight), ..Step::default() }
            .size()
            .percent()
    };
    assert_eq!((of(0, false, None), of(10, false, None)), (0, 10));
    assert_eq!((of(10, false, Some(50)), of(80, false, Some(50))), (50, 80));
    assert_eq!((of(0, true, None), of(10, true, None)), (100, 100));
}

#[test]
fn the_canary_shrinks_only_when_no_request_comes_by_the_step_before() {
    let matched = Step { matches: vec![header("x-group", "b")], checks: 1, ..step(0) };
    let run = Run { plan: plan([matched, step(50)], rules()), ..run() };
    let pods = |stage| {
        let at = Phase::Progressing(Progress { routed: Some(0), ..progress(stage) });
        at.effects(&run).into_iter().find_map(|effect| match effect {
            Effect::Canary(share) => share.map(Weight::percent),
            _ => None,
        })
    };
    let check = Check { effective: start(), next: after(10), approved: false };
    assert_eq!((pods(Stage::BringUp), pods(Stage::Shift)), (Some(100), Some(100)));
    assert_eq!(pods(Stage::Check(check)), Some(50));
}

#[test]
fn a_check_is_due_wherever_requests_can_reach_the_canary() {
    let mirrored = Step { mirror: Some(weight(30)), checks: 1, ..step(0) };
    let steps = [step(0), mirrored, step(50), step(100)];
    let due = |plan: &Plan, step, routed| {
        let check = Check { effective: start(), next: after(20), approved: false };
        let weight = Some(plan.step(step).weight);
        let at = Progress { step, weight, routed, ..progress(Stage::Check(check)) };
        let due = Phase::Progressing(at).due_check(plan, after(20));
        due.map(|d| (d.with_stable, d.mirrored, d.matched))
    };
    let (plain, tested) = (plan(steps.clone(), rules()), tested(steps));
    assert_eq!(due(&plain, 0, Some(0)), None);
    assert_eq!(due(&plain, 1, Some(1)), Some((true, true, false)));
    assert_eq!(due(&plain, 2, Some(2)), Some((true, false, false)));
    assert_eq!(due(&tested, 0, Some(0)), Some((true, false, true)));
    assert_eq!(due(&tested, 1, Some(1)), Some((true, true, true)));
    assert_eq!(due(&tested, 3, Some(3)), Some((false, false, false)));
    // The route has fallen back.
    assert_eq!(due(&tested, 1, None), None);
}

#[test]
fn silent_testers_hold_nothing_once_the_checks_have_passed() {
    let hold = Hold::UntilApproved;
    let silent = |step: Step, passes, asked: bool| {
        let mut run = Run { plan: tested([step]), ..run() };
        run.plan.rules.no_data.deadline = secs(0);
        let at = Progress {
            step: 0,
            weight: Some(weight(0)),
            routed: Some(0),
            ..checking(20, passes, 0)
        };
        let verdict = DueVerdict { step: 0, ..found(Metrics::Silent, 20) };
        let request = asked.then(|| asks(Verb::Promote, None));
        let traffic = Traffic { stored: Some(run.plan.shape(0)), ..seen().traffic };
        let seen = Observation { verdict: Some(verdict), request, traffic, ..seen() };
        let decided = decide(&run, &Phase::Progressing(at), &seen, after(21));
        (place(Some(&decided.next), Rest::Idle), decided.reason.name())
    };
    let waits = || ("step 1 Check".to_owned(), "AwaitingApproval");
    assert_eq!(silent(Step { hold, ..step(0) }, 0, false), waits());
    assert_eq!(silent(Step { hold, checks: 1, ..step(0) }, 1, false), waits());
    let promoted = ("Promoting Fill".to_owned(), "FillingCanary");
    assert_eq!(silent(Step { hold, ..step(0) }, 0, true), promoted);
    // A check that was asked for and never made is another matter.
    let back = ("RollingBack Back".to_owned(), "RollingBack");
    assert_eq!(silent(Step { hold, checks: 1, ..step(0) }, 0, false), back);
    let mirrored = Step { mirror: Some(weight(5)), hold, checks: 1, ..step(0) };
    assert_eq!(silent(mirrored, 1, false), back);
}

#[test]
fn a_route_without_the_step_s_matches_is_written_again() {
    let run = Run { plan: tested([step(0), step(50)]), ..run() };
    let decided = decide(&run, &Phase::Progressing(checking(20, 0, 0)), &seen(), after(5));
    assert_eq!(place(Some(&decided.next), Rest::Idle), "step 2 Shift");
    assert_eq!(decided.next.effects(&run)[2], Effect::Route(Some(run.plan.shape(1))));
}

#[test]
fn a_shape_is_told_in_a_sentence() {
    let told = |percent, names: &[&str], mirror: Option<u8>| {
        let matches = names.iter().map(|name| header(name, "1")).collect();
        Shape { weight: weight(percent), matches, mirror: mirror.map(weight) }.sentence()
    };
    assert_eq!(told(0, &[], None), "no request goes to the canary");
    assert_eq!(told(10, &[], None), "10 % of the requests go to the canary");
    assert_eq!(told(0, &["x-canary"], None), "requests with header x-canary=1 go to the canary");
    assert_eq!(
        told(10, &["x-a", "x-b"], None),
        "10 % of the requests and those with header x-a=1 or header x-b=1 go to the canary"
    );
    assert_eq!(told(0, &[], Some(10)), "10 % of the requests are mirrored");
    assert_eq!(
        told(5, &["x-a", "x-b", "x-c", "x-d", "x-e"], Some(10)),
        "5 % of the requests and those with header x-a=1 or header x-b=1 or header x-c=1 or 2 more go to the canary, \
         10 % of the requests are mirrored"
    );
    let long = "y".repeat(300);
    assert!(told(0, &[&long], None).len() < 160);
}

#[test]
fn what_is_more_than_a_weight_is_said() {
    let mirrored = || Shape { mirror: Some(weight(10)), ..Shape::default() };
    let tested = || Shape { matches: vec![header("x-canary", "1")], ..Shape::default() };
    says(
        &Reason::ShiftingTraffic { step: 2, shape: mirrored(), trouble: Some("odd".to_owned()) },
        "ShiftingTraffic",
        "step 2: 10 % of the requests are mirrored: written, not in effect yet; odd",
    );
    says(
        &Reason::WarmingUp { step: 1, shape: tested() },
        "WarmingUp",
        "step 1: requests with header x-canary=1 go to the canary: in effect, warming up before anything is measured",
    );
    says(
        &Reason::AwaitingApproval { step: 1, shape: tested() },
        "AwaitingApproval",
        "step 1: requests with header x-canary=1 go to the canary; waits until someone promotes",
    );
    says(
        &Reason::HeldForTime { step: 1, shape: mirrored(), hold: secs(90) },
        "HeldForTime",
        "step 1: 10 % of the requests are mirrored; stays so for 1m30s",
    );
    says(
        &Reason::StepPassed { step: 1, shape: tested(), next: share(100) },
        "StepPassed",
        "step 1 passed; next: 100 % of the requests go to the canary",
    );
}

#[test]
fn by_pods_a_canary_is_as_large_as_its_part_of_all_pods_asks_for() {
    let rules = Rules { by_pods: true, ..Rules::default() };
    let plan = |weight: u8| {
        let step = Step { weight: Weight::new(weight).unwrap(), checks: 1, ..Step::default() };
        Plan::new(vec![step], vec![], rules)
    };
    for (weight, replicas, pods) in [
        (10, 9, 1),
        (10, 90, 10),
        (20, 4, 1),
        (25, 3, 1),
        (25, 6, 2),
        (33, 2, 1),
        (50, 4, 4),
        (100, 4, 4),
        (1, 99, 1),
    ] {
        let size = plan(weight).unwrap().size(0).canary_pods(replicas);
        assert_eq!(size, pods, "{weight} % beside {replicas}");
    }
    let refused = plan(51).unwrap_err().to_string();
    assert!(refused.contains("steps[0].weight: 51 of all pods would be more"), "{refused}");
}
