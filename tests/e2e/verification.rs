//! Where requests go, whatever the route says: pods that are still served stay, silence ends, and a share that isn't the weight
//! holds the run.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use api::{ActionVerb, CanaryStatus, Cursor};
use serde_json::{Value, json};
use tests::{Cluster, Fault, Judged, Plane, Release, Status, scenario, wait_for};

const PLANES: &[Plane] = &[Plane::Prometheus, Plane::EnvoyGateway];

/// Longer than the 2 minutes after which silence is no reason to wait any more.
const SILENCE: Duration = Duration::from_mins(3);

/// At half of the requests until somebody aborts.
fn half() -> Value {
    json!({"steps": [{"weight": 50, "checks": 100}]})
}

/// A run at half of the requests is aborted while Prometheus has this fault, and the route gives the canary nothing any more.
async fn aborted(cluster: &'static Cluster, namespace: &str, fault: Fault) -> Result<Judged> {
    let judged = Judged::begin(cluster, namespace, Fault::None, half()).await?;
    judged.shop.until_waiting("CheckPassed").await?;
    judged.prometheus.set(fault);
    judged.shop.accepted(ActionVerb::Abort).await?;
    judged.shop.until_stage("RollingBack", "Back").await?;
    let stored = |s: &CanaryStatus| s.traffic.as_ref().is_some_and(|t| t.stored == 0 && t.accepted);
    judged.shop.until("nothing to be routed to the canary", stored).await?;
    Ok(judged)
}

async fn cursor(shop: &Release) -> Result<Cursor> {
    shop.run().await?.status.and_then(|s| s.cursor).context("a cursor")
}

/// The looks go on, each sees requests, and the canary's pods are there.
async fn kept(judged: &Judged) -> Result<()> {
    let asked = judged.prometheus.queries();
    wait_for("three looks", Duration::from_mins(1), async || {
        ensure!(judged.prometheus.queries() >= asked + 6, "{}", judged.prometheus.queries());
        Ok(Some(()))
    })
    .await?;
    let at = cursor(&judged.shop).await?;
    ensure!((&*at.phase, &*at.stage) == ("RollingBack", "Back"), "{at:?}");
    let sighting = at.sighting.as_ref().context("requests that were seen")?;
    ensure!((sighting.canary, sighting.all) == (12, 24), "{sighting:?}");
    let pods = judged.shop.pods().await?;
    ensure!(pods.values().any(|version| version == "2.0"), "{pods:?}");
    Ok(())
}

#[test]
fn pods_that_are_still_served_stay_until_no_request_is_seen() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let judged = aborted(cluster, "lingers", Fault::Value("12".to_owned())).await?;
        kept(&judged).await?;
        judged.prometheus.set(Fault::None);
        judged.shop.until_phase("Failed").await?;
        judged.shop.no_canary_left().await?;
        judged.no_request_failed().await
    })
}

#[test]
fn pods_that_are_served_for_ever_stay_until_somebody_takes_them_away() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let judged = aborted(cluster, "served", Fault::Value("12".to_owned())).await?;
        let shop = &judged.shop;
        let waiting = wait_for("it to be said", SILENCE, async || {
            let status = shop.status().await?;
            ensure!(status.waits_for("StillServed"), "{:?}", status.waiting_for);
            Ok(status.waiting_for)
        })
        .await?;
        ensure!(
            waiting.message.contains("rolling back: 12 of 24 requests in the last ")
                && waiting
                    .message
                    .ends_with("still reached the canary where none should; its pods stay"),
            "{waiting:?}"
        );
        kept(&judged).await?;
        let events = shop.events().await?;
        ensure!(events.iter().any(|e| e.starts_with("StillServed: ")), "{events:?}");
        let unblock = waiting.unblock.context("a command")?;
        ensure!(unblock == "kubectl delete deployment shop-canary -n served", "{unblock}");
        cluster.kubectl(&["delete", "deployment", "shop-canary", "-n", "served"]).await?;
        shop.until_phase("Failed").await?;
        shop.no_canary_left().await?;
        judged.no_request_failed().await
    })
}

#[test]
fn metrics_that_do_not_answer_end_a_rollback_all_the_same_and_it_says_so() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let judged = aborted(cluster, "unseen", Fault::Status(500)).await?;
        let shop = &judged.shop;
        wait_for("its end", SILENCE, async || {
            let status = shop.status().await?;
            ensure!(status.phase == "Failed", "{:?}", status.waiting_for);
            Ok(Some(()))
        })
        .await?;
        shop.no_canary_left().await?;
        let run = shop.run().await?;
        let history = run.status.context("a status")?.history;
        let said = history.iter().find(|e| e.reason == "NobodySaw").context("what was not seen")?;
        ensure!(
            said.message.contains("unseen whether requests still reach them: requests of canary: "),
            "{said:?}"
        );
        let began = history.iter().find(|e| e.reason == "RollingBack").context("its begin")?;
        let took = said.at - began.at;
        ensure!((118..150).contains(&took.num_seconds()), "{took}");
        judged.no_request_failed().await
    })
}

#[test]
fn a_share_that_is_not_the_weight_holds_the_run_and_one_that_is_is_seen() -> Result<()> {
    scenario(PLANES, async |cluster| {
        // Both arms get as many, and do well.
        let fault = Fault::Value("200".to_owned());
        let spec = json!({"steps": [{"weight": 10, "checks": 3}]});
        let judged = Judged::begin(cluster, "elsewhere", fault, spec).await?;
        let says = "held: the canary got 200 of 400 requests, 50.0 %, and the weight is 10 %: ";
        let held = judged.held("ShareDiffers", says).await?;
        let unblock = held.waiting_for.and_then(|w| w.unblock).unwrap_or_default();
        ensure!(unblock == "tidegate abort shop -n elsewhere", "{unblock}");
        let level = |s: &CanaryStatus| s.traffic.clone().and_then(|t| t.verified);
        let status = judged.shop.status().await?;
        ensure!(level(&status).as_deref() == Some("Accepted"), "{status:?}");
        judged.prometheus.set(Fault::None);
        judged
            .shop
            .until("its share to be seen", |s| level(s).as_deref() == Some("Observed"))
            .await?;
        judged.shop.until_phase("Succeeded").await?;
        judged.shop.no_canary_left().await?;
        judged.no_request_failed().await
    })
}
