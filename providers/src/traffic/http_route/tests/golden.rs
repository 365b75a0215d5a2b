//! A run as a person would read it: each write, in order, and what is stored after it. Refreshed with `UPDATE_GOLDEN=1`.

use std::fmt::Write;

use rollout::{Condition, Match, Part, Pattern};

use super::*;
use crate::traffic::change;

#[test]
fn a_run_writes_one_annotation_at_a_time_and_leaves_what_was_there() {
    for case in CASES {
        golden("http-route", case, "run.yaml", &run(&HttpRoute, &owners(case), SplitBy::Server));
    }
}

#[test]
fn testers_and_copies_are_added_at_the_end_and_go_with_the_rest() {
    for case in ["plain", "another-service", "filters", "hosts"] {
        golden("http-route", case, "shapes.yaml", &shapes(&HttpRoute, &owners(case)));
    }
    for case in GRPC_CASES {
        let route = owners_in("grpc-route", case);
        golden("grpc-route", case, "shapes.yaml", &shapes(&GrpcRoute, &route));
    }
}

#[test]
fn a_server_without_the_policy_is_written_the_rules_as_well() {
    let run = run(&HttpRoute, &owners("plain"), SplitBy::Us);
    golden("http-route", "plain", "run-by-us.yaml", &run);
}

#[test]
fn a_route_of_ours_is_split_like_any_other() {
    let route = made();
    golden("http-route", "managed", "route.yaml", &text(&route));
    golden("http-route", "managed", "run.yaml", &run(&HttpRoute, &route, SplitBy::Server));
}

/// From rest to rest. An aborted run and a deleted canary end with the same last two writes.
fn run(provider: &dyn TrafficProvider, route: &Value, by: SplitBy) -> String {
    let steps = [
        ("first step, before the canary has a pod", shape(0)),
        ("10 %, once the canary's Service has ready addresses", shape(10)),
        ("100 %, on a full-size canary; the target rolls", shape(100)),
        ("back to 0, before the canary's pods go", shape(0)),
        ("released, after they have gone", None),
    ];
    told(provider, route, by, &steps)
}

/// Copies first, then testers, then A/B beside them.
fn shapes(provider: &dyn TrafficProvider, route: &Value) -> String {
    let condition = |part, name: &str, value| Condition { part, name: name.to_owned(), value };
    let one = |one| Match::new(vec![one]).expect("a condition");
    let testers = one(condition(Part::Header, "x-tester", Pattern::Exact("1".to_owned())));
    let variant = one(condition(Part::Cookie, "variant", Pattern::Exact("b.2".to_owned())));
    let at = |percent| Weight::new(percent).expect("a share");
    let steps = [
        (
            "10 % are copied, nobody is served",
            Some(Shape { mirror: Some(at(10)), ..Shape::default() }),
        ),
        (
            "testers beside 25 %",
            Some(Shape { matches: vec![testers.clone()], ..Shape::weight(at(25)) }),
        ),
        (
            "A/B: whoever has the cookie, and testers",
            Some(Shape { matches: vec![testers, variant], ..Shape::default() }),
        ),
        ("nobody: the rules stay, for requests that there are none of", Some(Shape::default())),
        ("released", None),
    ];
    told(provider, route, SplitBy::Server, &steps)
}

fn told(
    provider: &dyn TrafficProvider,
    route: &Value,
    by: SplitBy,
    steps: &[(&str, Option<Shape>)],
) -> String {
    let mut all = format!("# at rest\n{}", text(route));
    let mut live = live(route.clone());
    for (what, shape) in steps {
        let mut written = "written";
        while let Some(patch) = change(provider, &live, &shop(), shape.as_ref(), by).unwrap() {
            let first = shape.as_ref().and_then(|s| provider.on_the_way(&live, &shop(), s));
            live = first.unwrap_or_else(|| provider.render(&live, &shop(), shape.as_ref()));
            write!(all, "---\n# {what}: {written}\n{}", text(&patch)).unwrap();
            write!(all, "---\n# stored\n{}", text(&stored(&live))).unwrap();
            written = "written once the gateway has accepted that";
        }
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
fn golden(kind: &str, case: &str, file: &str, text: &str) {
    let path = folder(kind, case).join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        text, expected,
        "{kind}/{case}/{file} differs: look at the change, then set UPDATE_GOLDEN=1"
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
