//! Queries and routes of one's own.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{App, Cluster, Plane, Release, Status};

use crate::story;

/// What the pods themselves say of their answers.
async fn template(cluster: &Cluster, namespace: &str) -> Result<()> {
    let of = |more: &str| {
        let pods = r#"namespace="{{ namespace }}",pod=~"{{ workload }}-[^-]+-[^-]+""#;
        format!("sum(rate(http_requests_total{{{pods}{more}}}[{{{{ interval }}}}]))")
    };
    let code = of(r#",code=~"{{ variables.codes }}""#);
    let query = format!("100 * ({code} or vector(0)) / {}", of(""));
    let template = json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": "MetricTemplate",
        "metadata": {"name": "answers", "namespace": namespace},
        "spec": {"query": query, "variables": {"codes": "5.."}}});
    cluster.apply(&template.to_string()).await
}

/// Only what the pods say counts, of codes that no built-in metric looks at.
fn no_teapots() -> Value {
    let metric = json!({"name": "teapots", "templateRef": {"name": "answers"},
        "variables": {"codes": "418"}, "limit": {"max": 5}});
    json!({"steps": [{"weight": 25, "checks": 3}, {"weight": 50, "checks": 3}],
        "analysis": {"metrics": [metric]}})
}

#[test]
fn a_query_of_one_s_own_judges_by_what_only_its_owner_knows() -> Result<()> {
    story(async |cluster| {
        let namespace = "teapots";
        cluster.namespace(namespace).await?;
        template(cluster, namespace).await?;
        let shop = Release::open(cluster, Plane::EnvoyGateway, namespace, no_teapots()).await?;
        let load = shop.load().await?;
        let bad =
            shop.app().version("2.0").behaves("error-rate", "0.3").behaves("error-code", "418");
        shop.write(&bad).await?;
        let failed = shop.until_phase("Failed").await?;
        let message = failed.message();
        ensure!(message.contains("failed check 2 of 2: teapots "), "{message}");
        ensure!(message.contains(" > 5 (stable 0)"), "{message}");
        let asked = failed.metrics.first().context("a metric")?;
        ensure!(asked.query.contains(r#"pod=~"shop-canary-[^-]+-[^-]+",code=~"418""#), "{asked:?}");

        shop.write(&shop.app().version("2.1")).await?;
        shop.until_phase("Succeeded").await?;
        let summary = load.stop().await?;
        ensure!(summary.lost == 0 && summary.failed == summary.failed_by("2.0"), "{summary:?}");
        Ok(())
    })
}

#[test]
fn where_there_is_no_route_the_canary_makes_one_and_keeps_it_between_runs() -> Result<()> {
    story(async |cluster| {
        let app = App::new("shop", "managed").behaves("latency-ms", "5");
        let gateways = json!([{"name": "traefik", "namespace": "traefik"}]);
        let route = json!({"gateways": gateways, "hosts": ["managed.test"]});
        let spec = json!({"traffic": {"route": route}, "steps": [{"weight": 10}, {"weight": 50}]});
        let shop = Release::adopt(cluster, Plane::Traefik, app, spec).await?;
        let backends = async || {
            let path = "jsonpath={.spec.rules[0].backendRefs[*].name}";
            cluster.kubectl(&["-n", "managed", "get", "httproute", "shop", "-o", path]).await
        };
        ensure!(backends().await? == "shop", "at rest it names the user's Service alone");
        cluster.answers(Plane::Traefik, "managed.test").await?;

        let load = shop.load().await?;
        shop.write(&shop.app().version("2.0")).await?;
        shop.until_phase("Succeeded").await?;
        let summary = load.stop().await?;
        ensure!(summary.failed == 0, "no request fails: {summary:?}");
        ensure!(summary.by("2.0") > 0 && summary.by("1.0") > 0, "{summary:?}");
        ensure!(backends().await? == "shop", "and again afterwards");
        Ok(())
    })
}
