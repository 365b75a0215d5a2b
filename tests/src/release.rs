use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use api::{
    ActionState, ActionVerb, Canary, CanaryAction, CanaryActionSpec, CanaryRun, CanaryStatus,
};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, PostParams};
use serde_json::{Value, json};

use crate::{App, Cluster, Load, Plane, Requests, User, wait_for};

/// Longer than any single wait of a story takes on a busy machine.
const ENOUGH: Duration = Duration::from_secs(90);

/// A user's app with a canary of the same name, in a namespace of its own, behind one gateway.
#[derive(Clone, Debug)]
pub struct Release {
    cluster: &'static Cluster,
    app: App,
    gateway: Plane,
    host: String,
}

/// What a user owns, without what the API server writes by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Owned {
    pub deployment: Value,
    pub service: Value,
    pub route: Value,
}

impl Release {
    /// Deploys `shop` 1.0 behind the gateway and creates its canary with quick analysis, changed by `spec`; waits until it is
    /// ready. A controller has to be running.
    pub async fn open(
        cluster: &'static Cluster,
        gateway: Plane,
        namespace: &str,
        spec: Value,
    ) -> Result<Self> {
        let app = App::new("shop", namespace).behaves("latency-ms", "5").replicas(4);
        Self::of(cluster, gateway, app, spec).await
    }

    /// The same with an app of your own.
    pub async fn of(
        cluster: &'static Cluster,
        gateway: Plane,
        app: App,
        spec: Value,
    ) -> Result<Self> {
        let host = format!("{}.test", app.namespace());
        let app = app.host(gateway, &host);
        Self::adopt(cluster, gateway, app, spec).await
    }

    /// The same with an app that has its own route, or none for a canary that makes one.
    pub async fn adopt(
        cluster: &'static Cluster,
        gateway: Plane,
        app: App,
        spec: Value,
    ) -> Result<Self> {
        cluster.deploy(&app).await?;
        Self::adopt_deployed(cluster, gateway, app, spec).await
    }

    /// The same with an app that is there already, with a Service or a route of other shapes than its own.
    pub async fn adopt_deployed(
        cluster: &'static Cluster,
        gateway: Plane,
        app: App,
        spec: Value,
    ) -> Result<Self> {
        let host = format!("{}.test", app.namespace());
        let release = Self { cluster, app, gateway, host };
        release.configure(spec).await?;
        release
            .until("the canary to be ready", |s| {
                s.phase == "Idle" && s.condition("Ready").is_some_and(|c| c.status == "True")
            })
            .await?;
        Ok(release)
    }

    /// Applies the canary: quick analysis, with these fields of its spec instead.
    pub async fn configure(&self, changes: Value) -> Result<()> {
        let mut spec = quick();
        let name = self.app.name();
        spec["targetRef"] = json!({"name": name});
        spec["traffic"] = json!({"service": {"name": name}});
        merge(&mut spec, changes);
        let canary = json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "Canary",
            "metadata": {"name": name, "namespace": self.namespace()}, "spec": spec,
        });
        self.cluster.apply(&canary.to_string()).await
    }

    pub fn app(&self) -> App {
        self.app.clone()
    }

    pub fn namespace(&self) -> &str {
        self.app.namespace()
    }

    pub fn cluster(&self) -> &'static Cluster {
        self.cluster
    }

    /// The owner writes another version of the Deployment.
    pub async fn write(&self, app: &App) -> Result<()> {
        self.cluster.apply(&app.deployment().to_string()).await
    }

    /// 100 requests a second by its host.
    pub async fn load(&self) -> Result<Load> {
        Load::start(self.cluster, &Requests::through(self.gateway, &self.host)).await
    }

    pub async fn status(&self) -> Result<CanaryStatus> {
        let api: Api<Canary> = Api::namespaced(self.cluster.client(), self.namespace());
        Ok(api.get(self.app.name()).await?.status.unwrap_or_default())
    }

    /// The run that began last.
    pub async fn run(&self) -> Result<CanaryRun> {
        let api: Api<CanaryRun> = Api::namespaced(self.cluster.client(), self.namespace());
        let runs = api.list(&ListParams::default()).await?.items;
        let began = |run: &CanaryRun| run.metadata.creation_timestamp.clone();
        runs.into_iter().max_by_key(began).context("there is no run")
    }

    /// Waits until the status is so; says how it was last if it never is.
    pub async fn until(
        &self,
        what: &str,
        so: impl Fn(&CanaryStatus) -> bool,
    ) -> Result<CanaryStatus> {
        wait_for(&format!("{}: {what}", self.namespace()), ENOUGH, async || {
            let status = self.status().await?;
            ensure!(so(&status), "status: {}", serde_json::to_string(&status)?);
            Ok(Some(status))
        })
        .await
    }

    pub async fn until_phase(&self, phase: &str) -> Result<CanaryStatus> {
        self.until(phase, |status| status.phase == phase).await
    }

    /// Waits until it waits for this.
    pub async fn until_waiting(&self, reason: &str) -> Result<CanaryStatus> {
        self.until(reason, |status| status.waits_for(reason)).await
    }

    /// Waits until the newest run, begun after `before`, is at this stage of this phase.
    pub async fn until_stage(&self, phase: &str, stage: &str) -> Result<CanaryRun> {
        wait_for(&format!("{}: {phase}, {stage}", self.namespace()), ENOUGH, async || {
            let run = self.run().await?;
            let cursor = run.status.as_ref().and_then(|s| s.cursor.as_ref());
            let at = cursor.map(|c| (c.phase.as_str(), c.stage.as_str()));
            ensure!(at == Some((phase, stage)), "the run is at {at:?}");
            Ok(Some(run))
        })
        .await
    }

    /// Asks as admin, of whatever run and step are on, and waits for the answer.
    pub async fn ask(&self, verb: ActionVerb) -> Result<(ActionState, String)> {
        self.ask_as(self.cluster.admin(), self.action(verb)).await
    }

    pub fn action(&self, verb: ActionVerb) -> CanaryActionSpec {
        let canary = self.app.name().to_owned();
        CanaryActionSpec { canary, verb, run: None, step: None, reason: None, actor: None }
    }

    /// Creates the action and waits until it is answered: it is an error if that takes more than 5 s.
    pub async fn ask_as(
        &self,
        user: &User,
        asked: CanaryActionSpec,
    ) -> Result<(ActionState, String)> {
        let api: Api<CanaryAction> = Api::namespaced(user.client.clone(), self.namespace());
        let mut action = CanaryAction::new("", asked);
        action.metadata.name = None;
        action.metadata.generate_name = Some("asked-".to_owned());
        let name = api.create(&PostParams::default(), &action).await?.metadata.name;
        let name = name.context("the action has no name")?;
        let api: Api<CanaryAction> = Api::namespaced(self.cluster.client(), self.namespace());
        wait_for(&format!("{}: an answer", self.namespace()), Duration::from_secs(5), async || {
            let status = api.get(&name).await?.status;
            Ok(status.map(|status| (status.state, status.message)))
        })
        .await
    }

    /// It is refused, in words that say this.
    pub async fn refused(&self, verb: ActionVerb, says: &str) -> Result<()> {
        let (state, message) = self.ask(verb).await?;
        ensure!(
            state == ActionState::Refused && message.contains(says),
            "{verb:?} was {state:?} with {message:?}, not refused with {says:?}"
        );
        Ok(())
    }

    pub async fn accepted(&self, verb: ActionVerb) -> Result<()> {
        let (state, message) = self.ask(verb).await?;
        ensure!(state == ActionState::Accepted, "{verb:?} was refused: {message}");
        Ok(())
    }

    /// `tidegate` as `user`, in this namespace; exit code, then all that it said.
    pub async fn tidegate(&self, user: &User, args: &[&str]) -> Result<(i32, String)> {
        let args = [args, &["-n", self.namespace()]].concat();
        let output = self.cluster.tidegate(user, &args).await?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned()))
    }

    /// The pods that aren't going: their UIDs, with the image's tag.
    pub async fn pods(&self) -> Result<BTreeMap<String, String>> {
        let api: Api<Pod> = Api::namespaced(self.cluster.client(), self.namespace());
        let pods = api.list(&ListParams::default()).await?.items.into_iter();
        let alive = pods.filter(|pod| pod.metadata.deletion_timestamp.is_none());
        Ok(alive
            .filter_map(|pod| {
                let image = pod.spec?.containers.first()?.image.clone()?;
                let tag = image.rsplit(':').next().unwrap_or_default().to_owned();
                Some((pod.metadata.uid?, tag))
            })
            .collect())
    }

    /// Every event about the canary: `reason: note`, oldest first.
    pub async fn events(&self) -> Result<Vec<String>> {
        let path = "jsonpath={range .items[*]}{.reason}: {.note}{\"\\n\"}{end}";
        let args = ["-n", self.namespace(), "get", "events.events.k8s.io"];
        let sorted = ["--field-selector", "regarding.kind=Canary", "--sort-by", ".eventTime"];
        let text = self.cluster.kubectl(&[&args[..], &sorted, &["-o", path]].concat()).await?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Deployment, Service and route as the owner sees them.
    pub async fn owned(&self) -> Result<Owned> {
        let route = self.route_name();
        Ok(Owned {
            deployment: self.get("deployment", self.app.name()).await?,
            service: self.get("service", self.app.name()).await?,
            route: self.get(self.route_kind(), &route).await?,
        })
    }

    pub fn route_name(&self) -> String {
        let plane = match self.gateway {
            Plane::Contour => "contour",
            gateway => gateway.gateway().map_or("", |(_, name)| name),
        };
        format!("{}-{plane}", self.app.name())
    }

    fn route_kind(&self) -> &'static str {
        if self.gateway == Plane::Contour { "httpproxy" } else { "httproute" }
    }

    async fn get(&self, kind: &str, name: &str) -> Result<Value> {
        let args =
            ["-n", self.namespace(), "get", kind, name, "-o", "json", "--show-managed-fields"];
        let mut object: Value = serde_json::from_str(&self.cluster.kubectl(&args).await?)?;
        object.as_object_mut().context("an object")?.remove("status");
        let metadata = object["metadata"].as_object_mut().context("metadata")?;
        metadata.remove("resourceVersion");
        metadata.remove("generation");
        let fields = metadata.remove("managedFields").unwrap_or_default();
        let ours = fields.as_array().into_iter().flatten().filter(|f| f["manager"] == "tidegate");
        metadata.insert("ours".to_owned(), ours.map(|f| f["fieldsV1"].clone()).collect());
        if let Some(annotations) = object["metadata"]["annotations"].as_object_mut() {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
            annotations.remove("deployment.kubernetes.io/revision");
        }
        Ok(object)
    }

    /// `kubectl diff` of the app's manifests says nothing.
    pub async fn in_sync(&self, app: &App) -> Result<()> {
        let args = ["diff", "-f", "-"];
        let admin = self.cluster.admin();
        self.cluster.kubectl_as(admin, &args, &app.manifests()).await.map(drop)
    }

    /// Nothing that was made for a run is left.
    pub async fn no_canary_left(&self) -> Result<()> {
        wait_for(&format!("{}: the canary to be gone", self.namespace()), ENOUGH, async || {
            let args = ["-n", self.namespace(), "get", "deployments,pods", "-o", "name"];
            let all = self.cluster.kubectl(&args).await?;
            ensure!(!all.contains("-canary"), "there still are: {all}");
            Ok(Some(()))
        })
        .await
    }
}

/// A check each 2 s, no warm-up, 5 requests are enough, the second failure ends it; the steps are the default.
fn quick() -> Value {
    json!({
        "analysis": {"interval": "2s", "minRequests": 5, "threshold": 2},
        "progressDeadline": "60s",
    })
}

fn merge(into: &mut Value, changes: Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (key, value) in changes {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, value) => *into = value,
    }
}

/// Short questions about a status.
pub trait Status {
    fn condition(&self, kind: &str) -> Option<&api::Condition>;
    fn waits_for(&self, reason: &str) -> bool;
    /// The sentence of what is waited for.
    fn message(&self) -> &str;
}

impl Status for CanaryStatus {
    fn condition(&self, kind: &str) -> Option<&api::Condition> {
        self.conditions.iter().find(|c| c.kind == kind)
    }

    fn waits_for(&self, reason: &str) -> bool {
        self.waiting_for.as_ref().is_some_and(|w| w.reason == reason)
    }

    fn message(&self) -> &str {
        self.waiting_for.as_ref().map_or("", |w| &w.message)
    }
}
