use super::*;
use crate::traffic::Route;

#[test]
fn one_is_found_that_has_the_service_alone() {
    let found = find([&owners("plain")], &shop());
    let route = Route { name: "web".into(), parents: vec![Parent::Of(System::TraefikService)] };
    assert_eq!((found.routes, found.refused), (vec![route], vec![]));
    let other = Backends::new("demo", "other").unwrap();
    assert_eq!(find([&owners("plain")], &other), Found::default());
    assert_eq!(TraefikService.services(&owners("weight")), ["shop"]);
    // Another TraefikService of that name.
    let named = with("weighted: {services: [{name: shop, kind: TraefikService}]}");
    assert_eq!(find([&named], &shop()), Found::default());
    assert_eq!(render(&named, shape(10).as_ref())["spec"], named["spec"]);
    assert!(TraefikService.services(&named).is_empty());
}

#[test]
fn what_cannot_be_split_is_refused_with_its_place_and_the_way_out() {
    refused(
        "weighted: {services: [{name: shop, port: 80}, {name: admin, port: 80}]}",
        "spec.weighted.services[0]: service shop is one of 2 backends, and only one that is alone can be split; give it a rule of its own",
    );
    refused(
        "weighted: {services: [{name: shop, port: 80, weight: 10001}]}",
        "spec.weighted.services[0]: 10001 is too large to be split (at most 10000); it is the only backend, so 1 means the same",
    );
    refused(
        "weighted: {services: [{name: shop, port: 80, weight: 0}]}",
        "spec.weighted.services[0]: weight 0 gives it no request, so there is nothing to split; it is the only one, so leave the weight out",
    );
    let by_hand =
        "shop-canary is named by hand, and Tidegate adds it when a run starts; name only shop";
    refused(
        "weighted: {services: [{name: shop, port: 80, weight: 90}, {name: shop-canary, port: 80, weight: 10}]}",
        &format!("spec.weighted.services[1]: {by_hand}"),
    );
    refused(
        "weighted: {services: [{name: shop-canary, port: 80}]}",
        &format!("spec.weighted.services[0]: {by_hand}"),
    );
    let other = "only spec.weighted can be split; let it name shop in a TraefikService of its own, and name that one here with kind: TraefikService";
    for (spec, field) in [
        ("mirroring: {name: shop, port: 80, mirrors: []}", "spec.mirroring"),
        (
            "highestRandomWeight: {services: [{name: a}, {name: shop}]}",
            "spec.highestRandomWeight.services[1]",
        ),
        (
            "failover: {service: {name: a}, fallback: {name: shop}, errors: {status: [500]}}",
            "spec.failover.fallback",
        ),
    ] {
        refused(spec, &format!("{field}: {other}"));
    }
}

#[test]
fn one_of_another_namespace_is_refused() {
    let mut route = with("weighted: {services: [{name: shop, namespace: demo, port: 80}]}");
    route["metadata"]["namespace"] = json!("infra");
    let found = find([&route], &shop());
    assert_eq!(
        found.refused[0].to_string(),
        "route infra/web, spec.weighted.services[0]: service shop is named from another namespace, where its canary can't be; move the route to namespace demo"
    );
    assert_eq!(found.routes, []);
}

#[test]
fn one_that_is_split_can_be_released_whatever_has_become_of_it() {
    let mut route = render(&owners("plain"), shape(100).as_ref());
    assert_eq!(find([&route], &shop()).refused, []);
    route["spec"]["weighted"]["services"][0]["name"] = json!("admin");
    let found = find([&route], &shop());
    assert_eq!((found.routes.len(), found.refused), (1, vec![]));
}

#[test]
fn a_share_that_lags_behind_is_told() {
    let mut route = render(&fixture("weight").live, shape(25).as_ref());
    route["spec"]["weighted"]["services"][1]["weight"] = json!(300);
    let seen = TraefikService.read(&route, &shop());
    assert_eq!((seen.stored, seen.accepted), (shape(50), false));
    assert_eq!(
        seen.trouble.unwrap(),
        "route demo/web, spec.weighted: gives shop-canary 300 of 600 where annotation split.tidegate.dev/shop says 25 %; is it of a shape that can't be split, or the policy tidegate-split-traefikservice not in force?"
    );
    route["metadata"]["annotations"] = json!({"split.tidegate.dev/shop": "ten"});
    let seen = TraefikService.read(&route, &shop());
    assert_eq!((seen.stored, seen.accepted), (shape(50), false));
    assert!(seen.trouble.unwrap().contains("is `ten`, need 0 to 100"));
}

#[test]
fn an_ingress_route_that_goes_past_it_is_refused() {
    let refused = |services: &str| {
        let route = json!({
            "metadata": {"name": "web", "namespace": "demo"},
            "spec": {"routes": [{"match": "Host(`a.example.com`)", "kind": "Rule", "services": yaml(services)}]},
        });
        let found = crate::traffic::find(&IngressRoute, [&route], &shop());
        assert_eq!(found.routes, []);
        found.refused.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let sentence = "route demo/web, spec.routes[0].services[0]: an IngressRoute has no shares that can be split; name a TraefikService here (kind: TraefikService) whose spec.weighted.services has shop alone";
    assert_eq!(refused("[{name: shop, port: 80}]"), [sentence]);
    assert_eq!(refused("[{name: shop, port: 80, kind: Service, namespace: demo}]"), [sentence]);
    let none: [&str; 0] = [];
    assert_eq!(refused("[{name: shop, kind: TraefikService}]"), none);
    assert_eq!(refused("[{name: shop, namespace: other}, {name: admin}]"), none);
    assert!(refused("[{name: shop-canary}]")[0].contains("named by hand"));
}

#[test]
fn one_of_ours_has_no_hosts() {
    let stored = live(made());
    let current = |live: &Value| managed().is_current(&TraefikService, &made(), live);
    assert!(current(&stored) && current(&render(&stored, shape(100).as_ref())));
    let mut other = managed();
    other.port = 81;
    assert!(!other.is_current(&TraefikService, &TraefikService.managed(&other).unwrap(), &stored));

    let gateway = GatewayRef { name: "public".into(), namespace: None, section_name: None };
    for change in [
        &(|m: &mut Managed| m.hosts.push("a.example.com".into())) as &dyn Fn(&mut Managed),
        &|m| m.mesh = true,
        &|m| m.gateways.push(gateway.clone()),
    ] {
        let mut other = managed();
        change(&mut other);
        assert_eq!(
            TraefikService.managed(&other).unwrap_err(),
            "spec.traffic.route: a TraefikService has neither gateways nor hosts; leave them out, and name it in an IngressRoute of yours: kind: TraefikService, name: shop"
        );
    }
}

#[track_caller]
fn refused(spec: &str, sentence: &str) {
    let found = find([&with(spec)], &shop());
    assert_eq!(found.routes, []);
    let sentences: Vec<_> = found.refused.iter().map(Refused::to_string).collect();
    assert_eq!(sentences, [format!("route demo/web, {sentence}")]);
}

fn with(spec: &str) -> Value {
    let mut route = owners("plain");
    route["spec"] = yaml(spec);
    route
}
