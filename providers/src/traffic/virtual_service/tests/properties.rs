use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig { max_global_rejects: 20_000, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn a_release_gives_back_what_the_owner_wrote(route in routes(), up in shapes(), down in shapes()) {
        prop_assume!(!by_hand(&route));
        let split = render(&render(&route, Some(&up)), Some(&down));
        prop_assert_eq!(render(&split, None), route);
    }

    #[test]
    fn a_shape_is_absolute(route in routes(), before in shapes(), shape in shapes()) {
        prop_assume!(!by_hand(&route));
        let at_once = render(&route, Some(&shape));
        prop_assert_eq!(render(&at_once, Some(&shape)), at_once.clone());
        prop_assert_eq!(render(&render(&route, Some(&before)), Some(&shape)), at_once);
    }

    #[test]
    fn canaries_that_share_an_object_do_not_meet(route in routes(), ours in shapes(), theirs in shapes()) {
        prop_assume!(!by_hand(&route));
        let cart = Backends::new("demo", "cart").unwrap();
        let other = |route: &Value| VirtualService.render(route, &cart, Some(&theirs));
        let one = render(&other(&route), Some(&ours));
        prop_assert_eq!(&one, &other(&render(&route, Some(&ours))));
        prop_assert_eq!(render(&one, None), other(&route));
    }

    #[test]
    fn what_is_found_without_refusal_takes_every_shape_without_obstacle(route in routes(), shape in shapes()) {
        let found = find([&route]);
        prop_assume!(found.refused.is_empty() && !found.routes.is_empty());
        prop_assume!(VirtualService.obstacle(&route, &shop(), &shape).is_none());
        let split = render(&route, Some(&shape));
        let seen = VirtualService.read(&split, &shop());
        prop_assert_eq!((seen.stored, seen.trouble), (Some(shape.clone().in_order()), None));
        // Found again while it is split, the same way.
        prop_assert_eq!(find([&split]), found);
        prop_assert_eq!(VirtualService.obstacle(&split, &shop(), &shape), None);
    }

    /// What Istio's validation refuses is never written, whatever was there before.
    #[test]
    fn no_split_makes_what_istio_refuses(route in routes(), shape in shapes()) {
        prop_assume!(!by_hand(&route));
        for entry in hosts::list(&render(&route, Some(&shape)), "/spec/http") {
            let all = hosts::list(entry, "/route");
            let sum: u64 = all.iter().filter_map(split::weight).sum();
            prop_assert!(all.len() < 2 || sum > 0 || hosts::list(&route, "/spec/http").contains(entry));
            prop_assert!(entry.get("mirror").is_none() || entry.get("mirrors").is_none());
            prop_assert!(!all.is_empty() || entry.get("redirect").is_some());
        }
    }
}

fn by_hand(route: &Value) -> bool {
    find([route]).refused.iter().any(|r| matches!(r.why, Refusal::ByHand { .. }))
}

fn shapes() -> impl Strategy<Value = Shape> {
    let weights = (0..=100_u8).prop_map(|percent| Weight::new(percent).unwrap());
    let mirrors = prop_oneof![2 => Just(None), 1 => (1..=100_u8).prop_map(Weight::new)];
    (weights, prop::collection::vec(matches(), 0..3), mirrors)
        .prop_map(|(weight, matches, mirror)| Shape { weight, matches, mirror })
}

fn matches() -> impl Strategy<Value = Match> {
    let header = Just((Part::Header, "x-beta", exact("1")));
    let other = Just((Part::Header, "x-tenant", regex("a.*")));
    let cookie = Just((Part::Cookie, "beta", exact("on")));
    let query = Just((Part::Query, "v", exact("2")));
    prop::collection::vec(prop_oneof![3 => header, 1 => other, 3 => cookie, 3 => query], 1..3)
        .prop_map(|conditions| matching(&conditions))
}

/// As stored, of what a release gives back as it was: a weight of 0 or 1 comes back as none.
fn routes() -> impl Strategy<Value = Value> {
    let annotations = prop_oneof![Just(None), Just(Some(json!({"owner": "team-web"})))];
    (prop::collection::vec(entries(), 0..5), annotations).prop_map(|(entries, annotations)| {
        let mut metadata = json!({"name": "web", "namespace": "demo", "resourceVersion": "7"});
        if let Some(annotations) = annotations {
            metadata["annotations"] = annotations;
        }
        json!({"metadata": metadata, "spec": {"hosts": ["shop"], "http": entries}})
    })
}

fn entries() -> impl Strategy<Value = Value> {
    let common = prop_oneof![
        4 => Just(json!({})),
        2 => Just(json!({"name": "main", "timeout": "10s", "match": [{"uri": {"prefix": "/"}}]})),
        2 => Just(json!({"match": [{"headers": {"x-tenant": {"exact": "a"}}}, {"queryParams": {"page": {"exact": "1"}}}]})),
        1 => Just(json!({"mirror": {"host": "audit"}})),
        1 => Just(json!({"mirrors": [{"destination": {"host": "audit"}}]})),
    ];
    let routes = prop_oneof![
        4 => prop::collection::vec(destinations("shop"), 1),
        4 => prop::collection::vec(prop_oneof![4 => destinations("shop"), 4 => destinations("cart"), 1 => destinations("shop-canary")], 0..4),
    ];
    (common, routes).prop_map(|(mut entry, route)| {
        if route.is_empty() {
            return json!({"redirect": {"uri": "/"}});
        }
        entry["route"] = json!(route);
        entry
    })
}

fn destinations(name: &'static str) -> impl Strategy<Value = Value> {
    let weight = prop_oneof![4 => Just(None), 2 => (2..=split::LARGEST).prop_map(Some), 1 => (2..=1_000_000_u64).prop_map(Some)];
    let ending = prop_oneof![
        4 => Just(""), 1 => Just(".demo"), 1 => Just(".demo.svc"), 2 => Just(".demo.svc.cluster.local"), 1 => Just(".other.svc.cluster.local"),
    ];
    let port = prop_oneof![Just(None), (1..65_536_u32).prop_map(Some)];
    let subset = prop_oneof![2 => Just(None), 1 => Just(Some("v1"))];
    (weight, ending, port, subset).prop_map(move |(weight, ending, port, subset)| {
        let mut destination = json!({"host": format!("{name}{ending}")});
        if let Some(port) = port {
            destination["port"] = json!({"number": port});
        }
        if let Some(subset) = subset {
            destination["subset"] = json!(subset);
        }
        let mut whole = json!({"destination": destination});
        if let Some(weight) = weight {
            whole["weight"] = json!(weight);
        }
        whole
    })
}
