//! Whole pages, refreshed with `UPDATE_GOLDEN=1`.

use std::path::Path;

use serde_json::json;

use super::*;
use crate::args::Program;
use crate::explain::page::Page;
use crate::terminal::Paint;

#[track_caller]
fn golden(file: &str, facts: &Facts) {
    let chain = chain(facts);
    let paint = Paint { colours: false };
    let page = Page {
        facts,
        chain: &chain,
        program: Program("tidegate"),
        metrics_server: Some("http://localhost:9090"),
        paint,
        width: 80,
    };
    let lines = page.lines();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(file);
    let text = lines.join("\n") + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap_or_default(), "{}", path.display());
    // A query is never broken: it is to be pasted.
    let quoted = |line: &&String| line.contains('\'');
    let wide: Vec<_> = lines.iter().filter(|l| l.chars().count() > 80 && !quoted(l)).collect();
    assert!(wide.is_empty(), "wider than 80 columns: {wide:#?}");
}

#[test]
fn traffic_that_reaches_the_canary() {
    golden("explain-fine.txt", &healthy());
}

#[test]
fn at_rest_no_traffic_is_meant_for_a_canary() {
    let mut facts = healthy();
    let mut status = status();
    status["phase"] = json!("Idle");
    status["run"] = json!(null);
    status["waitingFor"] = json!(null);
    status["traffic"]["intended"] = json!(0);
    status["conditions"] = json!([{"type": "Ready", "status": "True", "reason": "AtRest",
        "message": "revision 6d4b8 serves everything", "lastTransitionTime": "2026-11-24T03:10:45Z"}]);
    facts.canary = canary(&status);
    golden("explain-idle.txt", &facts);
}

#[test]
fn an_image_that_can_not_be_pulled() {
    let mut facts = healthy();
    let pod = canary_pod(&mut facts);
    pod["status"]["conditions"][0]["status"] = json!("False");
    pod["status"]["containerStatuses"] = json!([{"name": "app", "state": {"waiting": {
        "reason": "ImagePullBackOff", "message": "Back-off pulling image \"registry.example.com/shop/checkout:2\""}}}]);
    facts.slices = Ok(vec![slice("checkout", 2)]);
    facts.measured = answers(0.0, 908.0);
    golden("explain-pods.txt", &facts);
}

#[test]
fn a_listener_that_shuts_the_namespace_out() {
    let mut facts = healthy();
    route(&mut facts)["status"]["parents"][0]["conditions"][0] = json!({
        "type": "Accepted", "status": "False", "reason": "NotAllowedByListeners", "observedGeneration": 7,
        "message": "No listeners included by this parent ref allowed this attachment."});
    golden("explain-acceptance.txt", &facts);
}

#[test]
fn labels_that_are_the_scrape_targets_own() {
    let mut facts = healthy();
    let lost = empty(RQ, true, true, &[("envoy_endpoint_address", true, true)]);
    facts.measured = measured(vec![lost]);
    golden("explain-query.txt", &facts);
}

#[test]
fn what_may_not_be_read_is_not_taken_for_good() {
    let mut facts = healthy();
    facts.network_policies = denied("networkpolicies.networking.k8s.io");
    golden("explain-blind.txt", &facts);
}

#[test]
fn colours_take_no_room() {
    let mut facts = healthy();
    facts.measured = answers(0.0, 0.0);
    let chain = chain(&facts);
    let page = |colours| {
        let paint = Paint { colours };
        let program = Program("kubectl tidegate");
        Page { facts: &facts, chain: &chain, program, metrics_server: None, paint, width: 60 }
            .lines()
    };
    let bare: Vec<String> = page(true)
        .iter()
        .map(|line| {
            let mut parts = line.split('\u{1b}');
            let first = parts.next().unwrap_or_default().to_owned();
            let rest = parts.map(|part| part.split_once('m').map_or("", |(_, text)| text));
            first + &rest.collect::<String>()
        })
        .collect();
    assert_eq!(bare, page(false));
    assert_ne!(page(true), page(false));
}
