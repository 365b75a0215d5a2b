use std::path::Path;

use analysis::{Limit, MetricVerdict, Outcome, Requests, Unit, Verdict, Window};
use api::{MetricStatus, RunSummary, TrafficStatus};
use chrono::DateTime;

use super::*;

fn running() -> CanaryStatus {
    let metric = |name: &str, canary, stable| MetricStatus {
        name: name.into(),
        canary,
        stable,
        unit: String::new(),
        limit: "not parsed".into(),
        requests: Some(1204.0),
        verdict: "Fail".into(),
        query: "sum(rate(requests[1m]))".into(),
    };
    CanaryStatus {
        phase: "Progressing".into(),
        step: Some("2/5".into()),
        run: Some(RunSummary {
            name: "checkout-5d8f9c7b6d".into(),
            revision: "5d8f9c7b6d".into(),
            started_at: DateTime::UNIX_EPOCH,
            step: 2,
            steps: 5,
            failures: 1,
            threshold: 3,
            ended_at: None,
            outcome: None,
        }),
        traffic: Some(TrafficStatus {
            intended: 20,
            stored: 10,
            observed: Some(9.75),
            ..TrafficStatus::default()
        }),
        metrics: vec![
            metric("success-rate", Some(98.5), Some(99.95)),
            metric("latency", Some(812.0), None),
        ],
        ..CanaryStatus::default()
    }
}

fn over() -> CanaryStatus {
    let mut status = running();
    status.phase = "Failed".into();
    status.step = None;
    if let Some(run) = &mut status.run {
        run.ended_at = Some(DateTime::UNIX_EPOCH);
    }
    status.traffic = Some(TrafficStatus::default());
    status
}

fn verdict(outcome: Outcome) -> Verdict {
    let metric = |name: &str, min, max| MetricVerdict {
        name: name.into(),
        outcome,
        canary: Some(1.0),
        stable: None,
        limit: Limit { min, max },
        unit: Unit::Plain,
        blames_canary: false,
        query: String::new(),
        note: None,
    };
    Verdict {
        outcome,
        window: Window { start: DateTime::UNIX_EPOCH, end: DateTime::UNIX_EPOCH },
        requests: Requests {
            outcome: Outcome::Pass,
            canary: Some(1204.0),
            stable: None,
            min: 0,
            query: String::new(),
            note: None,
        },
        metrics: vec![
            metric("success-rate", Some(99.0), None),
            metric("latency", None, Some(500.0)),
            metric("of-no-plan-now", Some(0.0), Some(1.0)),
        ],
    }
}

/// A canary in a run, and one that was rolled back.
fn two_canaries() -> Metrics {
    let metrics = Metrics::new();
    for outcome in [Outcome::Pass, Outcome::Pass, Outcome::Fail] {
        metrics.check("shop", "checkout", &verdict(outcome));
    }
    metrics.reason("shop", "checkout", "StepPassed");
    metrics.observe("shop", "checkout", &running());

    metrics.observe("shop", "cart", &running());
    metrics.check("shop", "cart", &verdict(Outcome::Fail));
    metrics.ended("shop", "cart", "Succeeded", "", 300.0);
    metrics.ended("shop", "cart", "Failed", "ChecksFailed", 95.5);
    metrics.observe("shop", "cart", &over());
    metrics
}

#[test]
fn what_a_status_and_its_checks_say_is_exported() {
    let metrics = two_canaries();
    metrics.reconciled(0.02, true);
    let text = metrics.encode();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/metrics.txt");
    // The order in a family of the library's is not fixed.
    let per_canary = "tidegate_canary_ tidegate_checks tidegate_decisions tidegate_runs";
    let ours = |line: &&str| per_canary.split(' ').any(|name| line.contains(name));
    let got: String = text.lines().filter(ours).map(|line| line.to_owned() + "\n").collect();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &got).unwrap();
    }
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(got, want, "metrics.txt differs: look at the change, then set UPDATE_GOLDEN=1");
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn what_is_about_the_process_is_exported_under_its_documented_names() {
    let metrics = two_canaries();
    metrics.reconciled(0.02, true);
    let text = metrics.encode();
    for line in [
        concat!("tidegate_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        "tidegate_reconciles_total{result=\"ok\"} 1",
        "tidegate_reconciles_total{result=\"error\"} 0",
        "tidegate_reconcile_duration_seconds_bucket{le=\"0.01\"} 0",
        "tidegate_reconcile_duration_seconds_bucket{le=\"0.025\"} 1",
        "tidegate_reconcile_duration_seconds_count 1",
        "tidegate_run_duration_seconds_sum{outcome=\"Failed\"} 95.5",
        "tidegate_run_duration_seconds_count{outcome=\"Succeeded\"} 1",
    ] {
        assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
    }
}

#[test]
fn values_go_when_their_run_is_over() {
    let metrics = Metrics::new();
    metrics.observe("shop", "checkout", &running());
    assert!(metrics.encode().contains("tidegate_canary_metric_value{"));
    metrics.observe("shop", "checkout", &over());
    let text = metrics.encode();
    for gone in ["metric_value{", "metric_limit{", "canary_step{", "observed", "Progressing"] {
        assert!(!text.contains(gone), "{gone} in\n{text}");
    }
    assert!(text.contains(
        "tidegate_canary_phase{namespace=\"shop\",name=\"checkout\",phase=\"Failed\"} 1"
    ));
}

#[test]
fn series_go_with_their_object() {
    let metrics = two_canaries();
    metrics.forget("shop", "cart");
    let text = metrics.encode();
    assert!(!text.contains("\"cart\""), "{text}");
    assert!(text.contains("\"checkout\""), "{text}");
    metrics.forget("shop", "checkout");
    assert!(!metrics.encode().contains("\"shop\""));
    assert!(metrics.encode().contains("tidegate_run_duration_seconds_count{outcome=\"Failed\"} 1"));
}

#[test]
fn labels_are_escaped_and_odd_values_are_numbers() {
    let metrics = Metrics::new();
    let mut status = running();
    status.metrics[0].name = "a \"b\"\\\n".into();
    status.metrics[0].canary = Some(f64::NAN);
    status.metrics[0].stable = Some(f64::INFINITY);
    metrics.observe("shop", "checkout", &status);
    let text = metrics.encode();
    assert!(text.contains(r#"metric="a \"b\"\\\n",arm="canary"} NaN"#), "{text}");
    assert!(text.contains(r#"arm="stable"} inf"#), "{text}");
}
