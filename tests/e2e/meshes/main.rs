//! Routes on Services, with the answers that Linkerd, Cilium and Istio's ambient mode give, on a real API server with their real
//! definitions: whole runs, and what keeps one from starting or from going on.

mod player;

use std::time::Duration;

use anyhow::{Result, ensure};
use player::{Player, Plays};
use serde_json::{Value, json};
use tests::{App, Cluster, Controller, ENOUGH, Plane, Release, Status, scenario, wait_for};
use tokio::sync::OnceCell;

const PLANES: &[Plane] = &[Plane::Prometheus, Plane::Traefik];

/// Runs a story while the controller looks after the cluster.
fn story(tell: impl AsyncFnOnce(&'static Cluster) -> Result<()>) -> Result<()> {
    static DEFINED: OnceCell<()> = OnceCell::const_new();
    scenario(PLANES, async |cluster| {
        let define = async || {
            for definitions in ["linkerd-edge-26.8.3", "cilium-2026-05-29"] {
                let folder = format!("{}/cluster/crds/{definitions}", env!("CARGO_MANIFEST_DIR"));
                cluster.kubectl(&["apply", "--server-side", "-f", &folder]).await?;
            }
            Controller::shared(cluster).await.map(drop)
        };
        DEFINED.get_or_try_init(define).await?;
        tell(cluster).await
    })
}

/// A Service of a mesh, and the route on it.
struct Mesh {
    namespace: &'static str,
    /// Of the namespace.
    marks: Value,
    /// Of the Service.
    labels: Value,
    annotations: Value,
    route: Value,
}

impl Mesh {
    fn new(namespace: &'static str) -> Self {
        let route = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": "shop", "namespace": namespace},
            "spec": {
                "parentRefs": [{"group": "", "kind": "Service", "name": "shop", "port": 80}],
                "rules": [{"backendRefs": [{"name": "shop", "port": 80}]}],
            },
        });
        Self { namespace, marks: json!({}), labels: json!({}), annotations: json!({}), route }
    }

    fn linkerd(namespace: &'static str) -> Self {
        let marks = json!({"annotations": {"linkerd.io/inject": "enabled"}});
        Self { marks, ..Self::new(namespace) }
    }

    fn ambient(namespace: &'static str) -> Self {
        let labels = json!({"istio.io/use-waypoint": "waypoint"});
        Self { labels, ..Self::new(namespace) }
    }

    fn app(&self) -> App {
        App::new("shop", self.namespace)
    }

    /// Its objects, before anybody has answered.
    async fn write(&self, cluster: &Cluster) -> Result<()> {
        let mut namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": self.marks});
        namespace["metadata"]["name"] = json!(self.namespace);
        cluster.apply(&namespace.to_string()).await?;
        cluster.deploy(&self.app()).await?;
        let mut service = self.app().service();
        service["metadata"]["labels"] = self.labels.clone();
        service["metadata"]["annotations"] = self.annotations.clone();
        cluster.apply(&service.to_string()).await?;
        cluster.apply(&self.route.to_string()).await
    }

    /// With a canary that is ready: its metric counts what the pods answer, since no proxy is there.
    async fn open(&self, cluster: &'static Cluster) -> Result<Release> {
        self.write(cluster).await?;
        Release::adopt_deployed(cluster, Plane::Traefik, self.app(), self.spec()).await
    }

    fn spec(&self) -> Value {
        let failing = format!(
            r#"sum(rate(http_requests_total{{namespace="{}",code=~"5.."}}[3s])) or vector(0)"#,
            self.namespace
        );
        json!({
            "steps": [{"weight": 20}, {"weight": 100}],
            "analysis": {
                "interval": "1s", "warmUp": "0s", "minRequests": 0,
                "metrics": [{"name": "failing", "query": failing, "limit": {"max": 1}}],
            },
        })
    }

    /// The sentence that a canary of it is blocked by.
    async fn blocked(&self, cluster: &Cluster, changes: Value) -> Result<String> {
        let mut spec = self.spec();
        spec["targetRef"] = json!({"name": "shop"});
        spec["traffic"] = json!({"service": {"name": "shop"}});
        for (field, value) in changes.as_object().into_iter().flatten() {
            spec[field] = value.clone();
        }
        let canary = json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "Canary",
            "metadata": {"name": "shop", "namespace": self.namespace}, "spec": spec,
        });
        cluster.apply(&canary.to_string()).await?;
        wait_for("a blocker", ENOUGH, async || {
            let says = self.get(cluster, "canary", "{.status.waitingFor.message}").await?;
            let ready = self.get(cluster, "canary", "{.status.phase}").await?;
            ensure!(ready != "Idle", "nothing blocks it");
            Ok((!says.is_empty()).then_some(says))
        })
        .await
    }

    async fn get(&self, cluster: &Cluster, kind: &str, path: &str) -> Result<String> {
        self.named(cluster, kind, "shop", path).await
    }

    async fn named(&self, cluster: &Cluster, kind: &str, name: &str, path: &str) -> Result<String> {
        let path = format!("jsonpath={path}");
        cluster.kubectl(&["-n", self.namespace, "get", kind, name, "-o", &path]).await
    }
}

const WEIGHTS: &str = "{.spec.rules[0].backendRefs[*].weight}";

#[test]
fn a_version_is_promoted_on_linkerd_which_never_says_which_generation_it_means() -> Result<()> {
    story(async |cluster| {
        let mut mesh = Mesh::linkerd("linkerd-good");
        mesh.annotations = json!({"timeout.linkerd.io/request": "10s", "example.com/note": "x"});
        let _player = Player::start(cluster.client(), Plays::Linkerd, mesh.namespace)?;
        promoted(cluster, &mesh, "httproute", "linkerd").await?;
        let path = "{.metadata.annotations}";
        let carried = mesh.named(cluster, "service", "shop-canary", path).await?;
        ensure!(carried == r#"{"timeout.linkerd.io/request":"10s"}"#, "{carried}");
        Ok(())
    })
}

#[test]
fn a_route_of_ours_is_made_for_the_mesh_and_stays() -> Result<()> {
    story(async |cluster| {
        let mesh = Mesh::linkerd("made");
        let _player = Player::start(cluster.client(), Plays::Linkerd, mesh.namespace)?;
        mesh.write(cluster).await?;
        cluster.kubectl(&["-n", mesh.namespace, "delete", "httproute", "shop"]).await?;
        let mut spec = mesh.spec();
        spec["traffic"] = json!({"route": {"mesh": true}});
        let shop = Release::adopt_deployed(cluster, Plane::Traefik, mesh.app(), spec).await?;
        let before = mesh.get(cluster, "httproute", "{.spec}").await?;
        ensure!(before.contains(r#""kind":"Service","name":"shop","port":80"#), "{before}");
        shop.write(&shop.app().version("2.0")).await?;
        shop.until("20 %", |s| s.traffic.as_ref().is_some_and(|t| t.stored == 20)).await?;
        shop.until_phase("Succeeded").await?;
        shop.no_canary_left().await?;
        let after = mesh.get(cluster, "httproute", "{.spec}").await?;
        ensure!(before == after, "{before}\n{after}");
        Ok(())
    })
}

#[test]
fn linkerds_own_routes_are_split_where_there_are_no_others() -> Result<()> {
    story(async |cluster| {
        let mut mesh = Mesh::linkerd("linkerd-own");
        mesh.route["apiVersion"] = json!("policy.linkerd.io/v1beta3");
        let _player = Player::start(cluster.client(), Plays::Linkerd, mesh.namespace)?;
        promoted(cluster, &mesh, "httproutes.policy.linkerd.io", "linkerd").await
    })
}

#[test]
fn a_version_is_promoted_on_cilium_step_by_step_as_its_proxies_are_told() -> Result<()> {
    story(async |cluster| {
        let mesh = Mesh::new("cilium-good");
        let _player = Player::start(cluster.client(), Plays::Cilium, mesh.namespace)?;
        promoted(cluster, &mesh, "httproute", "cilium-mesh").await
    })
}

#[test]
fn a_version_is_promoted_on_ambient_and_the_canarys_service_has_the_waypoint() -> Result<()> {
    story(async |cluster| {
        let mesh = Mesh::ambient("ambient-good");
        let _player = Player::start(cluster.client(), Plays::Ambient, mesh.namespace)?;
        promoted(cluster, &mesh, "httproute", "istio-ambient").await?;
        let path = r"{.metadata.labels.istio\.io/use-waypoint}";
        let waypoint = async || mesh.named(cluster, "service", "shop-canary", path).await;
        ensure!(waypoint().await? == "waypoint");
        // A change of the user's follows.
        let label = ["-n", mesh.namespace, "label", "--overwrite", "service/shop"];
        cluster.kubectl(&[&label[..], &["istio.io/use-waypoint=other"]].concat()).await?;
        wait_for("the label to follow", ENOUGH, async || {
            Ok((waypoint().await? == "other").then_some(()))
        })
        .await
    })
}

async fn promoted(cluster: &'static Cluster, mesh: &Mesh, kind: &str, system: &str) -> Result<()> {
    let shop = mesh.open(cluster).await?;
    let before = mesh.get(cluster, kind, "{.spec}").await?;
    let systems = shop.status().await?.traffic.map(|t| t.systems).unwrap_or_default();
    ensure!(systems == [system], "{systems:?}");
    shop.write(&shop.app().version("2.0")).await?;
    shop.until("20 %", |s| s.traffic.as_ref().is_some_and(|t| t.stored == 20)).await?;
    shop.until_phase("Succeeded").await?;
    shop.no_canary_left().await?;
    let path = "{.spec.template.spec.containers[0].image}";
    let image = mesh.get(cluster, "deployment", path).await?;
    ensure!(image.ends_with(":2.0"), "{image}");
    let after = mesh.get(cluster, kind, "{.spec}").await?;
    ensure!(before == after, "{before}\n{after}");
    Ok(())
}

#[test]
fn a_bad_version_is_rolled_back() -> Result<()> {
    story(async |cluster| {
        let mesh = Mesh::linkerd("linkerd-bad");
        let _player = Player::start(cluster.client(), Plays::Linkerd, mesh.namespace)?;
        let shop = mesh.open(cluster).await?;
        // A canary that breaks: nothing has to be sent to it.
        shop.write(&shop.app().version("2.0").behaves("crash-after", "6s")).await?;
        shop.until_phase("Failed").await?;
        shop.no_canary_left().await?;
        let weights = mesh.get(cluster, "httproute", WEIGHTS).await?;
        ensure!(weights == "1", "{weights}");
        Ok(())
    })
}

#[test]
fn the_canarys_pods_stay_until_ciliums_proxies_are_told_that_it_gets_nothing() -> Result<()> {
    story(async |cluster| {
        let mesh = Mesh::new("cilium-stuck");
        let player = Player::start(cluster.client(), Plays::Cilium, mesh.namespace)?;
        let shop = mesh.open(cluster).await?;
        shop.configure(json!({
            "steps": [{"weight": 20, "hold": {"untilApproved": true}}, {"weight": 100}],
            "analysis": mesh.spec()["analysis"],
        }))
        .await?;
        shop.write(&shop.app().version("2.0")).await?;
        // The proxies have been told of it: they have something to be stuck with.
        let told = |s: &api::CanaryStatus| {
            s.traffic.as_ref().is_some_and(|t| t.stored == 20 && t.accepted)
        };
        shop.until("20 % in the proxies", told).await?;
        player.stick(true);
        let (state, says) = shop.ask(api::ActionVerb::Abort).await?;
        ensure!(state == api::ActionState::Accepted, "{says}");
        wait_for("the route to give it nothing", ENOUGH, async || {
            let weights = mesh.get(cluster, "httproute", WEIGHTS).await?;
            Ok((weights == "100 0").then_some(()))
        })
        .await?;
        // The status agrees, the proxies don't: for longer than they would take to settle.
        tokio::time::sleep(Duration::from_secs(8)).await;
        let pods =
            mesh.named(cluster, "deployment", "shop-canary", "{.status.readyReplicas}").await?;
        ensure!(pods != "0" && !pods.is_empty(), "its pods are there: {pods}");
        let accepted = shop.status().await?.traffic.map(|t| t.accepted);
        ensure!(accepted == Some(false), "{accepted:?}");
        player.stick(false);
        shop.until_phase("Failed").await?;
        shop.no_canary_left().await
    })
}

#[test]
fn a_status_that_is_never_written_ends_the_run_with_what_it_waits_for() -> Result<()> {
    story(async |cluster| {
        let mesh = Mesh::linkerd("silent");
        let shop = mesh.open(cluster).await?;
        let mut spec = mesh.spec();
        spec["progressDeadline"] = json!("5s");
        shop.configure(spec).await?;
        shop.write(&shop.app().version("2.0")).await?;
        let status = shop.until_phase("RollingBack").await?;
        ensure!(
            status.message().contains(
                "service silent/shop port 80: no answer yet; is a mesh's controller running"
            ),
            "{status:?}"
        );
        // Nobody confirms the way back either: it ends once somebody does, or after two minutes.
        let _player = Player::start(cluster.client(), Plays::Linkerd, mesh.namespace)?;
        let run = shop.until_phase("Failed").await.and(shop.run().await)?;
        let cause = run.status.and_then(|s| s.cursor).and_then(|c| c.cause);
        ensure!(format!("{cause:?}").contains("DeadlineExceeded"), "{cause:?}");
        shop.no_canary_left().await
    })
}

#[test]
fn an_answer_to_an_older_generation_is_none() -> Result<()> {
    story(async |cluster| {
        let mesh = Mesh::ambient("stale");
        let player = Player::start(cluster.client(), Plays::Ambient, mesh.namespace)?;
        let shop = mesh.open(cluster).await?;
        let mut spec = mesh.spec();
        spec["progressDeadline"] = json!("5s");
        shop.configure(spec).await?;
        // Its controller stops: what it has said stays.
        drop(player);
        shop.write(&shop.app().version("2.0")).await?;
        let status = shop.until_phase("RollingBack").await?;
        ensure!(status.message().contains("no answer yet to generation"), "{status:?}");
        let _player = Player::start(cluster.client(), Plays::Ambient, mesh.namespace)?;
        shop.until_phase("Failed").await?;
        shop.no_canary_left().await
    })
}

#[test]
fn a_parent_that_nobody_answers_for_keeps_the_weight_from_being_believed() -> Result<()> {
    story(async |cluster| {
        let mut mesh = Mesh::linkerd("half");
        mesh.route["spec"]["parentRefs"] = json!([
            {"group": "", "kind": "Service", "name": "shop", "port": 80},
            {"name": "nobody", "namespace": "traefik"},
        ]);
        let says = blocked(cluster, &mesh, json!({})).await?;
        ensure!(says.contains("gateway traefik/nobody not found"), "{says}");
        Ok(())
    })
}

async fn blocked(cluster: &'static Cluster, mesh: &Mesh, changes: Value) -> Result<String> {
    mesh.write(cluster).await?;
    mesh.blocked(cluster, changes).await
}

#[test]
fn a_service_profile_is_named_before_a_run_and_the_canary_works_once_it_is_gone() -> Result<()> {
    story(async |cluster| {
        let mesh = Mesh::linkerd("profiled");
        let _player = Player::start(cluster.client(), Plays::Linkerd, mesh.namespace)?;
        let profile = json!({
            "apiVersion": "linkerd.io/v1alpha2", "kind": "ServiceProfile",
            "metadata": {"name": "shop.profiled.svc.cluster.local", "namespace": "profiled"},
            "spec": {"routes": [{"name": "GET /", "condition": {"method": "GET", "pathRegex": "/"}}]},
        });
        mesh.write(cluster).await?;
        cluster.apply(&profile.to_string()).await?;
        let says = mesh.blocked(cluster, json!({})).await?;
        ensure!(
            says.contains(
                "serviceprofile profiled/shop.profiled.svc.cluster.local, spec.routes: wins over"
            ),
            "{says}"
        );
        let name = "serviceprofile/shop.profiled.svc.cluster.local";
        cluster.kubectl(&["-n", "profiled", "delete", name]).await?;
        wait_for("the canary to be ready", ENOUGH, async || {
            let phase = mesh.get(cluster, "canary", "{.status.phase}").await?;
            Ok((phase == "Idle").then_some(()))
        })
        .await
    })
}

#[test]
fn what_a_mesh_cannot_do_is_told_before_a_run() -> Result<()> {
    story(async |cluster| {
        let mirror = json!({"steps": [{"weight": 0, "mirror": {"percent": 10}}, {"weight": 100}]});
        let says = blocked(cluster, &Mesh::linkerd("no-mirror"), mirror).await?;
        ensure!(
            says.contains(
                "spec.steps[0] needs a copy of 10 % of the requests: it can't mirror (linkerd)"
            ),
            "{says}"
        );

        let mut opted_out = Mesh::new("opted-out");
        opted_out.marks = json!({"labels": {"istio.io/dataplane-mode": "ambient"}});
        opted_out.labels = json!({"istio.io/use-waypoint": "none"});
        let says = blocked(cluster, &opted_out, json!({})).await?;
        ensure!(says.contains("its label istio.io/use-waypoint is none"), "{says}");

        let mut opaque = Mesh::linkerd("opaque");
        opaque.annotations = json!({"config.linkerd.io/opaque-ports": "25,80"});
        let says = blocked(cluster, &opaque, json!({})).await?;
        ensure!(says.contains("port 80 of the service is opaque"), "{says}");

        let says = blocked(cluster, &Mesh::new("no-mesh"), json!({})).await?;
        ensure!(says.contains("no mesh has answered for the route on service shop yet"), "{says}");

        let mut both = Mesh::linkerd("both");
        both.labels = json!({"istio.io/use-waypoint": "waypoint"});
        let says = blocked(cluster, &both, json!({})).await?;
        ensure!(says.contains("several meshes (istio-ambient, linkerd)"), "{says}");
        Ok(())
    })
}

#[test]
fn a_policy_of_tls_that_misses_the_canary_is_named_before_a_run() -> Result<()> {
    story(async |cluster| {
        let mut mesh = Mesh::new("tls");
        mesh.route["spec"]["parentRefs"] = json!([{"name": "traefik", "namespace": "traefik"}]);
        let policy = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "BackendTLSPolicy",
            "metadata": {"name": "tls", "namespace": "tls"},
            "spec": {
                "targetRefs": [{"group": "", "kind": "Service", "name": "shop"}],
                "validation": {"hostname": "shop.tls", "wellKnownCACertificates": "System"},
            },
        });
        mesh.write(cluster).await?;
        cluster.apply(&policy.to_string()).await?;
        let says = mesh.blocked(cluster, json!({})).await?;
        ensure!(
            says.contains(
                "backendtlspolicy tls/tls, spec.targetRefs: names service shop and not shop-canary"
            ),
            "{says}"
        );
        Ok(())
    })
}
