use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig { max_global_rejects: 20_000, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn a_release_gives_back_what_the_owner_wrote(route in routes(), up in shares(), down in shares()) {
        // What somebody made by hand is refused before a run: nobody could tell it from a split.
        prop_assume!(!by_hand(&route));
        let split = render(&route, Some(&up));
        let lower = render(&split, Some(&down));
        prop_assert_eq!(&lower, &render(&route, Some(&down)));
        let released = render(&lower, None);
        prop_assert_eq!(serde_json::to_string(&released).unwrap(), serde_json::to_string(&route).unwrap());
    }

    #[test]
    fn an_owners_apply_in_the_middle_changes_nothing(route in routes(), share in shares()) {
        prop_assume!(!by_hand(&route));
        let split = render(&route, Some(&share));
        let mut applied = split.clone();
        applied["spec"] = route["spec"].clone();
        prop_assert_eq!(render(&applied, Some(&share)), split);
    }

    #[test]
    fn what_is_found_without_refusal_is_split_and_nobody_is_named_who_gets_nothing(route in routes(), share in shares()) {
        let found = find([&route], &shop());
        prop_assume!(found.refused.is_empty() && !found.routes.is_empty());
        let split = render(&route, Some(&share));
        let seen = split::read(&split, &shop());
        prop_assert_eq!((seen.shape, seen.trouble), (Some(share.clone()), None));
        prop_assert_eq!(find([&split], &shop()), found);
        prop_assert!(split::services(&split).iter().all(|service| service["weight"] != 0));
        let names: Vec<_> = split::services(&split).iter().map(|s| s["name"].as_str().unwrap()).collect();
        let wanted: &[_] = match share.weight {
            Weight::ZERO => &["shop"],
            Weight::FULL => &["shop-canary"],
            _ => &["shop", "shop-canary"],
        };
        prop_assert_eq!(names, wanted);
    }
}

fn by_hand(route: &Value) -> bool {
    find([route], &shop()).refused.iter().any(|r| matches!(r.why, Refusal::ByHand { .. }))
}

fn shares() -> impl Strategy<Value = Shape> {
    prop_oneof![3 => 0..=100_u8, 1 => Just(0), 1 => Just(100)].prop_map(|p| shape(p).unwrap())
}

fn routes() -> impl Strategy<Value = Value> {
    let sticky = prop_oneof![Just(None), Just(Some(json!({"cookie": {"name": "arm"}})))];
    let all = prop_oneof![
        4 => prop::collection::vec(services("shop"), 1),
        2 => prop::collection::vec(prop_oneof![services("shop"), services("cart"), services("shop-canary")], 0..4),
    ];
    (all, sticky).prop_map(|(services, sticky)| {
        let mut weighted = json!({"services": services});
        if let Some(sticky) = sticky {
            weighted["sticky"] = sticky;
        }
        json!({"metadata": {"name": "web", "namespace": "demo"}, "spec": {"weighted": weighted}})
    })
}

fn services(name: &'static str) -> impl Strategy<Value = Value> {
    let weight = prop_oneof![
        3 => Just(None), 2 => (0..=3_u64).prop_map(Some), 1 => (0..=1_000_000_u64).prop_map(Some)
    ];
    let namespace = prop_oneof![4 => Just(None), 1 => Just(Some("demo")), 1 => Just(Some("other"))];
    let kind =
        prop_oneof![4 => Just(None), 2 => Just(Some("Service")), 1 => Just(Some("TraefikService"))];
    let port = prop_oneof![Just(json!(80)), Just(json!("http"))];
    (weight, namespace, kind, port).prop_map(move |(weight, namespace, kind, port)| {
        let mut service = json!({"name": name, "port": port});
        for (field, value) in [
            ("weight", weight.map(|w| json!(w))),
            ("namespace", namespace.map(|n| json!(n))),
            ("kind", kind.map(|k| json!(k))),
        ] {
            if let Some(value) = value {
                service[field] = value;
            }
        }
        service
    })
}
