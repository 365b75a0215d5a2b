//! What belongs to its owner stays theirs: their tools write as they like in the middle of a run, and see nothing of it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{App, Cluster, ENOUGH, Kind, Plane, Shop, scenario, unix, wait_for};
use tokio::time::{Instant, interval};

const PLANES: &[Plane] = &[Plane::Prometheus, Plane::Traefik, Plane::EnvoyGateway];

fn app(namespace: &str) -> App {
    App::new("shop", namespace).replicas(3).behaves("latency-ms", "5")
}

/// A tool such as Argo CD that applies all that it has each second, and looks what its writes changed.
#[derive(Debug, Default)]
struct EachSecond {
    applies: usize,
    /// Applies after which the object was another, though what was applied was the same.
    changes: usize,
}

impl EachSecond {
    /// Until the run of a version is over.
    async fn run(shop: &Shop, version: &str) -> Result<Self> {
        let mut seen = Self::default();
        let mut every = interval(Duration::from_secs(1));
        let app = shop.app.clone().version(version);
        let route = app.routes().next().context("a route")?;
        let end = Instant::now() + ENOUGH;
        loop {
            every.tick().await;
            for (kind, manifest, field) in [
                // A Deployment's resourceVersion changes with its status, a Service has no generation.
                (Kind::Deployment, app.deployment(), "generation"),
                (Kind::Service, app.service(), "resourceVersion"),
                (Kind::Route, route.clone(), "generation"),
            ] {
                let name = manifest["metadata"]["name"].as_str().unwrap_or_default();
                let before = shop.get(kind, name).await?;
                let after = shop.apply(kind, &manifest).await?;
                seen.applies += 1;
                let version = |object: &Value| object["metadata"][field].clone();
                seen.changes += usize::from(version(&before) != version(&after));
            }
            diff(shop, &app).await?;
            let run = shop.run(version).await?;
            if run.is_some_and(|run| !run["status"]["endedAt"].is_null()) || Instant::now() > end {
                return Ok(seen);
            }
        }
    }
}

/// `kubectl diff` of the app's manifests says nothing. What others write between the two reads of a diff (a status, for one) shows
/// up in it now and then, a real difference each time.
async fn diff(shop: &Shop, app: &App) -> Result<()> {
    let args = ["diff", "--server-side", "--force-conflicts", "--field-manager=owner", "-f", "-"];
    let manifests = app.manifests();
    let cluster = shop.cluster;
    let once = async || cluster.kubectl_as(cluster.admin(), &args, &manifests).await;
    for _ in 0..4 {
        if once().await.is_ok_and(|output| output.is_empty()) {
            return Ok(());
        }
    }
    let output = once().await?;
    ensure!(output.is_empty(), "kubectl diff: {output}");
    Ok(())
}

#[test]
fn all_manifests_applied_by_force_each_second_disturb_nothing_and_see_nothing_on_traefik()
-> Result<()> {
    scenario(PLANES, async |cluster| applied(cluster, Plane::Traefik, "gitops-traefik").await)
}

#[test]
fn all_manifests_applied_by_force_each_second_disturb_nothing_and_see_nothing_on_envoy_gateway()
-> Result<()> {
    scenario(PLANES, async |cluster| applied(cluster, Plane::EnvoyGateway, "gitops-envoy").await)
}

async fn applied(cluster: &'static Cluster, gateway: Plane, namespace: &str) -> Result<()> {
    let (shop, controller) = Shop::open(cluster, gateway, app(namespace)).await?;
    let load = shop.load().await?;
    shop.bump("2.0").await?;
    let seen = EachSecond::run(&shop, "2.0").await?;
    let run = shop.ends("2.0", "Succeeded").await?;
    // Between a read and the apply that follows it, the controller may have written.
    ensure!(seen.applies > 30 && seen.changes <= 3, "{seen:?}");

    let history = run["status"]["history"].as_array().context("a history")?;
    let opened = history.iter().find(|entry| entry["reason"] == "OpeningService");
    let opened = unix(&opened.context("the service was opened")?["at"])?;
    let early = load.direct_by("2.0", opened)?;
    ensure!(early == 0, "{early} answers of the canary on the user's own service");
    shop.serves_only("2.0").await?;
    load.lost_nothing().await?;
    diff(&shop, &shop.app.clone().version("2.0")).await?;
    controller.kill().await
}

#[test]
fn kubectl_apply_in_the_middle_of_a_run_disturbs_nothing() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let (shop, controller) = Shop::open(cluster, Plane::Traefik, app("applied")).await?;
        let load = shop.load().await?;
        let new = shop.app.clone().version("2.0");
        cluster.apply(&new.manifests()).await?;
        shop.reaches_weight("2.0", 50).await?;
        cluster.apply(&new.manifests()).await?;
        let run = shop.run("2.0").await?.context("a run")?;
        ensure!(run["status"]["endedAt"].is_null(), "it is on: {}", run["status"]);
        shop.ends("2.0", "Succeeded").await?;
        shop.serves_only("2.0").await?;
        let admin = cluster.admin();
        let diff = cluster.kubectl_as(admin, &["diff", "-f", "-"], &new.manifests()).await?;
        ensure!(diff.is_empty(), "kubectl diff: {diff}");
        load.lost_nothing().await?;
        controller.kill().await
    })
}

#[test]
fn an_edit_of_the_route_in_the_middle_of_a_run_goes_through_and_weights_stay() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let (shop, controller) = Shop::open(cluster, Plane::Traefik, app("edited")).await?;
        let load = shop.load().await?;
        shop.bump("2.0").await?;
        shop.reaches_weight("2.0", 50).await?;
        let mut route = shop.app.routes().next().context("a route")?;
        route["spec"]["rules"][0]["timeouts"] = json!({"request": "7s"});
        let stored = shop.apply(Kind::Route, &route).await?;
        let rule = &stored["spec"]["rules"][0];
        let weights = [0, 1].map(|i| rule["backendRefs"][i]["weight"].clone());
        ensure!(weights == [json!(50), json!(50)], "weights stay: {rule}");
        ensure!(rule["timeouts"]["request"] == "7s", "{rule}");
        shop.ends("2.0", "Succeeded").await?;
        shop.serves_only("2.0").await?;
        let stored = shop.get(Kind::Route, &shop.route()).await?;
        let rule = &stored["spec"]["rules"][0];
        ensure!(rule["timeouts"]["request"] == "7s", "the edit outlives the run: {rule}");
        load.lost_nothing().await?;
        controller.kill().await
    })
}

#[test]
fn without_its_route_a_run_says_so_and_goes_on_when_it_is_back() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let (shop, controller) = Shop::open(cluster, Plane::Traefik, app("no-route")).await?;
        let load = shop.load().await?;
        shop.bump("2.0").await?;
        shop.reaches_weight("2.0", 50).await?;
        shop.delete(Kind::Route, &shop.route()).await?;
        shop.canary_so("told that its route is missing", |status| {
            let message = status["waitingFor"]["message"].as_str().unwrap_or_default();
            message.contains("no route names service shop")
        })
        .await?;
        shop.create(Kind::Route, &shop.app.routes().next().context("a route")?).await?;
        shop.ends("2.0", "Succeeded").await?;
        shop.serves_only("2.0").await?;
        let answered = load.stop().await?;
        ensure!(answered.kept.failed + answered.fresh.failed == 0, "{answered:?}");
        controller.kill().await
    })
}

#[test]
fn without_its_service_a_run_says_so_and_goes_on_when_it_is_back() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let (shop, controller) = Shop::open(cluster, Plane::Traefik, app("no-service")).await?;
        shop.bump("2.0").await?;
        shop.reaches_weight("2.0", 50).await?;
        shop.delete(Kind::Service, shop.name()).await?;
        shop.canary_so("told that its service is missing", |status| {
            let message = status["waitingFor"]["message"].as_str().unwrap_or_default();
            message.contains("BackendNotFound")
        })
        .await?;
        shop.create(Kind::Service, &shop.app.service()).await?;
        shop.ends("2.0", "Succeeded").await?;
        shop.serves_only("2.0").await?;
        controller.kill().await
    })
}

#[test]
fn a_deployment_that_says_not_paused_in_git_is_held_all_the_same() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let app = app("says-not-paused").field("paused", json!(false));
        let (shop, controller) = Shop::open(cluster, Plane::Traefik, app).await?;
        let load = shop.load().await?;
        shop.bump("2.0").await?;
        shop.reaches_weight("2.0", 50).await?;
        // The same again would unpause it: that is refused, and says why.
        let again = shop.bump("2.0").await;
        let refused = format!("{:#}", again.err().context("it was let through")?);
        ensure!(refused.contains("is held by canary shop"), "{refused}");
        shop.ends("2.0", "Succeeded").await?;
        shop.serves_only("2.0").await?;
        wait_for("the owner's apply to go through", ENOUGH, async || {
            shop.bump("2.0").await.map(Some)
        })
        .await?;
        load.lost_nothing().await?;
        controller.kill().await
    })
}
