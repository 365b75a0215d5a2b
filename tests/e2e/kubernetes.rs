//! Plain Kubernetes: no proxy splits, so blue/green is a switch of the Service's selector.

use anyhow::{Context, Result, ensure};
use api::ActionVerb;
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use serde_json::{Value, json};
use tests::{App, Cluster, Controller, Load, Plane, Release, Requests, Status, scenario};

// The second only because the policies are proved with one of its routes.
const PLANES: &[Plane] = &[Plane::Prometheus, Plane::Traefik];

fn story(tell: impl AsyncFnOnce(&'static Cluster) -> Result<()>) -> Result<()> {
    scenario(PLANES, async |cluster| {
        Controller::shared(cluster).await?;
        tell(cluster).await
    })
}

/// Approved by a person, then everything at once, judged, and warm for a moment.
fn blue_green() -> Value {
    json!({
        "provider": "kubernetes",
        "steps": [
            {"weight": 0, "hold": {"untilApproved": true}},
            {"weight": 100, "checks": 2, "hold": {"for": "5s"}},
        ],
    })
}

async fn shop(cluster: &'static Cluster, namespace: &str) -> Result<(Release, Load)> {
    let app = App::new("shop", namespace).behaves("latency-ms", "5").replicas(3);
    // Its own Service takes the requests, so the gateway is none.
    let shop = Release::adopt(cluster, Plane::Traefik, app, blue_green()).await?;
    let requests = Requests::to_service(namespace, "shop").new_connections();
    Ok((shop, Load::start(cluster, &requests).await?))
}

#[test]
fn a_good_version_gets_everybody_in_one_write_and_is_promoted() -> Result<()> {
    story(async |cluster| {
        let (shop, load) = shop(cluster, "blue-green").await?;
        let before = service(cluster, "blue-green").await?;
        let traffic = shop.status().await?.traffic.context("traffic")?;
        ensure!(traffic.provider.as_deref() == Some("kubernetes"), "{traffic:?}");
        ensure!(traffic.systems == ["kubernetes"], "{traffic:?}");

        shop.write(&shop.app().version("2.0")).await?;
        shop.until_waiting("AwaitingApproval").await?;
        ensure!(cluster.served("blue-green").await?.by("2.0") == 0, "nobody has seen it yet");
        shop.accepted(ActionVerb::Promote).await?;
        shop.until("everybody to have it", |s| {
            s.traffic.as_ref().is_some_and(|t| t.stored == 100 && t.intended == 100)
        })
        .await?;
        let old = shop.pods().await?.values().filter(|tag| *tag == "1.0").count();
        ensure!(old == 3, "the old version is kept warm: {:?}", shop.pods().await?);
        shop.until_phase("Succeeded").await?;
        let summary = load.stop().await?;
        ensure!(summary.failed == 0, "no request fails: {summary:?}");
        ensure!(summary.by("2.0") > 0 && summary.by("1.0") > 0, "{summary:?}");
        shop.no_canary_left().await?;
        let pods = shop.pods().await?;
        ensure!(pods.len() == 3 && pods.values().all(|tag| tag == "2.0"), "{pods:?}");
        let after = service(cluster, "blue-green").await?;
        ensure!(after == before, "the Service is its owner's: {after}");
        shop.in_sync(&shop.app().version("2.0")).await
    })
}

#[test]
fn a_bad_version_is_switched_back_in_one_write() -> Result<()> {
    story(async |cluster| {
        let (shop, load) = shop(cluster, "switched-back").await?;
        let before = service(cluster, "switched-back").await?;
        let bad = shop.app().version("2.0").behaves("error-rate", "0.5");
        shop.write(&bad).await?;
        shop.until_waiting("AwaitingApproval").await?;
        shop.accepted(ActionVerb::Promote).await?;
        let failed = shop.until_phase("Failed").await?;
        ensure!(failed.message().contains("failed check 2 of 2"), "{}", failed.message());
        shop.no_canary_left().await?;
        let summary = load.stop().await?;
        ensure!(summary.lost == 0, "every request has an answer: {summary:?}");
        ensure!(summary.by("2.0") > 0, "{summary:?}");
        let pods = shop.pods().await?;
        ensure!(pods.len() == 3 && pods.values().all(|tag| tag == "1.0"), "{pods:?}");
        ensure!(service(cluster, "switched-back").await? == before);
        Ok(())
    })
}

#[test]
fn by_pods_a_version_goes_up_with_its_part_of_all_pods() -> Result<()> {
    story(async |cluster| {
        let spec = json!({
            "provider": "kubernetes",
            "traffic": {"byPods": true},
            "steps": [{"weight": 25, "checks": 2}, {"weight": 50, "checks": 2}, {"weight": 100}],
        });
        let app = App::new("shop", "by-pods").behaves("latency-ms", "5").replicas(3);
        let shop = Release::adopt(cluster, Plane::Traefik, app, spec).await?;
        let before = service(cluster, "by-pods").await?;
        let requests = Requests::to_service("by-pods", "shop").new_connections();
        let load = Load::start(cluster, &requests).await?;
        shop.write(&shop.app().version("2.0")).await?;
        for (weight, canary) in [(25, 1), (50, 3)] {
            shop.until("the weight", |s| {
                s.traffic.as_ref().is_some_and(|t| t.stored == weight && t.intended == weight)
            })
            .await?;
            let pods = shop.pods().await?;
            let new = pods.values().filter(|tag| *tag == "2.0").count();
            ensure!((pods.len(), new) == (3 + canary, canary), "{weight} %: {pods:?}");
        }
        shop.until_phase("Succeeded").await?;
        let summary = load.stop().await?;
        ensure!(summary.failed == 0, "no request fails: {summary:?}");
        ensure!(summary.by("2.0") > 0 && summary.by("1.0") > 0, "{summary:?}");
        shop.no_canary_left().await?;
        ensure!(service(cluster, "by-pods").await? == before);
        shop.in_sync(&shop.app().version("2.0")).await
    })
}

#[test]
fn what_a_selector_cannot_do_is_refused_with_the_way_out() -> Result<()> {
    story(async |cluster| {
        let app = App::new("shop", "selector-cannot");
        let shop = Release::adopt(cluster, Plane::Traefik, app, blue_green()).await?;
        for (change, says) in [
            (
                json!({"steps": [{"weight": 25}, {"weight": 100}]}),
                "spec.steps[0] needs a share of 25 %",
            ),
            (
                json!({"testers": [{"headers": {"x-canary": {"exact": "1"}}}]}),
                "spec.testers needs requests with header x-canary=1",
            ),
        ] {
            let mut spec = blue_green();
            for (key, value) in change.as_object().into_iter().flatten() {
                spec[key] = value.clone();
            }
            shop.configure(spec).await?;
            shop.until("the refusal", |s| s.phase == "Initializing" && s.message().contains(says))
                .await?;
        }
        Ok(())
    })
}

/// What its owner has written.
async fn service(cluster: &Cluster, namespace: &str) -> Result<Value> {
    let api: Api<Service> = Api::namespaced(cluster.client(), namespace);
    let service = api.get("shop").await?;
    Ok(json!({"labels": service.metadata.labels, "spec": service.spec}))
}
