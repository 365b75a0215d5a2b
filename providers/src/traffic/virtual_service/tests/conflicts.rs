//! Who else wants the requests.

use super::*;

#[test]
fn a_second_one_for_a_host_in_the_mesh_is_named_in_whatever_form_it_has_the_host() {
    let sentence = |host: &str| {
        vec![format!(
            "route demo/web, spec.hosts: route {host} has host shop.demo.svc.cluster.local for clients in the mesh as well, and Istio doesn't say which of the two counts (IST0109); put both into one, or take the host out of one"
        )]
    };
    let other = |namespace: &str, spec: &str| {
        let mut route = yaml(&format!("metadata: {{name: old, namespace: {namespace}}}"));
        route["spec"] = yaml(spec);
        told("mesh", &route)
    };
    let entry = "http: [{route: [{destination: {host: old}}]}]";
    assert_eq!(other("demo", &format!("{{hosts: [shop], {entry}}}")), sentence("demo/old"));
    assert_eq!(
        other(
            "infra",
            &format!("{{hosts: [shop.demo.svc.cluster.local], gateways: [web, mesh], {entry}}}")
        ),
        sentence("infra/old")
    );
    // Which is another Service, another gateway, or a wildcard that is less specific.
    let nothing: Vec<String> = vec![];
    assert_eq!(other("infra", &format!("{{hosts: [shop], {entry}}}")), nothing);
    assert_eq!(other("demo", &format!("{{hosts: [shop], gateways: [web], {entry}}}")), nothing);
    assert_eq!(other("demo", &format!("{{hosts: ['*.cluster.local'], {entry}}}")), nothing);
    // What its owners split by hosts in another way doesn't help: also its own entries could win.
    assert_eq!(
        other("demo", "{hosts: [shop], http: [{route: [{destination: {host: shop}}]}]}"),
        sentence("demo/old")
    );
}

#[test]
fn two_that_nobody_sees_together_do_not_meet() {
    let mut ours = owners("mesh");
    ours["spec"]["exportTo"] = json!(["."]);
    let mut theirs = owners("mesh");
    theirs["metadata"]["namespace"] = json!("clients");
    theirs["spec"]["hosts"] = json!(["shop.demo.svc.cluster.local"]);
    assert_eq!(VirtualService.conflicts(&ours, &[&theirs], &shop()).len(), 1);
    theirs["spec"]["exportTo"] = json!(["clients"]);
    assert_eq!(VirtualService.conflicts(&ours, &[&theirs], &shop()), []);
}

#[test]
fn on_a_gateway_parts_of_one_host_are_meant_and_the_same_match_is_not() {
    let other = |entries: &str| {
        let mut route = with_http(entries);
        route["metadata"] = json!({"name": "old", "namespace": "legacy"});
        told("gateway", &route)
    };
    let sentence = |index: &str| {
        vec![format!(
            "route demo/web, spec.http[0]: route legacy/old, spec.http[{index}] matches the same requests of host shop.example.com on gateway istio-system/web, and Istio doesn't say which of the two comes first; give one of them another match, or put both into one"
        )]
    };
    assert_eq!(other("- route: [{destination: {host: old}}]"), sentence("0"));
    assert_eq!(
        other(
            "[{match: [{uri: {prefix: /a}}], redirect: {uri: /}}, {match: [{name: all, uri: {prefix: /}}], route: [{destination: {host: old}}]}]"
        ),
        sentence("1")
    );
    let nothing: Vec<String> = vec![];
    assert_eq!(
        other("- {match: [{uri: {prefix: /a}}], route: [{destination: {host: old}}]}"),
        nothing
    );
    let mut elsewhere = with_http("- route: [{destination: {host: old}}]");
    elsewhere["metadata"]["name"] = json!("old");
    elsewhere["spec"]["gateways"] = json!(["web"]);
    assert_eq!(told("gateway", &elsewhere), nothing);
    elsewhere["metadata"]["namespace"] = json!("istio-system");
    assert_eq!(told("gateway", &elsewhere).len(), 1);
}

#[test]
fn an_object_is_no_conflict_with_itself_nor_on_a_gateway_with_one_that_is_split_the_same_way() {
    let route = owners("gateway");
    let mut twin = route.clone();
    twin["metadata"]["name"] = json!("twin");
    let shape = Shape { matches: testers(), ..weight(25).unwrap() };
    for (a, b) in
        [(route.clone(), twin.clone()), (render(&route, Some(&shape)), render(&twin, Some(&shape)))]
    {
        assert_eq!(VirtualService.conflicts(&a, &[&a, &b], &shop()), []);
    }
}

#[test]
fn another_canary_with_a_service_of_ours_is_named() {
    let mut route = owners("gateway");
    route["metadata"]["annotations"] = json!({"split.tidegate.dev/shop-canary": "10"});
    let found = VirtualService.conflicts(&route, &[], &shop());
    assert!(found[0].to_string().contains("shop-canary"), "{found:?}");
}

fn told(case: &str, other: &Value) -> Vec<String> {
    let found = VirtualService.conflicts(&owners(case), &[other], &shop());
    found.iter().map(ToString::to_string).collect()
}
