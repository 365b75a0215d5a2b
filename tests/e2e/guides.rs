//! The manifests of the guides, as they are written there: valid for the real API server, and a run starts with them.
//!
//! A guide that is added to `docs/guides` is played too, with the planes below.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Error, Result, bail, ensure};
use futures::{StreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tests::{App, Cluster, Controller, Plane, scenario, wait_for};
use tokio::sync::OnceCell;

const PLANES: &[Plane] =
    &[Plane::Prometheus, Plane::Traefik, Plane::EnvoyGateway, Plane::Contour, Plane::Istio];
const ENOUGH: Duration = Duration::from_secs(90);
/// Definitions of systems that don't run here.
const DEFINITIONS: [&str; 2] = ["linkerd-edge-26.8.3", "cilium-2026-05-29"];

fn story(tell: impl AsyncFnOnce(&'static Cluster) -> Result<()>) -> Result<()> {
    static DEFINED: OnceCell<()> = OnceCell::const_new();
    scenario(PLANES, async |cluster| {
        let define = async || {
            for definitions in DEFINITIONS {
                let folder = format!("{}/cluster/crds/{definitions}", env!("CARGO_MANIFEST_DIR"));
                cluster.kubectl(&["apply", "--server-side", "-f", &folder]).await?;
            }
            Controller::shared(cluster).await.map(drop)
        };
        DEFINED.get_or_try_init(define).await?;
        tell(cluster).await
    })
}

#[test]
fn every_manifest_is_what_the_api_server_takes() -> Result<()> {
    story(async |cluster| {
        let mut wrong = Vec::new();
        for guide in guides()? {
            let manifests: Vec<_> = guide.blocks.iter().filter(|b| b.is_manifests()).collect();
            ensure!(!manifests.is_empty(), "{}: no manifest", guide.name);
            for block in manifests {
                let list = json!({"apiVersion": "v1", "kind": "List", "items": block.0});
                create_namespaces(cluster, &block.0).await?;
                let args =
                    ["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-"];
                let took = cluster.kubectl_as(cluster.admin(), &args, &list.to_string()).await;
                wrong.extend(took.err().map(|why| format!("{}: {why:#}", guide.name)));
            }
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    })
}

#[test]
fn every_canary_gets_ready_and_starts_a_run() -> Result<()> {
    story(async |cluster| {
        let mut played = Vec::new();
        for guide in guides()? {
            let canaries: Vec<_> = guide.played().collect();
            ensure!(!canaries.is_empty(), "{}: no Canary", guide.name);
            for (n, objects) in canaries.into_iter().enumerate() {
                played.push(Played::new(&format!("{}-{n}", guide.name), &objects)?);
            }
        }
        let wrong: Vec<Error> = stream::iter(&played)
            .map(async |p| p.play(cluster).await.with_context(|| p.namespace.clone()))
            .buffer_unordered(4)
            .filter_map(async |result| result.err())
            .collect()
            .await;
        let wrong: Vec<_> = wrong.iter().map(|why| format!("{why:#}")).collect();
        ensure!(wrong.is_empty(), "{} of {}: {}", wrong.len(), played.len(), wrong.join("\n"));
        Ok(())
    })
}

/// The YAML of a page.
struct Guide {
    name: String,
    blocks: Vec<Block>,
}

/// What one block of code says, document by document.
struct Block(Vec<Value>);

impl Block {
    /// Not just a part of an object, or of another program's settings.
    fn is_manifests(&self) -> bool {
        self.0.iter().any(|object| !object["kind"].is_null() || !object["apiVersion"].is_null())
    }

    fn canary(&self) -> Option<&Value> {
        self.0.iter().find(|object| object["kind"] == "Canary")
    }
}

fn guides() -> Result<Vec<Guide>> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let mut pages = vec![docs.join("first-canary.md"), docs.join("strategies.md")];
    for entry in fs::read_dir(docs.join("guides"))? {
        pages.push(entry?.path());
    }
    pages.sort();
    let guide = |page: &std::path::PathBuf| -> Result<Guide> {
        let name = page.file_stem().context("a page has a name")?.to_string_lossy().into_owned();
        let text = fs::read_to_string(page)?;
        let blocks = text.split("```yaml\n").skip(1).map(|rest| {
            let code = rest.split("\n```").next().unwrap_or_default();
            let documents = serde_norway::Deserializer::from_str(code);
            let objects: Result<_, _> = documents.map(Value::deserialize).collect();
            objects.map(Block).with_context(|| format!("{name}: {code}"))
        });
        Ok(Guide { blocks: blocks.collect::<Result<_>>()?, name })
    };
    pages.iter().map(guide).collect()
}

impl Guide {
    /// Each Canary with what is said around it: the objects of its block, or of the one before for a Canary that is alone, and
    /// makes no route of its own.
    fn played(&self) -> impl Iterator<Item = Vec<Value>> {
        self.blocks.iter().enumerate().filter_map(|(n, block)| {
            let canary = block.canary()?;
            let alone = block.0.len() == 1 && canary["spec"]["traffic"]["route"].is_null();
            let mut before = self.blocks[..n].iter().rev();
            let around = before.find(|b| b.is_manifests() && b.canary().is_none());
            let around = around.filter(|_| alone).map(|b| b.0.clone());
            Some([around.unwrap_or_default(), block.0.clone()].concat())
        })
    }
}

/// A Canary in a namespace of its own, so that it doesn't meet the others.
struct Played {
    namespace: String,
    objects: Vec<Value>,
    canary: Value,
}

impl Played {
    fn new(namespace: &str, objects: &[Value]) -> Result<Self> {
        let text = serde_json::to_string(objects)?
            .replace(r#""namespace":"shop""#, &format!(r#""namespace":"{namespace}""#))
            .replace(".example.com", &format!(".{namespace}.example.com"));
        let objects: Vec<Value> = serde_json::from_str(&text)?;
        let (canaries, objects): (Vec<_>, _) =
            objects.into_iter().partition(|object| object["kind"] == "Canary");
        let [canary] = <[Value; 1]>::try_from(canaries)
            .map_err(|all| Error::msg(format!("{namespace}: {} canaries", all.len())))?;
        Ok(Self { namespace: namespace.to_owned(), objects, canary })
    }

    fn name(&self) -> Result<&str> {
        self.canary["metadata"]["name"].as_str().context("a name")
    }

    async fn play(&self, cluster: &Cluster) -> Result<()> {
        create_namespaces(cluster, &self.objects).await?;
        let name = self.name()?;
        let app = App::new(name, &self.namespace).behaves("latency-ms", "5").replicas(3);
        let plain = self.canary["spec"]["provider"] == "kubernetes"
            || !self.canary["spec"]["traffic"]["route"].is_null();
        // Where the guide has no route, and asks for none, any gateway's will do.
        let app = if self.objects.is_empty() && !plain {
            app.host(Plane::EnvoyGateway, &format!("{}.test", self.namespace))
        } else {
            app
        };
        cluster.deploy(&app).await?;
        self.gateways(cluster).await?;
        let all = [self.objects.as_slice(), std::slice::from_ref(&self.canary)].concat();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": all});
        let args = ["apply", "--server-side", "--force-conflicts", "--validate=strict", "-f", "-"];
        cluster.kubectl_as(cluster.admin(), &args, &list.to_string()).await?;
        if self.is_of_a_mesh_that_does_not_run_here() {
            // Its controllers would have to answer; `meshes` plays them.
            return self.until(cluster, "an answer", |status| !status["phase"].is_null()).await;
        }
        let ready = |status: &Value| {
            let conditions = status["conditions"].as_array().into_iter().flatten();
            let mut ready = conditions.filter(|c| c["type"] == "Ready" && c["status"] == "True");
            status["phase"] == "Idle" && ready.next().is_some()
        };
        self.until(cluster, "ready", ready).await?;
        let deployment = format!("deployment/{name}");
        let images = ["-n", &self.namespace, "set", "image", &deployment, "*=example.com/next:2"];
        cluster.kubectl(&images).await?;
        // The first step is in effect: its pods are there, and the traffic system has answered.
        let begun = |status: &Value| {
            let reason = status["waitingFor"]["reason"].as_str().unwrap_or_default();
            let in_effect = ["WarmingUp", "CheckNotDue", "AwaitingApproval", "NoData"];
            status["phase"] == "Progressing" && in_effect.contains(&reason)
        };
        self.until(cluster, "in a step", begun).await
    }

    /// The Gateways that its routes name, where the bench has none of the name.
    async fn gateways(&self, cluster: &Cluster) -> Result<()> {
        for route in &self.objects {
            for parent in route["spec"]["parentRefs"].as_array().into_iter().flatten() {
                let (Some(namespace), Some(name)) =
                    (parent["namespace"].as_str(), parent["name"].as_str())
                else {
                    continue;
                };
                let there = ["-n", namespace, "get", "gateways.gateway.networking.k8s.io", name];
                if cluster.kubectl(&there).await.is_ok() {
                    continue;
                }
                create_namespace(cluster, namespace).await?;
                let gateway = json!({
                    "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
                    "metadata": {"name": name, "namespace": namespace},
                    "spec": {
                        "gatewayClassName": "traefik",
                        "listeners": [{
                            "name": "web", "protocol": "HTTP", "port": 10083,
                            "allowedRoutes": {"namespaces": {"from": "All"}},
                        }],
                    },
                });
                cluster.apply(&gateway.to_string()).await?;
            }
        }
        Ok(())
    }

    fn is_of_a_mesh_that_does_not_run_here(&self) -> bool {
        let parents = self.objects.iter().filter_map(|o| o["spec"]["parentRefs"].as_array());
        parents.flatten().any(|parent| parent["kind"] == "Service")
    }

    async fn until(
        &self,
        cluster: &Cluster,
        what: &str,
        so: impl Fn(&Value) -> bool,
    ) -> Result<()> {
        let name = self.name()?;
        wait_for(&format!("the canary to be {what}"), ENOUGH, async || {
            let args = ["-n", &self.namespace, "get", "canary", name, "-o", "json"];
            let canary: Value = serde_json::from_str(&cluster.kubectl(&args).await?)?;
            ensure!(so(&canary["status"]), "status: {}", canary["status"]);
            Ok(Some(()))
        })
        .await
    }
}

/// Those that the objects are in.
async fn create_namespaces(cluster: &Cluster, objects: &[Value]) -> Result<()> {
    for object in objects {
        if let Some(namespace) = object["metadata"]["namespace"].as_str() {
            create_namespace(cluster, namespace).await?;
        }
    }
    Ok(())
}

async fn create_namespace(cluster: &Cluster, name: &str) -> Result<()> {
    match cluster.namespace(name).await {
        Err(why) if !format!("{why:#}").contains("already exists") => bail!(why),
        _ => Ok(()),
    }
}
