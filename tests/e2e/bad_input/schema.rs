//! What the API server refuses by the schema alone.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::scenario;

use crate::PLANES;
use crate::mistake::Input;

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
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
        let matching = |value: Value| json!([{"headers": {"x-canary": value}}]);
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
            (
                "steps",
                json!([{"weight": 0, "match": matching(json!({"exact": "1"})), "checks": 0}]),
                "would go on unjudged; ask for 1 or more, or set skipAnalysis",
            ),
            (
                "steps",
                json!([{
                    "weight": 0, "match": matching(json!({"exact": "1"})), "mirror": {"percent": 5},
                }]),
                "make them two steps",
            ),
            (
                "steps",
                json!([{"weight": 0, "mirror": {"percent": 0}}]),
                "should be greater than or equal to 1",
            ),
            ("steps", json!([{"weight": 0, "match": []}]), "should have at least 1 items"),
            ("testers", json!([{}]), "without a condition it would be every request"),
            ("testers", json!([{"headers": {}}]), "without a condition it would be every request"),
            ("testers", matching(json!({})), "either exact or a regex"),
            ("testers", matching(json!({"exact": "1", "regex": "1"})), "either exact or a regex"),
            ("testers", matching(json!({"exact": "a\tb"})), "testers[0].headers.x-canary.exact"),
            ("testers", matching(json!({"exact": "y".repeat(257)})), "may not be more than 256"),
            (
                "testers",
                json!([{"headers": {"cookie": {"exact": "1"}}}]),
                "cookies have a field of their own; use cookies",
            ),
            ("testers", json!([{"headers": {"host": {"exact": "1"}}}]), "match something else"),
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
