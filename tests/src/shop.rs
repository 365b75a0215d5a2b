use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch,
    PatchParams, PostParams,
};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::{App, Cluster, Controller, Load, Plane, Requests, Summary, wait_for};

/// How long anything may take that isn't measured: the machine may be busy.
pub const ENOUGH: Duration = Duration::from_secs(90);

/// An app under a Canary of its own name, in a namespace of its own, which a controller of its own may look after.
pub struct Shop {
    pub cluster: &'static Cluster,
    pub app: App,
    gateway: Plane,
    canary: Value,
}

/// What is read and written of the cluster, by its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Canary,
    Run,
    Action,
    Deployment,
    ReplicaSet,
    Pod,
    Service,
    Route,
    Event,
}

impl Kind {
    fn resource(self) -> ApiResource {
        let (group, version, kind, plural) = match self {
            Self::Canary => ("tidegate.dev", "v1alpha1", "Canary", "canaries"),
            Self::Run => ("tidegate.dev", "v1alpha1", "CanaryRun", "canaryruns"),
            Self::Action => ("tidegate.dev", "v1alpha1", "CanaryAction", "canaryactions"),
            Self::Deployment => ("apps", "v1", "Deployment", "deployments"),
            Self::ReplicaSet => ("apps", "v1", "ReplicaSet", "replicasets"),
            Self::Pod => ("", "v1", "Pod", "pods"),
            Self::Service => ("", "v1", "Service", "services"),
            Self::Route => ("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"),
            Self::Event => ("events.k8s.io", "v1", "Event", "events"),
        };
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    }
}

impl Shop {
    /// Deploys the app behind a gateway, at `<namespace>.test`, with Tidegate installed. No Canary and no controller yet.
    pub async fn deploy(cluster: &'static Cluster, gateway: Plane, app: App) -> Result<Self> {
        static INSTALLED: OnceCell<()> = OnceCell::const_new();
        INSTALLED.get_or_try_init(|| install(cluster)).await?;
        let app = app.clone().host(gateway, &format!("{}.test", app.namespace()));
        cluster.deploy(&app).await?;
        let canary = canary(&app);
        Ok(Self { cluster, app, gateway, canary })
    }

    /// As [`Shop::deploy`], then its controller and its Canary, until that is at rest.
    pub async fn open(
        cluster: &'static Cluster,
        gateway: Plane,
        app: App,
    ) -> Result<(Self, Controller)> {
        let shop = Self::deploy(cluster, gateway, app).await?;
        let controller = shop.controller().await?;
        shop.adopt().await?;
        Ok((shop, controller))
    }

    /// The Canary's spec, before it is adopted: by default steps 50 and 100, a check a second which fails on 5xx.
    pub fn spec(&mut self) -> &mut Value {
        &mut self.canary["spec"]
    }

    /// The Canary, as it is or will be applied.
    pub fn canary(&self) -> &Value {
        &self.canary
    }

    /// A controller that looks after this namespace alone.
    pub async fn controller(&self) -> Result<Controller> {
        let args = ["--namespace", self.app.namespace(), "--log-level", "info,controller=debug"];
        Controller::start(self.cluster, Plane::Prometheus.url(), &args).await
    }

    /// Creates the Canary, and waits until it is at rest.
    pub async fn adopt(&self) -> Result<()> {
        self.create(Kind::Canary, &self.canary).await?;
        self.canary_is("Idle").await
    }

    pub fn name(&self) -> &str {
        self.app.name()
    }

    /// The name of its route.
    pub fn route(&self) -> String {
        let (_, gateway) = self.gateway.gateway().unwrap_or_default();
        format!("{}-{gateway}", self.name())
    }

    fn api(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.cluster.client(), self.app.namespace(), &kind.resource())
    }

    /// An object, if it is there.
    pub async fn find(&self, kind: Kind, name: &str) -> Result<Option<Value>> {
        let found = self.api(kind).get_opt(name).await?;
        Ok(found.map(serde_json::to_value).transpose()?)
    }

    pub async fn get(&self, kind: Kind, name: &str) -> Result<Value> {
        self.find(kind, name).await?.with_context(|| format!("no {kind:?} {name}"))
    }

    pub async fn list(&self, kind: Kind) -> Result<Vec<Value>> {
        let list = self.api(kind).list(&ListParams::default()).await?;
        list.items.into_iter().map(|o| Ok(serde_json::to_value(o)?)).collect()
    }

    pub async fn create(&self, kind: Kind, object: &Value) -> Result<Value> {
        let object: DynamicObject = serde_json::from_value(object.clone())?;
        Ok(serde_json::to_value(self.api(kind).create(&PostParams::default(), &object).await?)?)
    }

    pub async fn delete(&self, kind: Kind, name: &str) -> Result<()> {
        self.api(kind).delete(name, &DeleteParams::background()).await?;
        Ok(())
    }

    /// A merge patch, by nobody in particular.
    pub async fn patch(&self, kind: Kind, name: &str, patch: &Value) -> Result<Value> {
        let params = PatchParams::default();
        let stored = self.api(kind).patch(name, &params, &Patch::Merge(patch)).await?;
        Ok(serde_json::to_value(stored)?)
    }

    /// The owner applies one of the app's manifests, as a `GitOps` tool does: server-side, by force.
    pub async fn apply(&self, kind: Kind, manifest: &Value) -> Result<Value> {
        let name = manifest["metadata"]["name"].as_str().context("a name")?;
        let params = PatchParams::apply("owner").force();
        let stored = self.api(kind).patch(name, &params, &Patch::Apply(manifest)).await?;
        Ok(serde_json::to_value(stored)?)
    }

    /// The owner writes another version of the Deployment.
    pub async fn bump(&self, version: &str) -> Result<()> {
        self.apply(Kind::Deployment, &self.app.clone().version(version).deployment()).await?;
        Ok(())
    }

    /// What a person asks for. Whether it was accepted.
    pub async fn ask(&self, verb: &str) -> Result<bool> {
        let action = json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "CanaryAction",
            "metadata": {"generateName": format!("{verb}-")},
            "spec": {"canary": self.name(), "verb": verb},
        });
        let action = self.create(Kind::Action, &action).await?;
        let name = action["metadata"]["name"].as_str().context("a name")?;
        wait_for(&format!("an answer to {verb}"), ENOUGH, async || {
            let state = self.get(Kind::Action, name).await?["status"]["state"].clone();
            Ok((!state.is_null()).then_some(state == "Accepted"))
        })
        .await
        .context(self.outlook().await)
    }

    /// The runs, oldest first.
    pub async fn runs(&self) -> Result<Vec<Value>> {
        let mut runs = self.list(Kind::Run).await?;
        let age = |run: &Value| {
            let text = |field: &str| run["metadata"][field].as_str().unwrap_or_default().to_owned();
            (
                text("creationTimestamp"),
                run["spec"]["image"].as_str().unwrap_or_default().to_owned(),
            )
        };
        runs.sort_by_key(age);
        Ok(runs)
    }

    /// The run of a version, the latest.
    pub async fn run(&self, version: &str) -> Result<Option<Value>> {
        let image = format!(":{version}");
        let mut runs = self.runs().await?;
        runs.retain(|run| run["spec"]["image"].as_str().is_some_and(|i| i.ends_with(&image)));
        // Of one revision: the last part of their names counts them.
        runs.sort_by_key(|run| {
            let name = run["metadata"]["name"].as_str().unwrap_or_default();
            name.rsplit('-').next().and_then(|n| n.parse::<u32>().ok())
        });
        Ok(runs.pop())
    }

    /// Waits until the run of a version is at `stage`, or beyond what it would be there for: then it is an error.
    pub async fn reaches(&self, version: &str, phase: &str, stage: &str) -> Result<Value> {
        let ended = wait_for(&format!("{version} to be {phase}/{stage}"), ENOUGH, async || {
            let Some(run) = self.run(version).await? else { return Ok(None) };
            let cursor = &run["status"]["cursor"];
            let there = cursor["phase"] == phase && cursor["stage"] == stage;
            let over = !run["status"]["endedAt"].is_null();
            Ok((there || over).then_some((run, there)))
        })
        .await;
        let (run, there) = ended.context(self.outlook().await)?;
        ensure!(there, "{version} ended before it was {phase}/{stage}: {}", run["status"]);
        Ok(run)
    }

    /// Waits until the canary of a version has this weight, and the checks are on.
    pub async fn reaches_weight(&self, version: &str, weight: u8) -> Result<Value> {
        let found = wait_for(&format!("{version} to have {weight} %"), ENOUGH, async || {
            let Some(run) = self.run(version).await? else { return Ok(None) };
            let cursor = &run["status"]["cursor"];
            Ok((cursor["weight"] == weight && cursor["stage"] == "Check").then_some(run))
        })
        .await;
        found.context(self.outlook().await)
    }

    /// Waits until the run of a version is over: as `Succeeded`, or as `Failed` for a cause such as `Superseded`.
    pub async fn ends(&self, version: &str, outcome: &str) -> Result<Value> {
        let run = wait_for(&format!("{version} to end"), ENOUGH, async || {
            Ok(self.run(version).await?.filter(|run| !run["status"]["endedAt"].is_null()))
        })
        .await
        .context(self.outlook().await)?;
        let cursor = &run["status"]["cursor"];
        let is =
            if cursor["phase"] == "Failed" { &cursor["cause"]["kind"] } else { &cursor["phase"] };
        ensure!(is == outcome, "{version} ended as {is}, not {outcome}: {}", run["status"]);
        Ok(run)
    }

    /// Waits until the Canary is in this phase.
    pub async fn canary_is(&self, phase: &str) -> Result<()> {
        self.canary_so(phase, |status| status["phase"] == phase).await
    }

    /// Waits until the Canary's status is so.
    pub async fn canary_so(&self, what: &str, so: impl Fn(&Value) -> bool) -> Result<()> {
        wait_for(&format!("the canary to be {what}"), ENOUGH, async || {
            let canary = self.get(Kind::Canary, self.name()).await?;
            let current =
                canary["status"]["observedGeneration"] == canary["metadata"]["generation"];
            Ok((current && so(&canary["status"])).then_some(()))
        })
        .await
        .context(self.outlook().await)
    }

    /// For people who look at a failed test.
    async fn outlook(&self) -> String {
        let status = match self.find(Kind::Canary, self.name()).await {
            Ok(canary) => canary.map(|c| c["status"].to_string()).unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        let runs = self.runs().await.unwrap_or_default();
        let runs: Vec<_> = runs
            .iter()
            .map(|r| format!("{} {}", r["metadata"]["name"], r["status"]["cursor"]))
            .collect();
        format!("canary {status}, runs {runs:?}")
    }

    /// The UIDs of the pods of a version, those that go not included; the canary's too.
    pub async fn pods(&self, version: &str) -> Result<BTreeSet<String>> {
        let image = format!(":{version}");
        let pods = self.list(Kind::Pod).await?;
        let staying = pods.iter().filter(|pod| {
            let of = pod["spec"]["containers"][0]["image"].as_str();
            pod["metadata"]["deletionTimestamp"].is_null()
                && of.is_some_and(|i| i.ends_with(&image))
        });
        let uid = |pod: &Value| pod["metadata"]["uid"].as_str().map(str::to_owned);
        Ok(staying.filter_map(uid).collect())
    }

    /// Fails unless Service and route are as their owner wrote them, and nothing that is made for a run is there.
    pub async fn is_clean(&self) -> Result<()> {
        let service = self.get(Kind::Service, self.name()).await?;
        let owners = self.app.service();
        ensure!(service["spec"]["selector"] == owners["spec"]["selector"], "{}", service["spec"]);
        ensure!(ours(&service).is_empty(), "on the service: {:?}", ours(&service));
        if let Some(route) = self.find(Kind::Route, &self.route()).await? {
            let backends = &route["spec"]["rules"][0]["backendRefs"];
            ensure!(
                backends.as_array().is_some_and(|b| b.len() == 1)
                    && backends[0]["name"] == self.name()
                    && backends[0]["weight"] == 1,
                "backends {backends}"
            );
            ensure!(ours(&route).is_empty(), "on the route: {:?}", ours(&route));
        }
        let canary = format!("{}-canary", self.name());
        let left = self.find(Kind::Deployment, &canary).await?;
        ensure!(left.is_none(), "the canary's deployment is there: {left:?}");
        Ok(())
    }

    /// Waits for [`Shop::is_clean`].
    pub async fn comes_clean(&self) -> Result<()> {
        wait_for("everything to be as its owner wrote it", ENOUGH, async || {
            self.is_clean().await.map(Some)
        })
        .await
        .context(self.outlook().await)
    }

    /// Fails unless only a version serves, unpaused, on as many pods as the owner wants, and nothing else is there.
    pub async fn serves_only(&self, version: &str) -> Result<()> {
        wait_for(&format!("only {version} to be there"), ENOUGH, async || {
            self.is_clean().await?;
            let target = self.get(Kind::Deployment, self.name()).await?;
            ensure!(target["spec"]["paused"] != true, "paused: {}", target["spec"]);
            let image = target["spec"]["template"]["spec"]["containers"][0]["image"].as_str();
            ensure!(image.is_some_and(|i| i.ends_with(&format!(":{version}"))), "{image:?}");
            let pods: BTreeMap<String, bool> = self
                .list(Kind::Pod)
                .await?
                .iter()
                .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
                .map(|pod| {
                    let image = pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
                    let of = image.ends_with(&format!(":{version}"));
                    (pod["metadata"]["name"].to_string(), of)
                })
                .collect();
            ensure!(pods.values().all(|of| *of), "{pods:?}");
            ensure!(pods.len() as u64 == target["spec"]["replicas"], "{pods:?}");
            Ok(Some(()))
        })
        .await
        .context(self.outlook().await)
    }

    /// Waits until the Canary is gone.
    pub async fn canary_gone(&self) -> Result<()> {
        wait_for("the canary to go", ENOUGH, async || {
            Ok(self.find(Kind::Canary, self.name()).await?.is_none().then_some(()))
        })
        .await
        .context(self.outlook().await)
    }

    /// Waits until nothing of Tidegate's is left on or beside what the owner wrote.
    pub async fn leaves_no_trace(&self) -> Result<()> {
        wait_for("every trace to go", ENOUGH, async || {
            self.is_clean().await?;
            let target = self.get(Kind::Deployment, self.name()).await?;
            ensure!(ours(&target).is_empty(), "on the deployment: {:?}", ours(&target));
            let service = format!("{}-canary", self.name());
            ensure!(self.find(Kind::Service, &service).await?.is_none(), "service {service}");
            ensure!(self.list(Kind::Run).await?.is_empty(), "runs are left");
            Ok(Some(()))
        })
        .await
        .context(self.outlook().await)
    }

    /// Requests on every way in: through the gateway, and to the Service over kept and over new connections.
    pub async fn load(&self) -> Result<Loads> {
        let namespace = self.app.namespace();
        let routed = Requests::through(self.gateway, &format!("{namespace}.test")).per_second(60);
        let direct = Requests::to_service(namespace, self.name()).per_second(30);
        Ok(Loads {
            routed: Load::start(self.cluster, &routed).await?,
            kept: Load::start(self.cluster, &direct).await?,
            fresh: Load::start(self.cluster, &direct.new_connections()).await?,
        })
    }
}

/// Load on every way in.
pub struct Loads {
    pub routed: Load,
    pub kept: Load,
    pub fresh: Load,
}

/// What came back on every way in.
#[derive(Debug)]
pub struct Answered {
    pub routed: Summary,
    pub kept: Summary,
    pub fresh: Summary,
}

impl Loads {
    /// Answers of a version on the user's own Service until a moment, in Unix seconds.
    pub fn direct_by(&self, version: &str, until: f64) -> Result<usize> {
        let count = |load: &Load| -> Result<usize> {
            let each = load.each()?;
            Ok(each.iter().filter(|r| r.version == version && r.sent < until).count())
        };
        Ok(count(&self.kept)? + count(&self.fresh)?)
    }

    pub async fn stop(self) -> Result<Answered> {
        let (routed, kept, fresh) =
            tokio::try_join!(self.routed.stop(), self.kept.stop(), self.fresh.stop())?;
        Ok(Answered { routed, kept, fresh })
    }

    /// Stops, and fails if any request failed.
    pub async fn lost_nothing(self) -> Result<Answered> {
        let answered = self.stop().await?;
        for (way, summary) in answered.ways() {
            ensure!(summary.failed == 0, "{way}: {summary:?}");
            ensure!(summary.requests > 0, "{way}: no request was sent");
        }
        Ok(answered)
    }
}

impl Answered {
    pub fn ways(&self) -> [(&'static str, &Summary); 3] {
        [("gateway", &self.routed), ("kept", &self.kept), ("new", &self.fresh)]
    }

    pub fn by(&self, version: &str) -> u64 {
        self.ways().iter().map(|(_, summary)| summary.by(version)).sum()
    }
}

/// What of Tidegate's is on an object that its owner wrote.
pub fn ours(object: &Value) -> Vec<String> {
    let keys = |field: &str| object["metadata"][field].as_object().into_iter().flatten();
    let keys = keys("labels").chain(keys("annotations")).map(|(key, _)| key.clone());
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let fields = entries.filter(|e| e["manager"] == "tidegate").map(|e| format!("fields {e}"));
    keys.filter(|key| key.contains("tidegate.dev")).chain(fields).collect()
}

/// Unix seconds of an RFC 3339 time, as the API server writes it.
pub fn unix(time: &Value) -> Result<f64> {
    let text = time.as_str().context("a time")?;
    let time = chrono::DateTime::parse_from_rfc3339(text)?;
    Ok((time - chrono::DateTime::UNIX_EPOCH.fixed_offset()).as_seconds_f64())
}

fn canary(app: &App) -> Value {
    let failing = format!(
        r#"sum(rate(http_requests_total{{namespace="{}",code=~"5.."}}[3s])) or vector(0)"#,
        app.namespace()
    );
    json!({
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "Canary",
        "metadata": {"name": app.name(), "namespace": app.namespace()},
        "spec": {
            "targetRef": {"name": app.name()},
            "traffic": {"service": {"name": app.name()}},
            "steps": [{"weight": 0}, {"weight": 50}, {"weight": 100}],
            "analysis": {
                "interval": "1s", "warmUp": "0s", "threshold": 2, "minRequests": 0,
                "metrics": [{"name": "failing", "query": failing, "limit": {"max": 1}}],
            },
            "progressDeadline": "60s",
        },
    })
}

/// Tidegate as shipped, with its policies in force: the API server takes a second or two to see them.
async fn install(cluster: &Cluster) -> Result<()> {
    cluster.install().await?;
    let probe = App::new("probe", "default").replicas(0);
    let mut deployment = probe.deployment();
    deployment["metadata"]["labels"] = json!({"tidegate.dev/canary": "probe"});
    cluster.apply(&deployment.to_string()).await?;
    let api: Api<DynamicObject> =
        Api::namespaced_with(cluster.client(), "default", &Kind::Deployment.resource());
    let params = PatchParams { dry_run: true, ..PatchParams::default() };
    let bump = json!({"spec": {"template": {"metadata": {"annotations": {"new": "yes"}}}}});
    wait_for("the policies to be in force", ENOUGH, async || {
        let stored = api.patch("probe", &params, &Patch::Merge(&bump)).await?;
        Ok((stored.data["spec"]["paused"] == true).then_some(()))
    })
    .await?;
    match api.delete("probe", &DeleteParams::background()).await {
        Ok(_) => Ok(()),
        Err(error) => bail!(error),
    }
}
