//! What can't work is said before anything moves: which object, which field, what is wrong with it, and the way out.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use serde_json::{Value, json};
use tests::{App, Cluster, Controller, Plane, scenario, wait_for};

const PLANES: &[Plane] = &[Plane::Prometheus, Plane::Traefik];
/// What no watch shows is looked at each 30 s.
const ENOUGH: Duration = Duration::from_secs(90);

/// The objects of a user, the canary `shop` among them, in a namespace of their own.
struct Input {
    namespace: &'static str,
    objects: Vec<Value>,
}

impl Input {
    /// All as it should be.
    fn good(namespace: &'static str) -> Self {
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

    fn without(mut self, kind: &str) -> Self {
        self.objects.retain(|o| o["kind"] != kind);
        self
    }

    fn with(mut self, path: &str, value: Value) -> Self {
        let (kind, path) = path.split_once('/').unwrap_or((path, ""));
        for object in self.objects.iter_mut().filter(|o| o["kind"] == kind) {
            set(object, path, value.clone());
        }
        self
    }

    /// One more object of the namespace, written before the others.
    fn and(mut self, mut object: Value) -> Self {
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
enum Way {
    /// By writing everything as it should be.
    Written,
    /// By these arguments of kubectl.
    Kubectl(&'static [&'static str]),
    Created(Value),
}

struct Mistake {
    input: Input,
    /// Arguments of kubectl, once the objects are there.
    then: &'static [&'static str],
    says: &'static [&'static str],
    way_out: Way,
}

fn mistake(input: Input, says: &'static [&'static str], way_out: Way) -> Mistake {
    Mistake { input, then: &[], says, way_out }
}

impl Mistake {
    async fn is_said_and_mended(&self, cluster: &Cluster) -> Result<()> {
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

async fn all(cluster: &'static Cluster, mistakes: Vec<Mistake>) -> Result<()> {
    Controller::shared(cluster).await?;
    let told = join_all(mistakes.iter().map(|m| m.is_said_and_mended(cluster))).await;
    let failed: Vec<_> =
        told.into_iter().filter_map(Result::err).map(|e| format!("{e:#}")).collect();
    ensure!(failed.is_empty(), "{} of {}:\n{}", failed.len(), mistakes.len(), failed.join("\n"));
    Ok(())
}

#[test]
fn what_a_canary_needs_and_is_not_there() -> Result<()> {
    let template = json!({"name": "queue", "templateRef": {"name": "queue"}, "limit": {"max": 5}});
    let queue = json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": "MetricTemplate",
        "metadata": {"name": "queue"}, "spec": {"query": "max(queue_length{namespace=\"{{ namespace }}\"})"}});
    let late = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": "late"}, "spec": {"gatewayClassName": "traefik",
        "listeners": [{"name": "http", "port": 81, "protocol": "HTTP"}]}});
    let mistakes = vec![
        mistake(
            Input::good("no-target").without("Deployment"),
            &[
                "spec.targetRef.name: deployment shop not found in namespace no-target; create it, or correct the name",
            ],
            Way::Written,
        ),
        mistake(
            Input::good("no-service").without("Service"),
            &[
                "spec.traffic.service.name: service shop not found in namespace no-service; create it",
            ],
            Way::Written,
        ),
        mistake(
            Input::good("no-route").without("HTTPRoute"),
            &[
                "no HTTPRoute in namespace no-route names service shop; write one, or set spec.traffic.route",
            ],
            Way::Written,
        ),
        mistake(
            Input::good("no-template").with("Canary/spec/analysis", json!({"metrics": [template]})),
            &[
                "spec.analysis.metrics[0].templateRef.name: no MetricTemplate \"queue\"",
                "create it",
            ],
            Way::Created(queue),
        ),
        mistake(
            Input::good("no-gateway").with("HTTPRoute/spec/parentRefs", json!([{"name": "late"}])),
            &["gateway no-gateway/late not found; create it, or correct the route's parentRefs"],
            Way::Created(late.clone()),
        ),
        mistake(
            Input::good("no-class")
                .with("HTTPRoute/spec/parentRefs", json!([{"name": "late"}]))
                .and(classless(late, "unheard-of")),
            &["gateway no-class/late: gatewayclass unheard-of not found; create it"],
            Way::Written,
        ),
    ];
    scenario(PLANES, async |cluster| all(cluster, mistakes).await)
}

fn classless(mut gateway: Value, class: &str) -> Value {
    gateway["spec"]["gatewayClassName"] = json!(class);
    gateway
}

#[test]
fn what_is_not_as_it_has_to_be() -> Result<()> {
    let metric =
        |query: &str| json!({"metrics": [{"name": "queue", "query": query, "limit": {"max": 5}}]});
    let backend = |name: &str| json!({"name": name, "port": 80});
    let other = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
        "metadata": {"name": "other"}, "spec": {"controllerName": "example.com/other"}});
    let gateway = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": "other"}, "spec": {"gatewayClassName": "other",
        "listeners": [{"name": "http", "port": 81, "protocol": "HTTP"}]}});
    let mistakes = vec![
        mistake(
            Input::good("no-selector").with("Service/spec/selector", Value::Null),
            &["spec.traffic.service.name: service shop has no selector"],
            Way::Written,
        ),
        mistake(
            Input::good("other-pods").with("Service/spec/selector", json!({"app": "till"})),
            &[
                "service shop selects app=till, which the pods of deployment shop don't have; correct either",
            ],
            Way::Written,
        ),
        mistake(
            Input::good("shared-rule").with(
                "HTTPRoute/spec/rules/0/backendRefs",
                json!([backend("shop"), backend("till")]),
            ),
            &["shop-traefik", "service shop is one of 2 backends", "give it a rule of its own"],
            Way::Written,
        ),
        mistake(
            Input::good("by-hand").with(
                "HTTPRoute/spec/rules/0/backendRefs",
                json!([backend("shop"), backend("shop-canary")]),
            ),
            &["shop-canary is named by hand", "name only shop"],
            Way::Written,
        ),
        mistake(
            Input::good("unknown-name")
                .with("Canary/spec/analysis", metric("queue{pod=\"{{ pod }}\"}")),
            &["spec.analysis.metrics[0].query: ", "pod"],
            Way::Written,
        ),
        mistake(
            Input::good("unknown-variable")
                .with("Canary/spec/analysis", metric("queue{tier=\"{{ variables.tier }}\"}")),
            &["spec.analysis.metrics[0].query: ", "variables.tier"],
            Way::Written,
        ),
        mistake(
            Input::good("other-class")
                .with("HTTPRoute/spec/parentRefs", json!([{"name": "other"}]))
                .and(other)
                .and(gateway),
            &["the gateway's controller is example.com/other, whose metrics are not known yet"],
            Way::Written,
        ),
        Mistake {
            then: &["rollout", "pause", "deployment", "shop"],
            ..mistake(
                Input::good("paused"),
                &[
                    "deployment shop is paused by its owner; resume it once",
                    "kubectl rollout resume deployment shop -n paused",
                ],
                Way::Kubectl(&["rollout", "resume", "deployment", "shop"]),
            )
        },
    ];
    scenario(PLANES, async |cluster| all(cluster, mistakes).await)
}

#[test]
fn what_is_in_the_way() -> Result<()> {
    let autoscaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "busy"}, "spec": {"maxReplicas": 3,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"}}});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop-canary"},
        "spec": {"ports": [{"port": 80}]}});
    let deployment = App::new("shop-canary", "foreign-deployment").replicas(1).deployment();
    let route = |namespace: &str| {
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": "squatter"}, "spec": {
            "parentRefs": [{"name": "traefik", "namespace": "traefik"}],
            "hostnames": [format!("{namespace}.test")],
            "rules": [{"backendRefs": [{"name": "till", "port": 80}]}]}})
    };
    let first = json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": "Canary", "metadata": {"name": "first"},
        "spec": {"targetRef": {"name": "shop"}, "traffic": {"service": {"name": "nothing"}}}});
    let mistakes = vec![
        mistake(
            Input::good("autoscaled").and(autoscaler),
            &[
                "horizontalpodautoscaler busy scales deployment shop, which is not supported yet; remove one of the two",
            ],
            Way::Kubectl(&["delete", "hpa", "busy"]),
        ),
        mistake(
            Input::good("foreign-service").and(service),
            &["service shop-canary exists and isn't this canary's; remove or rename it"],
            Way::Kubectl(&["delete", "service", "shop-canary"]),
        ),
        mistake(
            Input::good("foreign-deployment").and(deployment),
            &["deployment shop-canary exists and isn't this canary's; remove or rename it"],
            Way::Kubectl(&["delete", "deployment", "shop-canary"]),
        ),
        mistake(
            Input::good("claimed").and(route("claimed")),
            &["shop-traefik", "squatter", "claimed.test", "give one of them another host or path"],
            Way::Kubectl(&["delete", "httproute", "squatter"]),
        ),
        mistake(
            Input::good("two-canaries").and(first),
            &[
                "spec.targetRef.name: deployment shop is looked after by canary first; delete one of the two",
            ],
            Way::Kubectl(&["delete", "tgc", "first"]),
        ),
    ];
    scenario(PLANES, async |cluster| all(cluster, mistakes).await)
}

#[test]
fn what_the_schema_can_see_is_refused_by_the_api_server() -> Result<()> {
    scenario(PLANES, async |cluster| {
        cluster.installed().await?;
        let step = |weight: u32| json!([{"weight": weight}]);
        let metric = |rest: Value| {
            let mut metric = json!({"name": "m", "limit": {"max": 1}});
            for (key, value) in rest.as_object().into_iter().flatten() {
                metric[key] = value.clone();
            }
            json!([metric])
        };
        let refusals = [
            ("steps", json!([{"weight": 50}, {"weight": 10}]), "weights rise from step to step"),
            ("steps", step(101), "should be less than or equal to 100"),
            ("steps", json!([]), "should have at least 1 items"),
            (
                "steps",
                json!([{"weight": 10, "checks": 0}]),
                "would go on unjudged; ask for 1 or more, or set skipAnalysis",
            ),
            (
                "steps",
                json!([{"weight": 0, "checks": 2}]),
                "no request reaches the canary at weight 0",
            ),
            ("steps", json!([{"weight": 10, "hold": {}}]), "set either for or untilApproved: true"),
            (
                "steps",
                json!([{"weight": 10, "pause": "5m"}]),
                "unknown field \"spec.steps[0].pause\"",
            ),
            (
                "targetRef",
                json!({"name": "shop", "kind": "StatefulSet"}),
                "supported values: \"Deployment\"",
            ),
            ("targetRef", json!({"name": "s".repeat(57)}), "may not be more than 56"),
            ("progressDeadline", json!("soon"), "spec.progressDeadline"),
            ("analysis/interval", json!("500ms"), "analysis.interval: at least 1s"),
            ("analysis/threshold", json!(0), "should be greater than or equal to 1"),
            (
                "analysis/metrics",
                metric(json!({})),
                "set exactly one of builtin, query and templateRef",
            ),
            (
                "analysis/metrics",
                metric(json!({"query": "1", "limit": {}})),
                "a metric without a limit judges nothing",
            ),
            (
                "analysis/metrics",
                metric(json!({"query": "1", "limit": {"min": 2, "max": 1}})),
                "limit: min is above max",
            ),
            (
                "analysis/metrics",
                metric(json!({"builtin": "request-duration"})),
                "goes with builtin: request-duration, which needs it",
            ),
        ];
        for (field, value, says) in refusals {
            let input = Input::good("default").with(&format!("Canary/spec/{field}"), value.clone());
            let canary = input.objects.last().context("a canary")?.to_string();
            let answer = cluster.apply(&canary).await;
            let refused = format!(
                "{:#}",
                answer.err().with_context(|| format!("{field}: {value} was taken"))?
            );
            ensure!(
                refused.contains(says),
                "{field}: {value} was refused, but not with {says:?}: {refused}"
            );
        }
        cluster
            .apply(&Input::good("default").objects.pop().context("a canary")?.to_string())
            .await?;
        for (path, says) in [
            ("targetRef", "targetRef: can't be changed; delete this canary and create another"),
            ("traffic/service", "traffic.service.name: can't be changed"),
        ] {
            let moved =
                Input::good("default").with(&format!("Canary/spec/{path}/name"), json!("till"));
            let answer =
                cluster.apply(&moved.objects.last().context("a canary")?.to_string()).await;
            let refused =
                format!("{:#}", answer.err().with_context(|| format!("{path} was changed"))?);
            ensure!(refused.contains(says), "{refused}");
        }
        cluster.kubectl(&["delete", "tgc", "shop", "--wait=false"]).await.map(drop)
    })
}
