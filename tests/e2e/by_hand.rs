//! What people do by hand in the middle of a run, and to what Tidegate has made.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{Answered, App, ENOUGH, Kind, Plane, Shop, scenario, wait_for};

const PLANES: &[Plane] = &[Plane::Prometheus, Plane::Traefik];

fn app(namespace: &str) -> App {
    App::new("shop", namespace).replicas(3).behaves("latency-ms", "5")
}

/// A run of 2.0 that stays at 50 % until it is approved.
async fn half_way(cluster: &'static tests::Cluster, app: App) -> Result<(Shop, tests::Controller)> {
    let mut shop = Shop::deploy(cluster, Plane::Traefik, app).await?;
    shop.spec()["steps"] =
        json!([{"weight": 0}, {"weight": 50, "hold": {"untilApproved": true}}, {"weight": 100}]);
    let controller = shop.controller().await?;
    shop.adopt().await?;
    shop.bump("2.0").await?;
    waits_at_half(&shop).await?;
    Ok((shop, controller))
}

/// Waits until the run of 2.0 waits for approval, at 50 %.
async fn waits_at_half(shop: &Shop) -> Result<()> {
    shop.canary_so("waiting for approval at 50 %", |status| {
        status["waitingFor"]["reason"] == "AwaitingApproval" && status["traffic"]["stored"] == 50
    })
    .await
}

async fn goes_on_to_the_end(shop: &Shop) -> Result<()> {
    // Refused while it isn't at half, or isn't there again yet.
    wait_for("an approval to be accepted", ENOUGH, async || {
        waits_at_half(shop).await?;
        Ok(shop.ask("promote").await?.then_some(()))
    })
    .await?;
    shop.ends("2.0", "Succeeded").await?;
    shop.serves_only("2.0").await
}

async fn kubectl(shop: &Shop, args: &str) -> Result<String> {
    let args: Vec<&str> = ["-n", shop.app.namespace()].into_iter().chain(args.split(' ')).collect();
    shop.cluster.kubectl(&args).await
}

async fn refused(shop: &Shop, args: &str, says: &str) -> Result<()> {
    let told = kubectl(shop, args).await.err().with_context(|| format!("{args} went through"))?;
    let told = format!("{told:#}");
    ensure!(told.contains(says), "kubectl {args}: {told}");
    Ok(())
}

#[test]
fn resume_restart_and_undo_in_mid_run_start_nothing() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let (shop, controller) = half_way(cluster, app("resumed")).await?;
        let load = shop.load().await?;
        let deployment = format!("deployment {}", shop.name());
        refused(
            &shop,
            &format!("rollout resume {deployment}"),
            "is held by canary shop; let it go on with: tidegate promote shop -n resumed",
        )
        .await?;
        refused(&shop, &format!("rollout restart {deployment}"), "paused").await?;
        // The only revision that has run is the one that serves.
        refused(&shop, &format!("rollout undo {deployment}"), "no rollout history").await?;
        let target = shop.get(Kind::Deployment, shop.name()).await?;
        ensure!(target["spec"]["paused"] == true, "it is still held");
        goes_on_to_the_end(&shop).await?;
        load.lost_nothing().await?;
        controller.kill().await
    })
}

#[test]
fn restart_and_undo_at_rest_are_new_revisions_as_any_other() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let (shop, controller) = Shop::open(cluster, Plane::Traefik, app("restarted")).await?;
        let before = shop.pods("1.0").await?;
        let load = shop.load().await?;
        kubectl(&shop, "rollout restart deployment shop").await?;
        shop.ends("1.0", "Succeeded").await?;
        shop.serves_only("1.0").await?;
        ensure!(shop.pods("1.0").await?.is_disjoint(&before), "each pod is new");

        shop.bump("2.0").await?;
        shop.ends("2.0", "Succeeded").await?;
        kubectl(&shop, "rollout undo deployment shop").await?;
        wait_for("the run of what was undone to", ENOUGH, async || {
            let ended = shop.runs().await?;
            let ended = ended.iter().filter(|r| r["status"]["cursor"]["phase"] == "Succeeded");
            Ok((ended.count() == 3).then_some(()))
        })
        .await?;
        shop.serves_only("1.0").await?;
        load.lost_nothing().await?;
        controller.kill().await
    })
}

#[test]
fn scaling_in_mid_run_scales_both_and_loses_nothing() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let (shop, controller) = half_way(cluster, app("scaled").replicas(4)).await?;
        let load = shop.load().await?;
        for (replicas, canary) in [(6, 3), (2, 1), (4, 2)] {
            kubectl(&shop, &format!("scale deployment shop --replicas {replicas}")).await?;
            wait_for(&format!("{replicas} and {canary} pods"), ENOUGH, async || {
                let pods = (shop.pods("1.0").await?.len(), shop.pods("2.0").await?.len());
                ensure!(pods == (replicas, canary), "{pods:?}");
                Ok(Some(()))
            })
            .await?;
        }
        goes_on_to_the_end(&shop).await?;
        load.lost_nothing().await?;
        controller.kill().await
    })
}

#[test]
fn pods_deleted_in_mid_run_come_back_and_nothing_is_lost() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let (shop, controller) = half_way(cluster, app("pods").replicas(4)).await?;
        let load = shop.load().await?;
        for version in ["1.0", "2.0"] {
            let before = shop.pods(version).await?;
            let pods = shop.list(Kind::Pod).await?;
            let first = before.first().context("a pod")?;
            let pod = pods.iter().find(|p| p["metadata"]["uid"] == first.as_str());
            let name = pod.context("a pod")?["metadata"]["name"].as_str().context("a name")?;
            shop.delete(Kind::Pod, name).await?;
            wait_for("another pod", ENOUGH, async || {
                let now = shop.pods(version).await?;
                Ok((now.len() == before.len() && now != before).then_some(()))
            })
            .await?;
        }
        goes_on_to_the_end(&shop).await?;
        load.lost_nothing().await?;
        controller.kill().await
    })
}

/// No more is lost than in the moments until the gateway hears of what was taken away by hand, 2 s on Traefik, and the Service's
/// endpoints follow.
fn few_lost(answered: &Answered) -> Result<()> {
    for ((way, summary), limit) in answered.ways().into_iter().zip([180, 30, 30]) {
        ensure!(summary.failed <= limit, "{way}: {summary:?}");
    }
    Ok(())
}

#[test]
fn a_canary_deployment_deleted_in_mid_run_is_made_again() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let (shop, controller) = half_way(cluster, app("no-canary")).await?;
        let load = shop.load().await?;
        let old = shop.get(Kind::Deployment, "shop-canary").await?["metadata"]["uid"].clone();
        shop.delete(Kind::Deployment, "shop-canary").await?;
        wait_for("another canary", ENOUGH, async || {
            let new = shop.find(Kind::Deployment, "shop-canary").await?;
            Ok(new.filter(|new| new["metadata"]["uid"] != old))
        })
        .await?;
        waits_at_half(&shop).await?;
        goes_on_to_the_end(&shop).await?;
        few_lost(&load.stop().await?)?;
        controller.kill().await
    })
}

#[test]
fn a_canary_service_deleted_in_mid_run_is_made_again() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let (shop, controller) = half_way(cluster, app("no-canary-service")).await?;
        let load = shop.load().await?;
        shop.delete(Kind::Service, "shop-canary").await?;
        wait_for("another service", ENOUGH, async || shop.find(Kind::Service, "shop-canary").await)
            .await?;
        waits_at_half(&shop).await?;
        goes_on_to_the_end(&shop).await?;
        few_lost(&load.stop().await?)?;
        controller.kill().await
    })
}

#[test]
fn marks_that_are_taken_off_by_hand_come_back() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let (shop, controller) = half_way(cluster, app("unmarked")).await?;
        let load = shop.load().await?;
        let route = shop.route();
        let off = |field: &str, key: &str| json!({"metadata": {field: {key: Value::Null}}});
        let marks = [
            (Kind::Deployment, "shop", "labels", "tidegate.dev/canary"),
            (Kind::Service, "shop", "labels", "tidegate.dev/stable-hash"),
            (Kind::Route, route.as_str(), "annotations", "split.tidegate.dev/shop"),
        ];
        for (kind, name, field, key) in marks {
            shop.patch(kind, name, &off(field, key)).await?;
            wait_for(&format!("{key} to be back"), ENOUGH, async || {
                let object = shop.get(kind, name).await?;
                Ok((!object["metadata"][field][key].is_null()).then_some(()))
            })
            .await?;
        }
        let service = shop.get(Kind::Service, "shop").await?;
        ensure!(!service["spec"]["selector"]["pod-template-hash"].is_null(), "{service}");
        let route = shop.get(Kind::Route, &route).await?;
        let backends = &route["spec"]["rules"][0]["backendRefs"];
        ensure!(backends[1]["weight"] == 50, "{backends}");
        goes_on_to_the_end(&shop).await?;
        load.lost_nothing().await?;

        // At rest too.
        shop.patch(Kind::Deployment, "shop", &off("labels", "tidegate.dev/canary")).await?;
        wait_for("the label to be back", ENOUGH, async || {
            let target = shop.get(Kind::Deployment, "shop").await?;
            Ok((target["metadata"]["labels"]["tidegate.dev/canary"] == "shop").then_some(()))
        })
        .await?;
        controller.kill().await
    })
}

#[test]
fn a_run_deleted_in_mid_run_begins_again_from_nothing() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let (shop, controller) = half_way(cluster, app("no-run")).await?;
        let load = shop.load().await?;
        let run = shop.run("2.0").await?.context("a run")?;
        let (name, uid) = (&run["metadata"]["name"], &run["metadata"]["uid"]);
        shop.delete(Kind::Run, name.as_str().context("a name")?).await?;
        // Never a new run with the old weight.
        let again = wait_for("another run", ENOUGH, async || {
            let Some(new) = shop.run("2.0").await?.filter(|new| new["metadata"]["uid"] != *uid)
            else {
                return Ok(None);
            };
            Ok(Some((new, shop.get(Kind::Route, &shop.route()).await?)))
        })
        .await?;
        let backends = &again.1["spec"]["rules"][0]["backendRefs"];
        ensure!(backends[1].is_null() || backends[1]["weight"] == 0, "the old weight: {backends}");
        waits_at_half(&shop).await?;
        goes_on_to_the_end(&shop).await?;
        few_lost(&load.stop().await?)?;
        controller.kill().await
    })
}

#[test]
fn a_run_deleted_while_the_deployment_rolls_leaves_it_rolling_to_its_end() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let (shop, controller) = Shop::open(cluster, Plane::Traefik, app("no-run-rolling")).await?;
        let load = shop.load().await?;
        let slow = shop.app.clone().version("2.0").behaves("ready-after", "3s");
        shop.apply(Kind::Deployment, &slow.deployment()).await?;
        let run = shop.reaches("2.0", "Promoting", "Roll").await?;
        wait_for("the first pod to roll", ENOUGH, async || {
            Ok((shop.pods("2.0").await?.len() > 3).then_some(()))
        })
        .await?;
        shop.delete(Kind::Run, run["metadata"]["name"].as_str().context("a name")?).await?;
        shop.serves_only("2.0").await?;
        shop.canary_is("Idle").await?;
        let answered = load.stop().await?;
        few_lost(&answered)?;
        controller.kill().await
    })
}

#[test]
fn a_deployment_deleted_at_half_and_made_again_as_the_old_version() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let (shop, controller) = half_way(cluster, app("again-old")).await?;
        let load = shop.load().await?;
        shop.delete(Kind::Deployment, shop.name()).await?;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        shop.create(Kind::Deployment, &shop.app.deployment()).await?;
        shop.ends("2.0", "Recreated").await?;
        shop.serves_only("1.0").await?;
        few_lost(&load.stop().await?)?;
        controller.kill().await
    })
}

#[test]
fn a_deployment_deleted_at_half_and_made_again_as_the_new_version() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let (shop, controller) = half_way(cluster, app("again-new")).await?;
        let load = shop.load().await?;
        shop.delete(Kind::Deployment, shop.name()).await?;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let new = shop.app.clone().version("2.0");
        shop.create(Kind::Deployment, &new.deployment()).await?;
        shop.ends("2.0", "Recreated").await?;
        shop.serves_only("2.0").await?;
        few_lost(&load.stop().await?)?;

        // And it is looked after again.
        shop.bump("3.0").await?;
        wait_for("3.0 to be on", ENOUGH, async || shop.run("3.0").await).await?;
        controller.kill().await
    })
}
