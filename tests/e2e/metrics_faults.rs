//! Prometheus empty, failing, slow and lying: silence is never taken for a pass, nor for a failure of the canary.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use api::ActionVerb;
use serde_json::{Value, json};
use tests::{App, Fault, Judged, Plane, Status, scenario};
use tokio::time::Instant;

const PLANES: &[Plane] = &[Plane::Prometheus, Plane::EnvoyGateway];

/// One step at a tenth; what happens after `deadline` without a usable check.
fn no_data(deadline: &str, then: &str) -> Value {
    let no_data = json!({"deadline": deadline, "then": then});
    json!({"steps": [{"weight": 10}], "analysis": {"noData": no_data}})
}

#[test]
fn an_empty_prometheus_holds_the_run_until_its_deadline_and_then_it_is_rolled_back() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let spec = no_data("10s", "Rollback");
        let judged = Judged::begin(cluster, "empty-rollback", Fault::Empty, spec).await?;
        judged.held("NoData", "step 1: held: no data for requests in ").await?;
        let failed = judged.shop.until_phase("Failed").await?;
        ensure!(failed.message().contains("no usable metrics for too long: no data"), "{failed:?}");
        judged.no_request_failed().await
    })
}

#[test]
fn an_empty_prometheus_holds_the_run_for_good_where_that_is_asked_for() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let spec = no_data("1s", "Hold");
        let judged = Judged::begin(cluster, "empty-hold", Fault::Empty, spec).await?;
        let held = judged.held("NoData", "held: no data for requests in ").await?;
        let unblock = held.waiting_for.and_then(|w| w.unblock).unwrap_or_default();
        ensure!(unblock == "tidegate abort shop -n empty-hold", "{unblock}");
        judged.prometheus.set(Fault::None);
        judged.shop.until_phase("Succeeded").await?;
        judged.no_request_failed().await
    })
}

#[test]
fn an_empty_prometheus_lets_the_run_go_on_after_its_deadline_where_that_is_asked_for() -> Result<()>
{
    scenario(PLANES, async |cluster| {
        let spec = no_data("6s", "Promote");
        let judged = Judged::begin(cluster, "empty-promote", Fault::Empty, spec).await?;
        judged.held("NoData", "held: no data for requests in ").await?;
        judged.shop.until_phase("Succeeded").await?;
        judged.no_request_failed().await
    })
}

#[test]
fn a_failing_prometheus_holds_the_run_and_is_forgotten_once_it_answers() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let spec = json!({"steps": [{"weight": 10}, {"weight": 50}]});
        let judged = Judged::begin(cluster, "failing", Fault::Status(500), spec).await?;
        judged.held("MetricsError", "500").await?;
        judged.prometheus.set(Fault::None);
        judged.shop.until_phase("Succeeded").await?;
        let history = judged.shop.run().await?.status.context("a status")?.history;
        let failures = history.iter().filter(|e| e.reason == "CheckFailed").count();
        ensure!(failures == 0, "{history:?}");
        judged.no_request_failed().await
    })
}

#[test]
fn a_prometheus_that_does_not_answer_delays_no_abort() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let spec = json!({"steps": [{"weight": 10}]});
        let judged = Judged::begin(cluster, "slow", Fault::Hang, spec).await?;
        let shop = &judged.shop;
        let asked = judged.prometheus.queries();
        shop.until("a check to be asked for", |_| judged.prometheus.queries() > asked).await?;
        let began = Instant::now();
        shop.accepted(ActionVerb::Abort).await?;
        shop.until("nothing to go to the canary", |s| {
            s.traffic.as_ref().is_some_and(|t| t.stored == 0)
        })
        .await?;
        let took = began.elapsed();
        ensure!(took < Duration::from_secs(1), "the abort took {took:?}");
        // Its pods wait until somebody has seen that nobody is served by them: two minutes, if Prometheus stays away.
        judged.prometheus.set(Fault::None);
        shop.until_phase("Failed").await?;
        judged.no_request_failed().await
    })
}

#[test]
fn a_prometheus_that_times_out_holds_the_run_and_says_so() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let spec = json!({"steps": [{"weight": 10}]});
        let judged = Judged::begin(cluster, "hangs", Fault::Hang, spec).await?;
        let first = judged.shop.until_waiting("MetricsError").await?;
        ensure!(
            first.message().contains("5 s") || first.message().contains("timed out"),
            "{first:?}"
        );
        judged.prometheus.set(Fault::Slow(Duration::from_millis(300)));
        judged.shop.until_phase("Succeeded").await?;
        judged.no_request_failed().await
    })
}

#[test]
fn what_is_no_answer_is_an_error_and_never_a_pass() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let spec = json!({"steps": [{"weight": 10}]});
        let judged = Judged::begin(cluster, "lies", Fault::Html, spec).await?;
        let lies = [
            (Fault::Html, "MetricsError", "answered with text/html"),
            (Fault::Garbage, "MetricsError", "requests: "),
            (Fault::TwoSeries, "MetricsError", "2 series"),
            (Fault::Value("NaN".to_owned()), "NoData", "no data for "),
            (Fault::Value("+Inf".to_owned()), "MetricsError", "requests: "),
            (Fault::Status(401), "MetricsError", "401"),
        ];
        for (fault, reason, says) in lies {
            judged.prometheus.set(fault.clone());
            let waits = judged
                .shop
                .until(&format!("{reason} with {says:?} for {fault:?}"), |s| {
                    s.waits_for(reason) && s.message().contains(says)
                })
                .await?;
            ensure!(waits.step.as_deref() == Some("1/1"), "{fault:?}: {waits:?}");
        }
        let history = judged.shop.run().await?.status.context("a status")?.history;
        let counted = history.iter().find(|e| matches!(&*e.reason, "CheckPassed" | "CheckFailed"));
        ensure!(counted.is_none(), "no check counts: {counted:?}");
        judged.prometheus.set(Fault::None);
        judged.shop.until_phase("Succeeded").await?;
        judged.no_request_failed().await
    })
}

#[test]
fn a_limit_that_stable_breaks_too_holds_the_run() -> Result<()> {
    scenario(PLANES, async |cluster| {
        // So bad that neither can be twice as bad as the other by chance.
        let app = App::new("shop", "both-bad").behaves("error-rate", "0.8");
        let new = app.clone().version("2.0");
        let spec = json!({"steps": [{"weight": 50}]});
        let judged = Judged::of(cluster, app, new, Fault::None, spec).await?;
        let held = judged.held("BothArmsBad", "held, stable is as bad as the canary: ").await?;
        let message = held.message();
        ensure!(
            message.contains("success-rate") && message.contains("stable breaks it too:"),
            "{message}"
        );
        judged.shop.accepted(ActionVerb::Abort).await?;
        judged.shop.until_phase("Failed").await?;
        let summary = judged.load.stop().await?;
        ensure!(summary.lost == 0, "{summary:?}");
        Ok(())
    })
}

#[test]
fn too_few_requests_say_nothing() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let spec = json!({"steps": [{"weight": 10}], "analysis": {"minRequests": 100_000}});
        let judged = Judged::begin(cluster, "too-few", Fault::None, spec).await?;
        judged.held("TooEarly", " of 100,000 requests in 2s").await?;
        judged.no_request_failed().await
    })
}
