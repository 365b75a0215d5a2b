use std::path::Path;

use serde_json::{Value, json};

use super::*;

fn now() -> DateTime<Utc> {
    "2026-11-24T03:12:45Z".parse().unwrap()
}

fn canary(status: &Value) -> Canary {
    serde_json::from_value(json!({
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "Canary",
        "metadata": {"name": "checkout", "namespace": "shop", "generation": 2},
        "spec": {
            "targetRef": {"name": "checkout"},
            "traffic": {"service": {"name": "checkout"}},
        },
        "status": status,
    }))
    .unwrap()
}

fn metric(name: &str, values: [f64; 2], unit: &str, limit: &str, verdict: &str) -> Value {
    json!({
        "name": name, "canary": values[0], "stable": values[1], "unit": unit, "limit": limit,
        "requests": 1204.4, "verdict": verdict, "query": "sum(rate(requests_total[30s]))",
    })
}

fn progressing() -> Value {
    json!({
        "observedGeneration": 2,
        "phase": "Progressing",
        "step": "3/5",
        "run": {
            "name": "checkout-7f9c4-x2", "revision": "7f9c4", "startedAt": "2026-11-24T03:00:41Z",
            "step": 3, "steps": 5, "failures": 1, "threshold": 5,
        },
        "waitingFor": {
            "reason": "CheckFailed",
            "message": "step 3: failed check 1 of 5: p99 is 612 ms for canary, 415 ms for stable; at most 500 ms is allowed (1,204 requests)",
            "since": "2026-11-24T03:08:35Z",
            "nextAt": "2026-11-24T03:12:59Z",
        },
        "traffic": {
            "intended": 25, "stored": 25, "accepted": true, "observed": 24.62,
            "observedAt": "2026-11-24T03:12:33Z", "routes": ["httproute/checkout"],
            "provider": "gateway-api", "because": "httproute/checkout names the service", "systems": ["envoy-gateway"],
        },
        "metrics": [
            metric("success-rate", [99.82, 99.91], "%", ">= 99", "Pass"),
            metric("p99", [612.04, 415.2], "ms", "<= 500", "Fail"),
            {"name": "queue-depth", "limit": "<= 100", "verdict": "NoData", "query": "x"},
        ],
        "conditions": [
            {"type": "Ready", "status": "Unknown", "reason": "CheckFailed", "lastTransitionTime": "2026-11-24T03:00:41Z",
             "message": "step 3: failed check 1 of 5: p99 is 612 ms for canary, 415 ms for stable; at most 500 ms is allowed (1,204 requests)"},
            {"type": "Held", "status": "False", "reason": "CheckFailed", "message": "no revision waits",
             "lastTransitionTime": "2026-11-24T03:00:41Z"},
        ],
    })
}

fn entry(at: &str, reason: &str, message: &str) -> Value {
    json!({"at": at, "phase": "Progressing", "reason": reason, "message": message})
}

fn run() -> CanaryRun {
    serde_json::from_value(json!({
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "CanaryRun",
        "metadata": {"name": "checkout-7f9c4-x2", "namespace": "shop"},
        "spec": {
            "canary": "checkout", "revision": "7f9c4", "stableRevision": "6d4b8",
            "image": "registry.example.com/shop/checkout:1.9.2",
            "plan": {
                "steps": [
                    {"weight": 0}, {"weight": 10}, {"weight": 25, "checks": 4},
                    {"weight": 50, "hold": {"untilApproved": true}}, {"weight": 100, "hold": {"for": "5m"}},
                ],
                "analysis": {}, "progressDeadline": "10m", "skipAnalysis": false,
            },
        },
        "status": {
            "message": "",
            "cursor": {"phase": "Progressing", "stage": "Check", "step": 3, "passes": 2, "failures": 1},
            "history": [
                entry("2026-11-24T03:00:41Z", "NewRevision", "new revision 7f9c4"),
                entry("2026-11-24T03:01:02Z", "BringingUp", "step 1: 0 of 1 canary pods ready"),
                entry("2026-11-24T03:02:12Z", "StepPassed", "step 1 passed at 0 %, next is 10 %"),
                entry("2026-11-24T03:06:40Z", "StepPassed", "step 2 passed at 10 %, next is 25 %"),
                entry("2026-11-24T03:07:40Z", "CheckPassed", "step 3: 1 of 4 checks passed: p99 is 412 ms for canary, 415 ms for stable; at most 500 ms is allowed (1,190 requests)"),
                entry("2026-11-24T03:08:35Z", "CheckFailed", "step 3: failed check 1 of 5: p99 is 612 ms for canary"),
            ],
        },
    }))
    .unwrap()
}

fn screen<'a>(canary: &'a Canary, run: Option<&'a CanaryRun>) -> Screen<'a> {
    let paint = Paint { colours: false };
    let program = Program("tidegate");
    Screen { canary, run, now: now(), program, paint, width: 80, wide: false }
}

/// Refreshed with `UPDATE_GOLDEN=1`.
#[track_caller]
fn golden(file: &str, lines: &[String]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(file);
    let text = lines.join("\n") + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap_or_default(), "{}", path.display());
    let wide: Vec<_> = lines.iter().filter(|line| line.chars().count() > 80).collect();
    assert!(wide.is_empty(), "wider than 80 columns: {wide:#?}");
}

#[test]
fn a_run_in_its_steps_is_shown_with_what_it_waits_for_first() {
    let (canary, run) = (canary(&progressing()), run());
    golden("status-progressing.txt", &screen(&canary, Some(&run)).lines());
}

#[test]
fn who_else_reaches_the_canary_is_shown() {
    let mut status = progressing();
    status["traffic"]["matches"] = json!(["header x-canary=1", "cookie group=b"]);
    status["traffic"]["mirrored"] = json!(20);
    let mut run = run();
    let b = json!({"weight": 25, "match": [{"cookies": {"group": {"exact": "b"}}}]});
    run.spec.plan.steps[2] = serde_json::from_value(b).unwrap();
    let mirror = json!({"weight": 0, "mirror": {"percent": 20}});
    run.spec.plan.steps[0] = serde_json::from_value(mirror).unwrap();
    golden("status-matched-and-mirrored.txt", &screen(&canary(&status), Some(&run)).lines());
}

#[test]
fn without_its_run_a_canary_is_shown_all_the_same() {
    golden("status-without-run.txt", &screen(&canary(&progressing()), None).lines());
}

#[test]
fn a_promotion_that_is_waited_for_comes_with_its_command() {
    let mut status = progressing();
    status["phase"] = json!("WaitingPromotion");
    status["run"]["step"] = json!(4);
    status["run"]["failures"] = json!(0);
    status["traffic"]["intended"] = json!(50);
    status["waitingFor"] = json!({
        "reason": "AwaitingApproval", "message": "step 4: waits at 50 % until someone promotes",
        "since": "2026-11-24T01:02:03Z", "unblock": "tidegate promote checkout -n shop",
    });
    status["traffic"]["stored"] = json!(50);
    status["traffic"]["observed"] = json!(50.2);
    status["metrics"] = json!([]);
    status["conditions"] = json!([]);
    golden("status-waiting.txt", &screen(&canary(&status), Some(&run())).lines());
}

#[test]
fn a_failed_run_says_why_and_what_can_be_done() {
    let mut status = progressing();
    status["phase"] = json!("Failed");
    status["step"] = Value::Null;
    status["run"]["endedAt"] = json!("2026-11-24T03:10:45Z");
    status["run"]["outcome"] = json!("Failed");
    status["run"]["failures"] = json!(5);
    status["traffic"] =
        json!({"intended": 0, "stored": 0, "accepted": true, "routes": ["httproute/checkout"]});
    let why = "revision 7f9c4 stays held: 5 of 5 checks failed; revert it where it is kept, write a newer one, or retry";
    status["waitingFor"] = json!({
        "reason": "StillHeld", "message": why, "since": "2026-11-24T03:10:45Z",
        "unblock": "tidegate retry checkout -n shop",
    });
    status["conditions"] = json!([
        {"type": "Stalled", "status": "True", "reason": "StillHeld", "message": why, "lastTransitionTime": "2026-11-24T03:10:45Z"},
        {"type": "Promoted", "status": "False", "reason": "RolledBack", "message": "rolled back", "lastTransitionTime": "2026-11-24T03:10:45Z"},
    ]);
    golden("status-failed.txt", &screen(&canary(&status), Some(&run())).lines());
}

#[test]
fn at_rest_there_is_little_to_say() {
    let status = json!({
        "observedGeneration": 1, "phase": "Idle",
        "traffic": {"intended": 0, "stored": 0, "accepted": true, "routes": ["httproute/checkout"]},
        "conditions": [{"type": "Ready", "status": "True", "reason": "AtRest", "message": "revision 6d4b8 serves everything", "lastTransitionTime": "2026-11-24T03:10:45Z"}],
    });
    golden("status-idle.txt", &screen(&canary(&status), None).lines());
}

#[test]
fn a_controller_that_is_overdue_or_was_never_there_is_missed() {
    let mut status = progressing();
    status["waitingFor"]["nextAt"] = json!("2026-11-24T03:10:45Z");
    let lines = screen(&canary(&status), None).lines();
    let late = "           since 4m10s; was due 2m ago: is the controller up?";
    assert!(lines.iter().any(|line| line == late), "{lines:#?}");

    let lines = screen(&canary(&json!({})), None).lines();
    assert_eq!(lines[0], "shop/checkout  Unknown");
    assert_eq!(lines[2], "Waits for  a controller: none has looked at this yet");
}

#[test]
fn numbers_are_as_exact_as_is_needed_to_compare_them() {
    let told = [0.0, 0.04, 99.951, 100.0, 500.24, 1204.4, 12.5].map(number);
    assert_eq!(told, ["0", "0.04", "99.95", "100", "500.2", "1204", "12.5"]);
}
