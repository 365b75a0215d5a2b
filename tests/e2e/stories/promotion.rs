//! Good versions.

use anyhow::{Context, Result, ensure};
use api::CanaryRun;
use serde_json::{Value, json};
use tests::{Cluster, Owned, Plane, Release, Status};

use crate::story;

#[test]
fn a_good_version_goes_up_the_steps_on_traefik_and_is_promoted() -> Result<()> {
    story(async |cluster| promoted(cluster, Plane::Traefik, "good-traefik").await)
}

#[test]
fn a_good_version_goes_up_the_steps_on_envoy_gateway_and_is_promoted() -> Result<()> {
    story(async |cluster| promoted(cluster, Plane::EnvoyGateway, "good-envoy").await)
}

async fn promoted(cluster: &'static Cluster, gateway: Plane, namespace: &str) -> Result<()> {
    let shop = Release::open(cluster, gateway, namespace, json!({})).await?;
    let before = shop.owned().await?;
    let load = shop.load().await?;
    let new = shop.app().version("2.0");
    shop.write(&new).await?;
    shop.until_phase("Succeeded").await?;
    let summary = load.stop().await?;

    ensure!(summary.failed == 0, "no request fails: {summary:?}");
    ensure!(summary.by("2.0") > 0 && summary.by("1.0") > 0, "{summary:?}");
    let served = cluster.served(namespace).await?;
    ensure!(served.by("2.0") == summary.by("2.0"), "{served:?}, {summary:?}");
    let weights = steps_seen(&shop.run().await?);
    ensure!(weights == ["0 %", "10 %", "25 %", "50 %", "100 %"], "the steps in order: {weights:?}");
    shop.no_canary_left().await?;
    let pods = shop.pods().await?;
    ensure!(pods.len() == 4 && pods.values().all(|tag| tag == "2.0"), "{pods:?}");
    as_before(&before, &shop.owned().await?)?;
    shop.in_sync(&new).await
}

/// The weights of a run's steps, from its history.
fn steps_seen(run: &CanaryRun) -> Vec<String> {
    let history = run.status.iter().flat_map(|s| &s.history);
    let passed = history.filter_map(|entry| {
        let message = &entry.message;
        let step: usize = message.strip_prefix("step ")?.split([':', ' ']).next()?.parse().ok()?;
        Some(step)
    });
    let mut steps: Vec<usize> = passed.collect();
    steps.dedup();
    let weight = |step: usize| run.spec.plan.steps.get(step - 1).map(|s| format!("{} %", s.weight));
    steps.into_iter().filter_map(weight).collect()
}

/// All that the owner wrote is as it was but for the image, and nothing else of ours is on it than the label of adoption.
fn as_before(before: &Owned, after: &Owned) -> Result<()> {
    ensure!(before.service == after.service, "{}\n{}", before.service, after.service);
    ensure!(before.route == after.route, "{}\n{}", before.route, after.route);
    for object in [&after.service, &after.route] {
        ensure!(object["metadata"]["ours"] == json!([]), "nothing of ours is left: {object}");
    }
    let mut expected = before.deployment.clone();
    let path = "/spec/template/spec/containers/0/image";
    let image = expected.pointer_mut(path).context("an image")?;
    *image = Value::from("example.com/shop:2.0");
    ensure!(expected == after.deployment, "{expected}\n{}", after.deployment);
    let only_the_label =
        json!([{"f:metadata": {"f:labels": {".": {}, "f:tidegate.dev/canary": {}}}}]);
    let ours = &after.deployment["metadata"]["ours"];
    ensure!(*ours == only_the_label, "of ours there is the label and nothing else: {ours}");
    Ok(())
}

#[test]
fn without_analysis_a_version_is_promoted_as_soon_as_it_is_ready() -> Result<()> {
    story(async |cluster| {
        let spec = json!({"skipAnalysis": true});
        let shop = Release::open(cluster, Plane::EnvoyGateway, "skips", spec).await?;
        let load = shop.load().await?;
        shop.write(&shop.app().version("2.0").behaves("error-rate", "0.01")).await?;
        shop.until_phase("Succeeded").await?;
        let summary = load.stop().await?;
        ensure!(summary.failed == summary.failed_by("2.0"), "only its own errors: {summary:?}");
        let run = shop.run().await?;
        let history = run.status.context("a status")?.history;
        let checks = history.iter().filter(|e| e.reason.starts_with("Check")).count();
        ensure!(checks == 0, "nothing was checked: {history:?}");
        Ok(())
    })
}

#[test]
fn an_edit_of_the_plan_in_the_middle_of_a_run_is_for_the_next_run() -> Result<()> {
    story(async |cluster| {
        let held = json!({"weight": 25, "hold": {"untilApproved": true}});
        let spec = json!({"steps": [{"weight": 0}, {"weight": 10}, held]});
        let shop = Release::open(cluster, Plane::EnvoyGateway, "edited", spec).await?;
        let load = shop.load().await?;
        shop.write(&shop.app().version("2.0")).await?;
        let before = shop.until_waiting("AwaitingApproval").await?;
        shop.configure(json!({"steps": [{"weight": 50}, {"weight": 60}]})).await?;
        let after = shop
            .until("the edit to be seen", |s| s.observed_generation != before.observed_generation)
            .await?;
        ensure!(after.waits_for("AwaitingApproval") && after.step == before.step, "{after:?}");
        ensure!(after.traffic.context("traffic")?.stored == 25, "the weight stays");

        shop.accepted(api::ActionVerb::Promote).await?;
        shop.until_phase("Succeeded").await?;
        shop.write(&shop.app().version("3.0")).await?;
        let next = shop.until_phase("Progressing").await?;
        ensure!(next.step.as_deref() == Some("1/2"), "the next run has the new plan: {next:?}");
        ensure!(load.stop().await?.failed == 0, "no request fails");
        Ok(())
    })
}

#[test]
fn a_suspended_run_stays_at_its_weight_and_goes_on_when_it_is_not_any_more() -> Result<()> {
    story(async |cluster| {
        let spec = json!({"steps": [{"weight": 10, "checks": 2}, {"weight": 50}]});
        let shop = Release::open(cluster, Plane::EnvoyGateway, "suspended", spec.clone()).await?;
        let load = shop.load().await?;
        let suspend = async |on: bool| {
            let mut spec = spec.clone();
            spec["suspend"] = json!(on);
            shop.configure(spec).await
        };
        suspend(true).await?;
        shop.until("the suspension to be seen", |s| s.observed_generation == Some(2)).await?;
        shop.write(&shop.app().version("2.0")).await?;
        let waits = shop.until_phase("Waiting").await?;
        ensure!(waits.message().contains("spec.suspend is true"), "{waits:?}");
        ensure!(waits.condition("Held").is_some_and(|c| c.status == "True"), "{waits:?}");

        suspend(false).await?;
        shop.until("a check", |s| s.waits_for("CheckPassed") || s.waits_for("CheckNotDue")).await?;
        suspend(true).await?;
        let still = shop.until_waiting("Suspended").await?;
        let unblock = still.waiting_for.as_ref().and_then(|w| w.unblock.clone());
        ensure!(unblock.is_some_and(|u| u.contains("\"suspend\":false")), "{still:?}");
        let run = shop.run().await?;
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        ensure!(shop.run().await? == run, "no check, no step while it is suspended");
        suspend(false).await?;
        shop.until_phase("Succeeded").await?;
        ensure!(load.stop().await?.failed == 0, "no request fails");
        Ok(())
    })
}
