//! Who else wants the requests, and what a route of ours may write over.

use super::*;

#[test]
fn another_route_that_claims_the_same_host_and_path_is_named() {
    let other = |host: &str, rule: &str| {
        let mut route = owners("plain");
        route["metadata"] = json!({"name": "old", "namespace": "legacy"});
        route["spec"]["hostnames"] = json!([host]);
        route["spec"]["rules"] = json!([yaml(rule)]);
        route
    };
    let sentence = "route demo/shop, spec.rules[0]: route legacy/old, spec.rules[0] claims path / of host shop.example.com on gateway infra/public as well; give one of them another host or path, or take it out of route legacy/old";
    let everything = "backendRefs: [{name: old, port: 80}]";

    check(&other("shop.example.com", everything), &[sentence]);
    check(
        &other("SHOP.example.com", "{matches: [{path: {value: /old}}, {path: {value: /}}]}"),
        &[sentence],
    );
    // What is more or less specific is meant.
    check(&other("shop.example.com", "matches: [{path: {value: /old}}]"), &[]);
    check(&other("shop.example.com", "matches: [{path: {type: Exact, value: /}}]"), &[]);
    check(&other("shop.example.com", "matches: [{method: POST}]"), &[]);
    check(&other("shop.example.com", "matches: [{headers: [{name: a, value: b}]}]"), &[]);
    check(&other("*.example.com", everything), &[]);
    check(&other("www.example.com", everything), &[]);

    let mut elsewhere = other("shop.example.com", everything);
    elsewhere["spec"]["parentRefs"][0]["name"] = json!("internal");
    check(&elsewhere, &[]);
    let mut listener = other("shop.example.com", everything);
    listener["spec"]["parentRefs"][0]["sectionName"] = json!("web");
    check(&listener, &[sentence]);
}

#[test]
fn a_route_is_no_conflict_with_itself_nor_with_one_that_is_split_the_same_way() {
    let route = made();
    let mut twin = route.clone();
    twin["metadata"]["name"] = json!("twin");
    assert_eq!(HttpRoute.conflicts(&route, &[&route, &twin], &shop()), []);
    twin["spec"]["rules"][0]["backendRefs"][0]["name"] = json!("other");
    assert_eq!(HttpRoute.conflicts(&route, &[&route, &twin], &shop()).len(), 1);
}

#[test]
fn the_same_conditions_in_another_order_are_the_same_claim() {
    let with = |name: &str, headers: Value| {
        let mut route = owners("plain");
        route["metadata"]["name"] = json!(name);
        route["spec"]["rules"][0]["matches"] =
            json!([{"path": {"type": "PathPrefix", "value": "/a/"}, "headers": headers}]);
        route
    };
    let ours = with("web", json!([{"name": "X-A", "value": "1"}, {"name": "x-b", "value": "2"}]));
    let mut theirs = with(
        "old",
        json!([{"type": "Exact", "name": "x-b", "value": "2"}, {"name": "x-a", "value": "1"}]),
    );
    theirs["spec"]["rules"][0]["backendRefs"][0]["name"] = json!("old");
    assert_eq!(
        HttpRoute.conflicts(&ours, &[&theirs], &shop())[0].to_string(),
        "route demo/web, spec.rules[0]: route demo/old, spec.rules[0] claims path /a of every host on gateway infra/public as well; give one of them another host or path, or take it out of route demo/old"
    );
}

#[test]
fn a_canary_whose_services_are_ours_is_named() {
    let with = |key: &str| {
        let mut route = owners("plain");
        route["metadata"]["annotations"] = json!({key: "10"});
        HttpRoute
            .conflicts(&route, &[], &shop())
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        with("split.tidegate.dev/shop-canary"),
        [
            "route demo/web, metadata.annotations[split.tidegate.dev/shop-canary]: a canary of service shop-canary splits this route, and what it calls shop-canary is ours; rename one of the services"
        ]
    );
    assert_eq!(with("split.tidegate.dev/shop"), [""; 0]);
    assert_eq!(with("split.tidegate.dev/cart"), [""; 0]);
}

#[test]
fn a_route_of_ours_is_applied_only_where_it_differs_and_never_over_another_one() {
    let managed = managed();
    let stored = live(made());
    let split = render(&stored, &shop(), Weight::new(25));
    assert!(is_current(&managed, &stored) && is_current(&managed, &split));

    let mut labelled = stored.clone();
    labelled["metadata"]["labels"]["argocd"] = json!("x");
    assert!(is_current(&managed, &labelled));

    let differs = |change: &dyn Fn(&mut Managed)| {
        let mut other = managed.clone();
        change(&mut other);
        !is_current(&other, &split)
    };
    assert!(differs(&|m| m.port = 81));
    assert!(differs(&|m| m.hosts.clear()));
    assert!(differs(&|m| m.mesh = true));
    assert!(differs(&|m| m.gateways[1].section_name = None));
    assert!(differs(&|m| m.labels.extend([("a".to_owned(), "b".to_owned())])));

    assert!(managed.owns(&stored));
    let mut another = managed.clone();
    another.labels = [("tidegate.dev/canary".to_owned(), "another".to_owned())].into();
    assert!(!another.owns(&stored) && !is_current(&another, &stored));
    assert!(!managed.owns(&owners("plain")));
}

#[track_caller]
fn check(other: &Value, sentences: &[&str]) {
    let found = HttpRoute.conflicts(&made(), &[other], &shop());
    assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), sentences);
}

fn is_current(managed: &Managed, live: &Value) -> bool {
    managed.is_current(&HttpRoute, &HttpRoute.managed(managed).unwrap(), live)
}
