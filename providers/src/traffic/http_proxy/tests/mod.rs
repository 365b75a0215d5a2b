mod answers;
mod conflicts;
mod finding;
mod golden;
mod properties;

use std::path::PathBuf;

use rollout::{Condition, Match, Part, Pattern, Weight};
use serde_json::{Value, json};

use super::*;
use crate::traffic::contract::{self, Fixture};
use crate::traffic::{Found, GatewayRef, SplitBy};

/// The proxies of the golden files, each with the Service that is split in it.
pub(super) const CASES: [&str; 5] = ["root", "child", "weight", "several", "everything"];

#[test]
fn it_keeps_the_contract() {
    let mut fixtures: Vec<_> = CASES.map(fixture).into();
    fixtures.push(Fixture { name: "managed".into(), live: live(made()), backends: shop() });
    contract::keeps(&HttpProxy, &fixtures);
}

pub(super) fn shape(percent: u8) -> Option<Shape> {
    Weight::new(percent).map(Shape::weight)
}

/// With testers of each kind, and copies.
pub(super) fn everybody(percent: u8) -> Shape {
    let of = |part, name: &str, value| Condition { part, name: name.to_owned(), value };
    let exact = |value: &str| Pattern::Exact(value.to_owned());
    let matches = [
        vec![of(Part::Header, "x-tester", exact("yes")), of(Part::Query, "beta", exact("1"))],
        vec![of(Part::Cookie, "canary", exact("always"))],
        vec![of(Part::Header, "user-agent", Pattern::Regex(".*Firefox.*".to_owned()))],
    ];
    Shape {
        weight: Weight::new(percent).expect("a share"),
        matches: matches.into_iter().filter_map(Match::new).collect(),
        mirror: Weight::new(30),
    }
}

pub(super) fn render(live: &Value, shape: Option<&Shape>) -> Value {
    split::render(live, &shop(), shape)
}

pub(super) fn find<'a>(routes: impl IntoIterator<Item = &'a Value>, backends: &Backends) -> Found {
    crate::traffic::find(&HttpProxy, routes, backends)
}

pub(super) fn shop() -> Backends {
    Backends::new("demo", "shop").expect("short")
}

pub(super) fn fixture(case: &str) -> Fixture {
    Fixture { name: case.to_owned(), live: live(owners(case)), backends: shop() }
}

/// As it is written down, `golden/http-proxy/<case>/proxy.yaml`.
pub(super) fn owners(case: &str) -> Value {
    yaml(&std::fs::read_to_string(folder(case).join("proxy.yaml")).expect("a golden file"))
}

pub(super) fn folder(case: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "golden", "http-proxy", case].iter().collect()
}

/// As it is read: stored, and accepted.
pub(super) fn live(mut proxy: Value) -> Value {
    proxy["metadata"]["resourceVersion"] = json!("7");
    proxy["metadata"]["generation"] = json!(3);
    proxy["status"] = valid(3);
    proxy
}

pub(super) fn valid(generation: i64) -> Value {
    json!({
        "conditions": [{
            "type": "Valid", "status": "True", "reason": "Valid", "message": "Valid HTTPProxy",
            "lastTransitionTime": "2026-11-24T12:00:00Z", "observedGeneration": generation,
        }],
        "currentStatus": "valid",
        "description": "Valid HTTPProxy",
    })
}

pub(super) fn made() -> Value {
    HttpProxy.managed(&managed()).expect("a proxy")
}

pub(super) fn managed() -> Managed {
    Managed {
        name: "shop".into(),
        backends: shop(),
        port: 80,
        gateways: vec![],
        mesh: false,
        hosts: vec!["shop.example.com".into()],
        labels: [("tidegate.dev/canary".to_owned(), "shop".to_owned())].into(),
    }
}

pub(super) fn yaml(text: &str) -> Value {
    serde_norway::from_str(text).expect("YAML")
}
