use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta};
use proptest::prelude::*;

use super::*;
use crate::check::{Builtin, Limit};
use Reading::{Empty, Rejected, Unavailable, Value};

const MIN: u64 = 50;

fn window() -> Window {
    let start = DateTime::UNIX_EPOCH;
    Window { start, end: start + TimeDelta::seconds(60) }
}

fn p99() -> Metric {
    Metric {
        name: "p99".into(),
        kind: MetricKind::Builtin(Builtin::RequestDuration { quantile: 0.99 }),
        limit: Limit { min: None, max: Some(500.0) },
    }
}

fn queue() -> Metric {
    Metric {
        name: "queue".into(),
        kind: MetricKind::Custom { query: "queue".into(), variables: BTreeMap::new() },
        limit: Limit { min: None, max: Some(100.0) },
    }
}

/// The answers for requests, p99 and queue of one arm, in this order; `None`: not asked.
type Answers = [Option<Reading>; 3];

fn readings(canary: Answers, stable: Answers) -> Readings {
    let subjects =
        [Subject::Requests, Subject::Metric("p99".into()), Subject::Metric("queue".into())];
    let of = |arm, answers: Answers| {
        subjects.clone().into_iter().zip(answers).filter_map(move |(subject, reading)| {
            let promql = format!("{subject} of {arm}");
            Some((Query { subject, arm, promql }, reading?))
        })
    };
    of(Arm::Canary, canary).chain(of(Arm::Stable, stable)).collect()
}

fn both() -> Checks {
    Checks { metrics: vec![p99(), queue()], min_requests: MIN }
}

const NOBODY: Answers = [None, None, None];

#[track_caller]
fn judged(checks: &Checks, canary: Answers, stable: Answers, outcome: Outcome) -> Verdict {
    let verdict = judge(checks, window(), &readings(canary, stable));
    assert_eq!(verdict.outcome, outcome, "{verdict:#?}");
    assert_eq!(verdict.blames_canary(), outcome == Outcome::Fail, "{verdict:#?}");
    verdict
}

fn given(requests: Reading, p99: Reading, queue: Reading) -> Answers {
    [Some(requests), Some(p99), Some(queue)]
}

#[test]
fn the_first_line_that_applies_decides() {
    use Outcome::{Error, Fail, NoData, Pass, TooEarly};
    let fine = || given(Value(900.0), Value(400.0), Value(3.0));
    let gone = || Unavailable("connection refused".into());
    let bad = || Rejected("2 series".into());
    let all = |canary: Answers, outcome| {
        judged(&both(), canary.clone(), NOBODY, outcome);
        // A healthy stable changes nothing.
        judged(&both(), canary, fine(), outcome);
    };

    all(fine(), Pass);
    all(given(Value(900.0), Value(500.0), Value(100.0)), Pass);
    all(given(Value(900.0), Value(812.0), Value(3.0)), Fail);
    all(given(Value(900.0), Value(400.0), Value(101.0)), Fail);

    // Fewer requests than needed: nothing that is about requests says anything.
    all(given(Value(3.0), Value(812.0), Value(3.0)), TooEarly);
    all(given(Value(3.0), Value(400.0), Value(3.0)), TooEarly);
    all(given(Value(3.0), Empty, Value(3.0)), TooEarly);
    all(given(Value(0.0), Value(f64::NAN), Value(3.0)), TooEarly);
    all(given(Value(49.4), Value(400.0), Value(3.0)), TooEarly);
    all(given(Value(49.6), Value(400.0), Value(3.0)), Pass);
    // A queue is too long whoever asks.
    all(given(Value(3.0), Value(400.0), Value(101.0)), Fail);
    all(given(Empty, Empty, Value(101.0)), Fail);

    all(given(Empty, Empty, Value(3.0)), NoData);
    all(given(Empty, Value(812.0), Value(3.0)), NoData);
    all(given(Value(f64::NAN), Value(812.0), Value(3.0)), NoData);
    all(given(Value(900.0), Empty, Value(3.0)), NoData);
    all(given(Value(900.0), Value(f64::NAN), Value(3.0)), NoData);
    all(given(Value(900.0), Value(400.0), Empty), NoData);
    all([None, Some(Value(400.0)), Some(Value(3.0))], NoData);
    all([Some(Value(900.0)), None, Some(Value(3.0))], NoData);
    all(NOBODY, NoData);

    all(given(Value(900.0), gone(), Value(3.0)), Error);
    all(given(Value(900.0), bad(), Value(3.0)), Error);
    all(given(Value(900.0), Value(f64::INFINITY), Value(3.0)), Error);
    all(given(Value(900.0), Value(f64::NEG_INFINITY), Value(3.0)), Error);
    all(given(gone(), Value(400.0), Value(3.0)), Error);
    all(given(gone(), Value(812.0), Value(3.0)), Error);
    all(given(Value(3.0), gone(), Value(3.0)), Error);
    all(given(Empty, gone(), Value(3.0)), Error);
    // A failure that is proven stays one when another answer is missing.
    all(given(Value(900.0), Value(812.0), gone()), Fail);
    all(given(gone(), gone(), Value(101.0)), Fail);
}

#[test]
fn stable_needs_requests_for_a_pass_but_not_for_a_failure() {
    use Outcome::{Error, Fail, NoData, Pass, TooEarly};
    let fine = || given(Value(900.0), Value(400.0), Value(3.0));
    let slow = || given(Value(900.0), Value(812.0), Value(3.0));
    let stable = |requests| [Some(requests), Some(Value(400.0)), None];
    for (requests, outcome) in [
        (Value(900.0), Pass),
        (Value(12.0), TooEarly),
        (Empty, NoData),
        (Value(f64::NAN), NoData),
        (Unavailable("gone".into()), Error),
    ] {
        judged(&both(), fine(), stable(requests.clone()), outcome);
        judged(&both(), slow(), stable(requests), Fail);
    }
    // Stable's own values are evidence only.
    judged(&both(), fine(), given(Value(900.0), Value(9000.0), Value(9000.0)), Pass);
    judged(&both(), fine(), given(Value(900.0), Empty, Rejected("2 series".into())), Pass);
}

#[test]
fn without_metrics_about_requests_the_minimum_says_whether_they_matter() {
    let only_queue = |min_requests| Checks { metrics: vec![queue()], min_requests };
    let queue = |length| [Some(Empty), None, Some(Value(length))];
    judged(&only_queue(0), queue(3.0), NOBODY, Outcome::Pass);
    judged(&only_queue(0), queue(101.0), NOBODY, Outcome::Fail);
    judged(&only_queue(MIN), queue(3.0), NOBODY, Outcome::NoData);

    let nothing = Checks { metrics: vec![], min_requests: 0 };
    judged(&nothing, [Some(Value(1.0)), None, None], NOBODY, Outcome::Pass);
    judged(&nothing, [Some(Value(0.0)), None, None], NOBODY, Outcome::TooEarly);
    judged(&nothing, [Some(Empty), None, None], NOBODY, Outcome::NoData);

    let always_one = Checks { metrics: vec![p99()], min_requests: 0 };
    judged(&always_one, [Some(Value(0.0)), Some(Value(1.0)), None], NOBODY, Outcome::TooEarly);
    judged(&always_one, [Some(Value(1.0)), Some(Value(1.0)), None], NOBODY, Outcome::Pass);
}

#[track_caller]
fn blamed(checks: &Checks, canary: f64, stable: (f64, f64), blames: bool) {
    let arm = |requests, value| [Some(Value(requests)), Some(Value(value)), None];
    let answers = readings(arm(900.0, canary), arm(stable.0, stable.1));
    let verdict = judge(checks, window(), &answers);
    assert_eq!(verdict.outcome, Outcome::Fail);
    assert_eq!(verdict.blames_canary(), blames, "{}", verdict.sentence());
    assert_eq!(verdict.sentence().contains("stable breaks it too"), !blames);
}

#[test]
fn a_failure_that_both_arms_share_does_not_blame_the_canary() {
    let checks = Checks {
        metrics: vec![Metric { limit: Limit { min: Some(100.0), max: Some(500.0) }, ..p99() }],
        min_requests: MIN,
    };
    blamed(&checks, 812.0, (900.0, 415.0), true);
    blamed(&checks, 812.0, (900.0, 500.0), true);
    blamed(&checks, 812.0, (900.0, 790.0), false);
    // Twice as far beyond the limit is still shared, more is not.
    blamed(&checks, 700.0, (900.0, 600.0), false);
    blamed(&checks, 701.0, (900.0, 600.0), true);
    blamed(&checks, 60.0, (900.0, 80.0), false);
    blamed(&checks, 59.0, (900.0, 80.0), true);
    // The other end of the limit is another fault.
    blamed(&checks, 812.0, (900.0, 5.0), true);
    // Three slow answers of stable excuse nobody.
    blamed(&checks, 812.0, (3.0, 790.0), true);
}

#[test]
fn one_failure_of_the_canarys_own_is_enough_to_blame_it() {
    let canary = given(Value(900.0), Value(812.0), Value(500.0));
    let stable = [Some(Value(900.0)), Some(Value(790.0)), None];
    let verdict = judged(&both(), canary, stable, Outcome::Fail);
    let blamed: Vec<_> = verdict.metrics.iter().map(|metric| metric.blames_canary).collect();
    assert_eq!(blamed, [false, true]);
}

#[test]
fn a_verdict_carries_its_evidence() {
    let canary = given(Value(900.0), Value(812.0), Rejected("2 series".into()));
    let stable = [Some(Value(700.0)), Some(Value(415.0)), None];
    let verdict = judged(&both(), canary, stable, Outcome::Fail);
    assert_eq!((verdict.requests.canary, verdict.requests.stable), (Some(900.0), Some(700.0)));
    assert_eq!(verdict.requests.query, "requests of canary");
    let [p99, queue] = &verdict.metrics[..] else { panic!("two metrics") };
    assert_eq!((p99.canary, p99.stable), (Some(812.0), Some(415.0)));
    assert_eq!(p99.query, "p99 of canary");
    assert_eq!((queue.outcome, queue.canary), (Outcome::Error, None));
    assert_eq!(queue.note.as_deref(), Some("2 series"));
    assert_eq!(verdict.sentence(), "p99 812 ms > 500 ms (stable 415 ms), 900 requests in 1m");
}

fn any_reading() -> impl Strategy<Value = Option<Reading>> {
    prop_oneof![
        4 => (0.0..1000.0).prop_map(|value| Some(Value(value))),
        1 => any::<f64>().prop_map(|value| Some(Value(value))),
        1 => Just(Some(Value(f64::NAN))),
        1 => Just(Some(Value(f64::INFINITY))),
        1 => Just(Some(Empty)),
        1 => Just(Some(Unavailable("gone".into()))),
        1 => Just(Some(Rejected("2 series".into()))),
        1 => Just(None),
    ]
}

fn any_answers() -> impl Strategy<Value = Answers> {
    [any_reading(), any_reading(), any_reading()]
}

proptest! {
    #[test]
    fn a_pass_means_data_within_every_limit(canary in any_answers(), stable in any_answers()) {
        let verdict = judge(&both(), window(), &readings(canary.clone(), stable));
        let [requests, p99, queue] = canary;
        let good = |reading: Option<Reading>, range: std::ops::RangeInclusive<f64>| {
            matches!(reading, Some(Value(value)) if range.contains(&value))
        };
        let all_good = good(requests, 49.5..=f64::MAX)
            && good(p99, f64::MIN..=500.0)
            && good(queue, f64::MIN..=100.0);
        if verdict.outcome == Outcome::Pass {
            prop_assert!(all_good, "{}", verdict.sentence());
        }
        prop_assert!(!verdict.sentence().is_empty());
        prop_assert_eq!(verdict.blames_canary() && verdict.outcome != Outcome::Fail, false);
    }

    #[test]
    fn the_same_readings_give_the_same_verdict(canary in any_answers(), stable in any_answers()) {
        let answers = readings(canary, stable);
        let once = judge(&both(), window(), &answers);
        prop_assert_eq!(once.sentence(), judge(&both(), window(), &answers).sentence());
    }
}
