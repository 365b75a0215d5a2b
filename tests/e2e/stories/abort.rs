//! Aborts, in every phase that a run goes through.

use anyhow::{Result, ensure};
use api::ActionVerb;
use serde_json::{Value, json};
use tests::{App, Cluster, Plane, Release, Status};

use crate::story;

/// A version whose run is aborted once `there`, under load: it ends with stable's pods only, and no failed request.
async fn aborted(
    cluster: &'static Cluster,
    namespace: &str,
    spec: Value,
    new: impl Fn(App) -> App,
    there: impl AsyncFn(&Release) -> Result<()>,
) -> Result<()> {
    let shop = Release::open(cluster, Plane::EnvoyGateway, namespace, spec).await?;
    let load = shop.load().await?;
    shop.write(&new(shop.app().version("2.0"))).await?;
    there(&shop).await?;
    shop.accepted(ActionVerb::Abort).await?;
    let back = shop.status().await?;
    if back.phase == "RollingBack" {
        shop.refused(ActionVerb::Promote, "the run is being rolled back already").await?;
    }
    let failed = shop.until_phase("Failed").await?;
    ensure!(failed.message().contains("aborted by admin"), "{failed:?}");
    shop.no_canary_left().await?;
    let pods = shop.pods().await?;
    ensure!(pods.len() == 4 && pods.values().all(|tag| tag == "1.0"), "{pods:?}");
    let owned = shop.owned().await?;
    ensure!(owned.deployment["spec"]["paused"] == true, "{}", owned.deployment);

    shop.write(&shop.app()).await?;
    shop.until_phase("Idle").await?;
    shop.in_sync(&shop.app()).await?;
    let pods_after = shop.pods().await?;
    ensure!(pods_after == pods, "the revert restarts nothing: {pods_after:?}");
    let summary = load.stop().await?;
    ensure!(summary.failed == 0, "no request fails: {summary:?}");
    Ok(())
}

#[test]
fn an_abort_before_the_first_pod_is_ready() -> Result<()> {
    story(async |cluster| {
        let slow = |app: App| app.behaves("ready-after", "60s");
        aborted(cluster, "abort-early", json!({}), slow, async |shop| {
            shop.until_waiting("BringingUp").await?;
            shop.refused(ActionVerb::Promote, "not now").await
        })
        .await
    })
}

#[test]
fn an_abort_between_two_checks_of_a_long_interval() -> Result<()> {
    story(async |cluster| {
        let spec = json!({"steps": [{"weight": 25}], "analysis": {"interval": "10m"}});
        aborted(
            cluster,
            "abort-step",
            spec,
            |app| app,
            async |shop| {
                shop.until_waiting("CheckNotDue").await?;
                shop.refused(ActionVerb::Promote, "has passed 0 of 1 checks").await
            },
        )
        .await
    })
}

#[test]
fn an_abort_while_it_waits_for_approval() -> Result<()> {
    story(async |cluster| {
        let spec = json!({"steps": [{"weight": 50, "hold": {"untilApproved": true}}]});
        aborted(
            cluster,
            "abort-hold",
            spec,
            |app| app,
            async |shop| shop.until_waiting("AwaitingApproval").await.map(drop),
        )
        .await
    })
}

#[test]
fn what_was_aborted_is_tried_again_when_asked_and_promoted() -> Result<()> {
    story(async |cluster| {
        let held = json!({"weight": 50, "hold": {"untilApproved": true}});
        let spec = json!({"steps": [held]});
        let shop = Release::open(cluster, Plane::EnvoyGateway, "again", spec).await?;
        let load = shop.load().await?;
        shop.write(&shop.app().version("2.0")).await?;
        shop.until_waiting("AwaitingApproval").await?;
        shop.accepted(ActionVerb::Abort).await?;
        shop.until_phase("Failed").await?;
        shop.refused(ActionVerb::Abort, "no run is on").await?;
        shop.accepted(ActionVerb::Retry).await?;
        shop.until_waiting("AwaitingApproval").await?;
        shop.accepted(ActionVerb::Promote).await?;
        shop.until_phase("Succeeded").await?;
        let run = shop.run().await?.metadata.name.unwrap_or_default();
        ensure!(run.ends_with("-2"), "the second run of the revision: {run}");
        ensure!(load.stop().await?.failed == 0, "no request fails");
        Ok(())
    })
}

#[test]
fn an_abort_while_it_is_suspended() -> Result<()> {
    story(async |cluster| {
        let spec = json!({"steps": [{"weight": 50, "hold": {"untilApproved": true}}]});
        aborted(
            cluster,
            "abort-suspended",
            spec.clone(),
            |app| app,
            async |shop| {
                shop.until_waiting("AwaitingApproval").await?;
                let mut spec = spec.clone();
                spec["suspend"] = json!(true);
                shop.configure(spec).await?;
                shop.until_waiting("Suspended").await?;
                shop.refused(ActionVerb::Promote, "not now: suspended").await
            },
        )
        .await
    })
}

/// One step at 25 %, so that a promotion has to bring up three pods more.
fn one_step() -> Value {
    json!({"steps": [{"weight": 25}]})
}

#[test]
fn an_abort_of_a_promotion_that_has_not_started_the_deployment_yet() -> Result<()> {
    story(async |cluster| {
        let slow = |app: App| app.behaves("ready-after", "4s");
        aborted(cluster, "abort-fill", one_step(), slow, async |shop| {
            shop.until_stage("Promoting", "Fill").await.map(drop)
        })
        .await
    })
}

#[test]
fn an_abort_while_the_deployment_rolls() -> Result<()> {
    story(async |cluster| {
        let slow = |app: App| app.behaves("ready-after", "5s");
        aborted(cluster, "abort-roll", one_step(), slow, async |shop| {
            shop.until_stage("Promoting", "Roll").await?;
            shop.until_waiting("RollingOut").await.map(drop)
        })
        .await
    })
}

#[test]
fn an_abort_once_the_new_version_serves_everything_is_refused() -> Result<()> {
    story(async |cluster| {
        let shop = Release::open(cluster, Plane::Traefik, "abort-late", one_step()).await?;
        let load = shop.load().await?;
        shop.write(&shop.app().version("2.0")).await?;
        shop.until_stage("Finalising", "Remove").await?;
        let why = "the revision serves everything already; revert it where it is kept";
        shop.refused(ActionVerb::Abort, why).await?;
        shop.until_phase("Succeeded").await?;
        shop.refused(ActionVerb::Abort, "no run is on").await?;
        let pods = shop.pods().await?;
        ensure!(pods.len() == 4 && pods.values().all(|tag| tag == "2.0"), "{pods:?}");
        ensure!(load.stop().await?.failed == 0, "no request fails");
        Ok(())
    })
}
