//! Whatever moment the controller dies in, the end is the same as without; and several writes of the owner at awkward moments.

use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{App, Controller, ENOUGH, Kind, Plane, Shop, scenario, unix, wait_for};

const PLANES: &[Plane] = &[Plane::Prometheus, Plane::Traefik];

fn app(namespace: &str) -> App {
    App::new("shop", namespace).replicas(3).behaves("latency-ms", "5")
}

/// Kills the controller at the first sight of each stage of a version's run, and starts it again at once, until the run is over.
/// Which stages that were.
async fn kill_in_each_stage(
    shop: &Shop,
    mut controller: Controller,
    version: &str,
) -> Result<(Controller, BTreeSet<String>)> {
    let mut killed = BTreeSet::new();
    loop {
        let stage = wait_for("another stage", ENOUGH, async || {
            let Some(run) = shop.run(version).await? else { return Ok(None) };
            let cursor = &run["status"]["cursor"];
            let word = |field: &str| cursor[field].as_str().unwrap_or_default().to_owned();
            let stage = match word("phase").as_str() {
                "Progressing" => format!("{} {}", word("stage"), cursor["step"]),
                phase => format!("{phase} {}", word("stage")),
            };
            let over = !run["status"]["endedAt"].is_null();
            Ok((over || !killed.contains(&stage)).then_some((stage, over)))
        })
        .await?;
        controller.kill().await?;
        controller = shop.controller().await?;
        killed.insert(stage.0);
        if stage.1 {
            return Ok((controller, killed));
        }
    }
}

#[test]
fn killed_in_each_stage_of_a_promotion_it_is_promoted_all_the_same() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let (shop, controller) = Shop::open(cluster, Plane::Traefik, app("killed-up")).await?;
        let load = shop.load().await?;
        shop.bump("2.0").await?;
        let (controller, killed) = kill_in_each_stage(&shop, controller, "2.0").await?;
        for stage in ["Check 2", "Check 3", "Promoting Roll", "Finalising Exclude"] {
            ensure!(killed.iter().any(|k| k == stage), "{stage} was not seen: {killed:?}");
        }
        shop.ends("2.0", "Succeeded").await?;
        shop.serves_only("2.0").await?;
        shop.canary_is("Succeeded").await?;
        ensure!(shop.runs().await?.len() == 1, "one run: {:?}", shop.runs().await?);
        load.lost_nothing().await?;
        controller.kill().await
    })
}

#[test]
fn killed_in_each_stage_of_a_rollback_it_is_rolled_back_all_the_same() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let (shop, controller) = Shop::open(cluster, Plane::Traefik, app("killed-down")).await?;
        let before = shop.pods("1.0").await?;
        let load = shop.load().await?;
        let bad = shop.app.clone().version("2.0").behaves("error-rate", "0.5");
        shop.apply(Kind::Deployment, &bad.deployment()).await?;
        let (controller, killed) = kill_in_each_stage(&shop, controller, "2.0").await?;
        for stage in ["Check 2", "RollingBack Back", "RollingBack Remove"] {
            ensure!(killed.iter().any(|k| k == stage), "{stage} was not seen: {killed:?}");
        }
        shop.ends("2.0", "ChecksFailed").await?;
        shop.comes_clean().await?;
        shop.canary_is("Failed").await?;
        ensure!(shop.pods("2.0").await?.is_empty(), "the bad version is gone");
        ensure!(shop.pods("1.0").await? == before, "stable's pods are the same");
        let answered = load.stop().await?;
        for (way, summary) in answered.ways() {
            ensure!(summary.failed == summary.failed_by("2.0"), "{way}: {summary:?}");
        }
        ensure!(answered.kept.by("2.0") + answered.fresh.by("2.0") == 0, "{answered:?}");

        // The owner reverts: let go on the same pods.
        shop.bump("1.0").await?;
        shop.serves_only("1.0").await?;
        ensure!(shop.pods("1.0").await? == before, "nothing restarts");
        controller.kill().await
    })
}

#[test]
fn killed_in_each_stage_of_undoing_a_promotion_it_is_undone_all_the_same() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let (shop, mut controller) =
            Shop::open(cluster, Plane::Traefik, app("killed-undo")).await?;
        let load = shop.load().await?;
        // Slow enough to be caught in the middle of its roll.
        let slow = shop.app.clone().version("2.0").behaves("ready-after", "3s");
        shop.apply(Kind::Deployment, &slow.deployment()).await?;
        shop.reaches("2.0", "Promoting", "Roll").await?;
        wait_for("the first pod to roll", ENOUGH, async || {
            Ok((shop.pods("2.0").await?.len() > 3).then_some(()))
        })
        .await?;
        ensure!(shop.ask("abort").await?, "an abort is refused");
        shop.reaches("2.0", "RollingBack", "Undo").await?;
        controller.kill().await?;
        controller = shop.controller().await?;
        let (controller, killed) = kill_in_each_stage(&shop, controller, "2.0").await?;
        ensure!(killed.contains("RollingBack Back"), "{killed:?}");
        shop.ends("2.0", "Aborted").await?;
        shop.comes_clean().await?;
        ensure!(shop.pods("2.0").await?.is_empty(), "the aborted version is gone");
        ensure!(shop.pods("1.0").await?.len() == 3, "{:?}", shop.pods("1.0").await?);
        load.lost_nothing().await?;
        controller.kill().await
    })
}

#[test]
fn killed_after_each_of_its_writes_it_comes_to_the_same_end() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let namespace = "killed-writes";
        let (shop, mut controller) = Shop::open(cluster, Plane::Traefik, app(namespace)).await?;
        let load = shop.load().await?;
        let me = controller.user().name.clone();
        let adopted = cluster.api_requests(&me)?.last().context("requests")?.at.clone();
        shop.bump("2.0").await?;
        let mut killed = BTreeSet::new();
        loop {
            let kind = wait_for("another kind of write", ENOUGH, async || {
                if shop.run("2.0").await?.is_some_and(|r| !r["status"]["endedAt"].is_null()) {
                    return Ok(Some(None));
                }
                let all = cluster.api_requests(&me)?;
                let mut of_ours = all.into_iter().filter(|r| {
                    r.namespace == namespace
                        && r.at > adopted
                        && !["get", "list", "watch"].contains(&r.verb.as_str())
                });
                let new = of_ours.find_map(|r| {
                    let kind = format!("{} {}/{} {}", r.verb, r.resource, r.subresource, r.name);
                    // Each record of a stage is a write of its own kind, but kill_in_each_stage has those.
                    let boring = r.resource == "events" || r.subresource == "status";
                    (!boring && !killed.contains(&kind)).then_some(kind)
                });
                Ok(new.map(Some))
            })
            .await?;
            let Some(kind) = kind else { break };
            controller.kill().await?;
            controller = shop.controller().await?;
            killed.insert(kind);
        }
        ensure!(killed.len() >= 5, "kinds of writes: {killed:?}");
        shop.ends("2.0", "Succeeded").await?;
        shop.serves_only("2.0").await?;
        load.lost_nothing().await?;
        controller.kill().await
    })
}

#[test]
fn a_stop_finishes_what_it_does_and_is_no_failure() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let (shop, mut controller) = Shop::open(cluster, Plane::Traefik, app("stopped")).await?;
        let load = shop.load().await?;
        shop.bump("2.0").await?;
        for stage in ["Check", "Roll"] {
            wait_for(stage, ENOUGH, async || {
                let run = shop.run("2.0").await?.context("no run")?;
                Ok((run["status"]["cursor"]["stage"] == stage).then_some(()))
            })
            .await?;
            let status = controller.terminate().await?;
            ensure!(status.success(), "ended with {status}");
            controller = shop.controller().await?;
        }
        shop.ends("2.0", "Succeeded").await?;
        shop.serves_only("2.0").await?;
        load.lost_nothing().await?;
        ensure!(controller.terminate().await?.success(), "at rest too");
        Ok(())
    })
}

#[test]
fn of_three_versions_within_a_second_the_last_is_promoted_and_no_other_serves_unjudged()
-> Result<()> {
    scenario(PLANES, async |cluster| {
        let (shop, controller) = Shop::open(cluster, Plane::Traefik, app("thrice")).await?;
        let load = shop.load().await?;
        for version in ["2.0", "3.0", "4.0"] {
            shop.bump(version).await?;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        let run = shop.ends("4.0", "Succeeded").await?;
        shop.serves_only("4.0").await?;
        only_judged(&shop, "4.0", &run).await?;
        let answered = load.lost_nothing().await?;
        ensure!(answered.by("2.0") + answered.by("3.0") == 0, "{answered:?}");
        controller.kill().await
    })
}

/// The images of the target's own ReplicaSets.
async fn started(shop: &Shop) -> Result<BTreeSet<String>> {
    let all = shop.list(Kind::ReplicaSet).await?;
    let of_target =
        all.iter().filter(|rs| rs["metadata"]["ownerReferences"][0]["name"] == shop.name());
    let image = |rs: &Value| rs["spec"]["template"]["spec"]["containers"][0]["image"].to_string();
    Ok(of_target.map(image).collect())
}

/// The target itself never had a pod of anything but the first version and this one, and of this one only once it was judged.
async fn only_judged(shop: &Shop, version: &str, run: &Value) -> Result<()> {
    let images = started(shop).await?;
    let allowed = |i: &String| i.contains(":1.0") || i.contains(&format!(":{version}"));
    ensure!(images.iter().all(allowed), "replica sets of {images:?}");
    ensure!(run["status"]["cursor"]["phase"] == "Succeeded", "{}", run["status"]);
    Ok(())
}

#[test]
fn a_newer_version_in_mid_run_takes_its_place() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let (shop, controller) = Shop::open(cluster, Plane::Traefik, app("superseded")).await?;
        let load = shop.load().await?;
        shop.bump("2.0").await?;
        shop.reaches_weight("2.0", 50).await?;
        shop.bump("3.0").await?;
        shop.ends("2.0", "Superseded").await?;
        let run = shop.ends("3.0", "Succeeded").await?;
        shop.serves_only("3.0").await?;
        only_judged(&shop, "3.0", &run).await?;
        load.lost_nothing().await?;
        controller.kill().await
    })
}

#[test]
fn a_revert_in_mid_run_ends_it_and_restarts_nothing() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let (shop, controller) = Shop::open(cluster, Plane::Traefik, app("reverted")).await?;
        let before = shop.pods("1.0").await?;
        let load = shop.load().await?;
        shop.bump("2.0").await?;
        shop.reaches_weight("2.0", 50).await?;
        shop.bump("1.0").await?;
        shop.ends("2.0", "Reverted").await?;
        shop.serves_only("1.0").await?;
        ensure!(shop.pods("1.0").await? == before, "the same pods");
        load.lost_nothing().await?;

        // The same version again is a run of its own: it was not found wanting.
        shop.bump("2.0").await?;
        wait_for("the second run", ENOUGH, async || {
            Ok((shop.runs().await?.len() == 2).then_some(()))
        })
        .await?;
        shop.ends("2.0", "Succeeded").await?;
        shop.serves_only("2.0").await?;
        controller.kill().await
    })
}

#[test]
fn a_newer_version_at_the_moment_of_the_start_never_starts_unjudged() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let mut shop = Shop::deploy(cluster, Plane::Traefik, app("raced")).await?;
        shop.spec()["steps"] = json!([{"weight": 0}]);
        let controller = shop.controller().await?;
        shop.adopt().await?;
        // Each version but the last is overtaken at the moment of its start: 3 s after the service is seen to select all pods.
        let mut version = "2.0".to_owned();
        shop.bump(&version).await?;
        for round in 0..8 {
            let newer = format!("{}.0", round + 3);
            let opened = wait_for(&format!("{version} to be about to start"), ENOUGH, async || {
                let run = shop.run(&version).await?.context("no run")?;
                let cursor = &run["status"]["cursor"];
                let open = cursor["stage"] == "Open" && !cursor["reachedAt"].is_null();
                Ok(open.then(|| cursor["reachedAt"].clone()))
            })
            .await?;
            let before = Duration::from_millis(2970 + 10 * round);
            let start = unix(&opened)? + before.as_secs_f64();
            let left = start - UNIX_EPOCH.elapsed()?.as_secs_f64();
            tokio::time::sleep(Duration::from_secs_f64(left.max(0.0))).await;
            shop.bump(&newer).await?;
            // Until its own run begins not one pod of it may be there.
            let early = wait_for(&format!("{newer} to be on"), ENOUGH, async || {
                let pods = shop.pods(&newer).await?;
                let on = shop.run(&newer).await?.is_some();
                Ok((on || !pods.is_empty()).then_some((on, pods)))
            })
            .await?;
            ensure!(early.0, "{newer} has pods before it has a run: {:?}", early.1);
            version = newer;
        }
        shop.ends(&version, "Succeeded").await?;
        shop.serves_only(&version).await?;
        // What was overtaken in time has never been the target's.
        let started = started(&shop).await?;
        for run in shop.runs().await? {
            let (phase, image) = (&run["status"]["cursor"]["phase"], &run["spec"]["image"]);
            ensure!(
                phase == "Succeeded" || !started.contains(&image.to_string()),
                "{image} is {phase}, and was started: {started:?}"
            );
        }
        controller.kill().await
    })
}

#[test]
fn a_newer_version_in_the_middle_of_the_roll_waits_until_the_judged_one_serves() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let app = app("mid-roll").replicas(4);
        let (shop, controller) = Shop::open(cluster, Plane::Traefik, app).await?;
        let load = shop.load().await?;
        let slow = shop.app.clone().version("2.0").behaves("ready-after", "2s");
        shop.apply(Kind::Deployment, &slow.deployment()).await?;
        shop.reaches("2.0", "Promoting", "Roll").await?;
        wait_for("the first pods to roll", ENOUGH, async || {
            Ok((shop.pods("2.0").await?.len() > 4).then_some(()))
        })
        .await?;
        let newer = slow.clone().version("3.0");
        shop.apply(Kind::Deployment, &newer.deployment()).await?;
        shop.reaches("2.0", "Promoting", "Isolate").await?;
        ensure!(shop.pods("3.0").await?.is_empty(), "3.0 is held");
        shop.ends("2.0", "Succeeded").await?;
        shop.ends("3.0", "Succeeded").await?;
        shop.serves_only("3.0").await?;
        load.lost_nothing().await?;
        controller.kill().await
    })
}
