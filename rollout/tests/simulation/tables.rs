//! Single decisions: what is given, what happens, what comes of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use analysis::Window;
use rollout::{
    Answer, Blind, CanaryPods, Cause, Check, DueVerdict, Effect, Ended, HeldBy, Hold, NoData,
    Observation, Orphan, Outcome, Phase, Plan, PlanError, Pods, Progress, Promotion,
    PromotionStage, Reason, Request, Rest, Retreat, RetreatStage, Run, Stage, Step, Target, Timed,
    Traffic, Verb, Weight, Workload, decide, rest,
};

use crate::clock::{after, secs, start};
use crate::metrics::Metrics;
use crate::plans::{plan, revision, rules, step, weight};
use crate::transcript::{is_golden, place};

/// 0, 50 with two checks, 100; a check each 10 s, 2 failures end it, a minute for everything else.
fn run() -> Run {
    let steps = [step(0), Step { checks: 2, ..step(50) }, step(100)];
    Run { plan: plan(steps, rules()), canary: revision("v2"), stable: revision("v1") }
}

fn pods(n: u32) -> Pods {
    Pods { desired: n, existing: n, ready: n, available: n }
}

fn target(old: u32, new: u32) -> Workload {
    Workload {
        revision: revision("v2"),
        paused: new == 0,
        replicas: 4,
        current: true,
        pods: BTreeMap::from([(revision("v1"), pods(old)), (revision("v2"), pods(new))]),
    }
}

/// `v2` is held, `v1` serves, the canary has two pods and half of the traffic.
fn seen() -> Observation {
    Observation {
        target: Target::Found(target(4, 0)),
        canary: CanaryPods {
            revision: Some(revision("v2")),
            ready: 2,
            existing: 2,
            broken: None,
            trouble: None,
        },
        traffic: Traffic {
            stored: Some(weight(50)),
            accepted: true,
            trouble: None,
            settle: secs(3),
        },
        pinned: Some(revision("v1")),
        verdict: None,
        request: None,
        blocker: None,
        suspended: false,
        deleting: false,
        held_by: HeldBy::Policies,
    }
}

/// Nothing of a run is left.
fn at_rest_seen() -> Observation {
    let traffic = Traffic { stored: None, ..seen().traffic };
    Observation { canary: CanaryPods::default(), traffic, pinned: None, ..seen() }
}

fn asks(verb: Verb, step: Option<usize>) -> Option<Request> {
    let (by, why) = ("ann".to_owned(), "odd".to_owned());
    Some(Request { verb, by, why, run: None, step, names_this_run: true })
}

fn found(metrics: Metrics, due: i64) -> Option<DueVerdict> {
    let window = Window { start: after(due - 10), end: after(due) };
    Some(DueVerdict { step: 1, due: after(due), verdict: metrics.verdict(window) })
}

/// In the second step, whose weight is in effect since second 0; the next check is due at `next`.
fn checking(next: i64, passes: u32, failures: u32) -> Progress {
    let check = Check { effective: start(), next: after(next), approved: false };
    Progress { passes, failures, ..progress(Stage::Check(check)) }
}

fn progress(stage: Stage) -> Progress {
    Progress {
        step: 1,
        weight: Some(weight(50)),
        stage: Timed::new(stage, start()),
        passes: 0,
        failures: 0,
        blind_since: None,
        suspended_since: None,
    }
}

fn promotion(at: PromotionStage) -> Phase {
    let from = Some(if at == PromotionStage::Fill { weight(50) } else { Weight::FULL });
    Phase::Promoting(Promotion { from, stage: Timed::new(at, start()) })
}

fn retreat(at: RetreatStage) -> Phase {
    let (cause, to) = (Cause::NoData { why: "silence".to_owned() }, revision("v1"));
    Phase::RollingBack(Retreat {
        cause,
        to,
        weight: Some(weight(50)),
        stage: Timed::new(at, start()),
    })
}

// the steps

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
    let seen = Observation { verdict: found(Metrics::Slow, 20), ..seen() };
    let decided = decide(&run(), &Phase::Progressing(checking(20, 1, 1)), &seen, after(21));
    let Phase::RollingBack(retreat) = decided.next else { panic!("{:?}", decided.next) };
    assert_eq!(retreat.cause.name(), "ChecksFailed");
    assert_eq!((retreat.stage.at, retreat.weight), (RetreatStage::Back, Some(Weight::ZERO)));
}

#[track_caller] // a failing case is reported at its own line
fn check(given: Progress, when: Metrics, due: i64, at: i64, then: &Progress) {
    let seen = Observation { verdict: found(when, due), ..seen() };
    let decided = decide(&run(), &Phase::Progressing(given), &seen, after(at));
    assert_eq!(decided.next, Phase::Progressing(then.clone()), "because {}", decided.reason);
}

#[test]
fn a_promote_ends_the_hold_of_a_step_that_has_passed_and_nothing_else() {
    let held = |hold, passes, asked| {
        let steps = [Step { hold, ..step(50) }];
        let run = Run { plan: plan(steps, rules()), ..run() };
        let at = Progress { step: 0, ..checking(20, passes, 0) };
        let seen = Observation { request: asks(Verb::Promote, asked), ..seen() };
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
        let seen = Observation { verdict: found(Metrics::Silent, 50), ..seen() };
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

// everything, everywhere

#[test]
fn every_event_in_every_phase() {
    let mut text = String::new();
    for (phase, given) in phases() {
        let quiet = decide(&run(), &phase, &given, after(5)).reason.name();
        let _ = writeln!(text, "{} ({quiet})", place(Some(&phase), Rest::Idle));
        for (words, change) in events() {
            let mut seen = given.clone();
            let now = change(&mut seen);
            let decided = decide(&run(), &phase, &seen, after(now));
            let mut outcome = match &decided.next {
                next if *next == phase && decided.reason.name() == quiet => String::new(),
                next if *next == phase => decided.reason.name().to_owned(),
                next => format!("{}, {}", place(Some(next), Rest::Idle), decided.reason.name()),
            };
            match &decided.answer {
                None => {}
                Some(Answer::Accepted) => outcome += " < accepted",
                Some(Answer::Refused(why)) => outcome += &format!(" < refused: {why}"),
            }
            if !outcome.is_empty() {
                let _ = writeln!(text, "  {words:26} {outcome}");
            }
        }
    }
    is_golden("every-event-in-every-phase", &text);
}

/// Each phase, and the world as it is while it waits for something.
fn phases() -> Vec<(Phase, Observation)> {
    use PromotionStage as P;
    use RetreatStage as R;
    let of = |old, new, stored, pinned: Option<&str>, ready| {
        let mut seen = seen();
        seen.target = Target::Found(target(old, new));
        (seen.traffic.stored, seen.traffic.accepted) = (stored, false);
        seen.pinned = pinned.map(revision);
        (seen.canary.ready, seen.canary.existing) = (ready, 4);
        seen
    };
    let (none, half, full) = (Some(Weight::ZERO), Some(weight(50)), Some(Weight::FULL));
    let (v1, v2) = (Some("v1"), Some("v2"));
    let mut checked = of(4, 0, half, v1, 2);
    checked.traffic.accepted = true;
    let orphan = Orphan { weight: half, since: start() };
    let mut gone = of(4, 0, half, None, 2);
    gone.target = Target::Missing;
    let pin = Progress { step: 0, weight: None, ..progress(Stage::Pin) };
    let up = Progress { step: 2, ..progress(Stage::BringUp) };
    vec![
        (Phase::Progressing(pin), of(4, 0, None, None, 0)),
        (Phase::Progressing(up), of(4, 0, half, v1, 2)),
        (Phase::Progressing(progress(Stage::Shift)), of(4, 0, none, v1, 2)),
        (Phase::Progressing(checking(20, 1, 0)), checked),
        (promotion(P::Fill), of(4, 0, half, v1, 2)),
        (promotion(P::Shift), of(4, 0, half, v1, 4)),
        (promotion(P::Open), of(4, 0, full, v1, 4)),
        (promotion(P::Roll), of(3, 2, full, None, 4)),
        (promotion(P::Isolate), of(0, 3, full, None, 4)),
        (promotion(P::Return), of(0, 4, full, None, 4)),
        (promotion(P::Exclude), of(0, 4, none, None, 4)),
        (promotion(P::Remove), of(0, 4, none, v2, 0)),
        (promotion(P::Release), of(0, 4, none, v2, 0)),
        (retreat(R::Undo), of(3, 2, half, None, 4)),
        (retreat(R::Await), {
            let mut seen = of(4, 0, half, v1, 2);
            let mut unready = target(4, 0);
            unready.pods.insert(revision("v1"), Pods { ready: 0, available: 0, ..pods(4) });
            seen.target = Target::Found(unready);
            seen
        }),
        (retreat(R::Back), of(4, 0, half, v1, 2)),
        (retreat(R::Remove), of(4, 0, none, v1, 0)),
        (retreat(R::Release), of(4, 0, none, v1, 0)),
        (Phase::Orphaned(orphan), gone),
        (Phase::Ended(Outcome::Succeeded), of(0, 4, None, None, 0)),
    ]
}

/// In words, and what it does to what is seen; at which second that is seen.
type Change = fn(&mut Observation) -> i64;

fn events() -> Vec<(&'static str, Change)> {
    fn with_target(seen: &mut Observation, change: impl FnOnce(&mut Workload)) -> i64 {
        if let Target::Found(target) = &mut seen.target {
            change(target);
        }
        5
    }
    fn accepted(seen: &mut Observation, stored: Option<Weight>) -> i64 {
        (seen.traffic.stored, seen.traffic.accepted) = (stored, true);
        5
    }
    vec![
        ("its time is over", |_| 60),
        ("canary pods ready", |s| {
            s.canary.ready = 4;
            5
        }),
        ("canary pods lost", |s| {
            s.canary.ready = 0;
            5
        }),
        ("canary pods gone", |s| {
            s.canary = CanaryPods::default();
            5
        }),
        ("canary crashes", |s| {
            s.canary.broken = Some("container shop: OOMKilled".to_owned());
            5
        }),
        ("route at 0 % accepted", |s| accepted(s, Some(Weight::ZERO))),
        ("route at 50 % accepted", |s| accepted(s, Some(weight(50)))),
        ("route at 100 % accepted", |s| accepted(s, Some(Weight::FULL))),
        ("route as written", |s| accepted(s, None)),
        ("service pinned to v1", |s| {
            s.pinned = Some(revision("v1"));
            5
        }),
        ("service as written", |s| {
            s.pinned = None;
            5
        }),
        ("check passes", |s| {
            s.verdict = found(Metrics::Good, 20);
            21
        }),
        ("check fails", |s| {
            s.verdict = found(Metrics::Slow, 20);
            21
        }),
        ("check fails on both arms", |s| {
            s.verdict = found(Metrics::BothSlow, 20);
            21
        }),
        ("check without data", |s| {
            s.verdict = found(Metrics::Silent, 20);
            21
        }),
        ("stable pods not ready", |s| {
            with_target(s, |t| {
                t.pods.entry(revision("v1")).and_modify(|p| (p.ready, p.available) = (0, 0));
            })
        }),
        ("target has rolled out", |s| with_target(s, |t| *t = target(0, 4))),
        ("target back at v1", |s| with_target(s, |t| *t = target(4, 0))),
        ("started by someone", |s| with_target(s, |t| t.paused = false)),
        ("v3 is written", |s| with_target(s, |t| (t.revision, t.paused) = (revision("v3"), true))),
        ("v1 is written", |s| with_target(s, |t| (t.revision, t.paused) = (revision("v1"), true))),
        ("scaled to 0", |s| {
            with_target(s, |t| {
                t.replicas = 0;
                t.pods.values_mut().for_each(|p| *p = Pods::default());
            })
        }),
        ("target deleted", |s| {
            s.target = Target::Missing;
            5
        }),
        ("target created as v3", |s| {
            let new = Workload { revision: revision("v3"), paused: false, ..target(0, 0) };
            let pods = BTreeMap::from([(revision("v3"), pods(4))]);
            s.target = Target::Found(Workload { pods, ..new });
            5
        }),
        ("canary object deleted", |s| {
            s.deleting = true;
            5
        }),
        ("suspended", |s| {
            s.suspended = true;
            5
        }),
        ("promote", |s| {
            s.request = asks(Verb::Promote, None);
            5
        }),
        ("abort", |s| {
            s.request = asks(Verb::Abort, None);
            5
        }),
        ("retry", |s| {
            s.request = asks(Verb::Retry, None);
            5
        }),
        ("abort of another run", |s| {
            s.request = asks(Verb::Abort, None).map(|r| Request {
                run: Some("old".to_owned()),
                names_this_run: false,
                ..r
            });
            5
        }),
    ]
}

// at rest

#[test]
fn what_a_canary_without_a_run_does() {
    use HeldBy::{Pause, Policies};
    let serving = |paused| Workload { revision: revision("v1"), paused, ..target(4, 0) };
    let held = || target(4, 0);
    let start = |r: &str| Effect::Start(revision(r));
    at_rest(serving(false), Policies, false, None, Rest::Idle, &[]);
    at_rest(serving(true), Policies, false, None, Rest::Idle, &[start("v1")]);
    at_rest(serving(false), Pause, false, None, Rest::Idle, &[Effect::Hold]);
    at_rest(serving(true), Pause, false, None, Rest::Idle, &[]);
    at_rest(serving(true), Pause, true, None, Rest::Terminating, &[start("v1")]);
    at_rest(serving(true), Policies, true, None, Rest::Terminating, &[start("v1")]);
    at_rest(held(), Policies, false, None, Rest::Start, &[]);
    at_rest(held(), Policies, true, None, Rest::Terminating, &[]);
    // What was found wanting isn't tried again, what was only overtaken is.
    let aborted = Cause::Aborted { by: "ann".to_owned(), why: String::new() };
    at_rest(held(), Policies, false, Some(aborted), Rest::Failed, &[]);
    at_rest(held(), Policies, false, Some(Cause::Reverted), Rest::Start, &[]);
    // On its way, or half-way.
    let rolling = Workload { paused: false, ..target(3, 2) };
    at_rest(rolling.clone(), Policies, false, None, Rest::Initializing, &[]);
    at_rest(Workload { paused: true, ..rolling }, Policies, false, None, Rest::Initializing, &[]);
    // Nobody serves, so nobody can be compared with.
    let empty = |paused| Workload { replicas: 0, paused, pods: BTreeMap::new(), ..target(0, 0) };
    at_rest(empty(true), Policies, false, None, Rest::Waiting, &[]);
    at_rest(empty(false), Policies, false, None, Rest::Idle, &[]);
}

#[track_caller]
fn at_rest(
    target: Workload,
    held_by: HeldBy,
    deleting: bool,
    failed: Option<Cause>,
    then: Rest,
    effects: &[Effect],
) {
    let target = Target::Found(target);
    let seen = Observation { target, held_by, deleting, ..at_rest_seen() };
    let outcome = failed.map(Outcome::Failed);
    let last = outcome.map(|outcome| Ended { revision: revision("v2"), outcome });
    let decided = rest(last.as_ref(), &seen);
    let cleaning = [Effect::Canary(None), Effect::Split(None), Effect::Pin(None)];
    let extra: Vec<_> = decided.effects.into_iter().filter(|e| !cleaning.contains(e)).collect();
    assert_eq!((decided.rest, &extra[..]), (then, effects), "because {}", decided.reason);
}

#[test]
fn at_rest_everything_of_ours_is_taken_away_unless_it_may_be_someone_elses() {
    let cleaning = [Effect::Canary(None), Effect::Split(None), Effect::Pin(None)];
    let idle = Workload { revision: revision("v1"), paused: false, ..target(4, 0) };
    let clean = Observation { target: Target::Found(idle), ..seen() };
    assert_eq!(rest(None, &clean).effects, cleaning);
    let gone = Observation { target: Target::Missing, ..seen() };
    // A new run waits until it is gone.
    assert_eq!(
        (rest(None, &seen()).rest, rest(None, &seen()).effects),
        (Rest::Waiting, cleaning.to_vec())
    );
    assert_eq!(rest(None, &gone).effects, cleaning);
    let blocked = Observation { blocker: Some("another has it".to_owned()), ..clean };
    assert_eq!(
        (rest(None, &blocked).effects, rest(None, &blocked).rest),
        (vec![], Rest::Initializing)
    );
}

#[test]
fn a_retry_is_for_what_is_held_after_a_failed_run() {
    let cause = || Cause::NoData { why: "silence".to_owned() };
    let asked = |verb, failed: bool, suspended| {
        let outcome = if failed { Outcome::Failed(cause()) } else { Outcome::Succeeded };
        let last = Ended { revision: revision("v2"), outcome };
        let seen = Observation { request: asks(verb, None), suspended, ..at_rest_seen() };
        let decided = rest(Some(&last), &seen);
        (decided.rest, decided.answer.unwrap())
    };
    let refused = |why: &str| Answer::Refused(why.to_owned());
    assert_eq!(asked(Verb::Retry, true, false), (Rest::Start, Answer::Accepted));
    assert_eq!(asked(Verb::Retry, true, true), (Rest::Waiting, refused("spec.suspend is true")));
    let nothing = refused("no revision is held after a failed run");
    assert_eq!(asked(Verb::Retry, false, false), (Rest::Start, nothing));
    assert_eq!(asked(Verb::Abort, true, false), (Rest::Failed, refused("no run is on")));
    assert_eq!(asked(Verb::Promote, false, false), (Rest::Start, refused("no run is on")));
}

// words and numbers

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
