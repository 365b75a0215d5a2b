//! Without the admission policies, as on an API server that has no mutating ones: slower to hold, but the same in the end.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{App, Cluster, ENOUGH, Kind, Plane, Shop, scenario, wait_for};

const PLANES: &[Plane] = &[Plane::Prometheus, Plane::Traefik];

/// Deletes what `deploy/` has of them. The policies of a cluster are its own: this file has one story.
async fn without_policies(cluster: &Cluster) -> Result<()> {
    for kind in ["mutatingadmissionpolicy", "validatingadmissionpolicy"] {
        let all = cluster.kubectl(&["get", kind, "-o", "name"]).await?;
        let all: Vec<&str> = all.lines().filter(|name| name.contains("tidegate")).collect();
        ensure!(!all.is_empty(), "there is no {kind} of Tidegate's");
        cluster.kubectl(&[&["delete"], &all[..]].concat()).await?;
    }
    Ok(())
}

fn ready(status: &Value) -> Option<&Value> {
    status["conditions"].as_array()?.iter().find(|c| c["type"] == "Ready")
}

/// Waits until it is known that the API server doesn't hold new revisions any more: within seconds, by a watch.
async fn paused_at_rest(shop: &Shop) -> Result<()> {
    shop.canary_so("paused at rest", |status| {
        ready(status).is_some_and(|c| c["reason"] == "PausedAtRest" && c["status"] == "True")
    })
    .await?;
    wait_for("the deployment to be paused", ENOUGH, async || {
        let target = shop.get(Kind::Deployment, shop.name()).await?;
        Ok((target["spec"]["paused"] == true).then_some(()))
    })
    .await
}

#[test]
fn without_the_policies_it_holds_pins_and_splits_by_itself() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let app = App::new("shop", "no-policies").replicas(3).behaves("latency-ms", "5");
        let (shop, controller) = Shop::open(cluster, Plane::Traefik, app).await?;
        let load = shop.load().await?;

        // They go in the middle of a run: it ends as it would have.
        shop.bump("2.0").await?;
        shop.reaches_weight("2.0", 50).await?;
        without_policies(cluster).await?;
        shop.ends("2.0", "Succeeded").await?;
        shop.comes_clean().await?;

        paused_at_rest(&shop).await?;
        let before = shop.pods("2.0").await?;

        // A promotion.
        shop.bump("3.0").await?;
        let run = shop.reaches_weight("3.0", 50).await?;
        let service = shop.get(Kind::Service, shop.name()).await?;
        ensure!(
            !service["spec"]["selector"]["pod-template-hash"].is_null(),
            "pinned by us: {}",
            service["spec"]
        );
        let route = shop.get(Kind::Route, &shop.route()).await?;
        let backends = &route["spec"]["rules"][0]["backendRefs"];
        ensure!(backends[1]["weight"] == 50, "split by us: {backends}");
        ensure!(shop.pods("2.0").await? == before, "stable's pods are the same");
        ensure!(run["status"]["endedAt"].is_null(), "{}", run["status"]);
        shop.ends("3.0", "Succeeded").await?;
        shop.comes_clean().await?;
        paused_at_rest(&shop).await?;
        load.lost_nothing().await?;

        // A rollback.
        let load = shop.load().await?;
        let before = shop.pods("3.0").await?;
        let bad = shop.app.clone().version("4.0").behaves("error-rate", "0.5");
        shop.apply(Kind::Deployment, &bad.deployment()).await?;
        shop.ends("4.0", "ChecksFailed").await?;
        shop.comes_clean().await?;
        ensure!(shop.pods("3.0").await? == before, "stable's pods are the same");
        let answered = load.stop().await?;
        for (way, summary) in answered.ways() {
            ensure!(summary.failed == summary.failed_by("4.0"), "{way}: {summary:?}");
        }

        // The policies come back: nothing has to be paused at rest any more.
        shop.bump("3.0").await?;
        shop.canary_is("Idle").await.context("after the revert")?;
        cluster.install().await?;
        shop.canary_so("held by the API server again", |status| {
            status["heldBy"] == "ApiServer"
                && ready(status).is_some_and(|c| c["reason"] == "AtRest")
        })
        .await?;
        shop.serves_only("3.0").await?;
        ensure!(shop.pods("3.0").await? == before, "stable's pods are the same");

        // They go again, and so does the Canary: nothing is left paused.
        without_policies(cluster).await?;
        paused_at_rest(&shop).await?;
        shop.delete(Kind::Canary, shop.name()).await?;
        shop.canary_gone().await?;
        shop.leaves_no_trace().await?;
        let target = shop.get(Kind::Deployment, shop.name()).await?;
        ensure!(target["spec"]["paused"] != true, "left paused: {}", target["spec"]);
        ensure!(shop.pods("3.0").await? == before, "stable's pods are the same");
        controller.kill().await
    })
}
