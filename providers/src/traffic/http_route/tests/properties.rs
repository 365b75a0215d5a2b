use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig { max_global_rejects: 20_000, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn a_release_gives_back_what_the_owner_wrote(route in routes(), up in shares(), down in shares()) {
        // A pair that somebody made by hand is refused before a run: nobody could tell it from a split.
        prop_assume!(!by_hand(&route));
        let split = render(&route, &shop(), Some(up));
        let lower = render(&split, &shop(), Some(down));
        let released = render(&lower, &shop(), None);
        prop_assert_eq!(serde_json::to_string(&released).unwrap(), serde_json::to_string(&route).unwrap());
    }

    #[test]
    fn canaries_that_share_a_route_do_not_meet(route in routes(), ours in shares(), theirs in shares()) {
        let cart = Backends::new("demo", "cart").unwrap();
        let one = render(&render(&route, &cart, Some(theirs)), &shop(), Some(ours));
        let two = render(&render(&route, &shop(), Some(ours)), &cart, Some(theirs));
        prop_assert_eq!(&one, &two);
        prop_assume!(!by_hand(&route));
        let released = render(&one, &shop(), None);
        prop_assert_eq!(released, render(&route, &cart, Some(theirs)));
    }

    #[test]
    fn a_split_touches_only_backends_and_its_annotation(route in routes(), share in shares()) {
        let mut split = render(&route, &shop(), Some(share));
        for (rule, was) in split["spec"]["rules"].as_array_mut().unwrap().iter_mut().zip(refs::rules(&route)) {
            let (now, before) = (refs::list(rule, "/backendRefs").to_vec(), refs::list(was, "/backendRefs"));
            // Filters never appear on a backend that had none.
            for backend in &now {
                let same = |b: &&Value| b["filters"] == backend["filters"] && b["port"] == backend["port"];
                prop_assert!(before.iter().any(|b| same(&b)));
            }
            if let Some(backends) = was.get("backendRefs") {
                rule["backendRefs"] = backends.clone();
            }
        }
        let annotations = split["metadata"]["annotations"].as_object_mut().unwrap();
        prop_assert_eq!(annotations.remove("split.tidegate.dev/shop"), Some(json!(share.percent().to_string())));
        if annotations.is_empty() {
            split["metadata"].as_object_mut().unwrap().remove("annotations");
        }
        prop_assert_eq!(split, route);
    }

    #[test]
    fn what_is_found_without_refusal_is_split_in_every_rule(route in routes(), share in shares()) {
        let found = find([&route], &shop());
        prop_assume!(found.refused.is_empty() && !found.routes.is_empty());
        let split = render(&route, &shop(), Some(share));
        let seen = split::read(&split, &shop());
        prop_assert_eq!((seen.shape, seen.trouble), (Some(Shape::weight(share)), None));
        // Found again while it is split, the same way.
        prop_assert_eq!(find([&split], &shop()), found);
    }
}

fn by_hand(route: &Value) -> bool {
    find([route], &shop()).refused.iter().any(|r| matches!(r.why, Refusal::ByHand { .. }))
}

fn shares() -> impl Strategy<Value = Weight> {
    (0..=100_u8).prop_map(|percent| Weight::new(percent).unwrap())
}

/// As stored: with a weight on every backend, because the API server adds the default.
fn routes() -> impl Strategy<Value = Value> {
    let annotations = prop_oneof![Just(None), Just(Some(json!({"owner": "team-web"})))];
    (prop::collection::vec(rules(), 0..5), annotations).prop_map(|(rules, annotations)| {
        let mut metadata = json!({"name": "web", "namespace": "demo", "resourceVersion": "7"});
        if let Some(annotations) = annotations {
            metadata["annotations"] = annotations;
        }
        let parents =
            json!([{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "public"}]);
        json!({"metadata": metadata, "spec": {"parentRefs": parents, "rules": rules}})
    })
}

fn rules() -> impl Strategy<Value = Value> {
    let common = prop_oneof![
        Just(json!({"matches": [{"path": {"type": "PathPrefix", "value": "/"}}]})),
        Just(json!({"name": "main", "timeouts": {"request": "10s"}})),
        Just(
            json!({"filters": [{"type": "URLRewrite", "urlRewrite": {"hostname": "a.example.com"}}]})
        ),
    ];
    let backends = prop_oneof![
        4 => prop::collection::vec(backends("shop"), 1),
        4 => prop::collection::vec(prop_oneof![backends("shop"), backends("cart"), backends("shop-canary")], 0..4),
    ];
    (common, backends).prop_map(|(mut rule, backends)| {
        if !backends.is_empty() {
            rule["backendRefs"] = json!(backends);
        }
        rule
    })
}

fn backends(name: &'static str) -> impl Strategy<Value = Value> {
    let weight = prop_oneof![4 => Just(1_u64), 2 => 0..=split::LARGEST, 1 => 0..=1_000_000_u64];
    let namespace = prop_oneof![4 => Just(None), 1 => Just(Some("demo")), 1 => Just(Some("other"))];
    let kind = prop_oneof![6 => Just("Service"), 1 => Just("ServiceImport")];
    let filters = prop_oneof![2 => Just(None), 1 => Just(Some(json!([{
        "type": "RequestHeaderModifier", "requestHeaderModifier": {"add": [{"name": "x-a", "value": "b"}]},
    }])))];
    (weight, namespace, kind, filters, 1..65_536_u32).prop_map(
        move |(weight, namespace, kind, filters, port)| {
            let group = if kind == "Service" { "" } else { "multicluster.x-k8s.io" };
            let mut backend =
                json!({"group": group, "kind": kind, "name": name, "port": port, "weight": weight});
            if let Some(namespace) = namespace {
                backend["namespace"] = json!(namespace);
            }
            if let Some(filters) = filters {
                backend["filters"] = filters;
            }
            backend
        },
    )
}
