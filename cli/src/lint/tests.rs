use super::*;

const CANARY: &str = "
apiVersion: tidegate.dev/v1alpha1
kind: Canary
metadata: {name: checkout, namespace: shop}
spec:
  targetRef: {name: checkout}
  traffic: {service: {name: checkout}}
";

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: checkout}
spec:
  selector: {matchLabels: {app: checkout}}
  template: {metadata: {labels: {app: checkout}}}
";

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: checkout}
spec: {selector: {app: checkout}, ports: [{port: 80}]}
";

const ROUTE: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: public}]
  rules: [{backendRefs: [{name: checkout, port: 80}]}]
";

fn findings(documents: &[&str]) -> Vec<String> {
    let text = documents.join("\n---");
    let documents: Vec<_> =
        manifest::documents("f.yaml", &text).into_iter().collect::<Result<_, _>>().unwrap();
    lint(&documents).iter().map(ToString::to_string).collect()
}

/// The canary with this below its spec.
#[track_caller]
fn spec(more: &str, expected: &[&str]) {
    assert_eq!(findings(&[&format!("{CANARY}{more}")]), expected);
}

#[test]
fn a_canary_of_few_words_is_right() {
    spec("", &[]);
    assert_eq!(findings(&[CANARY, DEPLOYMENT, SERVICE, ROUTE]), [""; 0]);
}

#[test]
fn an_unknown_field_is_named_with_the_one_that_was_meant() {
    spec(
        "  steps: [{weigth: 10}]",
        &[
            "f.yaml:1:spec.steps[0].weigth: unknown field; did you mean weight?",
            "f.yaml:1:spec.steps[0].weight: is missing",
        ],
    );
    spec(
        "  analysis: {metrics: [{name: a, query: x, limit: {maximum: 3}}]}",
        &[
            "f.yaml:1:spec.analysis.metrics[0].limit.maximum: unknown field; there are max, min",
            "f.yaml:1:spec.analysis.metrics[0].limit: set min, max or both",
        ],
    );
    spec(
        "  skipanalysis: true",
        &["f.yaml:1:spec.skipanalysis: unknown field; did you mean skipAnalysis?"],
    );
}

#[test]
fn values_are_checked_against_the_schema() {
    spec("  steps: [{weight: 101}]", &["f.yaml:1:spec.steps[0].weight: 101: at most 100"]);
    spec("  steps: []", &["f.yaml:1:spec.steps: 0 entries, at least 1"]);
    spec(
        "  steps: [{weight: ten}]",
        &["f.yaml:1:spec.steps[0].weight: \"ten\": an integer is needed"],
    );
    spec(
        "  analysis: {interval: 30}",
        &["f.yaml:1:spec.analysis.interval: 30: a duration is needed, such as 30s, 5m or 1h30m"],
    );
    spec(
        "  progressDeadline: 10 minutes",
        &[
            "f.yaml:1:spec.progressDeadline: \"10 minutes\": a duration is needed, such as 30s, 5m or 1h30m",
        ],
    );
    spec(
        "  analysis: {noData: {then: RollBack}}",
        &[
            "f.yaml:1:spec.analysis.noData.then: \"RollBack\": one of Rollback, Hold, Promote; did you mean Rollback?",
        ],
    );
}

#[test]
fn the_servers_rules_are_applied() {
    spec(
        "  steps: [{weight: 20}, {weight: 10}]",
        &[
            "f.yaml:1:spec.steps[1].weight: 10 is below the 20 of the step before; weights rise from step to step",
        ],
    );
    spec(
        "  steps: [{weight: 20, hold: {for: 1m, untilApproved: true}}]",
        &["f.yaml:1:spec.steps[0].hold: set either for or untilApproved: true"],
    );
    spec(
        "  analysis: {interval: 500ms}",
        &["f.yaml:1:spec.analysis.interval: 500ms: at least 1s, at most a year"],
    );
    spec(
        "  analysis: {metrics: [{name: a, builtin: request-success-rate, query: x, limit: {min: 1}}]}",
        &["f.yaml:1:spec.analysis.metrics[0]: set exactly one of builtin, query and templateRef"],
    );
    spec(
        "  analysis: {metrics: [{name: a, builtin: request-success-rate, variables: {x: y}, limit: {min: 1}}]}",
        &["f.yaml:1:spec.analysis.metrics[0].variables: a builtin metric has none; remove them"],
    );
    spec(
        "  analysis: {metrics: [{name: a, builtin: request-duration, limit: {max: 1}}]}",
        &[
            "f.yaml:1:spec.analysis.metrics[0].quantile: request-duration needs one between 0 and 1, such as 0.99",
        ],
    );
    spec(
        "  analysis: {metrics: [{name: a, query: x, limit: {max: 1}}, {name: a, query: x, limit: {max: 1}}]}",
        &[
            "f.yaml:1:spec.analysis.metrics[1].name: \"a\" is the name of another metric; names are unique",
        ],
    );
}

#[test]
fn queries_are_rendered() {
    spec(
        "  analysis: {metrics: [{name: a, query: 'x{a=\"{{ workloat }}\"}', limit: {max: 1}}]}",
        &[
            "f.yaml:1:spec.analysis.metrics[0].query: query template: unknown name `workloat`; there are interval, namespace, service, workload",
        ],
    );
}

#[test]
fn a_template_is_checked_alone_and_with_the_metric_that_uses_it() {
    let template = |query: &str| {
        format!(
            "\napiVersion: tidegate.dev/v1alpha1\nkind: MetricTemplate\nmetadata: {{name: t}}\nspec: {{query: '{query}'}}"
        )
    };
    let uses = |variables: &str| {
        format!(
            "{CANARY}  analysis: {{metrics: [{{name: a, templateRef: {{name: t}}, variables: {{{variables}}}, limit: {{max: 1}}}}]}}"
        )
    };
    assert_eq!(findings(&[&uses("shop: eu"), &template("{{ variables.shop }}")]), [""; 0]);
    assert_eq!(
        findings(&[&uses("")]),
        [""; 0],
        "a template that isn't in the files may be in the cluster"
    );
    let [missing] = &findings(&[&uses(""), &template("{{ variables.shop }}")])[..] else {
        panic!()
    };
    assert!(missing.contains("f.yaml:1:spec.analysis.metrics[0].query: "), "{missing}");
    assert!(missing.contains("unknown name `variables.shop`"), "{missing}");
    let [syntax] = &findings(&[&template("{{ x")])[..] else { panic!() };
    assert!(syntax.starts_with("f.yaml:1:spec.query: query template, line 1: "), "{syntax}");
}

#[test]
fn other_versions_and_kinds_are_named() {
    assert_eq!(
        findings(&["apiVersion: tidegate.dev/v1\nkind: Canary\nmetadata: {name: a}"]),
        ["f.yaml:1:apiVersion: \"tidegate.dev/v1\": this version knows tidegate.dev/v1alpha1"]
    );
    assert_eq!(
        findings(&["apiVersion: tidegate.dev/v1alpha1\nkind: MetricTemplat\nmetadata: {name: a}"]),
        [
            "f.yaml:1:kind: \"MetricTemplat\": one of Canary, CanaryAction, CanaryRun, MetricTemplate; did you mean MetricTemplate?"
        ]
    );
    assert_eq!(findings(&["apiVersion: flagger.app/v1beta1\nkind: Canary\nspec: {x: 1}"]), [""; 0]);
}

#[track_caller]
fn neighbours(others: &[&str], expected: &[&str]) {
    let mut all = vec![CANARY];
    all.extend(others);
    assert_eq!(findings(&all), expected);
}

#[test]
fn names_that_are_in_none_of_the_files_are_doubted() {
    neighbours(
        &[&DEPLOYMENT.replace("name: checkout}", "name: chekout}")],
        &[
            "f.yaml:1:spec.targetRef.name: warning: no Deployment \"checkout\" in these files; did you mean chekout?",
        ],
    );
    neighbours(
        &[&ROUTE.replace("{name: checkout,", "{name: other,")],
        &[
            "f.yaml:1:spec.traffic.service.name: warning: no HTTPRoute in these files names service \"checkout\", and there is no traffic.route",
        ],
    );
}

#[test]
fn a_service_has_to_select_the_targets_pods() {
    neighbours(
        &[DEPLOYMENT, &SERVICE.replace("app: checkout", "app: shop, tier: web")],
        &[
            "f.yaml:3:spec.selector.app: \"shop\": the pods of deployment checkout have \"checkout\"",
            "f.yaml:3:spec.selector.tier: \"web\": the pods of deployment checkout don't have it",
        ],
    );
    neighbours(
        &[&SERVICE.replace("selector: {app: checkout}, ", "")],
        &["f.yaml:2:spec.selector: none, so it has no pods to tell apart; name some"],
    );
}

#[test]
fn a_route_that_cannot_be_split_is_refused_with_its_place() {
    let shared = ROUTE.replace("[{name: checkout, port: 80}]", "[{name: checkout}, {name: b}]");
    neighbours(
        &[&shared],
        &[
            "f.yaml:2:spec.rules[0].backendRefs[0]: service checkout is one of 2 backends, and only one that is alone can be split; give it a rule of its own",
        ],
    );
}

#[test]
fn files_may_leave_the_namespace_to_whoever_applies_them() {
    let nowhere = CANARY.replace(", namespace: shop", "");
    let route = ROUTE.replace("name: web", "name: web, namespace: shop");
    assert_eq!(findings(&[&nowhere, &route]), [""; 0]);
    assert_eq!(findings(&[CANARY, ROUTE]), [""; 0]);
    let elsewhere = route.replace("namespace: shop", "namespace: infra");
    assert_eq!(findings(&[CANARY, &elsewhere]), [""; 0], "it is none of this canary's");
}

#[test]
fn what_would_pull_in_another_direction_is_refused() {
    let scaler = "
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: checkout}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: checkout}}";
    neighbours(
        &[DEPLOYMENT, scaler],
        &[
            "f.yaml:3:spec.scaleTargetRef.name: deployment checkout is a canary's target, and one with an autoscaler can't be one yet; remove the autoscaler or the canary",
        ],
    );
    neighbours(
        &[&DEPLOYMENT.replace("spec:\n", "spec:\n  paused: false\n")],
        &[
            "f.yaml:2:spec.paused: new revisions are held by it, so an apply that sets it is refused in a run; remove it",
        ],
    );
}

#[test]
fn the_port_of_a_route_of_ours_has_to_be_one_of_the_services() {
    let canary = CANARY.replace(
        "{service: {name: checkout}}",
        "{service: {name: checkout, port: 81}, route: {gateways: [{name: public}]}}",
    );
    assert_eq!(
        findings(&[&canary, SERVICE]),
        ["f.yaml:1:spec.traffic.service.port: 81: service checkout has 80"]
    );
}

#[test]
fn who_reaches_the_canary_is_checked_with_its_field() {
    let testers = "  testers: [{headers: {x-canary: {exact: '1'}}, cookies: {canary: {regex: always|once}}}]\n";
    spec(&format!("{testers}  steps: [{{weight: 0, checks: 3}}, {{weight: 100}}]"), &[]);
    spec("  steps: [{weight: 0, match: [{query: {beta: {exact: '1'}}}], checks: 5}]", &[]);
    spec("  steps: [{weight: 0, mirror: {percent: 20}}]", &[]);
    spec(
        "  testers: [{headers: {cookie: {exact: a}}}]",
        &[
            "f.yaml:1:spec.testers[0].headers: \"cookie\": cookies have a field of their own; use cookies",
        ],
    );
    spec(
        "  testers: [{headers: {x: {exakt: a}}}]",
        &[
            "f.yaml:1:spec.testers[0].headers.x.exakt: unknown field; did you mean exact?",
            "f.yaml:1:spec.testers[0].headers.x: a value is either exact or a regex; set one of them",
        ],
    );
    // The numbers are those of the file, also where a step is put in front.
    spec(
        &format!(
            "{testers}  steps: [{{weight: 5}}, {{weight: 5, mirror: {{percent: 5}}, match: [{{}}]}}]"
        ),
        &[
            "f.yaml:1:spec.steps[1].match[0]: without a condition it would be every request; name a header, a cookie or a query parameter",
        ],
    );
    spec(
        &format!("{testers}  steps: [{{weight: 5}}, {{weight: 50, checks: 0}}]"),
        &[
            "f.yaml:1:spec.steps[1].checks: 0 checks at a weight above 0, with a match or with a mirror would go on unjudged; ask for 1 or more, or set skipAnalysis",
        ],
    );
}
