//! Whole runs under load, judged by the built-in metrics.

use anyhow::{Result, ensure};
use api::ActionVerb;
use serde_json::{Value, json};
use tests::{App, Cluster, Controller, Plane, Release, Summary, scenario, wait_for};

use crate::objects::Objects;
use crate::{ENOUGH, PLANES};

/// Runs a story while the controller looks after the cluster.
fn story(tell: impl AsyncFnOnce(&'static Cluster) -> Result<()>) -> Result<()> {
    scenario(PLANES, async |cluster| {
        Controller::shared(cluster).await?;
        tell(cluster).await
    })
}

#[test]
fn a_good_version_is_shown_to_testers_mirrored_and_promoted_on_contour() -> Result<()> {
    story(async |cluster| {
        let spec = json!({
            "testers": [{"headers": {"x-tester": {"exact": "yes"}}}, {"cookies": {"canary": {"exact": "always"}}}],
            "steps": [
                {"weight": 0, "hold": {"untilApproved": true}},
                {"weight": 0, "mirror": {"percent": 50}, "hold": {"untilApproved": true}},
                {"weight": 25},
                {"weight": 100},
            ],
        });
        let shop = Release::open(cluster, Plane::Contour, "run-contour", spec).await?;
        let before = shop.owned().await?;
        let load = shop.load().await?;
        let new = shop.app().version("2.0");
        shop.write(&new).await?;

        shop.until_waiting("AwaitingApproval").await?;
        for header in [("x-tester", "yes"), ("cookie", "a=b; canary=always")] {
            ensure!(version(&shop, Some(header)).await? == "2.0", "{header:?}");
        }
        ensure!(version(&shop, None).await? == "1.0", "others are served by stable");
        let tested = cluster.served("run-contour").await?.by("2.0");
        ensure!(tested == 2, "the canary got the testers' requests and no other: {tested}");

        shop.accepted(ActionVerb::Promote).await?;
        wait_for("copies, and the next approval", ENOUGH, async || {
            let copied = cluster.served("run-contour").await?.by("2.0") > 100;
            let status = shop.status().await?;
            let second = status.step.is_some_and(|step| step.starts_with('2'));
            let waits = status.waiting_for.is_some_and(|w| w.reason == "AwaitingApproval");
            Ok((copied && second && waits).then_some(()))
        })
        .await?;
        shop.accepted(ActionVerb::Promote).await?;
        shop.until_phase("Succeeded").await?;
        let summary = load.stop().await?;
        all_served(&summary)?;
        shop.no_canary_left().await?;
        let after = shop.owned().await?;
        ensure!(before.route == after.route, "{}\n{}", before.route, after.route);
        ensure!(before.service == after.service, "{}\n{}", before.service, after.service);
        shop.in_sync(&new).await
    })
}

#[test]
fn a_bad_version_is_rolled_back_on_contour() -> Result<()> {
    story(async |cluster| {
        let shop = Release::open(cluster, Plane::Contour, "bad-contour", json!({})).await?;
        let before = shop.owned().await?;
        rolled_back(&shop).await?;
        let after = shop.owned().await?;
        ensure!(before.route == after.route, "{}\n{}", before.route, after.route);
        Ok(())
    })
}

#[test]
fn a_good_version_is_promoted_through_a_traefik_service() -> Result<()> {
    story(async |cluster| {
        let namespace = "run-traefik";
        cluster.namespace(namespace).await?;
        let objects = Objects::of(cluster, &providers::traffic::TraefikService, namespace)?;
        let service = json!({
            "apiVersion": "traefik.io/v1alpha1", "kind": "TraefikService",
            "metadata": {"name": "web", "namespace": namespace},
            "spec": {"weighted": {"services": [{"name": "shop", "port": 80}]}},
        });
        let before = objects.apply(&service).await?;
        cluster.apply(&ingress_route(namespace, "web").to_string()).await?;
        let shop = Release::adopt(cluster, Plane::Traefik, app(namespace), json!({})).await?;
        cluster.answers(Plane::Traefik, "run-traefik.test").await?;
        let load = shop.load().await?;
        let new = shop.app().version("2.0");
        shop.write(&new).await?;
        shop.until_phase("Succeeded").await?;
        all_served(&load.stop().await?)?;
        shop.no_canary_left().await?;
        let after = objects.get("web").await?;
        ensure!(after["spec"] == before["spec"], "{after}");
        ensure!(after["metadata"]["annotations"].is_null(), "{after}");
        shop.in_sync(&new).await
    })
}

#[test]
fn a_bad_version_is_rolled_back_through_a_traefik_service_of_ours() -> Result<()> {
    story(async |cluster| {
        let namespace = "bad-traefik";
        cluster.namespace(namespace).await?;
        cluster.apply(&ingress_route(namespace, "shop").to_string()).await?;
        let spec = json!({"provider": "traefik", "traffic": {"route": {}}});
        let shop = Release::adopt(cluster, Plane::Traefik, app(namespace), spec).await?;
        cluster.answers(Plane::Traefik, "bad-traefik.test").await?;
        rolled_back(&shop).await
    })
}

#[test]
fn an_ingress_route_that_goes_past_the_traefik_service_stops_the_canary() -> Result<()> {
    story(async |cluster| {
        let namespace = "past-traefik";
        cluster.namespace(namespace).await?;
        let mut route = ingress_route(namespace, "shop");
        route["spec"]["routes"][0]["services"] = json!([{"name": "shop", "port": 80}]);
        cluster.apply(&route.to_string()).await?;
        let app = app(namespace);
        cluster.deploy(&app).await?;
        let canary = json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "Canary",
            "metadata": {"name": "shop", "namespace": namespace},
            "spec": {"targetRef": {"name": "shop"}, "traffic": {"service": {"name": "shop"}}},
        });
        cluster.apply(&canary.to_string()).await?;
        wait_for("the canary to say so", ENOUGH, async || {
            let status = cluster
                .kubectl(&[
                    "-n",
                    namespace,
                    "get",
                    "canary",
                    "shop",
                    "-o",
                    "jsonpath={.status.conditions}",
                ])
                .await?;
            let says =
                "an IngressRoute has no shares that can be split; name a TraefikService here";
            ensure!(status.contains(says), "{status}");
            Ok(Some(()))
        })
        .await
    })
}

fn app(namespace: &str) -> App {
    App::new("shop", namespace).behaves("latency-ms", "5").replicas(4)
}

fn ingress_route(namespace: &str, service: &str) -> Value {
    let to = json!([{"kind": "TraefikService", "name": service}]);
    let rule =
        json!({"kind": "Rule", "match": format!("Host(`{namespace}.test`)"), "services": to});
    json!({
        "apiVersion": "traefik.io/v1alpha1", "kind": "IngressRoute",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {"routes": [rule]},
    })
}

/// A version with errors comes and goes; nobody else's request fails.
async fn rolled_back(shop: &Release) -> Result<()> {
    let load = shop.load().await?;
    shop.write(&shop.app().version("2.0").behaves("error-rate", "0.5")).await?;
    shop.until_phase("Failed").await?;
    shop.no_canary_left().await?;
    let summary = load.stop().await?;
    ensure!(summary.lost == 0 && summary.failed == summary.failed_by("2.0"), "{summary:?}");
    let message = shop.run().await?.status.unwrap_or_default().message;
    ensure!(message.contains("success-rate"), "{message}");
    Ok(())
}

fn all_served(summary: &Summary) -> Result<()> {
    ensure!(summary.failed == 0, "no request fails: {summary:?}");
    ensure!(summary.by("2.0") > 0 && summary.by("1.0") > 0, "{summary:?}");
    Ok(())
}

/// Who answers one request.
async fn version(shop: &Release, header: Option<(&str, &str)>) -> Result<String> {
    let host = format!("{}.test", shop.namespace());
    let mut request = reqwest::Client::new().get(Plane::Contour.url()).header("Host", host);
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    let answer = request.send().await?;
    let version = answer.headers().get("x-version").map(|v| v.to_str().map(str::to_owned));
    Ok(version.transpose()?.unwrap_or_default())
}
