use super::*;
use crate::traffic::Route;

#[test]
fn an_object_is_found_by_the_entries_that_have_the_service_alone() {
    let found = find([&owners("entries"), &owners("delegate")]);
    let route = Route { name: "web".into(), parents: vec![Parent::Of(System::Istio)] };
    assert_eq!(found, Found { routes: vec![route.clone(), route], refused: vec![] });
    let other = Backends::new("demo", "other").unwrap();
    let found = crate::traffic::find(&VirtualService, [&owners("gateway")], &other);
    assert_eq!(found, Found::default());
}

#[test]
fn a_service_is_known_in_each_of_its_forms_and_only_in_its_namespace() {
    let found = |host: &str, from: &str| {
        let mut route = with_http(&format!("- route: [{{destination: {{host: \"{host}\"}}}}]"));
        route["metadata"]["namespace"] = json!(from);
        find([&route])
    };
    for host in ["shop", "shop.demo", "shop.demo.svc", "shop.demo.svc.cluster.local"] {
        assert_eq!(found(host, "demo").routes.len(), 1, "{host}");
    }
    for host in
        ["shops", "shop.example.com", "shop.other.svc.cluster.local", "shop.demo.svclocal", "*"]
    {
        assert_eq!(found(host, "demo"), Found::default(), "{host}");
    }
    assert_eq!(found("shop", "infra"), Found::default());
    let refused = found("shop.demo.svc.cluster.local", "infra").refused;
    assert_eq!(
        refused[0].to_string(),
        "route infra/web, spec.http[0].route[0].destination.host: service shop is named from another namespace, where its canary can't be; move the route to namespace demo"
    );
}

#[test]
fn the_services_of_its_own_namespace_are_told() {
    let mut route = owners("entries");
    route["spec"]["tcp"] = yaml("[{route: [{destination: {host: db}}]}]");
    assert_eq!(VirtualService.services(&route), ["admin", "db", "shop"]);
}

#[test]
fn what_cannot_be_split_is_refused_with_its_place_and_the_way_out() {
    refused(
        "- route: [{destination: {host: shop}, weight: 90}, {destination: {host: admin}, weight: 10}]",
        "route demo/web, spec.http[0].route[0]: service shop is one of 2 backends, and only one that is alone can be split; give it a rule of its own",
    );
    refused(
        "- route: [{destination: {host: shop, subset: v1}, weight: 90}, {destination: {host: shop, subset: v2}, weight: 10}]",
        "route demo/web, spec.http[0].route[0]: service shop is one of 2 backends, and only one that is alone can be split; give it a rule of its own",
    );
    refused(
        "- {name: main, route: [{destination: {host: shop}, weight: 10001}]}",
        "route demo/web, spec.http[0] (main).route[0].weight: 10001 is too large to be split (at most 10000); it is the only backend, so 1 means the same",
    );
    let by_hand =
        "shop-canary is named by hand, and Tidegate adds it when a run starts; name only shop";
    for (entry, field) in [
        (
            "- route: [{destination: {host: shop}, weight: 9}, {destination: {host: shop-canary}, weight: 1}]",
            "route[1].destination.host",
        ),
        ("- route: [{destination: {host: shop-canary.demo.svc}}]", "route[0].destination.host"),
        (
            "- {route: [{destination: {host: shop}}], mirrors: [{destination: {host: shop-canary}}]}",
            "mirrors[0].destination.host",
        ),
        (
            "- {route: [{destination: {host: shop}}], mirror: {host: shop-canary.demo}}",
            "mirror.host",
        ),
    ] {
        refused(entry, &format!("route demo/web, spec.http[0].{field}: {by_hand}"));
    }
}

#[test]
fn connections_that_are_no_requests_are_refused() {
    for (kind, entry) in [
        (
            "tcp",
            "[{route: [{destination: {host: admin}}]}, {route: [{destination: {host: shop}}]}]",
        ),
        (
            "tls",
            "[{match: [{sniHosts: [a]}], route: [{destination: {host: admin}}]}, {match: [{sniHosts: [b]}], route: [{destination: {host: shop.demo}}]}]",
        ),
    ] {
        let mut route = owners("gateway");
        route["spec"][kind] = yaml(entry);
        let found = find([&route]);
        assert_eq!(found.routes, []);
        assert_eq!(
            found.refused[0].to_string(),
            format!(
                "route demo/web, spec.{kind}[1].route[0].destination.host: service shop gets {kind} connections by it, and only requests of spec.http can be split; give it a service of its own for them"
            )
        );
    }
}

#[test]
fn what_sends_no_requests_to_it_is_never_touched() {
    let route = with_http(
        "[{redirect: {uri: /}}, {directResponse: {status: 200}}, {delegate: {name: web}}, {route: [{destination: {host: shop}}]}]",
    );
    let shape = Shape { matches: testers(), mirror: Weight::new(10), ..weight(25).unwrap() };
    let split = render(&route, Some(&shape));
    assert_eq!(split["spec"]["http"].as_array().unwrap().len(), 5);
    for i in 0..3 {
        assert_eq!(split["spec"]["http"][i], route["spec"]["http"][i]);
    }
}

#[test]
fn the_largest_weight_can_be_split_and_a_weight_without_meaning_comes_back_as_none() {
    let of = |weight: u64| {
        with_http(&format!("- route: [{{destination: {{host: shop}}, weight: {weight}}}]"))
    };
    let split = render(&of(10_000), weight(100).as_ref());
    assert_eq!(split["spec"]["http"][0]["route"][1]["weight"], 1_000_000);
    assert_eq!(render(&split, None), of(10_000));
    for without_meaning in [0, 1] {
        let split = render(&of(without_meaning), weight(30).as_ref());
        assert_eq!(split["spec"]["http"][0]["route"][0]["weight"], 70);
        let none = with_http("- route: [{destination: {host: shop}}]");
        assert_eq!(render(&split, None), none);
    }
}

#[test]
fn a_shape_that_an_entry_has_no_room_for_has_an_obstacle() {
    let obstacle = |entries: &str, shape: &Shape| {
        let found = VirtualService.obstacle(&with_http(entries), &shop(), shape);
        found.map(|o| o.to_string()).unwrap_or_default()
    };
    let with_testers = Shape { matches: testers(), ..Shape::default() };
    let copies = Shape { mirror: Weight::new(10), ..Shape::default() };
    let deprecated = "- {route: [{destination: {host: shop}}], mirror: {host: audit}}";
    assert_eq!(
        obstacle(deprecated, &copies),
        "route demo/web, spec.http[0].mirror: Istio takes no mirrors beside it, and the canary's copies need them; write it as an entry of mirrors"
    );
    assert_eq!(obstacle(deprecated, &with_testers), "");
    assert_eq!(
        obstacle(
            "- {match: [{uri: {prefix: /}}, {headers: {cookie: {regex: a=b}}}], route: [{destination: {host: shop}}]}",
            &with_testers
        ),
        "route demo/web, spec.http[0].match[1].headers[cookie]: requests with cookie beta=on and query parameter v matching 2|3 need a condition of their own there, and Istio has one for each name; tell them by another header or parameter"
    );
    let two_cookies = matching(&[(Part::Cookie, "a", exact("1")), (Part::Cookie, "b", exact("1"))]);
    assert_eq!(
        obstacle(
            "- route: [{destination: {host: shop}}]",
            &Shape { matches: vec![two_cookies], ..Shape::default() }
        ),
        "route demo/web, spec.http[0].match[0].headers[cookie]: requests with cookie a=1 and cookie b=1 need a condition of their own there, and Istio has one for each name; tell them by another header or parameter"
    );
    let long = matching(&[(Part::Header, "x-long", exact(&"a".repeat(9000)))]);
    let long = Shape { matches: vec![long], ..Shape::default() };
    assert_eq!(
        obstacle("- route: [{destination: {host: shop}}]", &long),
        "route demo/web, metadata.annotations[match.tidegate.dev/shop]: testers make 9020 characters, and it can have 8192; use fewer"
    );
    let split = render(&owners("gateway"), Some(&long));
    assert_eq!(hosts::list(&split, "/spec/http").len(), 1);
    // Entries of others don't matter.
    assert_eq!(obstacle("- {route: [{destination: {host: a}}], mirror: {host: b}}", &copies), "");
}

#[test]
fn testers_come_before_the_entry_that_they_are_taken_from_and_behind_those_before_it() {
    let route = with_http(
        "[{match: [{uri: {prefix: /a}}], route: [{destination: {host: a}}]}, {match: [{uri: {prefix: /b}}], route: [{destination: {host: shop}}]}, {route: [{destination: {host: shop}, weight: 100}], timeout: 3s}]",
    );
    let shape = Shape { matches: testers(), ..Shape::default() };
    let split = render(&route, Some(&shape));
    let hosts: Vec<_> = hosts::list(&split, "/spec/http")
        .iter()
        .map(|e| hosts::text(e, "/route/0/destination/host"))
        .collect();
    assert_eq!(hosts, ["a", "shop-canary", "shop", "shop-canary", "shop"]);
    let last = &split["spec"]["http"][3];
    assert_eq!(last["route"], json!([{"destination": {"host": "shop-canary"}}]));
    assert_eq!(last["timeout"], "3s");
}

#[test]
fn an_object_that_is_split_can_be_released_whatever_has_become_of_it() {
    let mut route = render(&owners("gateway"), weight(25).as_ref());
    assert_eq!(find([&route]).refused, []);
    route["spec"]["http"][0]["route"][0]["destination"]["host"] = json!("admin");
    let found = find([&route]);
    assert_eq!((found.routes.len(), found.refused.len()), (1, 1), "{found:?}");
}

#[track_caller]
fn refused(entries: &str, sentence: &str) {
    let found = find([&with_http(entries)]);
    assert_eq!(found.routes, []);
    assert_eq!(found.refused.iter().map(Refused::to_string).collect::<Vec<_>>(), [sentence]);
}
