use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{App, Cluster, Plane, wait_for};

/// What no watch shows is looked at each 30 s.
const ENOUGH: Duration = Duration::from_secs(90);

/// The objects of a user, the canary `shop` among them, in a namespace of their own.
pub(crate) struct Input {
    namespace: &'static str,
    pub(crate) objects: Vec<Value>,
}

impl Input {
    /// All as it should be.
    pub(crate) fn good(namespace: &'static str) -> Self {
        let app = App::new("shop", namespace)
            .replicas(1)
            .host(Plane::Traefik, &format!("{namespace}.test"));
        let list: Value = serde_json::from_str(&app.manifests()).unwrap_or_default();
        let mut objects = list["items"].as_array().cloned().unwrap_or_default();
        objects.push(json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "Canary",
            "metadata": {"name": "shop", "namespace": namespace},
            "spec": {"targetRef": {"name": "shop"}, "traffic": {"service": {"name": "shop"}}},
        }));
        Self { namespace, objects }
    }

    pub(crate) fn without(mut self, kind: &str) -> Self {
        self.objects.retain(|o| o["kind"] != kind);
        self
    }

    pub(crate) fn with(mut self, path: &str, value: Value) -> Self {
        let (kind, path) = path.split_once('/').unwrap_or((path, ""));
        if let Some(object) = self.objects.iter_mut().find(|o| o["kind"] == kind) {
            set(object, path, value);
        }
        self
    }

    /// One more object of the namespace, written before the others.
    pub(crate) fn and(mut self, mut object: Value) -> Self {
        object["metadata"]["namespace"] = json!(self.namespace);
        self.objects.insert(0, object);
        self
    }

    async fn apply(&self, cluster: &Cluster) -> Result<()> {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": self.objects});
        cluster.apply(&list.to_string()).await
    }
}

/// At `a/0/b`.
fn set(object: &mut Value, path: &str, value: Value) {
    let mut at = object;
    for part in path.split('/') {
        at = match part.parse::<usize>() {
            Ok(index) => &mut at[index],
            Err(_) => &mut at[part],
        };
    }
    *at = value;
}

/// How a mistake is mended.
pub(crate) enum Way {
    /// By writing everything as it should be.
    Written,
    /// By these arguments of kubectl.
    Kubectl(&'static [&'static str]),
    Created(Value),
}

pub(crate) struct Mistake {
    input: Input,
    /// Arguments of kubectl, once the objects are there.
    then: &'static [&'static str],
    says: &'static [&'static str],
    way_out: Way,
}

pub(crate) fn mistake(input: Input, says: &'static [&'static str], way_out: Way) -> Mistake {
    Mistake { input, then: &[], says, way_out }
}

impl Mistake {
    /// The owner does this with kubectl before the canary is created.
    pub(crate) fn after(self, then: &'static [&'static str]) -> Self {
        Self { then, ..self }
    }

    pub(crate) async fn is_said_and_mended(&self, cluster: &Cluster) -> Result<()> {
        self.tell(cluster).await.with_context(|| format!("in namespace {}", self.input.namespace))
    }

    async fn tell(&self, cluster: &Cluster) -> Result<()> {
        let namespace = self.input.namespace;
        let kubectl =
            async |args: &[&str]| cluster.kubectl(&[&["-n", namespace], args].concat()).await;
        cluster.namespace(namespace).await?;
        if self.then.is_empty() {
            self.input.apply(cluster).await?;
        } else {
            let canary = self.input.objects.last().context("a canary")?.to_string();
            let app = App::new("shop", namespace).replicas(1);
            cluster.apply(&app.deployment().to_string()).await?;
            cluster.rolled_out(namespace, "shop").await?;
            kubectl(self.then).await?;
            Input { namespace, objects: self.input.objects[1..].to_vec() }.apply(cluster).await?;
            cluster.apply(&canary).await?;
        }
        let status = async || {
            let canary: Value =
                serde_json::from_str(&kubectl(&["get", "tgc", "shop", "-o", "json"]).await?)?;
            Ok::<_, anyhow::Error>(canary["status"].clone())
        };
        let stalled = wait_for("the mistake to be said", ENOUGH, async || {
            let status = status().await?;
            let condition = condition(&status, "Stalled");
            let message = condition["message"].as_str().unwrap_or_default();
            let missing = self.says.iter().find(|part| !message.contains(**part));
            ensure!(condition["status"] == "True" && missing.is_none(), "{missing:?} in {status}");
            Ok(Some(status))
        })
        .await?;
        ensure!(stalled["phase"] == "Initializing", "{stalled}");
        ensure!(condition(&stalled, "Ready")["status"] == "False", "{stalled}");
        let touched =
            kubectl(&["get", "deployments", "-l", "tidegate.dev/canary", "-o", "name"]).await?;
        ensure!(touched.is_empty(), "nothing was touched: {touched}");
        let ours =
            kubectl(&["get", "services,deployments", "-l", "tidegate.dev/role", "-o", "name"])
                .await?;
        ensure!(ours.is_empty(), "nothing was made: {ours}");

        match &self.way_out {
            Way::Written => Input::good(namespace).apply(cluster).await?,
            Way::Kubectl(args) => kubectl(args).await.map(drop)?,
            Way::Created(object) => {
                let mut object = object.clone();
                object["metadata"]["namespace"] = json!(namespace);
                cluster.apply(&object.to_string()).await?;
            }
        }
        wait_for("it to be mended", ENOUGH, async || {
            let status = status().await?;
            let ready = condition(&status, "Ready")["status"] == "True";
            let held = status["heldBy"] == "ApiServer" && condition(&status, "Stalled").is_null();
            ensure!(status["phase"] == "Idle" && ready && held, "{status}");
            Ok(Some(()))
        })
        .await
    }
}

fn condition(status: &Value, kind: &str) -> Value {
    let all = status["conditions"].as_array();
    all.into_iter().flatten().find(|c| c["type"] == kind).cloned().unwrap_or_default()
}
