//! What the controllers of meshes write, as the cited cases of `providers/upstream` have it, for routes as they are now.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use kube::Client;
use kube::api::{
    Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
    ValidationDirective,
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// Whose controller is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plays {
    Linkerd,
    Cilium,
    Ambient,
}

impl Plays {
    /// The case that it plays.
    fn case(self) -> &'static str {
        match self {
            Self::Linkerd => "linkerd/accepted.yaml",
            Self::Cilium => "cilium/programmed.yaml",
            Self::Ambient => "istio/accepted.yaml",
        }
    }
}

/// Plays until it is dropped.
pub(crate) struct Player {
    /// The programme of its proxies stays as it is.
    stuck: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Player {
    pub(crate) fn start(client: Client, plays: Plays, namespace: &str) -> Result<Self> {
        let stuck = Arc::new(AtomicBool::new(false));
        let stage = Stage {
            client,
            plays,
            namespace: namespace.to_owned(),
            case: case(plays.case())?,
            stuck: stuck.clone(),
        };
        let task = tokio::spawn(async move {
            loop {
                // What has changed meanwhile is written at the next turn.
                let _ = stage.turn().await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        Ok(Self { stuck, task })
    }

    pub(crate) fn stick(&self, stuck: bool) {
        self.stuck.store(stuck, Ordering::Relaxed);
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Stage {
    client: Client,
    plays: Plays,
    namespace: String,
    /// The objects of the case: a route, and what is beside it.
    case: Vec<Value>,
    stuck: Arc<AtomicBool>,
}

impl Stage {
    async fn turn(&self) -> Result<()> {
        for group in ["gateway.networking.k8s.io", "policy.linkerd.io"] {
            let version = if group == "policy.linkerd.io" { "v1beta3" } else { "v1" };
            let api = self.api(group, version, "HTTPRoute", "httproutes");
            for route in api.list(&ListParams::default()).await?.items {
                self.answer(&api, &serde_json::to_value(&route)?).await?;
            }
        }
        if self.plays != Plays::Linkerd {
            self.bind().await?;
        }
        Ok(())
    }

    async fn answer(&self, api: &Api<DynamicObject>, route: &Value) -> Result<()> {
        let (name, generation) = (text(route, "/metadata/name"), &route["metadata"]["generation"]);
        let entry = &self.case[0]["status"]["parents"][0];
        let parents = route["spec"]["parentRefs"].as_array().into_iter().flatten();
        let parents = parents.map(|parent| {
            let mut entry = entry.clone();
            let linkerds = entry["parentRef"]["group"] == "core";
            entry["parentRef"] = parent.clone();
            if linkerds {
                entry["parentRef"]["group"] = json!("core");
                entry["parentRef"]["namespace"] = json!(self.namespace);
            }
            for condition in entry["conditions"].as_array_mut().into_iter().flatten() {
                if !condition["observedGeneration"].is_null() {
                    condition["observedGeneration"] = generation.clone();
                }
            }
            entry
        });
        let status = json!({"parents": parents.collect::<Vec<_>>()});
        if route["status"] != status {
            let patch = Patch::Merge(json!({"status": status}));
            api.patch_status(&name, &strictly(), &patch).await?;
        }
        if self.plays == Plays::Cilium && !self.stuck.load(Ordering::Relaxed) {
            self.programme(route).await?;
        }
        Ok(())
    }

    /// The Service's conditions.
    async fn bind(&self) -> Result<()> {
        let service = self.case.iter().find(|o| o["kind"] == "Service").context("a service")?;
        let patch =
            Patch::Merge(json!({"status": {"conditions": service["status"]["conditions"]}}));
        self.api("", "v1", "Service", "services").patch_status("shop", &strictly(), &patch).await?;
        Ok(())
    }

    async fn programme(&self, route: &Value) -> Result<()> {
        let config = self.case.iter().find(|o| o["kind"] == "CiliumEnvoyConfig");
        let mut config = config.context("a programme")?.clone();
        config["metadata"] = json!({"name": "shop", "namespace": self.namespace});
        config["spec"]["services"][0]["name"] = json!("shop");
        config["spec"]["services"][0]["namespace"] = json!(self.namespace);
        config["spec"]["services"][0]["ports"] = json!([80]);
        let backends = route.pointer("/spec/rules/0/backendRefs").and_then(Value::as_array);
        let backends = backends.context("backends")?;
        let cluster = |b: &Value| format!("{}:{}:80", self.namespace, text(b, "/name"));
        config["spec"]["backendServices"] = backends
            .iter()
            .map(|b| json!({"name": b["name"], "namespace": self.namespace, "number": ["80"]}))
            .collect();
        let to = match &backends[..] {
            [alone] => json!({"cluster": cluster(alone)}),
            several => {
                let weighted =
                    several.iter().map(|b| json!({"name": cluster(b), "weight": b["weight"]}));
                json!({"weightedClusters": {"clusters": weighted.collect::<Vec<_>>()}})
            }
        };
        let place = "/spec/resources/0/virtualHosts/0/routes/0/route";
        *config.pointer_mut(place).context("a place for it")? = to;
        let api = self.api("cilium.io", "v2", "CiliumEnvoyConfig", "ciliumenvoyconfigs");
        let params = PatchParams {
            field_validation: Some(ValidationDirective::Strict),
            ..PatchParams::apply("cilium-operator").force()
        };
        api.patch("shop", &params, &Patch::Apply(&config)).await?;
        Ok(())
    }

    fn api(&self, group: &str, version: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
        let gvk = GroupVersionKind::gvk(group, version, kind);
        let kind = ApiResource::from_gvk_with_plural(&gvk, plural);
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind)
    }
}

fn strictly() -> PatchParams {
    PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::default() }
}

/// The objects that a case plays.
fn case(name: &str) -> Result<Vec<Value>> {
    let upstream = Path::new(env!("CARGO_MANIFEST_DIR")).join("../providers/upstream");
    let text = fs::read_to_string(upstream.join(name))?;
    let case: Value = serde_norway::from_str(&text)?;
    Ok(case["played"].as_array().context("objects")?.clone())
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}
