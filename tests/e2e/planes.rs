//! Routes of every kind on the planes that serve them, as a user would write them: how they split, what Prometheus sees of it, how soon a
//! write is in effect, and what a weight of 0 means when nobody is there to serve it.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::{Value, json};
use tests::{App, Cluster, Load, Plane, Request, Requests, scenario, wait_for};

const PLANES: &[Plane] = &[Plane::Prometheus, Plane::Traefik, Plane::Contour, Plane::Istio];
const ENOUGH: Duration = Duration::from_mins(1);
const PER_SECOND: u32 = 200;
/// From a write's answer until the last request that the old version got, at most, in seconds. Seen: Contour 0.01, Istio 0.24, most of which
/// is how long istiod gathers changes, and Traefik 1.0, because it leaves 2 s between two writes that it heeds.
const EFFECT: f64 = 4.0;

/// A route to Services `web` and `web-canary` in a namespace of its own, at a plane's own host.
struct Route {
    plane: Plane,
    namespace: &'static str,
    /// Group, version, kind.
    kind: [&'static str; 3],
    /// From the host and the backends.
    spec: fn(&str, Value) -> Value,
    /// From the version's Service and its weight.
    backend: fn(&str, u8) -> Value,
    /// What else it takes, from the host.
    beside: fn(&str) -> Vec<Value>,
    /// The counter of requests that went to a Service: `NAMESPACE` and `SERVICE` are replaced.
    requests: &'static str,
    /// What its clients get where the canary has weight 0, and no pods.
    without_pods: u16,
}

#[test]
fn contour_splits_an_http_proxy() -> Result<()> {
    story(&Route {
        plane: Plane::Contour,
        namespace: "http-proxy",
        kind: ["projectcontour.io", "v1", "HTTPProxy"],
        spec: |host, backends| json!({"virtualhost": {"fqdn": host}, "routes": [{"services": backends}]}),
        backend: service,
        beside: |_| Vec::new(),
        requests: r#"envoy_cluster_upstream_rq_total{envoy_cluster_name="NAMESPACE_SERVICE_80"}"#,
        without_pods: 200,
    })
}

#[test]
fn traefik_splits_a_traefik_service() -> Result<()> {
    story(&Route {
        plane: Plane::Traefik,
        namespace: "traefik-service",
        kind: ["traefik.io", "v1alpha1", "TraefikService"],
        spec: |_, backends| json!({"weighted": {"services": backends}}),
        backend: service,
        beside: |host| {
            let to = json!([{"kind": "TraefikService", "name": "web"}]);
            let route = json!({"kind": "Rule", "match": format!("Host(`{host}`)"), "services": to});
            vec![json!({
                "apiVersion": "traefik.io/v1alpha1",
                "kind": "IngressRoute",
                "metadata": {"name": "web"},
                "spec": {"routes": [route]},
            })]
        },
        requests: r#"traefik_service_requests_total{service="NAMESPACE-SERVICE-80@kubernetescrd"}"#,
        without_pods: 404, // by its own defaults: see tests/cluster/README.md
    })
}

#[test]
fn istio_splits_a_virtual_service_at_its_gateway() -> Result<()> {
    story(&Route {
        plane: Plane::Istio,
        namespace: "at-gateway",
        kind: VIRTUAL_SERVICE,
        spec: |host, backends| json!({"hosts": [host], "gateways": ["istio-system/web"], "http": [{"route": backends}]}),
        backend: destination,
        beside: |_| Vec::new(),
        requests: ISTIO_GATEWAY,
        without_pods: 200,
    })
}

#[test]
fn istio_splits_between_subsets_of_one_service() -> Result<()> {
    story(&Route {
        plane: Plane::Istio,
        namespace: "subsets",
        kind: VIRTUAL_SERVICE,
        spec: |host, backends| json!({"hosts": [host], "gateways": ["istio-system/web"], "http": [{"route": backends}]}),
        backend: |service, weight| json!({"destination": {"host": "both", "subset": service}, "weight": weight}),
        beside: |_| {
            let service = json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "both"},
                "spec": {"selector": {"of": "both"}, "ports": [{"name": "http", "port": 80, "targetPort": 9898}]},
            });
            let subset = |app: &str| json!({"name": app, "labels": {"app": app}});
            let rule = json!({
                "apiVersion": "networking.istio.io/v1",
                "kind": "DestinationRule",
                "metadata": {"name": "both"},
                "spec": {"host": "both", "subsets": [subset("web"), subset("web-canary")]},
            });
            vec![service, rule]
        },
        requests: r#"envoy_cluster_upstream_rq{proxy="istio-gateway",response_code!="",
            cluster_name="outbound|80|SERVICE|both.NAMESPACE.svc.cluster.local"}"#,
        without_pods: 200,
    })
}

#[test]
fn istio_splits_an_http_route_at_its_gateway() -> Result<()> {
    story(&Route {
        plane: Plane::Istio,
        namespace: "route-at-gateway",
        kind: HTTP_ROUTE,
        spec: |host, backends| {
            let parent = json!({"name": "istio", "namespace": "istio-system"});
            json!({"parentRefs": [parent], "hostnames": [host], "rules": [{"backendRefs": backends}]})
        },
        backend: service,
        beside: |_| Vec::new(),
        requests: ISTIO_GATEWAY,
        without_pods: 200,
    })
}

#[test]
fn istio_splits_a_virtual_service_in_the_mesh() -> Result<()> {
    story(&Route {
        plane: Plane::IstioMesh,
        namespace: "in-mesh",
        kind: VIRTUAL_SERVICE,
        spec: |host, backends| json!({"hosts": [host], "gateways": ["mesh"], "http": [{"route": backends}]}),
        backend: destination,
        beside: |_| Vec::new(),
        requests: ISTIO_MESH,
        without_pods: 200,
    })
}

#[test]
fn istio_splits_an_http_route_of_a_service() -> Result<()> {
    story(&Route {
        plane: Plane::IstioMesh,
        namespace: "route-in-mesh",
        kind: HTTP_ROUTE,
        spec: |_, backends| {
            let parent = json!({"group": "", "kind": "Service", "name": "web"});
            json!({"parentRefs": [parent], "rules": [{"backendRefs": backends}]})
        },
        backend: service,
        beside: |_| Vec::new(),
        requests: ISTIO_MESH,
        without_pods: 200,
    })
}

const VIRTUAL_SERVICE: [&str; 3] = ["networking.istio.io", "v1", "VirtualService"];
const HTTP_ROUTE: [&str; 3] = ["gateway.networking.k8s.io", "v1", "HTTPRoute"];
/// By code, because the same name has series by class too.
const ISTIO_GATEWAY: &str = r#"envoy_cluster_upstream_rq{proxy="istio-gateway",response_code!="",
    cluster_name="outbound|80||SERVICE.NAMESPACE.svc.cluster.local"}"#;
const ISTIO_MESH: &str = r#"envoy_cluster_upstream_rq{proxy="istio-mesh",response_code!="",
    cluster_name="outbound|80||SERVICE.NAMESPACE.svc.cluster.local"}"#;

fn service(name: &str, weight: u8) -> Value {
    json!({"name": name, "port": 80, "weight": weight})
}

fn destination(service: &str, weight: u8) -> Value {
    json!({"destination": {"host": service}, "weight": weight})
}

fn story(route: &Route) -> Result<()> {
    scenario(PLANES, async |cluster| {
        route.deploy(cluster).await?;
        let requests = Requests::through(route.plane, &route.host()).per_second(PER_SECOND);
        let load = Load::start(cluster, &requests).await?;
        route.splits(cluster, &load).await?;
        for _ in 0..3 {
            route.moves(cluster, &load, [0, 100]).await?;
            route.moves(cluster, &load, [100, 0]).await?;
        }
        let so_far = load.each()?;
        ensure!(so_far.iter().all(|r| r.code == 200), "no request fails when a weight changes");
        route.outlives_its_canary(cluster, &load).await?;
        let failed = load.stop().await?.failed;
        ensure!(route.without_pods != 200 || failed == 0, "{failed} requests failed");
        Ok(())
    })
}

impl Route {
    fn host(&self) -> String {
        match self.plane {
            Plane::IstioMesh => format!("web.{}.svc.cluster.local", self.namespace),
            _ => format!("{}.test", self.namespace),
        }
    }

    fn spec(&self, weights: &[(&str, u8)]) -> Value {
        let backends = weights.iter().map(|(service, weight)| (self.backend)(service, *weight));
        (self.spec)(&self.host(), backends.collect())
    }

    /// Both versions, and the route at 90 and 10.
    async fn deploy(&self, cluster: &Cluster) -> Result<()> {
        let stable = App::new("web", self.namespace);
        let canary = App::new("web-canary", self.namespace).version("2.0");
        for app in [stable, canary] {
            cluster.deploy(&app.label("of", "both")).await?;
        }
        let [group, version, kind] = self.kind;
        let mut items = (self.beside)(&self.host());
        items.push(json!({
            "apiVersion": format!("{group}/{version}"),
            "kind": kind,
            "metadata": {"name": "web"},
            "spec": self.spec(&[("web", 90), ("web-canary", 10)]),
        }));
        for item in &mut items {
            item["metadata"]["namespace"] = json!(self.namespace);
        }
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        cluster.apply(&list.to_string()).await?;
        cluster.answers(self.plane, &self.host()).await
    }

    /// A tenth is served by the canary, and the plane's own metrics say so.
    async fn splits(&self, cluster: &Cluster, load: &Load) -> Result<()> {
        let rate = |service: &str| {
            let counter = self.requests.replace("NAMESPACE", self.namespace);
            format!("sum(rate({}[5s]))", counter.replace("SERVICE", service))
        };
        let (stable, canary) = (rate("web"), rate("web-canary"));
        let share = format!("{canary} / ({canary} + {stable})");
        let prometheus = cluster.prometheus();
        wait_for("Prometheus to see a tenth on the canary", ENOUGH, async || {
            let seen = prometheus.value(&share).await?;
            let all = prometheus.value(&format!("{canary} + {stable}")).await?;
            // A series that counts each request twice would show the same share.
            let each_once = all.is_some_and(|all| all < 1.2 * f64::from(PER_SECOND));
            Ok(seen.filter(|seen| (0.07..0.13).contains(seen) && each_once))
        })
        .await?;
        let answers = wait_for("1500 answers", ENOUGH, async || {
            Ok(Some(load.each()?).filter(|answers| answers.len() > 1500))
        })
        .await?;
        let canary = answers.iter().filter(|r| r.version == "2.0").count();
        let share = canary * 1000 / answers.len();
        ensure!((70..130).contains(&share), "{canary} of {}", answers.len());
        Ok(())
    }

    /// All requests go where these weights say, soon after they were written: says how soon.
    async fn moves(&self, cluster: &Cluster, load: &Load, weights: [u8; 2]) -> Result<()> {
        let (new, old) = if weights[0] > weights[1] { ("1.0", "2.0") } else { ("2.0", "1.0") };
        let written =
            self.write(cluster, &[("web", weights[0]), ("web-canary", weights[1])]).await?;
        let answers =
            settled(load, written, &format!("only {new} at {weights:?}"), |r| r.version == new)
                .await?;
        let last = answers
            .iter()
            .filter(|r| r.sent > written && r.version == old)
            .map(|r| r.sent - written);
        let last = last.fold(0.0, f64::max);
        println!(
            "{}: the last answer of {old} was asked for {:.0} ms after the write",
            self.namespace,
            last * 1000.0
        );
        ensure!(last < EFFECT, "{last} s until the weights {weights:?} were in effect");
        Ok(())
    }

    /// The canary's pods go while its weight is 0; where that is an outage, the way out is to name it no more.
    async fn outlives_its_canary(&self, cluster: &Cluster, load: &Load) -> Result<()> {
        let scale = ["-n", self.namespace, "scale", "deployment/web-canary", "--replicas", "0"];
        cluster.kubectl(&scale).await?;
        wait_for("the canary's pods to go", ENOUGH, async || {
            let pods = ["-n", self.namespace, "get", "pods", "-l", "app=web-canary", "-o", "name"];
            Ok(cluster.kubectl(&pods).await?.is_empty().then_some(()))
        })
        .await?;
        let what = format!("only {} without a canary", self.without_pods);
        settled(load, now()?, &what, |r| r.code == self.without_pods).await?;
        let written = self.write(cluster, &[("web", 100)]).await?;
        settled(load, written, "only stable", |r| r.code == 200 && r.version == "1.0")
            .await
            .map(drop)
    }

    /// Writes these weights; says when they were stored.
    async fn write(&self, cluster: &Cluster, weights: &[(&str, u8)]) -> Result<f64> {
        let [group, version, kind] = self.kind;
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api: Api<DynamicObject> = Api::namespaced_with(cluster.client(), self.namespace, &kind);
        let patch = Patch::Merge(json!({"spec": self.spec(weights)}));
        api.patch("web", &PatchParams::default(), &patch).await?;
        now()
    }
}

/// All answers, once each request of a whole second was answered like this.
async fn settled(
    load: &Load,
    since: f64,
    what: &str,
    so: impl Fn(&Request) -> bool,
) -> Result<Vec<Request>> {
    wait_for(what, ENOUGH, async || {
        let answers = load.each()?;
        let end = answers.iter().map(|r| r.sent).fold(0.0, f64::max);
        let mut last = answers.iter().filter(|r| r.sent > end - 1.0);
        Ok((end - 1.0 > since && last.all(&so)).then_some(answers))
    })
    .await
}

/// In Unix seconds, as the load counts them.
fn now() -> Result<f64> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Ok(since.context("a clock before 1970")?.as_secs_f64())
}
