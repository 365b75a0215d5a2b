//! What a route's status is worth.

use super::*;
use crate::traffic::Observed;

const TRAEFIK: &str = "traefik.io/gateway-controller";
const ENVOY: &str = "gateway.envoyproxy.io/gatewayclass-controller";
const OTHER: &str = "example.com/gateway-controller";

#[test]
fn a_route_is_accepted_when_every_parent_says_so_about_this_generation() {
    let public = || parent("public");
    check(&[public()], &[entry(&public(), TRAEFIK, &accepted(3))], Ok(()));
    check(&[public()], &[entry(&public(), TRAEFIK, &accepted(4))], Ok(()));
    check(
        &[public()],
        &[entry(&public(), TRAEFIK, &accepted(2))],
        Err("route demo/web, gateway infra/public: no answer yet to generation 3"),
    );
    check(
        &[public(), parent("internal")],
        &[entry(&public(), TRAEFIK, &accepted(3))],
        Err(
            "route demo/web, gateway infra/internal: no answer yet; is its controller running, and does a listener allow this route?",
        ),
    );
    check(
        &[public(), parent("internal")],
        &[entry(&parent("internal"), TRAEFIK, &accepted(3)), entry(&public(), ENVOY, &accepted(3))],
        Ok(()),
    );
}

#[test]
fn a_status_that_was_never_written_is_not_a_yes() {
    let none = "route demo/web, gateway infra/public: no answer yet; is its controller running, and does a listener allow this route?";
    check(&[parent("public")], &[], Err(none));
    check(&[parent("public")], &[entry(&parent("other"), TRAEFIK, &accepted(3))], Err(none));
    check(&[], &[], Err("route demo/web, spec.parentRefs: none, or one that can't be read"));
}

#[test]
fn a_parent_is_the_same_with_its_defaults_and_without_them() {
    let short = json!({"name": "public", "namespace": "infra"});
    let long = json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "public", "namespace": "infra"});
    check(std::slice::from_ref(&short), &[entry(&long, TRAEFIK, &accepted(3))], Ok(()));
    check(&[long], &[entry(&short, TRAEFIK, &accepted(3))], Ok(()));

    let here = json!({"name": "public"});
    let there = json!({"name": "public", "namespace": "demo"});
    check(&[here], &[entry(&there, TRAEFIK, &accepted(3))], Ok(()));
}

#[test]
fn a_listener_and_a_port_are_parents_of_their_own() {
    let with = |field: &str, value: Value| {
        let mut parent = parent("public");
        parent[field] = value;
        parent
    };
    let (web, port) = (with("sectionName", json!("web")), with("port", json!(80)));
    let yes = |p: &Value| entry(p, TRAEFIK, &accepted(3));
    check(&[web.clone(), port.clone()], &[yes(&port), yes(&web)], Ok(()));
    check(
        std::slice::from_ref(&web),
        &[yes(&parent("public"))],
        Err(
            "route demo/web, gateway infra/public section web: no answer yet; is its controller running, and does a listener allow this route?",
        ),
    );
    check(
        &[port],
        &[yes(&web)],
        Err(
            "route demo/web, gateway infra/public port 80: no answer yet; is its controller running, and does a listener allow this route?",
        ),
    );
}

#[test]
fn a_refusal_is_told_in_the_words_of_the_system() {
    let mut gone = accepted(3);
    gone[1] = json!({"type": "ResolvedRefs", "status": "False", "reason": "BackendNotFound", "message": "service demo/shop-canary not found", "observedGeneration": 3});
    check(
        &[parent("public")],
        &[entry(&parent("public"), TRAEFIK, &gone)],
        Err(
            "route demo/web, gateway infra/public: ResolvedRefs False BackendNotFound: service demo/shop-canary not found",
        ),
    );

    let partial = json!([accepted(3)[0], accepted(3)[1], {"type": "PartiallyInvalid", "status": "True", "reason": "UnsupportedValue", "message": "", "observedGeneration": 3}]);
    check(
        &[parent("public")],
        &[entry(&parent("public"), ENVOY, &partial)],
        Err("route demo/web, gateway infra/public: PartiallyInvalid True UnsupportedValue"),
    );

    let half = json!([accepted(3)[0]]);
    check(
        &[parent("public")],
        &[entry(&parent("public"), ENVOY, &half)],
        Err("route demo/web, gateway infra/public: condition ResolvedRefs is not there yet"),
    );

    let mut unknown = accepted(3);
    unknown[0]["status"] = json!("Unknown");
    check(
        &[parent("public")],
        &[entry(&parent("public"), ENVOY, &unknown)],
        Err("route demo/web, gateway infra/public: Accepted Unknown Accepted"),
    );
}

#[test]
fn one_old_condition_makes_an_answer_old() {
    let mut mixed = accepted(3);
    mixed[1]["observedGeneration"] = json!(2);
    check(
        &[parent("public")],
        &[entry(&parent("public"), TRAEFIK, &mixed)],
        Err("route demo/web, gateway infra/public: no answer yet to generation 3"),
    );
}

#[test]
fn a_missing_generation_counts_only_from_those_who_never_give_one() {
    let mut without = accepted(3);
    for i in 0..2 {
        without[i].as_object_mut().unwrap().remove("observedGeneration");
    }
    let of = |controller| entry(&parent("public"), controller, &without);
    let old = Err("route demo/web, gateway infra/public: no answer yet to generation 3");
    check(&[parent("public")], &[of(OTHER)], Ok(()));
    check(&[parent("public")], &[of(TRAEFIK)], old);
    check(&[parent("public")], &[of(ENVOY)], old);
}

#[test]
fn a_controller_that_was_replaced_is_not_heard_and_all_others_have_to_agree() {
    let refused = |generation| {
        let mut conditions = accepted(generation);
        conditions[0]["status"] = json!("False");
        conditions[0]["reason"] = json!("NoMatchingParent");
        conditions
    };
    let public = || parent("public");
    let yes = || entry(&public(), TRAEFIK, &accepted(3));
    check(&[public()], &[entry(&public(), OTHER, &refused(1)), yes()], Ok(()));
    check(&[public()], &[yes(), entry(&public(), OTHER, &refused(1))], Ok(()));
    check(
        &[public()],
        &[yes(), entry(&public(), OTHER, &refused(3))],
        Err("route demo/web, gateway infra/public: Accepted False NoMatchingParent"),
    );
    check(
        &[public()],
        &[entry(&public(), TRAEFIK, &accepted(1)), entry(&public(), OTHER, &accepted(2))],
        Err("route demo/web, gateway infra/public: no answer yet to generation 3"),
    );
}

#[test]
fn backends_without_endpoints_are_a_trouble_but_no_refusal_and_none_at_weight_0() {
    let without_pods = |percent: Option<u8>| {
        let share = percent.and_then(Weight::new);
        let mut route = render(&fixture("plain").live, &shop(), share);
        let conditions = route.pointer_mut("/status/parents/0/conditions").unwrap();
        conditions.as_array_mut().unwrap().push(json!({
            "type": "BackendsAvailable", "status": "False", "reason": "EndpointsNotFound",
            "message": "no ready endpoints", "observedGeneration": 3,
        }));
        let seen = HttpRoute.read(&route, &shop());
        assert!(seen.accepted);
        seen.trouble
    };
    let sentence = "route demo/web, gateway infra/public: BackendsAvailable False EndpointsNotFound: no ready endpoints";
    assert_eq!(without_pods(Some(10)).as_deref(), Some(sentence));
    assert_eq!(without_pods(Some(0)), None);
    assert_eq!(without_pods(None).as_deref(), Some(sentence));
}

#[test]
fn shares_are_read_by_name_wherever_the_backends_stand() {
    let mut route = render(&fixture("plain").live, &shop(), Weight::new(25));
    route["spec"]["rules"][0]["backendRefs"].as_array_mut().unwrap().reverse();
    route["spec"]["rules"]
        .as_array_mut()
        .unwrap()
        .insert(0, json!({"backendRefs": [{"name": "new"}]}));
    let seen = HttpRoute.read(&route, &shop());
    assert_eq!((seen.stored, seen.accepted), (shape(25), true));
}

#[test]
fn a_rule_that_lags_behind_is_named_and_the_largest_share_counts() {
    let split = render(&fixture("another-service").live, &shop(), Weight::new(25));
    let reading = |change: &dyn Fn(&mut Value)| {
        let mut route = split.clone();
        change(&mut route);
        let seen = HttpRoute.read(&route, &shop());
        (seen.stored.map(|s| s.weight.percent()), seen.accepted, seen.trouble.unwrap_or_default())
    };
    let alone = json!([{"name": "shop", "port": 80, "weight": 1}]);
    let tail = "where annotation split.tidegate.dev/shop says 25 %; is the rule of a shape that can't be split, or the policy tidegate-split not in force?";

    let (stored, accepted, trouble) =
        reading(&|r| r["spec"]["rules"][0]["backendRefs"] = alone.clone());
    assert_eq!((stored, accepted), (Some(25), false));
    assert_eq!(trouble, format!("route demo/web, spec.rules[0]: gives shop-canary 0 of 1 {tail}"));

    let (stored, accepted, trouble) = reading(&|r| {
        r["spec"]["rules"][3]["name"] = json!("rest");
        r["spec"]["rules"][3]["backendRefs"][1]["weight"] = json!(125);
    });
    assert_eq!((stored, accepted), (Some(63), false));
    assert_eq!(
        trouble,
        format!("route demo/web, spec.rules[3] (rest): gives shop-canary 125 of 200 {tail}")
    );

    let nobody = |r: &mut Value| {
        for i in [0, 3] {
            r["spec"]["rules"][i]["backendRefs"] = alone.clone();
        }
    };
    let (stored, accepted, trouble) = reading(&nobody);
    assert_eq!((stored, accepted), (Some(0), false), "{trouble}");

    // On the way back a rule without the canary is as good as one that gives it 0: nothing keeps the run from ending.
    let (stored, accepted, trouble) = reading(&|r| {
        nobody(r);
        r["metadata"]["annotations"]["split.tidegate.dev/shop"] = json!("0");
    });
    assert_eq!((stored, accepted, trouble.as_str()), (Some(0), true, ""));

    let (stored, accepted, trouble) =
        reading(&|r| r["metadata"]["annotations"]["split.tidegate.dev/shop"] = json!("025"));
    assert_eq!((stored, accepted), (Some(25), false));
    assert_eq!(
        trouble,
        "route demo/web: annotation split.tidegate.dev/shop is `025`, need 0 to 100"
    );
}

#[test]
fn a_backend_that_its_owner_gave_no_requests_says_what_the_annotation_says() {
    let mut route = fixture("plain").live;
    route["spec"]["rules"][0]["backendRefs"][0]["weight"] = json!(0);
    let split = render(&route, &shop(), Weight::new(25));
    assert_eq!(HttpRoute.read(&split, &shop()).stored, shape(25));
    assert_eq!(render(&split, &shop(), None), route);
}

#[test]
fn routes_that_are_split_together_are_read_together() {
    let of = |stored: Option<u8>, accepted| Observed {
        stored: stored.and_then(shape),
        accepted,
        trouble: None,
    };
    let together = |all: &[Observed]| Observed::together(all.iter().cloned());
    assert_eq!(together(&[]), None);
    assert_eq!(together(&[of(None, true), of(None, true)]), Some(of(None, true)));
    assert_eq!(together(&[of(Some(25), true), of(Some(25), true)]), Some(of(Some(25), true)));
    assert_eq!(together(&[of(Some(25), true), of(Some(25), false)]), Some(of(Some(25), false)));
    assert_eq!(together(&[of(Some(25), true), of(Some(10), true)]), Some(of(Some(25), false)));
    // One is released, the other isn't yet: not as its owner wrote it.
    assert_eq!(together(&[of(None, true), of(Some(0), true)]), Some(of(Some(0), true)));
    assert_eq!(together(&[of(None, true), of(Some(10), true)]), Some(of(Some(10), false)));
}

#[track_caller]
fn check(parents: &[Value], status: &[Value], answer: Result<(), &str>) {
    let mut route = fixture("plain").live;
    route["spec"]["parentRefs"] = json!(parents);
    route["status"]["parents"] = json!(status);
    let seen = HttpRoute.read(&route, &shop());
    assert_eq!(seen.accepted, answer.is_ok(), "{seen:?}");
    assert_eq!(seen.trouble.as_deref(), answer.err());
}

fn parent(name: &str) -> Value {
    json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "infra", "name": name})
}
