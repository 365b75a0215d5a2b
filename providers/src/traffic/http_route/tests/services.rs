//! Routes on Services, of both groups.

use super::*;
use crate::traffic::LinkerdRoute;

const ISTIO: &str = "istio.io/gateway-controller";

/// On a Service, as its mesh has accepted it.
fn on_a_service(version: &str, group: &str) -> Value {
    let mut route = owners("plain");
    route["apiVersion"] = json!(version);
    route["spec"]["parentRefs"] =
        json!([{"group": group, "kind": "Service", "name": "shop", "port": 80}]);
    let mut route = live(route);
    route["status"]["parents"][0]["controllerName"] = json!(ISTIO);
    route
}

#[test]
fn routes_on_services_keep_the_contract() {
    let fixture = |version: &str, group: &str| Fixture {
        name: format!("service of group `{group}`, {version}"),
        live: on_a_service(version, group),
        backends: shop(),
    };
    let gateway_api = "gateway.networking.k8s.io/v1";
    contract::keeps(&HttpRoute, &[fixture(gateway_api, ""), fixture(gateway_api, "core")]);
    contract::keeps(&LinkerdRoute, &[fixture("policy.linkerd.io/v1beta3", "core")]);
}

#[test]
fn a_route_of_ours_on_a_service_is_split_like_any_other() {
    let wanted = Managed { gateways: vec![], hosts: vec![], mesh: true, ..managed() };
    let route = HttpRoute.managed(&wanted).expect("a route");
    assert_eq!(
        route["spec"],
        json!({
            "parentRefs": [{"group": "", "kind": "Service", "name": "shop", "port": 80}],
            "rules": [{
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                "backendRefs": [{"group": "", "kind": "Service", "name": "shop", "port": 80, "weight": 1}],
            }],
        })
    );
    let mesh = Parent::Service { name: "shop".into(), controller: None };
    assert_eq!(HttpRoute.parents(&route), [mesh]);
    let mut stored = live(route.clone());
    stored["status"]["parents"][0]["controllerName"] = json!(ISTIO);
    assert!(wanted.is_current(&HttpRoute, &route, &stored));
    contract::keeps(
        &HttpRoute,
        &[Fixture { name: "ours".into(), live: stored.clone(), backends: shop() }],
    );
    let split = render(&stored, &shop(), Weight::new(25));
    assert!(wanted.is_current(&HttpRoute, &route, &split));
    assert!(LinkerdRoute.managed(&wanted).is_err(), "that kind is never made");

    let both = Managed { mesh: true, ..managed() };
    assert_eq!(HttpRoute.parents(&HttpRoute.managed(&both).expect("a route")).len(), 3);
}
