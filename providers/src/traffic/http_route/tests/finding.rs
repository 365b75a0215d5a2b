use super::*;
use crate::traffic::{GatewayName, Route};

#[test]
fn a_route_is_found_by_the_rules_that_have_the_service_alone() {
    let found = find([&owners("hosts"), &owners("another-service")], &shop());
    let gateway = |g: &&str| {
        Parent::Gateway(GatewayName { namespace: "infra".into(), name: (*g).to_owned() })
    };
    let route = |name: &str, gateways: &[&str]| Route {
        name: name.into(),
        parents: gateways.iter().map(gateway).collect(),
    };
    assert_eq!(found.refused, []);
    assert_eq!(found.routes, [route("web", &["public", "internal"]), route("web", &["public"])]);
    assert_eq!(
        find([&owners("plain")], &Backends::new("demo", "other").unwrap()),
        Found::default()
    );
}

#[test]
fn what_cannot_be_split_is_refused_with_its_place_and_the_way_out() {
    refused(
        "backendRefs: [{name: shop, port: 80, weight: 9}, {name: admin, port: 80}]",
        "route demo/web, spec.rules[0].backendRefs[0]: service shop is one of 2 backends, and only one that is alone can be split; give it a rule of its own",
    );
    refused(
        "backendRefs: [{name: shop, port: 80, weight: 10001}]",
        "route demo/web, spec.rules[0].backendRefs[0].weight: 10001 is too large to be split (at most 10000); it is the only backend, so 1 means the same",
    );
    refused(
        "backendRefs: [{name: shop, port: 80, weight: 90}, {name: shop-canary, port: 80, weight: 10}]",
        "route demo/web, spec.rules[0].backendRefs[1].name: shop-canary is named by hand, and Tidegate adds it when a run starts; name only shop",
    );
    refused(
        "{name: test, backendRefs: [{name: shop-canary, port: 80}]}",
        "route demo/web, spec.rules[0] (test).backendRefs[0].name: shop-canary is named by hand, and Tidegate adds it when a run starts; name only shop",
    );
}

#[test]
fn the_largest_weight_can_be_split() {
    let route = with_rule("backendRefs: [{name: shop, port: 80, weight: 10000}]");
    assert_eq!(find([&route], &shop()).refused, []);
    let split = render(&route, &shop(), Weight::new(100));
    assert_eq!(split["spec"]["rules"][0]["backendRefs"][1]["weight"], 1_000_000);
}

#[test]
fn a_service_of_the_same_name_elsewhere_is_another_one() {
    let route = with_rule("backendRefs: [{name: shop, namespace: other, port: 80}]");
    assert_eq!(find([&route], &shop()), Found::default());
    assert_eq!(render(&route, &shop(), None), route);
}

#[test]
fn a_route_of_another_namespace_is_refused() {
    let mut route = with_rule("backendRefs: [{name: shop, namespace: demo, port: 80}]");
    route["metadata"]["namespace"] = json!("infra");
    let found = find([&route], &shop());
    assert_eq!(found.routes, []);
    assert_eq!(
        found.refused[0].to_string(),
        "route infra/web, spec.rules[0].backendRefs[0].namespace: service shop is named from another namespace, where its canary can't be; move the route to namespace demo"
    );
    route["spec"]["rules"][0]["backendRefs"][0]["namespace"].take();
    assert_eq!(find([&route], &shop()), Found::default());
}

#[test]
fn parents_have_to_be_gateways_or_services() {
    let with = |parents: Value| {
        let mut route = owners("plain");
        route["spec"]["parentRefs"] = parents;
        let found = find([&route], &shop());
        assert_eq!(found.routes.is_empty(), !found.refused.is_empty());
        found.refused.first().map(Refused::to_string).unwrap_or_default()
    };
    let gateway = json!({"name": "public"});
    let listeners =
        json!({"group": "gateway.networking.k8s.io", "kind": "ListenerSet", "name": "public"});
    let service = json!({"group": "", "kind": "Service", "name": "shop"});
    let nobody = "route demo/web, spec.parentRefs: no parent is a Gateway or a Service, so there is nobody to split; name one";
    assert_eq!(with(json!([gateway])), "");
    assert_eq!(with(json!([gateway, listeners])), "");
    assert_eq!(with(json!([listeners])), nobody);
    assert_eq!(with(json!([])), nobody);
    assert_eq!(with(json!([gateway, service])), "");
    let elsewhere = json!({"group": "", "kind": "Service", "name": "shop", "namespace": "other"});
    assert_eq!(with(json!([elsewhere])), nobody);
}

#[test]
fn a_route_that_is_split_can_be_released_whatever_has_become_of_it() {
    let mut route = render(&owners("plain"), &shop(), Weight::new(25));
    assert_eq!(find([&route], &shop()).refused, []);
    route["spec"]["parentRefs"] = json!([]);
    route["spec"]["rules"][0]["backendRefs"][0]["name"] = json!("admin");
    let found = find([&route], &shop());
    assert_eq!((found.routes.len(), found.refused.len()), (1, 1), "{found:?}");
}

#[test]
fn a_service_whose_canary_has_no_name_is_refused() {
    let name = |length| Backends::new("demo", "s".repeat(length));
    assert_eq!(name(56).unwrap().canary.len(), 63);
    assert!(name(56).unwrap().annotation().len() < "split.tidegate.dev/".len() + 63);
    assert_eq!(
        name(57).unwrap_err().to_string(),
        format!(
            "service demo/{}: its name has 57 characters, and with -canary a name may have 63; use a service with at most 56 characters",
            "s".repeat(57)
        )
    );
}

#[track_caller]
fn refused(rule: &str, sentence: &str) {
    let route = with_rule(rule);
    let found = find([&route], &shop());
    assert_eq!(found.routes, []);
    assert_eq!(found.refused.iter().map(Refused::to_string).collect::<Vec<_>>(), [sentence]);
}

fn with_rule(rule: &str) -> Value {
    let mut route = owners("plain");
    route["spec"]["rules"] = json!([yaml(rule)]);
    route
}
