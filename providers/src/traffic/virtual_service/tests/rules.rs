//! What the canary's host needs beside it.

use std::collections::BTreeMap;

use super::*;

#[test]
fn the_canarys_host_has_what_the_services_has() {
    let apex = rule(
        "shop-limits",
        "{host: shop.demo.svc.cluster.local, exportTo: ['*'], workloadSelector: {matchLabels: {app: web}}, trafficPolicy: {outlierDetection: {consecutive5xxErrors: 3}, tls: {mode: ISTIO_MUTUAL}}, subsets: [{name: all, labels: {app: shop}}]}",
    );
    let Companion { wanted, refused } = of(&[&apex, &rule("a", "{host: admin}")], &[]);
    assert_eq!(refused, []);
    let mut spec = apex["spec"].clone();
    spec["host"] = json!("shop-canary.demo.svc.cluster.local");
    assert_eq!(
        wanted,
        Some(json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "DestinationRule",
            "metadata": {"name": "shop-canary", "namespace": "demo", "labels": {"tidegate.dev/canary": "shop"}},
            "spec": spec,
        }))
    );
    // Again, with the copy in its place.
    let copy = wanted.clone().unwrap();
    assert_eq!(of(&[&apex, &copy], &[]), Companion { wanted, refused: vec![] });
}

#[test]
fn without_a_rule_or_with_one_for_both_there_is_nothing_to_copy() {
    assert_eq!(of(&[], &[]), Companion::default());
    let all = rule("tls", "{host: '*.local', trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}");
    assert_eq!(of(&[&all], &[&owners("gateway")]), Companion::default());
}

#[test]
fn what_would_be_written_over_or_outdone_is_refused() {
    let shop = rule("shop", "{host: shop}");
    let check = |rules: &[&Value], sentence: &str| {
        let refused = of(rules, &[]).refused;
        assert_eq!(refused.iter().map(Refused::to_string).collect::<Vec<_>>(), [sentence]);
    };
    check(
        &[&shop, &rule("theirs", "{host: shop-canary.demo.svc}")],
        "destinationrule demo/theirs, spec.host: shop-canary is named by hand, and Tidegate adds it when a run starts; name only shop",
    );
    check(
        &[&shop, &rule("shop-canary", "{host: admin}")],
        "destinationrule demo/shop-canary, metadata.name: the copy for shop-canary has this name, and this one isn't Tidegate's; rename it",
    );
    check(
        &[&shop, &rule("more", "{host: shop.demo}")],
        "destinationrule demo/shop, spec.host: destinationrule demo/more is for service shop as well, and only one can be copied for shop-canary; put both into one",
    );
    let mut elsewhere = rule("client", "{host: shop.demo.svc.cluster.local}");
    elsewhere["metadata"]["namespace"] = json!("clients");
    check(
        &[&shop, &elsewhere],
        "destinationrule clients/client, spec.host: it is for service shop and not for shop-canary, so the two would be reached in different ways; move it to namespace demo",
    );
}

#[test]
fn a_subset_without_the_canarys_pods_is_refused() {
    let route = owners("mesh");
    let check = |rules: &[&Value], sentence: &str| {
        let refused = of(rules, &[&route]).refused;
        let told: Vec<_> = refused.iter().map(Refused::to_string).collect();
        assert_eq!(told.first().map_or("", String::as_str), sentence);
    };
    let place = "route demo/web, spec.http[0] (main).route[0].destination.subset: ";
    check(
        &[],
        &format!("{place}no DestinationRule beside it has a subset all; add it, or name none"),
    );
    check(
        &[&rule("shop", "{host: shop}")],
        &format!("{place}destinationrule demo/shop has no subset all; add it, or name none"),
    );
    check(
        &[&rule("shop", "{host: shop, subsets: [{name: all, labels: {app: shop, version: v1}}]}")],
        &format!(
            "{place}subset all of destinationrule demo/shop wants label version=v1, which the new revision's pods don't have; select them by what all revisions have, or name no subset"
        ),
    );
    check(&[&rule("shop", "{host: shop, subsets: [{name: all, labels: {app: shop}}]}")], "");
}

#[test]
fn nothing_unknown_is_fatal() {
    let (mut apex, mut route) = (rule("shop", "{host: shop}"), owners("mesh"));
    for odd in [json!(null), json!("odd"), json!([{}]), json!({}), json!(7)] {
        apex["spec"]["subsets"] = odd.clone();
        let _ = of(&[&apex, &odd], &[&route, &odd]);
        route["spec"]["http"][0]["route"] = odd.clone();
        let _ = of(&[&apex], &[&route]);
    }
}

fn of(rules: &[&Value], routes: &[&Value]) -> Companion {
    let map = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    companion(rules, routes, &shop(), &map("app", "shop"), &map("tidegate.dev/canary", "shop"))
}

fn rule(name: &str, spec: &str) -> Value {
    let mut rule = yaml(&format!("metadata: {{name: {name}, namespace: demo}}"));
    rule["spec"] = yaml(spec);
    rule
}
