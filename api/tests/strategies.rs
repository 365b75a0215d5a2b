//! Testers, matches and mirrors: from what users write to what the state machine is told.

#![expect(clippy::unwrap_used, reason = "these are tests, helpers included")]

use std::collections::BTreeMap;

use api::{CanarySpec, Invalid, PlanSpec, parse, plan_of};
use rollout::{Condition, Match, Part, Pattern, Plan};
use serde_json::{Value, json};

fn spec(change: &Value) -> CanarySpec {
    let mut spec = json!({
        "targetRef": {"name": "shop"}, "traffic": {"service": {"name": "shop"}}
    });
    for (field, value) in change.as_object().unwrap() {
        spec[field] = value.clone();
    }
    serde_json::from_value(spec).unwrap()
}

fn planned(change: &Value) -> Result<(PlanSpec, Plan), Invalid> {
    let frozen = plan_of(&spec(change), &BTreeMap::new())?;
    let plan = parse(&frozen)?.plan;
    Ok((frozen, plan))
}

fn refused(change: &Value) -> String {
    planned(change).map(drop).unwrap_err().to_string()
}

/// Of one tester that is told by these.
fn tester(of: &Value) -> Value {
    json!({"testers": [of]})
}

fn condition(part: Part, name: &str, value: Pattern) -> Condition {
    Condition { part, name: name.to_owned(), value }
}

#[test]
fn a_matcher_is_told_by_headers_cookies_and_the_query() {
    let matcher = json!({
        "headers": {"X-User": {"exact": "a b"}},
        "cookies": {"Canary": {"exact": "always"}},
        "query": {"Beta": {"regex": "1|2"}},
    });
    let (_, plan) = planned(&tester(&matcher)).unwrap();
    let exact = |value: &str| Pattern::Exact(value.to_owned());
    let wanted = Match::new(vec![
        condition(Part::Header, "x-user", exact("a b")),
        condition(Part::Cookie, "Canary", exact("always")),
        condition(Part::Query, "Beta", Pattern::Regex("1|2".to_owned())),
    ]);
    assert_eq!(plan.testers(), [wanted.unwrap()]);
}

#[test]
fn what_no_request_can_be_told_by_is_refused_with_its_field() {
    let headers = |name: &str, value: Value| tester(&json!({"headers": {name: value}}));
    let one = || json!({"exact": "1"});
    let cases = [
        (tester(&json!({})), "testers[0]: without a condition"),
        (headers("cookie", one()), "testers[0].headers: \"cookie\": cookies have a field"),
        (headers("Cookie", one()), "testers[0].headers: \"Cookie\": cookies have a field"),
        (headers("Host", one()), "testers[0].headers: \"Host\": the route's host names"),
        (headers(":path", one()), "testers[0].headers: \":path\": pseudo headers"),
        (headers("x user", one()), "testers[0].headers: \"x user\": only letters"),
        (headers("", one()), "testers[0].headers: \"\": a name is needed"),
        (headers("x", json!({})), "testers[0].headers.x: a value is either exact or a regex"),
        (
            headers("x", json!({"exact": "1", "regex": "1"})),
            "testers[0].headers.x: a value is either",
        ),
        (headers("x", json!({"exact": ""})), "testers[0].headers.x: \"\": a value is needed"),
        (headers("x", json!({"exact": "a\tb"})), "testers[0].headers.x: \"a\\tb\": line breaks"),
        (headers("x", json!({"regex": "a\nb"})), "testers[0].headers.x: \"a\\nb\": line breaks"),
        (headers("x", json!({"exact": " a"})), "testers[0].headers.x: \" a\": no value begins"),
        (
            tester(&json!({"headers": {"X-User": one(), "x-user": one()}})),
            "testers[0].headers: \"x-user\": is there twice",
        ),
        (
            tester(&json!({"cookies": {"a": one(), "b": one()}})),
            "testers[0].cookies: 2 entries: at most 1",
        ),
        (
            tester(&json!({"cookies": {"a": {"exact": "1;2"}}})),
            "testers[0].cookies.a: \"1;2\": a semicolon",
        ),
        (
            json!({"steps": [{"weight": 0, "match": [{}]}]}),
            "steps[0].match[0]: without a condition",
        ),
        (
            json!({"steps": [{"weight": 0, "mirror": {"percent": 0}}]}),
            "steps[0].mirror.percent: 0 mirrors nothing",
        ),
        (
            json!({"steps": [{"weight": 0, "mirror": {"percent": 101}}]}),
            "steps[0].mirror.percent: 101: 1 to 100",
        ),
        (
            json!({"steps": [{"weight": 0, "mirror": {"percent": 5}, "match": [{"query": {"b": one()}}]}]}),
            "steps[0].mirror: together with match",
        ),
        (json!({"steps": [{"weight": 0, "checks": 1}]}), "steps[0].checks: no request reaches"),
    ];
    for (change, why) in cases {
        let said = refused(&change);
        assert!(said.starts_with(why), "{change}: {said}");
    }
    let long = |n| headers("x", json!({"exact": "y".repeat(n)}));
    assert!(planned(&long(256)).is_ok());
    assert!(refused(&long(257)).ends_with("at most 256 characters"));
    let many: Vec<_> = (0..9).map(|_| json!({"query": {"b": one()}})).collect();
    assert_eq!(refused(&json!({"testers": many})), "testers: 9 entries: at most 8");
}

#[test]
fn testers_are_there_before_any_user() {
    let testers = || json!([{"headers": {"x-canary": {"exact": "1"}}}]);
    let weights = |steps: Value| {
        let (frozen, plan) = planned(&json!({"testers": testers(), "steps": steps})).unwrap();
        let steps = plan.steps().iter().map(|s| (s.weight.percent(), s.checks)).collect::<Vec<_>>();
        // What people are shown is what is done.
        assert_eq!(frozen.steps.len(), steps.len());
        steps
    };
    assert_eq!(weights(json!([{"weight": 10}])), [(0, 0), (10, 1)]);
    assert_eq!(weights(json!([{"weight": 0}, {"weight": 10}])), [(0, 0), (10, 1)]);
    assert_eq!(weights(json!([{"weight": 0, "mirror": {"percent": 5}}])), [(0, 0), (0, 1)]);
    assert_eq!(weights(json!([{"weight": 0, "match": testers()}])), [(0, 0), (0, 1)]);
    // Once, however often it is read.
    let all: Vec<_> = (0..32).map(|_| json!({"weight": 100})).collect();
    assert_eq!(weights(json!(all)).len(), 33);
    let (frozen, plan) =
        planned(&json!({"testers": testers(), "steps": [{"weight": 10}]})).unwrap();
    assert_eq!(parse(&frozen).unwrap().plan, plan);
    // Without testers the steps are as they are written; what is wrong with them has the number that its owner knows.
    assert_eq!(planned(&json!({"steps": [{"weight": 10}]})).unwrap().1.steps().len(), 1);
    let falling = json!({"testers": testers(), "steps": [{"weight": 50}, {"weight": 10}]});
    assert!(refused(&falling).starts_with("steps[1].weight: 10 is below"));
}

#[test]
fn a_step_is_checked_once_wherever_somebody_is_promised_to_come() {
    let checks = |step: Value| planned(&json!({"steps": [step]})).unwrap().1.step(0).checks;
    let matching = json!([{"query": {"beta": {"regex": "1|2"}}}]);
    assert_eq!(checks(json!({"weight": 0})), 0);
    assert_eq!(checks(json!({"weight": 5})), 1);
    assert_eq!(checks(json!({"weight": 0, "match": matching})), 1);
    assert_eq!(checks(json!({"weight": 0, "mirror": {"percent": 5}, "checks": 7})), 7);
}
