//! A run as a person would read it: each write, in order, and what is stored after it. Refreshed with `UPDATE_GOLDEN=1`.

use std::fmt::Write;

use super::*;
use crate::traffic::change;

#[test]
fn a_run_writes_annotations_and_leaves_what_was_there() {
    for case in ["root", "child", "weight", "several"] {
        golden(case, "run.yaml", &run(&owners(case), &shares(), SplitBy::Server));
    }
}

#[test]
fn a_server_without_the_policy_is_written_the_routes_as_well() {
    golden("root", "run-by-us.yaml", &run(&owners("root"), &shares(), SplitBy::Us));
}

#[test]
fn testers_get_a_route_of_their_own_and_copies_are_a_service_of_the_route() {
    golden("several", "testers.yaml", &run(&owners("several"), &testers(true), SplitBy::Server));
    // It has a mirror of its owner's, and can't have two.
    let steps = testers(false);
    golden("everything", "run.yaml", &run(&owners("everything"), &steps, SplitBy::Server));
}

#[test]
fn a_proxy_of_ours_is_split_like_any_other() {
    let proxy = made();
    golden("managed", "proxy.yaml", &text(&proxy));
    golden("managed", "run.yaml", &run(&proxy, &shares(), SplitBy::Server));
    let mut child = managed();
    child.hosts.clear();
    golden("managed", "child.yaml", &text(&HttpProxy.managed(&child).unwrap()));
}

type Step = (&'static str, Option<Shape>);

fn shares() -> Vec<Step> {
    vec![
        ("first step, before the canary has a pod", shape(0)),
        ("10 %, once the canary's Service has ready addresses", shape(10)),
        ("100 %, on a full-size canary; the target rolls", shape(100)),
        ("back to 0, before the canary's pods go", shape(0)),
        ("released, after they have gone", None),
    ]
}

fn testers(mirror: bool) -> Vec<Step> {
    let everybody = |percent| {
        let all = everybody(percent);
        Some(Shape { mirror: all.mirror.filter(|_| mirror), ..all })
    };
    vec![
        ("first step, before the canary has a pod", shape(0)),
        ("testers, and copies of others' requests where there are any", everybody(0)),
        ("25 % of the others as well", everybody(25)),
        ("back to 0, before the canary's pods go", shape(0)),
        ("released, after they have gone", None),
    ]
}

/// From rest to rest. An aborted run and a deleted canary end with the same last two writes.
fn run(proxy: &Value, steps: &[Step], by: SplitBy) -> String {
    let mut all = format!("# at rest\n{}", text(proxy));
    let mut live = live(proxy.clone());
    for (what, shape) in steps {
        let patch = change(&HttpProxy, &live, &shop(), shape.as_ref(), by).unwrap();
        live = render(&live, shape.as_ref());
        let seen = HttpProxy.read(&live, &shop());
        let wanted = shape.clone().map(Shape::in_order);
        assert_eq!((seen.stored, seen.accepted, seen.trouble), (wanted, true, None), "{what}");
        write!(all, "---\n# {what}: written\n{}", text(&patch.unwrap())).unwrap();
        write!(all, "---\n# stored\n{}", text(&stored(&live))).unwrap();
    }
    assert_eq!(live["spec"], proxy["spec"]);
    all
}

fn stored(live: &Value) -> Value {
    let mut metadata = json!({"name": live["metadata"]["name"]});
    if let Some(annotations) = live["metadata"].get("annotations") {
        metadata["annotations"] = annotations.clone();
    }
    json!({"metadata": metadata, "spec": {"routes": live["spec"]["routes"]}})
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
