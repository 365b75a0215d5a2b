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
fn a_server_without_the_policy_is_written_the_entries_as_well() {
    golden("gateway", "run-by-us.yaml", &run(&owners("gateway"), SplitBy::Us));
}

#[test]
fn a_virtual_service_of_ours_is_split_like_any_other() {
    let route = ours(&managed());
    golden("managed", "route.yaml", &text(&route));
    golden("managed", "run.yaml", &run(&route, SplitBy::Server));
}

/// From rest to rest. An aborted run and a deleted canary end with the same last two writes.
fn run(route: &Value, by: SplitBy) -> String {
    let shape = |percent, matches: &[Match], mirror: Option<u8>| {
        let (weight, mirror) = (Weight::new(percent).unwrap(), mirror.and_then(Weight::new));
        Some(Shape { weight, matches: matches.to_vec(), mirror })
    };
    let steps = [
        ("first step, before the canary has a pod", shape(0, &[], None)),
        ("testers, once the canary's Service has ready addresses", shape(0, &testers(), None)),
        ("copies of 5 %", shape(0, &testers(), Some(5))),
        ("25 %, and no copies", shape(25, &testers(), None)),
        ("100 %, on a full-size canary; the target rolls", shape(100, &[], None)),
        ("back to 0, before the canary's pods go", shape(0, &[], None)),
        ("released, after they have gone", None),
    ];
    let mut all = format!("# at rest\n{}", text(route));
    let mut live = live(route.clone());
    for (what, shape) in steps {
        let patch = change(&VirtualService, &live, &shop(), shape.as_ref(), by).unwrap();
        live = render(&live, shape.as_ref());
        write!(all, "---\n# {what}: written\n{}", text(&patch.unwrap())).unwrap();
        write!(all, "---\n# stored\n{}", text(&stored(&live))).unwrap();
        let seen = VirtualService.read(&live, &shop());
        assert_eq!((seen.stored, seen.accepted, seen.trouble), (shape, true, None));
    }
    assert_eq!(live["spec"], route["spec"]);
    all
}

fn stored(live: &Value) -> Value {
    let mut metadata = json!({"name": live["metadata"]["name"]});
    if let Some(annotations) = live["metadata"].get("annotations") {
        metadata["annotations"] = annotations.clone();
    }
    json!({"metadata": metadata, "spec": {"http": live["spec"]["http"]}})
}

fn text(value: &Value) -> String {
    serde_norway::to_string(value).unwrap()
}

#[track_caller]
fn golden(case: &str, file: &str, text: &str) {
    let path = folder(case).join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(folder(case)).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        text, expected,
        "{case}/{file} differs: look at the change, then set UPDATE_GOLDEN=1"
    );
}
