//! A run as a person would read it: each write, in order, and what is stored after it. Refreshed with `UPDATE_GOLDEN=1`.

use std::fmt::Write;

use super::*;
use crate::traffic::change;

#[test]
fn a_run_writes_one_annotation_at_a_time_and_leaves_what_was_there() {
    for case in CASES {
        golden(case, "run.yaml", &run(&owners(case), SplitBy::Server));
    }
}

#[test]
fn a_server_without_the_policy_is_written_the_rules_as_well() {
    golden("plain", "run-by-us.yaml", &run(&owners("plain"), SplitBy::Us));
}

#[test]
fn a_route_of_ours_is_split_like_any_other() {
    let route = made();
    golden("managed", "route.yaml", &text(&route));
    golden("managed", "run.yaml", &run(&route, SplitBy::Server));
}

/// From rest to rest. An aborted run and a deleted canary end with the same last two writes.
fn run(route: &Value, by: SplitBy) -> String {
    let steps = [
        ("first step, before the canary has a pod", Some(0)),
        ("10 %, once the canary's Service has ready addresses", Some(10)),
        ("100 %, on a full-size canary; the target rolls", Some(100)),
        ("back to 0, before the canary's pods go", Some(0)),
        ("released, after they have gone", None),
    ];
    let mut all = format!("# at rest\n{}", text(route));
    let mut live = live(route.clone());
    for (what, percent) in steps {
        let shape = percent.and_then(shape);
        let patch = change(&HttpRoute, &live, &shop(), shape.as_ref(), by).unwrap();
        live = HttpRoute.render(&live, &shop(), shape.as_ref());
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
    json!({"metadata": metadata, "spec": {"rules": live["spec"]["rules"]}})
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

#[test]
fn after_rules_that_we_wrote_ourselves_our_name_goes_from_their_owners() {
    let owner = json!({"manager": "kubectl", "operation": "Apply"});
    let fields =
        |name: &str| json!({"manager": "tidegate", "operation": "Update", "fieldsV1": {name: {}}});
    let (ours, metadata) = (fields("f:spec"), fields("f:metadata"));
    let applied = json!({"manager": "tidegate", "operation": "Apply", "fieldsV1": {"f:spec": {}}});
    let change_of = |case: &str, entries: &[&Value], share: Option<Weight>| {
        let mut live = fixture(case).live;
        live["metadata"]["managedFields"] = json!(entries);
        change(&HttpRoute, &live, &shop(), share.map(Shape::weight).as_ref(), SplitBy::Us).unwrap()
    };
    let changed = |entries: &[&Value], share| change_of("plain", entries, share);
    let patch = json!({"metadata": {"resourceVersion": "7", "managedFields": [owner, applied]}});
    assert_eq!(changed(&[&owner, &ours, &applied], None), Some(patch));
    assert_eq!(changed(&[&owner, &applied], None), None);
    assert_eq!(changed(&[&owner, &metadata], None), None);
    assert_eq!(changed(&[&ours], None), None);
    assert_eq!(change_of("two-canaries", &[&owner, &ours], None), None);

    let split = changed(&[&owner, &ours], Some(Weight::ZERO)).unwrap();
    assert_eq!(split["metadata"].get("managedFields"), None);
}
