//! VirtualServices through istiod and Envoys: whole runs under load at the gateway and in the mesh, and what stands in their way.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};
use tests::{App, Cluster, Controller, Load, Plane, Release, Requests, Status, scenario, wait_for};

const PLANES: &[Plane] = &[Plane::Prometheus, Plane::Istio, Plane::IstioMesh];
const ENOUGH: Duration = Duration::from_mins(1);

/// Runs a story while the controller looks after the cluster.
fn story(tell: impl AsyncFnOnce(&'static Cluster) -> Result<()>) -> Result<()> {
    scenario(PLANES, async |cluster| {
        Controller::shared(cluster).await?;
        tell(cluster).await
    })
}

#[test]
fn a_good_version_is_promoted_at_the_gateway_and_in_the_mesh_with_the_rules_of_its_host()
-> Result<()> {
    story(async |cluster| {
        let namespace = "vs-good";
        let spec = json!({
            "host": "shop",
            "trafficPolicy": {"outlierDetection": {"consecutive5xxErrors": 50}, "connectionPool": {"http": {"http1MaxPendingRequests": 500}}},
            "subsets": [{"name": "all", "labels": {"app": "shop"}}],
        });
        let rule = object("DestinationRule", namespace, "shop", &spec);
        let shop = open(cluster, namespace, json!([rule, both_ways(namespace)]), json!({})).await?;
        let traffic = shop.status().await?.traffic.context("traffic")?;
        ensure!(traffic.provider.as_deref() == Some("istio"), "{traffic:?}");
        let before = get(cluster, "VirtualService", namespace, "web").await?.context("it")?;
        ensure!(get(cluster, "DestinationRule", namespace, "shop-canary").await?.is_none());

        let (gateway, mesh) = loads(cluster, namespace).await?;
        shop.write(&shop.app().version("2.0")).await?;
        let running =
            shop.until("10 %", |s| s.traffic.as_ref().is_some_and(|t| t.stored == 10)).await?;
        let systems = running.traffic.map(|t| t.systems);
        ensure!(systems == Some(vec!["istio-without-telemetry".to_owned()]), "{systems:?}");
        let copy = get(cluster, "DestinationRule", namespace, "shop-canary").await?;
        let mut expected = spec.clone();
        expected["host"] = json!("shop-canary");
        ensure!(copy.context("the copy")?["spec"] == expected);
        shop.until_phase("Succeeded").await?;
        for load in [gateway, mesh] {
            let summary = load.stop().await?;
            ensure!(summary.failed == 0, "no request fails: {summary:?}");
            ensure!(summary.by("2.0") > 0 && summary.by("1.0") > 0, "{summary:?}");
        }
        shop.no_canary_left().await?;
        let after = get(cluster, "VirtualService", namespace, "web").await?.context("it")?;
        as_before(&before, &after)
    })
}

#[test]
fn a_bad_version_is_rolled_back_where_another_object_points_to_the_one_with_the_service()
-> Result<()> {
    story(async |cluster| {
        let namespace = "vs-bad";
        let mut root = both_ways(namespace);
        root["metadata"]["name"] = json!("root");
        root["spec"]["http"] =
            json!([{"match": [{"uri": {"prefix": "/"}}], "delegate": {"name": "web"}}]);
        let spec = json!({"http": [{"route": [{"destination": {"host": "shop"}}]}]});
        let delegate = object("VirtualService", namespace, "web", &spec);
        let shop = open(cluster, namespace, json!([root, delegate]), json!({})).await?;
        let before = get(cluster, "VirtualService", namespace, "web").await?.context("it")?;
        let (gateway, mesh) = loads(cluster, namespace).await?;
        shop.write(&shop.app().version("2.0").behaves("error-rate", "0.5")).await?;
        let status = shop.until_phase("Failed").await?;
        ensure!(status.message().contains("success-rate"), "{status:?}");
        shop.no_canary_left().await?;
        for load in [gateway, mesh] {
            let summary = load.stop().await?;
            ensure!(summary.lost == 0 && summary.failed == summary.failed_by("2.0"), "{summary:?}");
        }
        let root = get(cluster, "VirtualService", namespace, "root").await?.context("it")?;
        ensure!(!root.to_string().contains("tidegate"), "{root}");
        let after = get(cluster, "VirtualService", namespace, "web").await?.context("it")?;
        as_before(&before, &after)
    })
}

#[test]
fn testers_are_there_before_any_user_and_copies_are_answered_by_stable() -> Result<()> {
    story(async |cluster| {
        let namespace = "vs-testers";
        let approved = json!({"untilApproved": true});
        let spec = json!({
            "testers": [{"headers": {"x-beta": {"exact": "1"}}}, {"cookies": {"canary": {"exact": "always"}}}],
            "steps": [
                {"weight": 0, "hold": approved},
                {"weight": 0, "mirror": {"percent": 50}, "checks": 1, "hold": approved},
                {"weight": 20, "match": [{"query": {"new": {"exact": "yes"}}}], "hold": approved},
            ],
        });
        let shop = open(cluster, namespace, json!([both_ways(namespace)]), spec).await?;
        let before = get(cluster, "VirtualService", namespace, "web").await?.context("it")?;
        let (gateway, mesh) = loads(cluster, namespace).await?;
        shop.write(&shop.app().version("2.0")).await?;
        let at = async |what: &str, step: &str| {
            shop.until(what, |s| s.waits_for("AwaitingApproval") && s.step.as_deref() == Some(step))
                .await
        };

        at("testers", "1/3").await?;
        let beta = [("x-beta", "1")];
        let cookie = [("cookie", "a=b; canary=always; c=d")];
        for plane in [Plane::Istio, Plane::IstioMesh] {
            for headers in [&beta, &cookie] {
                settles(plane, namespace, "", headers, "2.0").await?;
            }
            settles(plane, namespace, "", &[("cookie", "canary=always2")], "1.0").await?;
            settles(plane, namespace, "", &[("x-beta", "12")], "1.0").await?;
        }
        ensure!(gateway.each()?.iter().all(|r| r.version == "1.0"), "users have stable");

        let served = cluster.served(namespace).await?.by("2.0");
        shop.accepted(api::ActionVerb::Promote).await?;
        at("copies", "2/3").await?;
        wait_for("copies to arrive", ENOUGH, async || {
            Ok((cluster.served(namespace).await?.by("2.0") > served + 50).then_some(()))
        })
        .await?;
        ensure!(gateway.each()?.iter().all(|r| r.version == "1.0"), "users have stable");
        ensure!(mesh.each()?.iter().all(|r| r.version == "1.0"), "users have stable");

        shop.accepted(api::ActionVerb::Promote).await?;
        at("a match and a share", "3/3").await?;
        for plane in [Plane::Istio, Plane::IstioMesh] {
            settles(plane, namespace, "?new=yes", &[], "2.0").await?;
            settles(plane, namespace, "", &beta, "2.0").await?;
        }
        shop.accepted(api::ActionVerb::Promote).await?;
        shop.until_phase("Succeeded").await?;
        for load in [gateway, mesh] {
            let summary = load.stop().await?;
            ensure!(summary.failed == 0 && summary.by("2.0") > 0, "{summary:?}");
        }
        let after = get(cluster, "VirtualService", namespace, "web").await?.context("it")?;
        as_before(&before, &after)
    })
}

#[test]
fn a_second_one_for_the_same_host_is_refused_by_its_name() -> Result<()> {
    story(async |cluster| {
        let namespace = "vs-second";
        deploy(cluster, namespace, &json!([both_ways(namespace)])).await?;
        let second = json!({
            "hosts": [format!("shop.{namespace}.svc.cluster.local")],
            "http": [{"route": [{"destination": {"host": "other"}}]}],
        });
        cluster.apply(&object("VirtualService", namespace, "old", &second).to_string()).await?;
        blocked(cluster, namespace, json!({}), &format!("route {namespace}/old has host shop.{namespace}.svc.cluster.local for clients in the mesh as well")).await?;
        cluster.kubectl(&["-n", namespace, "delete", "virtualservice", "old"]).await?;
        idle(cluster, namespace).await
    })
}

#[test]
fn a_rule_of_somebody_elses_for_the_canarys_host_is_refused_by_its_name() -> Result<()> {
    story(async |cluster| {
        let namespace = "vs-rule";
        let rule = object("DestinationRule", namespace, "mine", &json!({"host": "shop-canary"}));
        deploy(cluster, namespace, &json!([both_ways(namespace), rule])).await?;
        blocked(
            cluster,
            namespace,
            json!({}),
            &format!("destinationrule {namespace}/mine, spec.host: shop-canary is named by hand"),
        )
        .await?;
        cluster.kubectl(&["-n", namespace, "delete", "destinationrule", "mine"]).await?;
        idle(cluster, namespace).await
    })
}

#[test]
fn one_of_ours_is_made_where_there_is_none_and_serves_both_ways() -> Result<()> {
    story(async |cluster| {
        let namespace = "vs-ours";
        let host = format!("{namespace}.test");
        let route = json!({
            "gateways": [{"name": "web", "namespace": "istio-system"}], "hosts": [host], "mesh": true,
        });
        let spec = json!({"provider": "istio", "traffic": {"route": route}});
        let shop = open(cluster, namespace, json!([]), spec).await?;
        cluster.answers(Plane::Istio, &host).await?;
        let made = get(cluster, "VirtualService", namespace, "shop").await?.context("ours")?;
        ensure!(made["spec"]["hosts"] == json!(["shop", host]), "{made}");
        let (gateway, mesh) = loads(cluster, namespace).await?;
        shop.write(&shop.app().version("2.0")).await?;
        shop.until_phase("Succeeded").await?;
        for load in [gateway, mesh] {
            let summary = load.stop().await?;
            ensure!(summary.failed == 0 && summary.by("2.0") > 0, "{summary:?}");
        }
        let after = get(cluster, "VirtualService", namespace, "shop").await?.context("ours")?;
        ensure!(made["spec"] == after["spec"], "{made}\n{after}");
        Ok(())
    })
}

fn app(namespace: &str) -> App {
    App::new("shop", namespace).behaves("latency-ms", "5").replicas(4)
}

/// The app with these objects beside it, all of its namespace.
async fn deploy(cluster: &Cluster, namespace: &str, beside: &Value) -> Result<()> {
    cluster.deploy(&app(namespace)).await?;
    if beside.as_array().is_some_and(Vec::is_empty) {
        return Ok(());
    }
    let list = json!({"apiVersion": "v1", "kind": "List", "items": beside});
    cluster.apply(&list.to_string()).await?;
    cluster.answers(Plane::Istio, &format!("{namespace}.test")).await
}

async fn open(
    cluster: &'static Cluster,
    namespace: &str,
    beside: Value,
    spec: Value,
) -> Result<Release> {
    deploy(cluster, namespace, &beside).await?;
    Release::adopt(cluster, Plane::Istio, app(namespace), spec).await
}

/// For requests to `<namespace>.test` at the gateway, and to the Service in the mesh.
fn both_ways(namespace: &str) -> Value {
    let spec = json!({
        "hosts": [format!("{namespace}.test"), "shop"],
        "gateways": ["istio-system/web", "mesh"],
        "http": [
            {"match": [{"uri": {"exact": "/old"}}], "redirect": {"uri": "/"}},
            {"name": "main", "route": [{"destination": {"host": "shop"}}], "timeout": "10s", "retries": {"attempts": 0}},
        ],
    });
    object("VirtualService", namespace, "web", &spec)
}

fn object(kind: &str, namespace: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": kind,
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    })
}

async fn get(cluster: &Cluster, kind: &str, namespace: &str, name: &str) -> Result<Option<Value>> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("networking.istio.io", "v1", kind));
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.client(), namespace, &kind);
    let found = api.get_opt(name).await?;
    Ok(found.map(serde_json::to_value).transpose()?)
}

/// The owner's, and nothing of ours.
fn as_before(before: &Value, after: &Value) -> Result<()> {
    ensure!(before["spec"] == after["spec"], "{before}\n{after}");
    ensure!(before["metadata"]["annotations"] == after["metadata"]["annotations"], "{after}");
    let managers = after["metadata"]["managedFields"].to_string();
    ensure!(!managers.contains("\"tidegate\""), "{managers}");
    Ok(())
}

/// Clients of the gateway and in the mesh.
async fn loads(cluster: &Cluster, namespace: &str) -> Result<(Load, Load)> {
    let inside = format!("shop.{namespace}.svc.cluster.local");
    let gateway = Requests::through(Plane::Istio, &format!("{namespace}.test")).per_second(60);
    let mesh = Requests::through(Plane::IstioMesh, &inside).per_second(60);
    let both = (Load::start(cluster, &gateway).await?, Load::start(cluster, &mesh).await?);
    // As users are there before a release, their proxies have counted some of their requests.
    let counted = format!(
        r#"count(envoy_cluster_upstream_rq{{cluster_name=~"outbound.*[.]{namespace}[.]svc[.].*"}})"#
    );
    let prometheus = cluster.prometheus();
    wait_for("requests to be counted", ENOUGH, async || prometheus.value(&counted).await).await?;
    Ok(both)
}

/// Ten requests in a row with these headers are answered by this version, soon.
async fn settles(
    plane: Plane,
    namespace: &str,
    query: &str,
    headers: &[(&str, &str)],
    version: &str,
) -> Result<()> {
    let host = match plane {
        Plane::IstioMesh => format!("shop.{namespace}.svc.cluster.local"),
        _ => format!("{namespace}.test"),
    };
    let client = reqwest::Client::new();
    let what = format!("{headers:?} {query} to be answered by {version} at {plane:?}");
    wait_for(&what, ENOUGH, async || {
        for _ in 0..10 {
            let mut request = client.get(format!("{}/{query}", plane.url())).header("Host", &host);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let answer = request.send().await?;
            if answer.headers().get("x-version").is_none_or(|v| v != version) {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
    .await
}

/// Creates the canary, and waits until it says what keeps it from being ready.
async fn blocked(cluster: &Cluster, namespace: &str, changes: Value, why: &str) -> Result<()> {
    let mut spec = json!({"targetRef": {"name": "shop"}, "traffic": {"service": {"name": "shop"}}});
    for (key, value) in changes.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    let canary = json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "Canary",
        "metadata": {"name": "shop", "namespace": namespace}, "spec": spec,
    });
    cluster.apply(&canary.to_string()).await?;
    wait_for(why, ENOUGH, async || {
        let args = ["-n", namespace, "get", "canary", "shop", "-o", "jsonpath={.status}"];
        let status = cluster.kubectl(&args).await?;
        ensure!(status.contains(why), "status: {status}");
        Ok(Some(()))
    })
    .await
}

async fn idle(cluster: &Cluster, namespace: &str) -> Result<()> {
    wait_for("the canary to be ready", ENOUGH, async || {
        let args = ["-n", namespace, "get", "canary", "shop", "-o", "jsonpath={.status.phase}"];
        Ok((cluster.kubectl(&args).await? == "Idle").then_some(()))
    })
    .await
}
