use proptest::prelude::*;

use super::*;
use crate::traffic::Refusal;

proptest! {
    #![proptest_config(ProptestConfig { max_global_rejects: 20_000, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn a_release_gives_back_what_the_owner_wrote(proxy in proxies(), up in shapes(), down in shapes()) {
        // What somebody made by hand is refused before a run: nobody could tell it from a split.
        prop_assume!(!by_hand(&proxy));
        let split = render(&proxy, Some(&up));
        let lower = render(&split, Some(&down));
        prop_assert_eq!(&lower, &render(&proxy, Some(&down)));
        let released = render(&lower, None);
        prop_assert_eq!(serde_json::to_string(&released).unwrap(), serde_json::to_string(&proxy).unwrap());
    }

    #[test]
    fn an_owners_apply_in_the_middle_changes_nothing(proxy in proxies(), shape in shapes()) {
        prop_assume!(!by_hand(&proxy));
        let split = render(&proxy, Some(&shape));
        let mut applied = split.clone();
        applied["spec"] = proxy["spec"].clone();
        prop_assert_eq!(render(&applied, Some(&shape)), split);
    }

    #[test]
    fn canaries_that_share_a_proxy_do_not_meet(proxy in proxies(), ours in shapes(), theirs in shapes()) {
        prop_assume!(!by_hand(&proxy));
        let cart = Backends::new("demo", "cart").unwrap();
        let one = render(&split::render(&proxy, &cart, Some(&theirs)), Some(&ours));
        let two = split::render(&render(&proxy, Some(&ours)), &cart, Some(&theirs));
        prop_assert_eq!(&one, &two);
        prop_assert_eq!(render(&one, None), split::render(&proxy, &cart, Some(&theirs)));
    }

    #[test]
    fn what_is_found_without_refusal_is_split_in_every_route(proxy in proxies(), shape in shapes()) {
        let found = find([&proxy], &shop());
        prop_assume!(found.refused.is_empty() && !found.routes.is_empty());
        prop_assume!(HttpProxy.obstacle(&proxy, &shop(), &shape).is_none());
        let split = render(&proxy, Some(&shape));
        let seen = split::read(&split, &shop());
        prop_assert_eq!((seen.shape, seen.trouble), (Some(shape.clone()), None));
        // Found again while it is split, the same way.
        prop_assert_eq!(find([&split], &shop()), found);
        for route in routes::routes(&split) {
            let all = routes::services_of(route);
            let total: u64 = all.iter().filter(|s| !routes::is_mirror(s)).filter_map(|s| s["weight"].as_u64()).sum();
            prop_assert!(u32::try_from(total).is_ok());
            let (ours, theirs): (Vec<_>, Vec<_>) = all.iter().filter(|s| routes::is_mirror(s)).partition(|s| routes::name(s) == "shop-canary");
            prop_assert!(ours.is_empty() || ours.len() == 1 && theirs.is_empty() && ours[0]["weight"] != 0);
        }
    }
}

fn by_hand(proxy: &Value) -> bool {
    find([proxy], &shop()).refused.iter().any(|r| matches!(r.why, Refusal::ByHand { .. }))
}

fn shares() -> impl Strategy<Value = Weight> {
    (0..=100_u8).prop_map(|percent| Weight::new(percent).unwrap())
}

fn shapes() -> impl Strategy<Value = Shape> {
    let mirror = prop_oneof![2 => Just(None), 1 => (1..=100_u8).prop_map(Weight::new)];
    let matches = prop::sample::subsequence(everybody(0).matches, 0..=3);
    (shares(), matches, mirror).prop_map(|(weight, matches, mirror)| Shape {
        weight,
        matches,
        mirror,
    })
}

fn proxies() -> impl Strategy<Value = Value> {
    let annotations = prop_oneof![Just(None), Just(Some(json!({"owner": "team-web"})))];
    (prop::collection::vec(routes(), 0..5), annotations).prop_map(|(routes, annotations)| {
        let mut metadata = json!({"name": "web", "namespace": "demo", "resourceVersion": "7"});
        if let Some(annotations) = annotations {
            metadata["annotations"] = annotations;
        }
        json!({"metadata": metadata, "spec": {"virtualhost": {"fqdn": "a.example.com"}, "routes": routes}})
    })
}

fn routes() -> impl Strategy<Value = Value> {
    let common = prop_oneof![
        Just(json!({})),
        Just(json!({"conditions": [{"prefix": "/api"}], "timeoutPolicy": {"response": "10s"}})),
        Just(json!({"conditions": [{"header": {"name": "x-tester", "exact": "no"}}]})),
        Just(json!({"conditions": [], "permitInsecure": true})),
    ];
    let services = prop_oneof![
        4 => prop::collection::vec(services("shop"), 1),
        4 => prop::collection::vec(prop_oneof![services("shop"), services("cart"), services("shop-canary")], 0..4),
    ];
    (common, services).prop_map(|(mut route, services)| {
        if !services.is_empty() {
            route["services"] = json!(services);
        }
        route
    })
}

fn services(name: &'static str) -> impl Strategy<Value = Value> {
    let weight = prop_oneof![
        3 => Just(None), 2 => (0..=3_u64).prop_map(Some), 1 => (0..=split::LARGEST).prop_map(Some), 1 => (0..=1_000_000_u64).prop_map(Some)
    ];
    let mirror = prop_oneof![6 => Just(None), 1 => Just(Some(true)), 1 => Just(Some(false))];
    let protocol = prop_oneof![2 => Just(None), 1 => Just(Some("h2c"))];
    (weight, mirror, protocol, 1..65_536_u32).prop_map(move |(weight, mirror, protocol, port)| {
        let mut service = json!({"name": name, "port": port});
        for (field, value) in [
            ("weight", weight.map(|w| json!(w))),
            ("mirror", mirror.map(|m| json!(m))),
            ("protocol", protocol.map(|p| json!(p))),
        ] {
            if let Some(value) = value {
                service[field] = value;
            }
        }
        service
    })
}
