//! A run as a person would read it: each write, in order, and what is stored after it. Refreshed with `UPDATE_GOLDEN=1`.

use std::fmt::Write;

use super::*;
use crate::traffic::change;

#[test]
fn a_run_writes_annotations_and_leaves_what_was_there() {
    for case in CASES {
        golden(case, "run.yaml", &run(&owners(case), SplitBy::Server));
    }
}

#[test]
fn a_server_without_the_policy_is_written_the_services_as_well() {
    golden("plain", "run-by-us.yaml", &run(&owners("plain"), SplitBy::Us));
}

#[test]
fn one_of_ours_is_split_like_any_other() {
    let route = made();
    golden("managed", "service.yaml", &text(&route));
    golden("managed", "run.yaml", &run(&route, SplitBy::Server));
}

/// From rest to rest. An aborted run and a deleted canary end with the same last two writes.
fn run(route: &Value, by: SplitBy) -> String {
    let steps = [
        ("first step, before the canary has a pod", shape(0)),
        ("10 %, once the canary's Service has ready addresses", shape(10)),
        ("100 %, on a full-size canary; the target rolls", shape(100)),
        ("back to 0, before the canary's pods go", shape(0)),
        ("released, after they have gone", None),
    ];
    let mut all = format!("# at rest\n{}", text(route));
    let mut live = live(route.clone());
    for (what, shape) in &steps {
        let patch = change(&TraefikService, &live, &shop(), shape.as_ref(), by).unwrap();
        live = render(&live, shape.as_ref());
        let seen = TraefikService.read(&live, &shop());
        assert_eq!((&seen.stored, seen.accepted, seen.trouble), (shape, true, None), "{what}");
        write!(all, "---\n# {what}: written\n{}", text(&patch.unwrap())).unwrap();
        write!(all, "---\n# stored\n{}", text(&stored(&live))).unwrap();
    }
    assert_eq!(live["spec"], route["spec"]);
    all
}

fn stored(live: &Value) -> Value {
    let mut metadata = json!({"name": live["metadata"]["name"]});
    if let Some(annotations) = live["metadata"].get("annotations") {
        metadata["annotations"] = annotations.clone();
    }
    json!({"metadata": metadata, "spec": live["spec"]})
}

fn text(value: &Value) -> String {
    serde_norway::to_string(value).unwrap()
}

#[track_caller]
fn golden(case: &str, file: &str, text: &str) {
    let path = folder(case).join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        text, expected,
        "{case}/{file} differs: look at the change, then set UPDATE_GOLDEN=1"
    );
}
