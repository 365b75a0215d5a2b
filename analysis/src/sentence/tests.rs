use chrono::DateTime;

use super::*;
use crate::check::{Limit, Window};
use crate::verdict::Requests;

fn verdict(outcome: Outcome, requests: (Option<f64>, Option<f64>), seconds: i64) -> Verdict {
    let start = DateTime::UNIX_EPOCH;
    Verdict {
        outcome,
        window: Window { start, end: start + TimeDelta::seconds(seconds) },
        requests: Requests {
            outcome: Outcome::Pass,
            canary: requests.0,
            stable: requests.1,
            min: 50,
            query: String::new(),
            note: None,
        },
        metrics: Vec::new(),
    }
}

fn metric(
    name: &str,
    outcome: Outcome,
    values: (f64, Option<f64>),
    limit: Limit,
    unit: Unit,
) -> MetricVerdict {
    MetricVerdict {
        name: name.into(),
        outcome,
        canary: Some(values.0),
        stable: values.1,
        limit,
        unit,
        blames_canary: outcome == Outcome::Fail,
        query: String::new(),
        note: None,
    }
}

fn at_most(max: f64) -> Limit {
    Limit { min: None, max: Some(max) }
}

fn at_least(min: f64) -> Limit {
    Limit { min: Some(min), max: None }
}

fn p99(outcome: Outcome, canary: f64, stable: f64) -> MetricVerdict {
    metric("p99", outcome, (canary, Some(stable)), at_most(500.0), Unit::Milliseconds)
}

fn success(outcome: Outcome, canary: f64, stable: f64) -> MetricVerdict {
    metric("success", outcome, (canary, Some(stable)), at_least(99.0), Unit::Percent)
}

#[track_caller]
fn reads(mut verdict: Verdict, metrics: Vec<MetricVerdict>, sentence: &str) {
    verdict.metrics = metrics;
    assert_eq!(verdict.sentence(), sentence);
    assert_eq!(verdict.sentence(), sentence, "twice the same");
}

#[test]
fn a_failure_says_which_limit_and_how_stable_does() {
    use Outcome::{Fail, Pass};
    let fail = || verdict(Fail, (Some(1203.7), Some(9000.0)), 60);
    reads(
        fail(),
        vec![p99(Fail, 812.4, 415.0)],
        "p99 812 ms > 500 ms (stable 415 ms), 1,204 requests in 1m",
    );
    reads(
        fail(),
        vec![success(Pass, 99.9, 99.9), p99(Fail, 812.4, 415.0)],
        "p99 812 ms > 500 ms (stable 415 ms), 1,204 requests in 1m",
    );
    reads(
        fail(),
        vec![
            MetricVerdict { blames_canary: false, ..p99(Fail, 812.4, 790.0) },
            success(Fail, 81.23, 99.98),
        ],
        "success 81.23 % < 99 % (stable 99.98 %); \
         p99 812 ms > 500 ms (stable breaks it too: 790 ms), 1,204 requests in 1m",
    );
    let queue = metric("queue", Fail, (140.0, None), at_most(100.0), Unit::Plain);
    reads(verdict(Fail, (None, None), 90), vec![queue], "queue 140 > 100 in 1m30s");
}

#[test]
fn a_pass_says_what_has_the_least_room() {
    use Outcome::Pass;
    let pass = || verdict(Pass, (Some(1_204_000.0), Some(9.0)), 3600);
    reads(
        pass(),
        vec![p99(Pass, 415.0, 402.0)],
        "p99 415 ms <= 500 ms (stable 402 ms), 1,204,000 requests in 1h",
    );
    reads(
        pass(),
        vec![p99(Pass, 415.0, 402.0), success(Pass, 99.2, 99.9)],
        "success 99.2 % >= 99 % (stable 99.9 %) is the tightest of 2, 1,204,000 requests in 1h",
    );
    let band = Limit { min: Some(0.01), max: Some(0.04) };
    let ratio = metric("ratio", Pass, (0.0341, None), band, Unit::Plain);
    reads(pass(), vec![ratio], "ratio 0.034 <= 0.04, 1,204,000 requests in 1h");
    let free = metric("free", Pass, (3.0, None), Limit::default(), Unit::Plain);
    reads(verdict(Pass, (Some(1.0), None), 30), vec![free], "no limit to break, 1 request in 30s");
}

#[test]
fn too_early_says_how_many_of_how_many() {
    let early = |requests| verdict(Outcome::TooEarly, requests, 30);
    reads(early((Some(23.2), Some(400.0))), vec![], "23 of 50 requests in 30s");
    reads(early((Some(0.0), None)), vec![], "0 of 50 requests in 30s");
    reads(early((Some(400.0), Some(12.0))), vec![], "stable had 12 of 50 requests in 30s");
}

#[test]
fn a_missing_answer_is_named_with_its_reason() {
    let silent = |outcome, note: &str| MetricVerdict {
        canary: None,
        note: Some(note.into()),
        ..p99(outcome, 0.0, 0.0)
    };
    reads(
        verdict(Outcome::NoData, (Some(400.0), None), 30),
        vec![silent(Outcome::NoData, "no series matches")],
        "no data for p99 in 30s (no series matches)",
    );
    let mut nobody = verdict(Outcome::NoData, (None, None), 30);
    nobody.requests.outcome = Outcome::NoData;
    nobody.requests.note = Some("canary: no series matches".into());
    reads(
        nobody,
        vec![silent(Outcome::NoData, "no series matches")],
        "no data for requests in 30s (canary: no series matches) (and 1 more)",
    );
    reads(
        verdict(Outcome::Error, (Some(400.0), None), 30),
        vec![
            success(Outcome::Pass, 99.9, 99.9),
            silent(Outcome::Error, "no answer from http://prometheus:9090/ within 5 s"),
        ],
        "p99: no answer from http://prometheus:9090/ within 5 s",
    );
}

#[test]
fn numbers_are_rounded_but_never_onto_the_limit() {
    #[track_caller]
    fn reads(value: f64, limit: f64, unit: Unit, text: &str) {
        assert_eq!(quantity(value, limit, unit), text);
    }
    reads(812.4, 500.0, Unit::Milliseconds, "812 ms");
    reads(500.2, 500.0, Unit::Milliseconds, "500.2 ms");
    reads(41.53, 500.0, Unit::Milliseconds, "41.5 ms");
    reads(3.214, 500.0, Unit::Milliseconds, "3.21 ms");
    reads(98.9996, 99.0, Unit::Percent, "98.9996 %");
    reads(99.9985, 99.999, Unit::Percent, "99.9985 %");
    reads(99.0, 99.0, Unit::Percent, "99 %");
    reads(100.0, 99.0, Unit::Percent, "100 %");
    reads(0.0341, 1.0, Unit::Plain, "0.034");
    reads(0.000_123, 1.0, Unit::Plain, "0.00012");
    reads(0.96, 1.0, Unit::Plain, "0.96");
    reads(0.0, 1.0, Unit::Plain, "0");
    reads(-1234.5, 1.0, Unit::Plain, "-1,234");
    reads(12_345_678.0, 1.0, Unit::Plain, "12,345,678");
    assert_eq!(exactly(99.999, Unit::Percent), "99.999 %");
    assert_eq!(exactly(2500.0, Unit::Milliseconds), "2,500 ms");
}

#[test]
fn a_length_leaves_out_what_is_zero() {
    for (seconds, text) in [(0, "0s"), (30, "30s"), (60, "1m"), (90, "1m30s"), (3661, "1h1m1s")] {
        assert_eq!(length(TimeDelta::seconds(seconds)), text);
    }
}
