//! Routes on Services through the real istiod, in the client of its mesh: whole runs under load.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{App, Cluster, Controller, Load, Plane, Release, Requests, Status, scenario, wait_for};

const PLANES: &[Plane] = &[Plane::Prometheus, Plane::IstioMesh];

/// Runs a story while the controller looks after the cluster.
fn story(tell: impl AsyncFnOnce(&'static Cluster) -> Result<()>) -> Result<()> {
    scenario(PLANES, async |cluster| {
        Controller::shared(cluster).await?;
        tell(cluster).await
    })
}

#[test]
fn a_good_version_is_promoted_by_a_route_on_its_service() -> Result<()> {
    story(async |cluster| {
        let (shop, load) = open(cluster, "mesh-good").await?;
        let before = route(cluster, "mesh-good").await?;
        shop.write(&shop.app().version("2.0")).await?;
        let running =
            shop.until("10 %", |s| s.traffic.as_ref().is_some_and(|t| t.stored == 10)).await?;
        let systems = running.traffic.map(|t| t.systems).unwrap_or_default();
        ensure!(systems == ["istio-mesh-without-telemetry"], "{systems:?}");
        shop.until_phase("Succeeded").await?;
        let summary = load.stop().await?;
        ensure!(summary.failed == 0, "no request fails: {summary:?}");
        ensure!(summary.by("2.0") > 0 && summary.by("1.0") > 0, "{summary:?}");
        shop.no_canary_left().await?;
        let after = route(cluster, "mesh-good").await?;
        ensure!(before == after, "{before}\n{after}");
        Ok(())
    })
}

#[test]
fn a_bad_version_is_rolled_back_by_what_the_clients_proxies_have_counted() -> Result<()> {
    story(async |cluster| {
        let (shop, load) = open(cluster, "mesh-bad").await?;
        shop.write(&shop.app().version("2.0").behaves("error-rate", "0.5")).await?;
        let status = shop.until_phase("Failed").await?;
        ensure!(status.message().contains("success-rate"), "{status:?}");
        shop.no_canary_left().await?;
        let summary = load.stop().await?;
        ensure!(summary.lost == 0 && summary.failed == summary.failed_by("2.0"), "{summary:?}");
        Ok(())
    })
}

/// An app that the mesh's client calls, by a route on its Service.
async fn open(cluster: &'static Cluster, namespace: &'static str) -> Result<(Release, Load)> {
    let app = App::new("shop", namespace).behaves("latency-ms", "5").replicas(4);
    cluster.deploy(&app).await?;
    // No port: it would be compared with the one at which the bench's proxy takes requests, which isn't the Service's.
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": "shop", "namespace": namespace},
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": "shop"}],
            "rules": [{"backendRefs": [{"name": "shop", "port": 80}]}],
        },
    });
    cluster.apply(&route.to_string()).await?;
    let shop = Release::adopt_deployed(cluster, Plane::IstioMesh, app, json!({})).await?;
    let host = format!("shop.{namespace}.svc.cluster.local");
    cluster.answers(Plane::IstioMesh, &host).await?;
    let load = Load::start(cluster, &Requests::through(Plane::IstioMesh, &host)).await?;
    // What the proxies count requests by is looked at when a run starts.
    let counted = format!(
        r#"sum(rate(envoy_cluster_upstream_rq{{cluster_name=~"outbound.*shop.{namespace}.svc.*"}}[5s])) > 0"#
    );
    wait_for("Prometheus to have seen it", Duration::from_secs(30), async || {
        Ok((!cluster.prometheus().query(&counted).await?.is_empty()).then_some(()))
    })
    .await?;
    Ok((shop, load))
}

async fn route(cluster: &Cluster, namespace: &str) -> Result<Value> {
    let route =
        cluster.kubectl(&["-n", namespace, "get", "httproute", "shop", "-o", "json"]).await?;
    let route: Value = serde_json::from_str(&route)?;
    route.get("spec").cloned().context("a spec")
}
