//! What Contour's status is worth.

use super::*;

#[test]
fn a_proxy_is_accepted_when_contour_says_so_about_this_generation() {
    check(&valid(3), Ok(()));
    check(&valid(4), Ok(()));
    check(&valid(2), Err("route demo/web: no answer yet to generation 3"));
    let mut without = valid(3);
    without["conditions"][0].as_object_mut().unwrap().remove("observedGeneration");
    check(&without, Err("route demo/web: no answer yet to generation 3"));
    // What a new one begins with.
    check(
        &json!({"currentStatus": "NotReconciled", "description": "Waiting for controller"}),
        Err("route demo/web: no answer yet; is Contour running, and is spec.ingressClassName its?"),
    );
}

#[test]
fn a_refusal_is_told_in_contours_words() {
    let errors = json!([
        {"type": "ServiceError", "reason": "ServiceUnresolvedReference", "status": "True", "message": "Spec.Routes unresolved service reference: service demo/shop-canary not found"},
        {"type": "TLSError", "reason": "SecretNotValid", "status": "True", "message": "no such Secret"},
    ]);
    check(
        &invalid(&errors),
        Err(
            "route demo/web: ServiceUnresolvedReference: Spec.Routes unresolved service reference: service demo/shop-canary not found; SecretNotValid: no such Secret",
        ),
    );
    check(&invalid(&json!([])), Err("route demo/web: Valid False: At least one error present"));
}

#[test]
fn a_child_that_nobody_includes_is_told_the_way_out() {
    let errors = json!([{"type": "Orphaned", "reason": "Orphaned", "status": "True", "message": "this HTTPProxy is not part of a delegation chain from a root HTTPProxy"}]);
    check(
        &invalid(&errors),
        Err(
            "route demo/web: no proxy with a host includes it, so it gets no request; name it in spec.includes of one, or give it spec.virtualhost.fqdn",
        ),
    );
}

#[test]
fn a_warning_is_told_and_keeps_nothing() {
    let mut status = valid(3);
    status["conditions"][0]["warnings"] = json!([{"type": "SpecError", "reason": "IgnoredField", "status": "True", "message": "ignoring field"}]);
    let seen = |share: Option<Shape>| {
        let mut proxy = render(&fixture("root").live, share.as_ref());
        proxy["status"] = status.clone();
        let seen = HttpProxy.read(&proxy, &shop());
        assert!(seen.accepted);
        seen.trouble
    };
    assert_eq!(seen(shape(10)).as_deref(), Some("route demo/web: IgnoredField: ignoring field"));
    assert_eq!(seen(shape(0)), None);
}

#[test]
fn a_route_that_lags_behind_is_named_and_the_largest_share_counts() {
    let split = render(&fixture("several").live, Some(&everybody(25)));
    let tail = "where annotation split.tidegate.dev/shop and those beside it say 25 % and requests with header x-tester=yes and query parameter beta=1 or cookie canary=always or header user-agent matching .*Firefox.*, 30 % mirrored; is the route of a shape that can't be split, or the policy tidegate-split-httpproxy not in force?";
    let reading = |change: &dyn Fn(&mut Value)| {
        let mut proxy = split.clone();
        change(&mut proxy["spec"]["routes"]);
        let seen = HttpProxy.read(&proxy, &shop());
        let stored = seen.stored.unwrap();
        (stored.weight.percent(), stored.mirror, seen.accepted, seen.trouble.unwrap_or_default())
    };
    let mirror = Weight::new(30);
    assert_eq!(reading(&|_| {}), (25, mirror, true, String::new()));

    let got = reading(&|r| r[0]["services"] = json!([{"name": "shop", "port": 80}]));
    let says = format!("route demo/web, spec.routes[0]: gives shop-canary 0 of 1 {tail}");
    assert_eq!(got, (25, mirror, false, says));

    let got = reading(&|r| r[5]["services"][1]["weight"] = json!(125));
    let says = format!("route demo/web, spec.routes[5]: gives shop-canary 125 of 200 {tail}");
    assert_eq!(got, (63, mirror, false, says));

    let got = reading(&|r| {
        r[0]["services"].as_array_mut().unwrap().pop();
    });
    let says = format!("route demo/web, spec.routes[0]: gives shop-canary copies of 0 % {tail}");
    assert_eq!(got, (25, mirror, false, says));

    // For Contour, a mirror without a weight is one of everything.
    let got = reading(&|r| drop(r[0]["services"][2].as_object_mut().unwrap().remove("weight")));
    let says = format!("route demo/web, spec.routes[0]: gives shop-canary copies of 100 % {tail}");
    assert_eq!(got, (25, Some(Weight::FULL), false, says));

    let got = reading(&|r| {
        r.as_array_mut().unwrap().pop();
    });
    let conditions = r#"[{"prefix":"/"},{"header":{"exact":"yes","name":"x-beta"}},{"header":{"name":"user-agent","regex":"^(?:.*Firefox.*)$"}}]"#;
    let says = format!("route demo/web, spec.routes: none has {conditions} {tail}");
    assert_eq!(got, (25, mirror, false, says));

    // A route of testers that shouldn't be there any more gives the canary all that it gets.
    let stale = render(&split, shape(0).as_ref());
    let mut proxy = split.clone();
    proxy["metadata"] = stale["metadata"].clone();
    let stored = HttpProxy.read(&proxy, &shop()).stored.unwrap();
    assert_eq!((stored.weight, stored.mirror), (Weight::FULL, mirror));
}

#[test]
fn on_the_way_back_a_route_without_the_canary_is_as_good_as_one_that_gives_it_nothing() {
    let mut proxy = fixture("root").live;
    proxy["metadata"]["annotations"] = json!({"split.tidegate.dev/shop": "0"});
    let seen = HttpProxy.read(&proxy, &shop());
    assert_eq!((seen.stored, seen.accepted, seen.trouble), (shape(0), true, None));

    proxy["metadata"]["annotations"] = json!({"split.tidegate.dev/shop": "025"});
    let trouble = HttpProxy.read(&proxy, &shop()).trouble.unwrap();
    assert!(trouble.contains("is `025`, need 0 to 100"), "{trouble}");
}

fn invalid(errors: &Value) -> Value {
    let mut status = valid(3);
    status["currentStatus"] = json!("invalid");
    status["conditions"][0]["status"] = json!("False");
    status["conditions"][0]["message"] = json!("At least one error present");
    status["conditions"][0]["errors"] = errors.clone();
    status
}

#[track_caller]
fn check(status: &Value, wanted: Result<(), &str>) {
    let mut proxy = render(&fixture("root").live, shape(10).as_ref());
    proxy["status"] = status.clone();
    let seen = HttpProxy.read(&proxy, &shop());
    assert_eq!(seen.accepted, wanted.is_ok());
    assert_eq!(seen.trouble.as_deref(), wanted.err());
}
