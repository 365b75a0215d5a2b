//! What a route can't take, said before, and what it doesn't have, said after.

use rollout::{Condition, Match, Part, Pattern};

use super::*;

fn header(name: &str, value: &str) -> Condition {
    let value = Pattern::Exact(value.to_owned());
    Condition { part: Part::Header, name: name.to_owned(), value }
}

fn cookie(name: &str) -> Condition {
    Condition { part: Part::Cookie, ..header(name, "1") }
}

fn query(name: &str) -> Condition {
    Condition { part: Part::Query, ..header(name, "1") }
}

fn testers(kinds: &[&[Condition]]) -> Shape {
    let matches = kinds.iter().map(|all| Match::new(all.to_vec()).expect("a condition")).collect();
    Shape { matches, ..Shape::default() }
}

/// Its sentence, which is also the trouble of the route once it is told all the same, and split in all other ways.
#[track_caller]
fn obstacle(provider: &dyn TrafficProvider, route: &Value, shape: &Shape) -> String {
    let obstacle = provider.obstacle(route, &shop(), shape).map(|o| o.to_string());
    let split = provider.render(route, &shop(), Some(shape));
    let seen = provider.stored(&split, &shop());
    assert_eq!(seen.trouble, obstacle);
    assert_eq!(refs::rules(&split).len(), refs::rules(route).len(), "no testers: {split}");
    assert_eq!(provider.render(&split, &shop(), None), *route);
    obstacle.unwrap_or_default()
}

#[test]
fn what_no_match_can_hold_is_refused() {
    let line = |conditions: &[Condition]| {
        obstacle(&HttpRoute, &fixture("plain").live, &testers(&[conditions]))
    };
    let start = "route demo/web, metadata.annotations[match.tidegate.dev/shop]:";
    assert_eq!(
        line(&[cookie("a"), cookie("b")]),
        format!(
            "{start} cookie a=1 and cookie b=1: header cookie is asked for twice, and a match can name it once, and all cookies are in one; ask for one of the two"
        )
    );
    assert_eq!(
        line(&[query("a"), query("a")]),
        format!(
            "{start} query parameter a=1 and query parameter a=1: query parameter a is asked for twice, and a match can name it once; ask for one of the two"
        )
    );
    assert_eq!(
        line(&[header("x-a", "")]),
        format!("{start} header x-a=: header x-a: the value has 0 characters, need 1 to 4096")
    );
    assert_eq!(
        line(&[header("x:a", "1")]),
        format!(
            "{start} header x:a=1: header `x:a`: need a name of 1 to 256 letters, digits and !#$%&'*+-.^_`|~"
        )
    );
    let many: Vec<_> = (0..17).map(|i| header(&format!("x-{i}"), "1")).collect();
    assert!(line(&many).ends_with("17 conditions on headers, and a match can have 16; use fewer"));
    let long = header("x-a", &"a".repeat(4096));
    let two = [&[long.clone()][..], &[Condition { name: "x-b".to_owned(), ..long }]];
    assert_eq!(
        obstacle(&HttpRoute, &fixture("plain").live, &testers(&two)),
        format!("{start} testers make 8227 characters, and it can have 8192; use fewer")
    );
}

#[test]
fn a_route_of_grpc_has_no_query() {
    let route = live(owners_in("grpc-route", "plain"));
    assert_eq!(
        obstacle(&GrpcRoute, &route, &testers(&[&[query("beta")]])),
        "route demo/web, metadata.annotations[match.tidegate.dev/shop]: query parameter beta=1: query parameter beta: a GRPCRoute has none; use a header"
    );
}

#[test]
fn a_header_that_the_rule_matches_already_is_refused() {
    let mut route = fixture("filters").live;
    route["spec"]["rules"][0]["matches"][1]["headers"][0]["name"] = json!("X-Region");
    assert_eq!(
        obstacle(&HttpRoute, &route, &testers(&[&[header("x-region", "us")]])),
        "route demo/web, spec.rules[0] (checkout).matches[1]: header x-region is matched by the rule already, and a match can name it once; tell testers by another one"
    );
}

#[test]
fn a_route_without_room_is_refused() {
    let kinds = [header("x-a", "1"), header("x-b", "1"), header("x-c", "1")];
    let kinds = kinds.each_ref().map(std::slice::from_ref);
    let with = |rules: usize, matches: usize| {
        let mut route = fixture("plain").live;
        let rule = &mut route["spec"]["rules"][0];
        rule["matches"] = vec![rule["matches"][0].clone(); matches].into();
        route["spec"]["rules"] = vec![rule.clone(); rules].into();
        route
    };
    assert_eq!(HttpRoute.obstacle(&with(4, 8), &shop(), &testers(&kinds)), None);
    assert_eq!(
        obstacle(&HttpRoute, &with(5, 1), &testers(&kinds)),
        "route demo/web, spec.rules: has 5 rules, and testers need 15 more (one for each of 3 kinds of requests and each rule that is split); a route can have 16, so use fewer kinds or a route of its own"
    );
    assert_eq!(
        obstacle(&HttpRoute, &with(1, 33), &testers(&kinds)),
        "route demo/web, spec.rules: has 33 matches, and testers need 99 more (one for each of 3 kinds of requests and each match of a rule that is split); a route can have 128, so use fewer kinds or a route of its own"
    );
    let filter = json!({"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "admin", "port": 80}}});
    let mut full = with(1, 1);
    full["spec"]["rules"][0]["filters"] = vec![filter; 16].into();
    let copies = Shape { mirror: Weight::new(5), ..Shape::default() };
    assert_eq!(
        obstacle(&HttpRoute, &full, &copies),
        "route demo/web, spec.rules[0].filters: has 16 filters, and with the copies one more; it can have 16"
    );
}

#[test]
fn what_is_parked_gives_way_to_what_is_wanted() {
    let names = |range: std::ops::Range<usize>| -> Vec<Condition> {
        range.map(|i| header(&format!("x-{i}"), "1")).collect()
    };
    let shape =
        |names: &[Condition]| testers(&names.iter().map(std::slice::from_ref).collect::<Vec<_>>());
    let route = fixture("plain").live;
    let first = HttpRoute.render(&route, &shop(), Some(&shape(&names(0..10))));
    assert_eq!(refs::rules(&first).len(), 11);
    let both = HttpRoute.render(&first, &shop(), Some(&shape(&names(8..15))));
    assert_eq!(refs::rules(&both).len(), 16, "eight are parked");
    let next = HttpRoute.render(&both, &shop(), Some(&shape(&names(14..18))));
    assert_eq!(refs::rules(&next).len(), 5, "none is");
    assert_eq!(HttpRoute.stored(&next, &shop()).shape, Some(shape(&names(14..18))));
}

#[test]
fn a_rule_that_is_missing_or_still_there_is_named() {
    let told = Shape { mirror: Weight::new(10), ..testers(&[&[header("x-beta", "1")]]) };
    let split = HttpRoute.render(&fixture("another-service").live, &shop(), Some(&told));
    let reading = |change: &dyn Fn(&mut Value)| {
        let mut route = split.clone();
        change(&mut route);
        let seen = HttpRoute.read(&route, &shop());
        assert!(!seen.accepted);
        (seen.stored.unwrap_or_default(), seen.trouble.unwrap_or_default())
    };
    let ask = "is the policy tidegate-split not in force?";

    let (stored, trouble) = reading(&|r| drop(r["spec"]["rules"].as_array_mut().unwrap().pop()));
    assert_eq!(stored, told, "the other rule still has them");
    assert_eq!(
        trouble,
        format!(
            "route demo/web, spec.rules: no rule sends requests with header x-beta=1 to shop-canary, as annotation match.tidegate.dev/shop says; {ask}"
        )
    );

    let nobody = json!({"split.tidegate.dev/shop": "0"});
    let (stored, trouble) = reading(&|r| r["metadata"]["annotations"] = nobody.clone());
    assert_eq!(stored, told);
    assert_eq!(
        trouble,
        format!(
            "route demo/web, spec.rules[4]: still sends requests with header x-beta=1 to shop-canary, and annotation match.tidegate.dev/shop doesn't say so; {ask}"
        )
    );

    let (stored, trouble) =
        reading(&|r| drop(r["spec"]["rules"][3].as_object_mut().unwrap().remove("filters")));
    assert_eq!(stored, told, "the other rule still has it");
    assert_eq!(
        trouble,
        format!(
            "route demo/web, spec.rules[3]: copies 0 % of its requests to shop-canary, where annotation mirror.tidegate.dev/shop means 10 %; {ask}"
        )
    );
    let (stored, _) = reading(&|r| {
        let fraction = json!({"numerator": 1, "denominator": 3});
        let mirror = &mut r["spec"]["rules"][0]["filters"][0]["requestMirror"];
        mirror.as_object_mut().unwrap().remove("percent");
        mirror["fraction"] = fraction;
    });
    assert_eq!(stored.mirror, Weight::new(34));
}

#[test]
fn what_is_ours_is_by_hand_without_the_annotation() {
    let told = Shape { mirror: Weight::new(10), ..testers(&[&[header("x-beta", "1")]]) };
    let mut split = HttpRoute.render(&fixture("plain").live, &shop(), Some(&told));
    assert_eq!(find([&split], &shop()).refused, []);
    assert_eq!(HttpRoute.conflicts(&fixture("plain").live, &[], &shop()), []);
    split["metadata"].as_object_mut().unwrap().remove("annotations");
    split["spec"]["rules"][0]["backendRefs"] =
        fixture("plain").live["spec"]["rules"][0]["backendRefs"].clone();
    let refused = find([&split], &shop()).refused;
    let refused: Vec<_> = refused.iter().map(|r| r.field.as_str()).collect();
    let filter = "spec.rules[0].filters[0].requestMirror.backendRef.name";
    assert_eq!(refused, [filter, "spec.rules[1].backendRefs[0].name"]);
    assert_eq!(HttpRoute.stored(&split, &shop()), Stored::default());
}

#[test]
fn testers_of_another_route_claim_nothing() {
    let told = testers(&[&[header("x-region", "eu")]]);
    let mut ours = fixture("plain").live;
    ours["spec"]["rules"][0]["matches"][0]["headers"] =
        json!([{"type": "Exact", "name": "x-region", "value": "eu"}]);
    let mut other = HttpRoute.render(&fixture("plain").live, &shop(), Some(&told));
    other["metadata"]["name"] = json!("other");
    assert_eq!(HttpRoute.conflicts(&ours, &[&other], &shop()), []);
}

#[test]
fn traefik_goes_by_the_place_of_a_rule_as_well() {
    let mut route = fixture("another-service").live;
    let kinds = [&[header("x-a", "1")][..], &[header("x-b", "1")], &[query("beta")]];
    assert_eq!(HttpRoute.obstacle(&route, &shop(), &testers(&kinds)), None);
    let five = [kinds[0], kinds[1], &[header("x-c", "1")], &[cookie("d")], kinds[2]];
    let far = testers(&five);
    assert_eq!(
        HttpRoute.obstacle(&route, &shop(), &far).unwrap().to_string(),
        "route demo/web, spec.rules[3]: requests with query parameter beta=1 would not reach shop-canary, since Traefik lets a query parameter count for less than ten rules; tell testers by a header, or by fewer kinds"
    );
    route["spec"]["rules"][1]["matches"][0]["path"]["value"] = json!("/shop/a");
    let three = testers(&[&[header("x-a", "1"), header("x-b", "1"), header("x-c", "1")]]);
    assert_eq!(
        HttpRoute.obstacle(&route, &shop(), &three).unwrap().to_string(),
        "route demo/web, spec.rules[1]: requests of testers would go to shop-canary instead, since Traefik lets a few conditions count for more than a longer path; tell testers by one header"
    );
    route["status"]["parents"][0]["controllerName"] = json!("example.com/other");
    assert_eq!(HttpRoute.obstacle(&route, &shop(), &far), None);
    assert_eq!(HttpRoute.obstacle(&route, &shop(), &three), None);
}
