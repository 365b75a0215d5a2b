use super::*;
use crate::traffic::Route;

#[test]
fn a_proxy_is_found_by_the_routes_in_which_the_service_alone_answers() {
    let found = find([&owners("root"), &owners("everything")], &shop());
    let route = Route { name: "web".into(), parents: vec![Parent::Of(System::Contour)] };
    assert_eq!((found.routes, found.refused), (vec![route.clone(), route], vec![]));
    assert_eq!(find([&owners("root")], &Backends::new("demo", "other").unwrap()), Found::default());
    // Services are of the proxy's own namespace.
    assert_eq!(find([&owners("root")], &Backends::new("other", "shop").unwrap()), Found::default());
    assert_eq!(HttpProxy.services(&owners("several")), ["admin", "admin-old", "shop"]);
}

#[test]
fn what_cannot_be_split_is_refused_with_its_place_and_the_way_out() {
    refused(
        "routes: [{services: [{name: shop, port: 80, weight: 9}, {name: admin, port: 80}]}]",
        "route demo/web, spec.routes[0].services[0]: service shop is one of 2 backends, and only one that is alone can be split; give it a rule of its own",
    );
    refused(
        "routes: [{services: [{name: shop, port: 80, weight: 10001}]}]",
        "route demo/web, spec.routes[0].services[0].weight: 10001 is too large to be split (at most 10000); it is the only backend, so 1 means the same",
    );
    let by_hand =
        "shop-canary is named by hand, and Tidegate adds it when a run starts; name only shop";
    refused(
        "routes: [{services: [{name: shop, port: 80, weight: 90}, {name: shop-canary, port: 80, weight: 10}]}]",
        &format!("route demo/web, spec.routes[0].services[1].name: {by_hand}"),
    );
    refused(
        "routes: [{}, {services: [{name: shop-canary, port: 80}]}]",
        &format!("route demo/web, spec.routes[1].services[0].name: {by_hand}"),
    );
    refused(
        "routes: [{services: [{name: shop, port: 80}, {name: shop-canary, port: 80, mirror: true}]}]",
        &format!("route demo/web, spec.routes[0].services[1].name: {by_hand}"),
    );
    refused(
        "tcpproxy: {services: [{name: admin, port: 80}, {name: shop, port: 80}]}",
        "route demo/web, spec.tcpproxy.services[1]: shop gets connections here, whose requests nobody sees; split it in spec.routes, or let tcpproxy name another service",
    );
}

#[test]
fn a_service_that_only_gets_copies_is_nothing_to_split() {
    let proxy = with(
        "routes: [{services: [{name: admin, port: 80}, {name: shop, port: 80, mirror: true}]}]",
    );
    assert_eq!(find([&proxy], &shop()), Found::default());
}

#[test]
fn a_proxy_that_is_split_can_be_released_whatever_has_become_of_it() {
    let mut proxy = render(&owners("root"), Some(&everybody(25)));
    assert_eq!(find([&proxy], &shop()).refused, []);
    proxy["spec"]["routes"][0]["services"][0]["name"] = json!("admin");
    let found = find([&proxy], &shop());
    assert_eq!((found.routes.len(), found.refused.len()), (1, 1), "{found:?}");
}

#[test]
fn what_contour_would_refuse_in_a_shape_is_told_before() {
    let obstacle = |spec: &str, shape: &Shape| {
        HttpProxy.obstacle(&with(spec), &shop(), shape).map(|o| o.to_string()).unwrap_or_default()
    };
    let all = everybody(0);
    let plain = "routes: [{services: [{name: shop, port: 80}]}]";
    assert_eq!(obstacle(plain, &all), "");

    let mirrored = "routes: [{}, {services: [{name: shop, port: 80}, {name: shadow, port: 80, mirror: true}]}]";
    let sentence = "route demo/web, spec.routes[1].services[1].mirror: requests are mirrored to shadow already, and Contour takes one mirror for a route; take it out, or the mirror out of the canary's steps";
    assert_eq!(obstacle(mirrored, &all), sentence);
    assert_eq!(obstacle(mirrored, &Shape { mirror: None, ..all.clone() }), "");

    for (condition, what) in [
        ("header: {name: X-Tester, exact: \"no\"}", "header x-tester"),
        ("header: {name: x-tester, notexact: \"yes\"}", "header x-tester"),
        ("queryParameter: {name: Beta, exact: \"2\"}", "query parameter beta"),
    ] {
        let spec = format!(
            "routes: [{{conditions: [{{prefix: /}}, {{{condition}}}], services: [{{name: shop, port: 80}}]}}]"
        );
        let part = what.rsplit_once(' ').unwrap().0;
        let sentence = format!(
            "route demo/web, spec.routes[0].conditions[1]: Contour takes no second condition on {what} beside this one; tell the testers by another {part}, or by a pattern"
        );
        assert_eq!(obstacle(&spec, &all), sentence);
    }
    let other = "routes: [{conditions: [{header: {name: x-tester, notexact: \"no\"}}], services: [{name: shop, port: 80}]}]";
    assert_eq!(obstacle(other, &all), "");

    let value = Pattern::Exact(String::new());
    let empty = Condition { part: Part::Header, name: "x-a".into(), value };
    let shape = Shape { matches: vec![Match::new(vec![empty]).unwrap()], ..Shape::default() };
    let sentence = "route demo/web, spec.routes[0].conditions: header x-a with an empty value can't be told here; use a pattern such as ^$";
    assert_eq!(obstacle(plain, &shape), sentence);
}

#[track_caller]
fn refused(spec: &str, sentence: &str) {
    let found = find([&with(spec)], &shop());
    assert_eq!(found.routes, []);
    assert_eq!(found.refused.iter().map(Refused::to_string).collect::<Vec<_>>(), [sentence]);
}

fn with(spec: &str) -> Value {
    let mut proxy = owners("root");
    proxy["spec"] = yaml(spec);
    proxy
}
