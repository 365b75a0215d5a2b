//! What can't work is said before anything moves: which object, which field, what is wrong with it, and the way out.

mod mistake;
mod schema;

use anyhow::{Result, ensure};
use futures::future::join_all;
use serde_json::{Value, json};
use tests::{App, Cluster, Controller, Plane, scenario};

use mistake::{Input, Mistake, Way, mistake};

const PLANES: &[Plane] = &[Plane::Prometheus, Plane::Traefik];

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
                "in namespace no-route names service shop; write one, set spec.traffic.route, or set spec.provider",
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
            &["the routes are programmed by example.com/other, whose metrics are not known yet"],
            Way::Written,
        ),
        mistake(
            Input::good("paused"),
            &[
                "deployment shop is paused by its owner; resume it once",
                "kubectl rollout resume deployment shop -n paused",
            ],
            Way::Kubectl(&["rollout", "resume", "deployment", "shop"]),
        )
        .after(&["rollout", "pause", "deployment", "shop"]),
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
