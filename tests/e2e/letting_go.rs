//! Taking a Canary on and deleting it: before and after, what its owner wrote serves, and nothing unjudged ever starts.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use serde_json::{Value, json};
use tests::{
    App, Controller, ENOUGH, FaultyPrometheus, Kind, Plane, Shop, ours, scenario, wait_for,
};

const PLANES: &[Plane] = &[Plane::Prometheus, Plane::Traefik];

fn app(namespace: &str) -> App {
    App::new("shop", namespace).replicas(3).behaves("latency-ms", "5")
}

/// What the owner wrote, without what the API server counts.
async fn owned(shop: &Shop) -> Result<[Value; 3]> {
    let mut all = [
        shop.get(Kind::Deployment, shop.name()).await?,
        shop.get(Kind::Service, shop.name()).await?,
        shop.get(Kind::Route, &shop.route()).await?,
    ];
    for object in &mut all {
        object.as_object_mut().context("an object")?.remove("status");
        let metadata = object["metadata"].as_object_mut().context("metadata")?;
        metadata.retain(|key, _| {
            ["name", "labels", "annotations", "ownerReferences"].contains(&key.as_str())
        });
        // Empty after a label of ours is as good as none.
        metadata.retain(|_, value| value.as_object().is_none_or(|map| !map.is_empty()));
    }
    Ok(all)
}

#[test]
fn adoption_and_release_lose_nothing_restart_nothing_and_leave_nothing() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let shop = Shop::deploy(cluster, Plane::Traefik, app("adopted")).await?;
        let (before, pods) = (owned(&shop).await?, shop.pods("1.0").await?);
        let load = shop.load().await?;
        let controller = shop.controller().await?;
        shop.adopt().await?;
        shop.is_clean().await?;
        let target = shop.get(Kind::Deployment, shop.name()).await?;
        ensure!(target["metadata"]["labels"]["tidegate.dev/canary"] == "shop", "{target}");
        ensure!(target["spec"]["paused"].is_null(), "nothing is paused at rest: {target}");

        shop.delete(Kind::Canary, shop.name()).await?;
        shop.canary_gone().await?;
        shop.leaves_no_trace().await?;
        ensure!(owned(&shop).await? == before, "{:?}\nwas {before:?}", owned(&shop).await?);
        ensure!(shop.pods("1.0").await? == pods, "the same pods");
        load.lost_nothing().await?;

        // A new version rolls as it ever did.
        shop.bump("2.0").await?;
        shop.serves_only("2.0").await?;
        controller.kill().await
    })
}

/// A moment in a run to delete the Canary at.
#[derive(Clone, Copy, Debug)]
struct Moment {
    namespace: &'static str,
    phase: &'static str,
    stage: &'static str,
    /// What serves afterwards, on every pod.
    serves: &'static str,
}

const MOMENTS: &[Moment] = &[
    Moment { namespace: "go-pin", phase: "Progressing", stage: "Pin", serves: "1.0" },
    Moment { namespace: "go-bring-up", phase: "Progressing", stage: "BringUp", serves: "1.0" },
    Moment { namespace: "go-shift", phase: "Progressing", stage: "Shift", serves: "1.0" },
    Moment { namespace: "go-check", phase: "Progressing", stage: "Check", serves: "1.0" },
    Moment { namespace: "go-fill", phase: "Promoting", stage: "Fill", serves: "1.0" },
    Moment { namespace: "go-open", phase: "Promoting", stage: "Open", serves: "1.0" },
    Moment { namespace: "go-roll", phase: "Promoting", stage: "Roll", serves: "2.0" },
    Moment { namespace: "go-return", phase: "Finalising", stage: "Return", serves: "2.0" },
    Moment { namespace: "go-exclude", phase: "Finalising", stage: "Exclude", serves: "2.0" },
    Moment { namespace: "go-remove", phase: "Finalising", stage: "Remove", serves: "2.0" },
    Moment { namespace: "go-back", phase: "RollingBack", stage: "Back", serves: "1.0" },
];

#[test]
fn a_canary_deleted_in_any_stage_leaves_what_serves_and_starts_nothing_unjudged() -> Result<()> {
    scenario(PLANES, async |cluster| {
        // A few at a time: the machine is small.
        for some in MOMENTS.chunks(4) {
            try_join_all(some.iter().map(async |moment| {
                deleted_at(cluster, *moment).await.with_context(|| format!("{moment:?}"))
            }))
            .await?;
        }
        Ok(())
    })
}

async fn deleted_at(cluster: &'static tests::Cluster, moment: Moment) -> Result<()> {
    let mut shop = Shop::deploy(cluster, Plane::Traefik, app(moment.namespace)).await?;
    if moment.stage == "Fill" {
        shop.spec()["steps"] = json!([{"weight": 0}, {"weight": 50}]);
    }
    let controller = shop.controller().await?;
    shop.adopt().await?;
    let before = shop.pods("1.0").await?;
    let load = shop.load().await?;
    let mut new = shop.app.clone().version("2.0").behaves("ready-after", "1s");
    if moment.phase == "RollingBack" {
        new = new.behaves("error-rate", "0.5");
    }
    shop.apply(Kind::Deployment, &new.deployment()).await?;
    shop.reaches("2.0", moment.phase, moment.stage).await?;
    shop.delete(Kind::Canary, shop.name()).await?;
    shop.canary_gone().await?;
    shop.leaves_no_trace().await?;

    let target = shop.get(Kind::Deployment, shop.name()).await?;
    if moment.serves == "1.0" {
        ensure!(target["spec"]["paused"] == true, "2.0 is still held: {}", target["spec"]);
        ensure!(shop.pods("2.0").await?.is_empty(), "no pod of 2.0");
        ensure!(shop.pods("1.0").await? == before, "the same pods of 1.0");
        let events = shop.list(Kind::Event).await?;
        let told = events.iter().any(|event| event["reason"] == "LeftPaused");
        ensure!(told, "its owner is told that it is left paused");
    } else {
        shop.serves_only("2.0").await?;
    }
    let answered = load.stop().await?;
    for (way, summary) in answered.ways() {
        ensure!(summary.failed == summary.failed_by("2.0"), "{way}: {summary:?}");
    }
    let log = controller.log()?;
    ensure!(!log.contains("panicked"), "{log}");
    controller.kill().await
}

#[test]
fn a_canary_whose_target_is_gone_goes() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let (shop, controller) = Shop::open(cluster, Plane::Traefik, app("target-gone")).await?;
        shop.delete(Kind::Deployment, shop.name()).await?;
        shop.canary_is("Initializing").await?;
        shop.delete(Kind::Canary, shop.name()).await?;
        shop.canary_gone().await?;

        // In mid-run too.
        shop.create(Kind::Deployment, &shop.app.deployment()).await?;
        cluster.rolled_out("target-gone", "shop").await?;
        shop.adopt().await?;
        shop.bump("2.0").await?;
        shop.reaches_weight("2.0", 50).await?;
        shop.delete(Kind::Deployment, shop.name()).await?;
        shop.canary_so("serving alone", |status| status["waitingFor"]["reason"] == "TargetGone")
            .await?;
        shop.delete(Kind::Canary, shop.name()).await?;
        shop.canary_gone().await?;
        shop.comes_clean().await?;
        controller.kill().await
    })
}

#[test]
fn a_canary_deleted_while_the_controller_is_down_waits_and_holds() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let (shop, controller) = Shop::open(cluster, Plane::Traefik, app("down")).await?;
        let before = shop.pods("1.0").await?;
        let load = shop.load().await?;
        shop.bump("2.0").await?;
        shop.reaches_weight("2.0", 50).await?;
        controller.kill().await?;
        shop.delete(Kind::Canary, shop.name()).await?;
        let waiting = shop.get(Kind::Canary, shop.name()).await?;
        ensure!(!waiting["metadata"]["deletionTimestamp"].is_null(), "{waiting}");
        shop.bump("3.0").await?;
        let target = shop.get(Kind::Deployment, shop.name()).await?;
        ensure!(target["spec"]["paused"] == true, "3.0 is held without a controller too");

        let controller = shop.controller().await?;
        shop.canary_gone().await?;
        shop.leaves_no_trace().await?;
        ensure!(shop.pods("1.0").await? == before, "the same pods");
        ensure!(shop.pods("3.0").await?.is_empty(), "3.0 was not started");
        load.lost_nothing().await?;
        controller.kill().await
    })
}

#[test]
fn of_two_canaries_for_one_target_the_blocked_one_touches_nothing_when_it_goes() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let (shop, controller) = Shop::open(cluster, Plane::Traefik, app("two")).await?;
        let mut other = shop.canary().clone();
        other["metadata"]["name"] = json!("other");
        // Ages are told in whole seconds, and by name among equals.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        shop.create(Kind::Canary, &other).await?;
        wait_for("the other to be refused", ENOUGH, async || {
            let status = &shop.get(Kind::Canary, "other").await?["status"];
            let message = status["waitingFor"]["message"].as_str().unwrap_or_default();
            Ok(message.contains("deployment shop is looked after by canary shop").then_some(()))
        })
        .await?;
        let load = shop.load().await?;
        shop.bump("2.0").await?;
        shop.reaches_weight("2.0", 50).await?;
        shop.delete(Kind::Canary, "other").await?;
        wait_for("the other to go", ENOUGH, async || {
            Ok(shop.find(Kind::Canary, "other").await?.is_none().then_some(()))
        })
        .await?;
        shop.ends("2.0", "Succeeded").await?;
        shop.serves_only("2.0").await?;
        ensure!(shop.runs().await?.len() == 1, "{:?}", shop.runs().await?);
        let target = shop.get(Kind::Deployment, shop.name()).await?;
        ensure!(!ours(&target).is_empty(), "it is looked after as before: {target}");
        load.lost_nothing().await?;
        controller.kill().await
    })
}

#[test]
fn at_rest_nothing_is_asked_and_what_is_deleted_leaves_the_metrics() -> Result<()> {
    const CANARIES: usize = 20;
    scenario(PLANES, async |cluster| {
        let namespace = "idle";
        let shop = Shop::deploy(cluster, Plane::Traefik, app(namespace).replicas(1)).await?;
        let front = FaultyPrometheus::start(cluster.prometheus().url()).await?;
        let args = ["--namespace", namespace];
        let controller = Controller::start(cluster, front.url(), &args).await?;
        shop.adopt().await?;
        let mut manifests = vec![];
        for n in 1..CANARIES {
            let app = App::new(&format!("shop-{n}"), namespace).replicas(1);
            let app = app.host(Plane::Traefik, &format!("idle-{n}.test"));
            let mut canary = shop.canary().clone();
            canary["metadata"]["name"] = json!(app.name());
            canary["spec"]["targetRef"]["name"] = json!(app.name());
            canary["spec"]["traffic"]["service"]["name"] = json!(app.name());
            manifests.extend([app.deployment(), app.service(), canary]);
            manifests.extend(app.routes());
        }
        let list = json!({"apiVersion": "v1", "kind": "List", "items": manifests});
        cluster.apply(&list.to_string()).await?;
        wait_for("all to be at rest", ENOUGH, async || {
            let canaries = shop.list(Kind::Canary).await?;
            let idle = canaries.iter().filter(|c| c["status"]["phase"] == "Idle").count();
            ensure!(idle == CANARIES, "{idle} of {CANARIES}");
            Ok(Some(()))
        })
        .await?;
        // What the last of them has caused may still be under way.
        tokio::time::sleep(Duration::from_secs(3)).await;

        let me = &controller.user().name;
        let (before, queries) = (cluster.api_requests(me)?.len(), front.queries());
        tokio::time::sleep(Duration::from_secs(30)).await;
        let requests = cluster.api_requests(me)?;
        let asked: Vec<_> = requests[before..]
            .iter()
            // Other stories have controllers of the same name.
            .filter(|r| r.uri.contains(&format!("/namespaces/{namespace}/")))
            .map(|r| format!("{} {}", r.verb, r.uri))
            .collect();
        ensure!(asked.is_empty(), "{} requests at rest: {asked:?}", asked.len());
        ensure!(front.queries() == queries, "{} queries at rest", front.queries() - queries);

        let events = shop.list(Kind::Event).await?;
        let told: Vec<_> = events
            .iter()
            .filter(|e| e["regarding"]["kind"] == "Canary")
            .map(|e| format!("{}: {}", e["reason"], e["note"]))
            .collect();
        ensure!(told.len() <= 2 * CANARIES, "an events storm: {told:?}");

        let series = |metrics: &str| metrics.lines().filter(|l| l.contains(r#""shop-7""#)).count();
        ensure!(series(&controller.metrics().await?) > 0, "{}", controller.metrics().await?);
        shop.delete(Kind::Canary, "shop-7").await?;
        wait_for("its series to go", ENOUGH, async || {
            let metrics = controller.metrics().await?;
            let left = series(&metrics);
            ensure!(left == 0, "{left} series of it are left");
            Ok(Some(()))
        })
        .await?;
        controller.kill().await
    })
}
