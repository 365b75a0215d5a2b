//! The faults: how each is brought about, and which link has to be named for it.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::{
    App, Cluster, Controller, ENOUGH, Fault as Metrics, FaultyPrometheus, Kind, Load, Plane,
    Requests, Shop, wait_for,
};

use crate::scraper::Scraper;

/// A fault, and the answer that it has to get.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    pub(crate) namespace: &'static str,
    pub(crate) link: &'static str,
    /// A part of what is said of the link.
    pub(crate) says: &'static str,
    pub(crate) within: Duration,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    NoController,
    OwnerPaused,
    ServiceSelector,
    RouteElsewhere,
    GatewayMissing,
    GatewayUnprogrammed,
    ListenerCloses,
    RouteClaimed,
    MeshProfile,
    MeshWaypoint,
    LastRunFailed,
    ImagePull,
    NeverReady,
    PortLost,
    ServiceGone,
    SplitTakenOff,
    Isolated,
    PrometheusSilent,
    ProxyUnscraped,
    LabelRenamed,
    NoEndpointStatistics,
    NoLoad,
    NoDataAndNoAddress,
    TooFewRequests,
    WeightsUndone,
}

const fn fault(
    what: What,
    name: &'static str,
    namespace: &'static str,
    link: &'static str,
    says: &'static str,
) -> Fault {
    Fault { name, namespace, link, says, within: ENOUGH, what }
}

pub(crate) const FAULTS: &[Fault] = &[
    fault(
        What::NoController,
        "controller is down",
        "e-controller",
        "controller",
        "the spec was changed",
    ),
    fault(
        What::OwnerPaused,
        "deployment paused by its owner",
        "e-paused",
        "deployment",
        "paused by its owner",
    ),
    fault(
        What::ServiceSelector,
        "service selects other pods",
        "e-labels",
        "labels",
        "asks for app=other, the pods have app=shop",
    ),
    fault(
        What::RouteElsewhere,
        "route names another service",
        "e-route",
        "route",
        "httproute/shop-traefik names another",
    ),
    fault(
        What::GatewayMissing,
        "route's gateway is missing",
        "e-gateway",
        "gateway",
        "gateway traefik/nowhere, which does not exist",
    ),
    fault(
        What::GatewayUnprogrammed,
        "nobody programs the class",
        "e-class",
        "gateway",
        "example.com/nobody, which has not answered",
    ),
    fault(
        What::ListenerCloses,
        "listener shuts the namespace out",
        "e-listener",
        "acceptance",
        "NotAllowedByListeners",
    ),
    fault(
        What::RouteClaimed,
        "another route has host and path",
        "e-claimed",
        "conflict",
        "route e-claimed/theirs",
    ),
    fault(
        What::MeshProfile,
        "ServiceProfile before the route",
        "e-profile",
        "mesh",
        "makes Linkerd ignore every route of service/shop",
    ),
    fault(
        What::MeshWaypoint,
        "no waypoint for the service",
        "e-waypoint",
        "mesh",
        "no label istio.io/use-waypoint",
    ),
    fault(What::LastRunFailed, "the last run failed", "e-failed", "run", "its revision stays held"),
    fault(
        What::ImagePull,
        "image can't be pulled",
        "e-image",
        "pods",
        "does not start: ImagePullBackOff",
    ),
    fault(
        What::NeverReady,
        "canary never ready",
        "e-ready",
        "pods",
        "the canary's pods run, and none is ready",
    ),
    fault(
        What::PortLost,
        "named port is gone",
        "e-port",
        "endpoints",
        "container port \"web\", and no canary pod has one of that name",
    ),
    fault(
        What::ServiceGone,
        "canary's service deleted",
        "e-service",
        "endpoints",
        "there is no service/shop-canary",
    ),
    fault(
        What::SplitTakenOff,
        "annotation taken off the route",
        "e-split",
        "shares",
        "the route is not split, so all requests go to stable",
    ),
    fault(
        What::Isolated,
        "network policy on the canary",
        "e-network",
        "network",
        "a network policy lets nobody in",
    ),
    fault(
        What::PrometheusSilent,
        "Prometheus unreachable",
        "e-silent",
        "scrape",
        "Prometheus does not answer",
    ),
    fault(
        What::ProxyUnscraped,
        "proxy not scraped",
        "e-scrape",
        "scrape",
        "Prometheus does not scrape Traefik",
    ),
    fault(
        What::LabelRenamed,
        "label taken by the scrape target",
        "e-label",
        "query",
        "have the label service of the scrape target",
    ),
    fault(
        What::NoEndpointStatistics,
        "no statistics per endpoint",
        "e-endpoint",
        "query",
        "enablePerEndpointStats",
    ),
    fault(
        What::NoLoad,
        "no load at all",
        "e-load",
        "requests",
        "nobody sends requests to service shop",
    ),
    fault(
        What::NoDataAndNoAddress,
        "no data, and no address given",
        "e-empty",
        "query",
        "Prometheus answers, and knows nothing about failing",
    ),
    fault(
        What::TooFewRequests,
        "fewer than minRequests",
        "e-few",
        "verdict",
        "too few requests for a verdict",
    ),
];

/// After all others: it takes the policy that splits away from the whole cluster.
pub(crate) const LAST: Fault = fault(
    What::WeightsUndone,
    "split undone, policy gone",
    "e-weights",
    "shares",
    "the policy tidegate-split is not",
);

/// An app in some state, and what is to be asked.
pub(crate) struct Scene {
    pub(crate) shop: Shop,
    controller: Option<Controller>,
    load: Option<Load>,
    /// What is asked; `None`: the status has to do.
    prometheus: Option<String>,
    /// What the controller asks, if that is another.
    _front: Option<FaultyPrometheus>,
}

impl Scene {
    fn of(shop: Shop, controller: Controller, load: Option<Load>) -> Self {
        let prometheus = Some(Plane::Prometheus.url().to_owned());
        Self { shop, controller: Some(controller), load, prometheus, _front: None }
    }

    pub(crate) fn args(&self, more: &[&str]) -> Vec<String> {
        let args = ["explain", self.shop.name(), "-n", self.shop.app.namespace()];
        let prometheus = self.prometheus.iter().flat_map(|url| ["--metrics-server", url]);
        args.into_iter().chain(prometheus).chain(more.iter().copied()).map(str::to_owned).collect()
    }

    async fn stop_controller(&mut self) -> Result<()> {
        match self.controller.take() {
            Some(controller) => controller.kill().await,
            None => Ok(()),
        }
    }

    pub(crate) async fn end(mut self) -> Result<()> {
        self.stop_controller().await?;
        if let Some(load) = self.load.take() {
            load.stop().await?;
        }
        Ok(())
    }
}

/// Each scrapes otherwise than it should.
#[derive(Debug)]
pub(crate) struct Scrapers {
    /// No proxy at all.
    pods_only: Scraper,
    /// The target has a label that Traefik's series have, too: Prometheus calls theirs `exported_service`.
    own_label: Scraper,
    /// Envoy Gateway as it is without `enablePerEndpointStats`.
    no_endpoints: Scraper,
}

pub(crate) async fn scrapers(cluster: &Cluster) -> Result<Scrapers> {
    Ok(Scrapers {
        pods_only: Scraper::start(
            cluster,
            "pods-only",
            9091,
            "- {job_name: self, static_configs: [{targets: ['127.0.0.1:9091']}]}\n",
        )
        .await?,
        own_label: Scraper::start(
            cluster,
            "own-label",
            9092,
            "- job_name: traefik\n  static_configs: [{targets: ['127.0.0.1:10084'], labels: {service: traefik-metrics}}]\n",
        )
        .await?,
        no_endpoints: Scraper::start(
            cluster,
            "no-endpoints",
            9093,
            "- job_name: envoy\n  file_sd_configs: [{files: [DIR/targets/envoy-gateway.json]}]\n  metric_relabel_configs:\n  - {source_labels: [__name__], regex: 'envoy_cluster_endpoint_.*', action: drop}\n",
        )
        .await?,
    })
}

fn app(namespace: &str) -> App {
    App::new("shop", namespace).behaves("latency-ms", "5")
}

/// A canary that is at rest.
async fn at_rest(cluster: &'static Cluster, namespace: &str) -> Result<Scene> {
    let (shop, controller) = Shop::open(cluster, Plane::Traefik, app(namespace)).await?;
    Ok(Scene::of(shop, controller, None))
}

/// A run of 2.0 that stays at 50 % until it is approved.
pub(crate) async fn half_way(
    cluster: &'static Cluster,
    gateway: Plane,
    namespace: &str,
    with_load: bool,
) -> Result<Scene> {
    let mut shop = Shop::deploy(cluster, gateway, app(namespace)).await?;
    shop.spec()["steps"] =
        json!([{"weight": 0}, {"weight": 50, "hold": {"untilApproved": true}}, {"weight": 100}]);
    let controller = shop.controller().await?;
    shop.adopt().await?;
    let load = if with_load {
        let host = format!("{namespace}.test");
        Some(Load::start(cluster, &Requests::through(gateway, &host).per_second(40)).await?)
    } else {
        None
    };
    shop.bump("2.0").await?;
    shop.canary_so("waiting for approval at 50 %", |status| {
        status["waitingFor"]["reason"] == "AwaitingApproval" && status["traffic"]["stored"] == 50
    })
    .await?;
    Ok(Scene::of(shop, controller, load))
}

pub(crate) async fn seed(
    cluster: &'static Cluster,
    fault: &Fault,
    scrapers: &Scrapers,
) -> Result<Scene> {
    let space = fault.namespace;
    match fault.what {
        What::NoController => no_controller(cluster, space).await,
        What::OwnerPaused => owner_paused(cluster, space).await,
        What::ServiceSelector => {
            let scene = at_rest(cluster, space).await?;
            let other = json!({"spec": {"selector": {"app": "other"}}});
            scene.shop.patch(Kind::Service, "shop", &other).await?;
            Ok(scene)
        }
        What::RouteElsewhere => {
            let elsewhere = json!([{"backendRefs": [{"name": "another", "port": 80}]}]);
            routed(cluster, space, &json!({"spec": {"rules": elsewhere}})).await
        }
        What::GatewayMissing => {
            attached(cluster, space, &json!({"name": "nowhere", "namespace": "traefik"})).await
        }
        What::GatewayUnprogrammed => unprogrammed(cluster, space).await,
        What::ListenerCloses => listener_closes(cluster, space).await,
        What::RouteClaimed => claimed(cluster, space).await,
        What::MeshProfile => profile(cluster, space).await,
        What::MeshWaypoint => meshed(cluster, space, "istio.io/gateway-controller").await,
        What::LastRunFailed => {
            let scene = half_way(cluster, Plane::Traefik, space, false).await?;
            scene.shop.ask("abort").await?;
            scene.shop.canary_is("Failed").await?;
            Ok(scene)
        }
        What::ImagePull => bad_pods(cluster, space, "waiting", "ImagePullBackOff").await,
        What::NeverReady => bad_pods(cluster, space, "ready", "never").await,
        What::PortLost => port_lost(cluster, space).await,
        What::ServiceGone => {
            let mut scene = half_way(cluster, Plane::Traefik, space, false).await?;
            scene.stop_controller().await?;
            scene.shop.delete(Kind::Service, "shop-canary").await?;
            Ok(scene)
        }
        What::SplitTakenOff => {
            let mut scene = half_way(cluster, Plane::Traefik, space, false).await?;
            scene.stop_controller().await?;
            let off = json!({"metadata": {"annotations": {"split.tidegate.dev/shop": null}}});
            scene.shop.patch(Kind::Route, &scene.shop.route(), &off).await?;
            Ok(scene)
        }
        What::Isolated => {
            let scene = half_way(cluster, Plane::Traefik, space, true).await?;
            let policy = json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                "metadata": {"name": "canaries-are-alone", "namespace": space},
                "spec": {"podSelector": {"matchLabels": {"tidegate.dev/role": "canary"}}, "policyTypes": ["Ingress"]},
            });
            cluster.apply(&policy.to_string()).await?;
            Ok(scene)
        }
        What::PrometheusSilent => {
            asked(cluster, Plane::Traefik, space, "http://127.0.0.1:9", true).await
        }
        What::ProxyUnscraped => {
            asked(cluster, Plane::Traefik, space, &scrapers.pods_only.url, true).await
        }
        What::LabelRenamed => {
            asked(cluster, Plane::Traefik, space, &scrapers.own_label.url, true).await
        }
        What::NoEndpointStatistics => {
            asked(cluster, Plane::EnvoyGateway, space, &scrapers.no_endpoints.url, true).await
        }
        What::NoLoad => {
            asked(cluster, Plane::EnvoyGateway, space, Plane::Prometheus.url(), false).await
        }
        What::NoDataAndNoAddress => no_data(cluster, space).await,
        What::TooFewRequests => too_few(cluster, space).await,
        What::WeightsUndone => weights_undone(cluster, space).await,
    }
}

async fn asked(
    cluster: &'static Cluster,
    gateway: Plane,
    space: &str,
    prometheus: &str,
    with_load: bool,
) -> Result<Scene> {
    let scene = half_way(cluster, gateway, space, with_load).await?;
    Ok(Scene { prometheus: Some(prometheus.to_owned()), ..scene })
}

async fn no_controller(cluster: &'static Cluster, space: &str) -> Result<Scene> {
    let mut scene = at_rest(cluster, space).await?;
    scene.stop_controller().await?;
    scene.shop.patch(Kind::Canary, "shop", &json!({"spec": {"suspend": true}})).await?;
    Ok(scene)
}

async fn owner_paused(cluster: &'static Cluster, space: &str) -> Result<Scene> {
    let shop = Shop::deploy(cluster, Plane::Traefik, app(space)).await?;
    shop.patch(Kind::Deployment, "shop", &json!({"spec": {"paused": true}})).await?;
    let controller = shop.controller().await?;
    shop.create(Kind::Canary, shop.canary()).await?;
    Ok(Scene::of(shop, controller, None))
}

/// At rest, with the route changed by its owner.
async fn routed(cluster: &'static Cluster, space: &str, patch: &Value) -> Result<Scene> {
    let scene = at_rest(cluster, space).await?;
    scene.shop.patch(Kind::Route, &scene.shop.route(), patch).await?;
    Ok(scene)
}

async fn attached(cluster: &'static Cluster, space: &str, parent: &Value) -> Result<Scene> {
    routed(cluster, space, &json!({"spec": {"parentRefs": [parent]}})).await
}

async fn unprogrammed(cluster: &'static Cluster, space: &str) -> Result<Scene> {
    cluster
        .apply(
            r#"{"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "nobodys"},
             "spec": {"controllerName": "example.com/nobody"}},
            {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "dark", "namespace": "traefik"},
             "spec": {"gatewayClassName": "nobodys", "listeners": [{"name": "web", "protocol": "HTTP", "port": 80}]}}]}"#,
        )
        .await?;
    attached(cluster, space, &json!({"name": "dark", "namespace": "traefik"})).await
}

async fn listener_closes(cluster: &'static Cluster, space: &str) -> Result<Scene> {
    cluster
        .apply(
            r#"{"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "closed", "namespace": "traefik"},
             "spec": {"gatewayClassName": "traefik", "listeners": [
             {"name": "web", "protocol": "HTTP", "port": 10083, "allowedRoutes": {"namespaces": {"from": "Same"}}}]}}"#,
        )
        .await?;
    attached(cluster, space, &json!({"name": "closed", "namespace": "traefik"})).await
}

async fn claimed(cluster: &'static Cluster, space: &str) -> Result<Scene> {
    let scene = half_way(cluster, Plane::Traefik, space, true).await?;
    let mut theirs = scene.shop.app.routes().next().context("a route")?;
    theirs["metadata"]["name"] = json!("theirs");
    theirs["spec"]["rules"] = json!([{"backendRefs": [{"name": "another", "port": 80}]}]);
    cluster.apply(&theirs.to_string()).await?;
    Ok(scene)
}

/// A route on the Service, with the answer of a mesh's controller as that writes it.
///
/// Linkerd: `policy-controller/k8s/status/src/index.rs`, Istio: `pilot/pkg/config/kube/gateway/conversion.go`. Neither runs here.
async fn meshed(cluster: &'static Cluster, space: &str, controller: &str) -> Result<Scene> {
    let scene = at_rest(cluster, space).await?;
    let parent = json!({"group": "", "kind": "Service", "name": "shop", "port": 80});
    let route = scene.shop.route();
    let attach = json!({"spec": {"hostnames": null, "parentRefs": [parent]}});
    let stored = scene.shop.patch(Kind::Route, &route, &attach).await?;
    let condition = |kind: &str, reason: &str| {
        json!({
            "type": kind, "status": "True", "reason": reason, "message": "",
            "lastTransitionTime": "2026-11-24T03:00:00Z", "observedGeneration": stored["metadata"]["generation"],
        })
    };
    let mut conditions =
        vec![condition("Accepted", "Accepted"), condition("ResolvedRefs", "ResolvedRefs")];
    if controller.starts_with("istio.io/") {
        // Only where ambient is on: istio/istio pilot/pkg/config/kube/gateway/conditions.go.
        conditions.push(condition("ResolvedWaypoints", "ResolvedWaypoints"));
    }
    let answer = json!({"status": {"parents": [
        {"controllerName": controller, "parentRef": parent, "conditions": conditions}]}});
    let (answer, target) = (answer.to_string(), format!("httproute/{route}"));
    let args = [
        "patch",
        &target,
        "-n",
        space,
        "--subresource",
        "status",
        "--type",
        "merge",
        "-p",
        &answer,
    ];
    cluster.kubectl(&args).await?;
    Ok(scene)
}

/// As `linkerd profile` writes them.
async fn profile(cluster: &'static Cluster, space: &str) -> Result<Scene> {
    let scene = meshed(cluster, space, "linkerd.io/policy-controller").await?;
    cluster
        .apply(
            r#"{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "serviceprofiles.linkerd.io"},
             "spec": {"group": "linkerd.io", "scope": "Namespaced", "names": {"plural": "serviceprofiles", "singular": "serviceprofile", "kind": "ServiceProfile"},
             "versions": [{"name": "v1alpha2", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}}"#,
        )
        .await?;
    let ready =
        ["wait", "--for=condition=Established", "crd/serviceprofiles.linkerd.io", "--timeout=30s"];
    cluster.kubectl(&ready).await?;
    let profile = json!({
        "apiVersion": "linkerd.io/v1alpha2", "kind": "ServiceProfile",
        "metadata": {"name": format!("shop.{space}.svc.cluster.local"), "namespace": space},
        "spec": {"routes": [{"name": "GET /", "condition": {"method": "GET", "pathRegex": "/"}}]},
    });
    wait_for("the profile to be taken", ENOUGH, async || {
        Ok(cluster.apply(&profile.to_string()).await.ok())
    })
    .await?;
    Ok(scene)
}

/// A new revision whose pods behave so.
async fn bad_pods(cluster: &'static Cluster, space: &str, key: &str, value: &str) -> Result<Scene> {
    let scene = at_rest(cluster, space).await?;
    let bad = scene.shop.app.clone().version("2.0").behaves(key, value);
    scene.shop.apply(Kind::Deployment, &bad.deployment()).await?;
    Ok(scene)
}

/// The new template calls its port otherwise than the Service does.
async fn port_lost(cluster: &'static Cluster, space: &str) -> Result<Scene> {
    let shop = Shop::deploy(cluster, Plane::Traefik, app(space)).await?;
    let called = |version: &str, port: &str| {
        let mut deployment = shop.app.clone().version(version).deployment();
        deployment["spec"]["template"]["spec"]["containers"][0]["ports"][0]["name"] = json!(port);
        deployment
    };
    shop.apply(Kind::Deployment, &called("1.0", "web")).await?;
    cluster.rolled_out(space, "shop").await?;
    let mut service = shop.app.service();
    service["spec"]["ports"][0]["targetPort"] = json!("web");
    shop.apply(Kind::Service, &service).await?;
    let controller = shop.controller().await?;
    shop.adopt().await?;
    shop.apply(Kind::Deployment, &called("2.0", "http")).await?;
    Ok(Scene::of(shop, controller, None))
}

async fn too_few(cluster: &'static Cluster, space: &str) -> Result<Scene> {
    let mut shop = Shop::deploy(cluster, Plane::Traefik, app(space)).await?;
    shop.spec()["analysis"]["minRequests"] = json!(100_000);
    shop.spec()["analysis"]["interval"] = json!("5s");
    shop.spec()["analysis"]["metrics"] =
        json!([{"name": "success-rate", "builtin": "request-success-rate", "limit": {"min": 99}}]);
    let controller = shop.controller().await?;
    shop.adopt().await?;
    let requests = Requests::through(Plane::Traefik, &format!("{space}.test")).per_second(40);
    let load = Some(Load::start(cluster, &requests).await?);
    shop.bump("2.0").await?;
    Ok(Scene::of(shop, controller, load))
}

/// The controller's Prometheus knows nothing, and nobody says where it is.
async fn no_data(cluster: &'static Cluster, space: &str) -> Result<Scene> {
    let front = FaultyPrometheus::start(Plane::Prometheus.url()).await?;
    front.set(Metrics::Empty);
    let shop = Shop::deploy(cluster, Plane::Traefik, app(space)).await?;
    let controller = Controller::start(cluster, front.url(), &["--namespace", space]).await?;
    shop.adopt().await?;
    shop.bump("2.0").await?;
    Ok(Scene { prometheus: None, _front: Some(front), ..Scene::of(shop, controller, None) })
}

/// Without the policy the owner's next apply has its own backend alone, and the annotation stays.
async fn weights_undone(cluster: &'static Cluster, space: &str) -> Result<Scene> {
    let mut scene = half_way(cluster, Plane::Traefik, space, false).await?;
    let policies =
        ["mutatingadmissionpolicy/tidegate-split", "mutatingadmissionpolicybinding/tidegate-split"];
    cluster.kubectl(&["delete", policies[0], policies[1]]).await?;
    scene.stop_controller().await?;
    let owners = scene.shop.app.routes().next().context("a route")?;
    wait_for("the split to be undone", ENOUGH, async || {
        let stored = scene.shop.apply(Kind::Route, &owners).await?;
        let backends = stored["spec"]["rules"][0]["backendRefs"].as_array().map(Vec::len);
        Ok((backends == Some(1)).then_some(()))
    })
    .await?;
    Ok(scene)
}
