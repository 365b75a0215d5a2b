mod finding;
mod golden;
mod properties;

use std::path::PathBuf;

use rollout::Weight;
use serde_json::{Value, json};

use super::*;
use crate::traffic::contract::{self, Fixture};
use crate::traffic::{Found, GatewayRef, SplitBy};

/// The services of the golden files.
pub(super) const CASES: [&str; 3] = ["plain", "weight", "sticky"];

#[test]
fn it_keeps_the_contract() {
    let mut fixtures: Vec<_> = CASES.map(fixture).into();
    fixtures.push(Fixture { name: "managed".into(), live: live(made()), backends: shop() });
    contract::keeps(&TraefikService, &fixtures);
}

pub(super) fn shape(percent: u8) -> Option<Shape> {
    Weight::new(percent).map(Shape::weight)
}

pub(super) fn render(live: &Value, shape: Option<&Shape>) -> Value {
    split::render(live, &shop(), shape)
}

pub(super) fn find<'a>(routes: impl IntoIterator<Item = &'a Value>, backends: &Backends) -> Found {
    crate::traffic::find(&TraefikService, routes, backends)
}

pub(super) fn shop() -> Backends {
    Backends::new("demo", "shop").expect("short")
}

pub(super) fn fixture(case: &str) -> Fixture {
    Fixture { name: case.to_owned(), live: live(owners(case)), backends: shop() }
}

/// As it is written down, `golden/traefik-service/<case>/service.yaml`.
pub(super) fn owners(case: &str) -> Value {
    yaml(&std::fs::read_to_string(folder(case).join("service.yaml")).expect("a golden file"))
}

pub(super) fn folder(case: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "golden", "traefik-service", case].iter().collect()
}

/// As it is read: stored.
pub(super) fn live(mut route: Value) -> Value {
    route["metadata"]["resourceVersion"] = json!("7");
    route["metadata"]["generation"] = json!(3);
    route
}

pub(super) fn made() -> Value {
    TraefikService.managed(&managed()).expect("a TraefikService")
}

pub(super) fn managed() -> Managed {
    Managed {
        name: "shop".into(),
        backends: shop(),
        port: 80,
        gateways: vec![],
        mesh: false,
        hosts: vec![],
        labels: [("tidegate.dev/canary".to_owned(), "shop".to_owned())].into(),
    }
}

pub(super) fn yaml(text: &str) -> Value {
    serde_norway::from_str(text).expect("YAML")
}
