use proptest::prelude::*;
use rollout::{Condition, Match, Part, Pattern};

use super::*;

proptest! {
    #![proptest_config(ProptestConfig { max_global_rejects: 20_000, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn a_release_gives_back_what_the_owner_wrote(
        kind in kinds(), route in routes(), up in shapes(), down in shapes(),
    ) {
        // A pair that somebody made by hand is refused before a run: nobody could tell it from a split.
        prop_assume!(!by_hand(&route));
        let split = kind.render(&route, &shop(), Some(&up));
        let lower = kind.render(&split, &shop(), Some(&down));
        let at_once = kind.render(&route, &shop(), Some(&down));
        prop_assert_eq!(kind.stored(&lower, &shop()), kind.stored(&at_once, &shop()));
        if up.matches.is_empty() {
            prop_assert_eq!(&lower, &at_once);
        }
        let released = kind.render(&lower, &shop(), None);
        prop_assert_eq!(serde_json::to_string(&released).unwrap(), serde_json::to_string(&route).unwrap());
    }

    #[test]
    fn canaries_that_share_a_route_do_not_meet(
        kind in kinds(), route in routes(), ours in shapes(), theirs in shapes(),
    ) {
        let cart = Backends::new("demo", "cart").unwrap();
        prop_assume!(!by_hand(&route));
        let one = kind.render(&kind.render(&route, &cart, Some(&theirs)), &shop(), Some(&ours));
        let two = kind.render(&kind.render(&route, &shop(), Some(&ours)), &cart, Some(&theirs));
        prop_assert_eq!(&one, &two);
        let released = kind.render(&one, &shop(), None);
        prop_assert_eq!(released, kind.render(&route, &cart, Some(&theirs)));
    }

    #[test]
    fn a_split_adds_backends_and_a_filter_and_rules_at_the_end(
        kind in kinds(), route in routes(), shape in shapes(),
    ) {
        prop_assume!(!by_hand(&route));
        let mut split = kind.render(&route, &shop(), Some(&shape));
        let rules = split["spec"]["rules"].as_array_mut().unwrap();
        for added in rules.split_off(refs::rules(&route).len()) {
            let [canary] = refs::list(&added, "/backendRefs") else { panic!("{added}") };
            prop_assert!(canary["name"] == "shop-canary" && canary["weight"] == 1, "{}", added);
            prop_assert_eq!(added.get("name"), None);
        }
        for (rule, was) in rules.iter_mut().zip(refs::rules(&route)) {
            let (now, before) = (refs::list(rule, "/backendRefs").to_vec(), refs::list(was, "/backendRefs"));
            // Filters never appear on a backend that had none.
            for backend in &now {
                let same = |b: &&Value| b["filters"] == backend["filters"] && b["port"] == backend["port"];
                prop_assert!(before.iter().any(|b| same(&b)));
            }
            if let Some(backends) = was.get("backendRefs") {
                rule["backendRefs"] = backends.clone();
            }
            if let [all @ .., ours] = refs::list(rule, "/filters")
                && mirror::of(&route, ours) == Some("shop")
            {
                match all {
                    [] => drop(rule.as_object_mut().unwrap().remove("filters")),
                    _ => rule["filters"] = json!(all),
                }
            }
        }
        let annotations = split["metadata"]["annotations"].as_object_mut().unwrap();
        annotations.retain(|key, _| !key.ends_with(".tidegate.dev/shop"));
        if annotations.is_empty() {
            split["metadata"].as_object_mut().unwrap().remove("annotations");
        }
        prop_assert_eq!(split, route);
    }

    #[test]
    fn nothing_is_added_that_the_definition_of_the_route_would_refuse(
        kind in kinds(), route in routes(), ours in shapes(), theirs in shapes(),
    ) {
        let cart = Backends::new("demo", "cart").unwrap();
        let split = kind.render(&kind.render(&route, &cart, Some(&theirs)), &shop(), Some(&ours));
        let rules = refs::rules(&split);
        let own: usize = refs::rules(&route).iter().map(|rule| refs::list(rule, "/matches").len()).sum();
        prop_assume!(refs::rules(&route).len() <= 16 && own <= 128);
        let matches = || rules.iter().flat_map(|rule| refs::list(rule, "/matches"));
        prop_assert!(rules.len() <= 16 && matches().count() <= 128);
        for one in matches() {
            for (field, part) in [("headers", Part::Header), ("queryParams", Part::Query)] {
                let names = refs::list(one, &format!("/{field}")).iter().map(|c| refs::text(c, "/name"));
                let mut names: Vec<_> = names.map(|name| match part {
                    Part::Query => name.to_owned(),
                    Part::Header | Part::Cookie => name.to_lowercase(),
                }).collect();
                let all = names.len();
                names.sort();
                names.dedup();
                prop_assert!(names.len() == all && all <= 16, "{}", one);
            }
            prop_assert!(kind.kind().kind == "HTTPRoute" || one.get("queryParams").is_none());
        }
        prop_assert!(rules.iter().all(|rule| refs::list(rule, "/filters").len() <= 16));
    }

    #[test]
    fn what_is_found_without_refusal_is_split_in_every_rule_and_whole_without_an_obstacle(
        kind in kinds(), route in routes(), shape in shapes(),
    ) {
        let found = crate::traffic::find(kind, [&route], &shop());
        prop_assume!(found.refused.is_empty() && !found.routes.is_empty());
        let split = kind.render(&route, &shop(), Some(&shape));
        let seen = kind.stored(&split, &shop());
        match kind.obstacle(&route, &shop(), &shape).map(|o| o.to_string()) {
            None => prop_assert_eq!((seen.shape, seen.trouble), (Some(shape), None)),
            Some(obstacle) => {
                prop_assert_eq!(seen.shape.map(|s| s.weight), Some(shape.weight));
                prop_assert_eq!(seen.trouble, Some(obstacle));
            }
        }
        // Found again while it is split, the same way.
        prop_assert_eq!(crate::traffic::find(kind, [&split], &shop()), found);
    }
}

fn kinds() -> impl Strategy<Value = &'static dyn TrafficProvider> {
    prop_oneof![Just(&HttpRoute as &dyn TrafficProvider), Just(&GrpcRoute as &dyn TrafficProvider)]
}

fn shapes() -> impl Strategy<Value = Shape> {
    let matches = prop_oneof![3 => Just(vec![]), 4 => prop::collection::vec(matches(), 1..5)];
    (shares(), matches, prop::option::of(1..=100_u8)).prop_map(|(weight, matches, mirror)| Shape {
        weight,
        matches,
        mirror: mirror.and_then(Weight::new),
    })
}

/// Some can't be held by a match, or not together with the owner's.
fn matches() -> impl Strategy<Value = Match> {
    let part =
        prop_oneof![4 => Just(Part::Header), 2 => Just(Part::Cookie), 1 => Just(Part::Query)];
    let name = prop_oneof![4 => "x-[a-z]{3}", 1 => Just("x-region".to_owned())];
    let value = prop_oneof![
        6 => "[a-z .=;(]{1,6}".prop_map(Pattern::Exact),
        3 => "[a-z]{1,3}(\\||\\.\\*)[a-z]".prop_map(Pattern::Regex),
        1 => Just(Pattern::Exact(String::new())),
    ];
    let condition =
        (part, name, value).prop_map(|(part, name, value)| Condition { part, name, value });
    prop::collection::vec(condition, 1..3).prop_map(|all| Match::new(all).expect("conditions"))
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
    let rules = prop_oneof![4 => prop::collection::vec(rules(), 0..5), 1 => prop::collection::vec(rules(), 5..17)];
    (rules, annotations).prop_map(|(rules, annotations)| {
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
    let path = json!({"path": {"type": "PathPrefix", "value": "/"}});
    let region = json!({
        "path": {"type": "PathPrefix", "value": "/eu"},
        "headers": [{"type": "Exact", "name": "X-Region", "value": "eu"}],
    });
    let mirror = json!({"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "admin", "port": 80}}});
    let common = prop_oneof![
        Just(json!({"matches": [path.clone()]})),
        Just(json!({"matches": [region, path.clone()]})),
        (1..20_usize).prop_map(move |n| json!({"matches": vec![path.clone(); n]})),
        Just(json!({"name": "main", "timeouts": {"request": "10s"}})),
        (1..17_usize).prop_map(move |n| json!({"filters": vec![mirror.clone(); n]})),
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
