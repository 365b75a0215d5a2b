mod conflicts;
mod finding;
mod golden;
mod properties;
mod reading;
mod rules;

use std::path::PathBuf;

use rollout::{Condition, Match, Part, Pattern, Weight};
use serde_json::{Value, json};

use super::*;
use crate::traffic::contract::{self, Fixture};
use crate::traffic::{Found, GatewayRef, Refusal, SplitBy};

/// The objects of the golden files.
pub(super) const CASES: [&str; 7] =
    ["gateway", "mesh", "entries", "weight", "delegate", "copies", "two-canaries"];

#[test]
fn it_keeps_the_contract() {
    let mut fixtures: Vec<_> = CASES.map(fixture).into();
    let live = live(ours(&managed()));
    fixtures.push(Fixture { name: "managed".into(), live, backends: shop() });
    contract::keeps(&VirtualService, &fixtures);
}

pub(super) fn render(live: &Value, shape: Option<&Shape>) -> Value {
    VirtualService.render(live, &shop(), shape)
}

pub(super) fn weight(percent: u8) -> Option<Shape> {
    Weight::new(percent).map(Shape::weight)
}

pub(super) fn find<'a>(routes: impl IntoIterator<Item = &'a Value>) -> Found {
    crate::traffic::find(&VirtualService, routes, &shop())
}

/// Two kinds of testers: by a header, and by a cookie with a query parameter.
pub(super) fn testers() -> Vec<Match> {
    vec![
        matching(&[(Part::Header, "x-beta", exact("1"))]),
        matching(&[(Part::Cookie, "beta", exact("on")), (Part::Query, "v", regex("2|3"))]),
    ]
}

pub(super) fn matching(conditions: &[(Part, &str, Pattern)]) -> Match {
    let one = |(part, name, value): &(Part, &str, Pattern)| Condition {
        part: *part,
        name: (*name).to_owned(),
        value: value.clone(),
    };
    Match::new(conditions.iter().map(one).collect()).expect("a condition")
}

pub(super) fn exact(value: &str) -> Pattern {
    Pattern::Exact(value.to_owned())
}

pub(super) fn regex(value: &str) -> Pattern {
    Pattern::Regex(value.to_owned())
}

pub(super) fn shop() -> Backends {
    Backends::new("demo", "shop").expect("short")
}

pub(super) fn fixture(case: &str) -> Fixture {
    Fixture { name: case.to_owned(), live: live(owners(case)), backends: shop() }
}

/// As it is written down, `golden/virtual-service/<case>/route.yaml`.
pub(super) fn owners(case: &str) -> Value {
    yaml(&std::fs::read_to_string(folder(case).join("route.yaml")).expect("a golden file"))
}

pub(super) fn folder(case: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "golden", "virtual-service", case].iter().collect()
}

/// As it is read: stored. istiod says nothing about it.
pub(super) fn live(mut route: Value) -> Value {
    route["metadata"]["resourceVersion"] = json!("7");
    route["metadata"]["generation"] = json!(3);
    route
}

/// The case `gateway` with these entries.
pub(super) fn with_http(entries: &str) -> Value {
    let mut route = owners("gateway");
    route["spec"]["http"] = yaml(entries);
    route
}

pub(super) fn managed() -> Managed {
    Managed {
        name: "shop".into(),
        backends: shop(),
        port: 80,
        gateways: vec![GatewayRef {
            namespace: Some("istio-system".into()),
            name: "web".into(),
            section_name: None,
        }],
        mesh: true,
        hosts: vec!["shop.example.com".into()],
        labels: [("tidegate.dev/canary".to_owned(), "shop".to_owned())].into(),
    }
}

pub(super) fn ours(managed: &Managed) -> Value {
    VirtualService.managed(managed).expect("nothing that Istio can't say")
}

pub(super) fn yaml(text: &str) -> Value {
    serde_norway::from_str(text).expect("YAML")
}
