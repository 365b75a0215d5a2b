mod answers;
mod conflicts;
mod finding;
mod golden;
mod properties;
mod services;
mod shapes;

use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;
use crate::traffic::contract::{self, Fixture};
use crate::traffic::{Found, GatewayRef, Refusal, SplitBy};
use rollout::Weight;

/// The routes of the golden files, each with the Service that is split in it.
pub(super) const CASES: [&str; 6] =
    ["plain", "another-service", "filters", "weight", "hosts", "two-canaries"];

#[test]
fn it_keeps_the_contract() {
    let mut fixtures: Vec<_> = CASES.map(fixture).into();
    fixtures.push(Fixture { name: "managed".into(), live: live(made()), backends: shop() });
    contract::keeps(&HttpRoute, &fixtures);
}

#[test]
fn a_route_of_grpc_keeps_the_contract() {
    let fixtures: Vec<_> = GRPC_CASES
        .map(|case| Fixture { live: live(owners_in("grpc-route", case)), ..fixture("plain") })
        .into();
    contract::keeps(&GrpcRoute, &fixtures);
}

/// The golden files of the other kind.
pub(super) const GRPC_CASES: [&str; 2] = ["plain", "methods"];

pub(super) fn shape(percent: u8) -> Option<Shape> {
    Weight::new(percent).map(Shape::weight)
}

pub(super) fn render(live: &Value, backends: &Backends, share: Option<Weight>) -> Value {
    HttpRoute.render(live, backends, share.map(Shape::weight).as_ref())
}

pub(super) fn find<'a>(routes: impl IntoIterator<Item = &'a Value>, backends: &Backends) -> Found {
    crate::traffic::find(&HttpRoute, routes, backends)
}

pub(super) fn shop() -> Backends {
    Backends::new("demo", "shop").expect("short")
}

pub(super) fn fixture(case: &str) -> Fixture {
    Fixture { name: case.to_owned(), live: live(owners(case)), backends: shop() }
}

/// As it is written down, `golden/http-route/<case>/route.yaml`.
pub(super) fn owners(case: &str) -> Value {
    owners_in("http-route", case)
}

pub(super) fn owners_in(kind: &str, case: &str) -> Value {
    yaml(&std::fs::read_to_string(folder(kind, case).join("route.yaml")).expect("a golden file"))
}

pub(super) fn folder(kind: &str, case: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "golden", kind, case].iter().collect()
}

/// As it is read: stored, and accepted by all its parents.
pub(super) fn live(mut route: Value) -> Value {
    route["metadata"]["resourceVersion"] = json!("7");
    route["metadata"]["generation"] = json!(3);
    let parents: Vec<_> = refs::list(&route, "/spec/parentRefs")
        .iter()
        .map(|parent| entry(parent, "traefik.io/gateway-controller", &accepted(3)))
        .collect();
    route["status"] = json!({ "parents": parents });
    route
}

pub(super) fn entry(parent: &Value, controller: &str, conditions: &Value) -> Value {
    json!({"parentRef": parent, "controllerName": controller, "conditions": conditions})
}

pub(super) fn accepted(generation: i64) -> Value {
    json!([
        {"type": "Accepted", "status": "True", "reason": "Accepted", "message": "", "observedGeneration": generation},
        {"type": "ResolvedRefs", "status": "True", "reason": "ResolvedRefs", "message": "", "observedGeneration": generation},
    ])
}

pub(super) fn made() -> Value {
    HttpRoute.managed(&managed()).expect("a route")
}

pub(super) fn managed() -> Managed {
    Managed {
        name: "shop".into(),
        backends: shop(),
        port: 80,
        gateways: vec![
            GatewayRef {
                name: "public".into(),
                namespace: Some("infra".into()),
                section_name: None,
            },
            GatewayRef { name: "local".into(), namespace: None, section_name: Some("http".into()) },
        ],
        mesh: false,
        hosts: vec!["shop.example.com".into()],
        labels: [("tidegate.dev/canary".to_owned(), "shop".to_owned())].into(),
    }
}

pub(super) fn yaml(text: &str) -> Value {
    serde_norway::from_str(text).expect("YAML")
}
