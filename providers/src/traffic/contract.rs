//! What every traffic provider keeps, whatever its objects look like.

use rollout::{Condition, Match, Part, Pattern, Shape, Weight};
use serde_json::{Value, json};

use super::{Backends, NeverRead, Parent, SplitBy, TrafficProvider, Verification};

/// An object as its owner wrote it and the API server stored it, with a status that accepts it as it is, if its kind has one.
pub(crate) struct Fixture {
    pub(crate) name: String,
    pub(crate) live: Value,
    pub(crate) backends: Backends,
}

/// All of it, for each fixture.
pub(crate) fn keeps(provider: &dyn TrafficProvider, fixtures: &[Fixture]) {
    assert!(!fixtures.is_empty());
    for fixture in fixtures {
        let mut shapes = all_shapes();
        shapes.retain(|shape| can_take(provider, fixture, shape));
        for shape in &shapes {
            a_shape_is_absolute(provider, fixture, shape);
            a_release_leaves_what_the_owner_wrote(provider, fixture, shape);
            a_change_makes_what_is_rendered(provider, fixture, shape);
            what_is_stored_is_read(provider, fixture, shape);
        }
        any_sequence_ends_as_its_last(provider, fixture, &shapes);
        nothing_is_written_twice(provider, fixture, &shapes);
        a_change_needs_a_version(provider, fixture);
        if answers(provider, fixture) {
            an_answer_to_an_older_generation_does_not_count(provider, fixture);
        }
        nothing_unknown_is_fatal(provider, fixture);
    }
}

/// No others reach a route.
fn can_take(provider: &dyn TrafficProvider, f: &Fixture, shape: &Shape) -> bool {
    let able = |parent: &Parent| match parent {
        Parent::Of(system) => system.capabilities().lacks(shape).is_none(),
        Parent::Gateway(_) | Parent::Service { .. } => true,
    };
    provider.obstacle(&f.live, &f.backends, shape).is_none()
        && provider.parents(&f.live).iter().all(able)
}

/// Shares of every size, and at some of them what else a shape may have.
fn all_shapes() -> Vec<Shape> {
    let mut all: Vec<_> = shares().step_by(9).map(Shape::weight).collect();
    for weight in [Weight::ZERO, share(33), Weight::FULL] {
        for matches in [vec![], kinds()[..1].to_vec(), kinds()] {
            for mirror in [None, Some(share(10)), Some(Weight::FULL)] {
                all.push(Shape { weight, matches: matches.clone(), mirror });
            }
        }
    }
    all
}

pub(crate) fn shares() -> impl Iterator<Item = Weight> {
    (0..=100).filter_map(Weight::new)
}

/// Kinds of requests, one of each sort.
pub(crate) fn kinds() -> Vec<Match> {
    let one = |part, name: &str, value| Condition { part, name: name.to_owned(), value };
    let exact = |value: &str| Pattern::Exact(value.to_owned());
    let regex = |value: &str| Pattern::Regex(value.to_owned());
    let kinds = [
        vec![one(Part::Header, "x-tester", exact("1"))],
        vec![one(Part::Cookie, "canary", exact("al.ways"))],
        vec![one(Part::Header, "x-team", regex("a|b")), one(Part::Query, "variant", exact("b b"))],
    ];
    kinds.into_iter().filter_map(Match::new).collect()
}

fn share(percent: u8) -> Weight {
    Weight::new(percent).expect("a share")
}

fn a_shape_is_absolute(provider: &dyn TrafficProvider, f: &Fixture, shape: &Shape) {
    let at_once = render(provider, f, &f.live, Some(shape));
    let rest = Shape::weight(shape.weight.rest());
    let all = Shape { matches: kinds(), mirror: Some(share(50)), ..rest.clone() };
    for before in [&Shape::default(), &rest, &all, shape, &Shape::weight(Weight::FULL)] {
        let first = render(provider, f, &f.live, Some(before));
        let then = render(provider, f, &first, Some(shape));
        ends_as(provider, f, &then, &at_once, shape);
    }
}

/// The same to the last byte, unless kinds of requests of before are parked: then it is the same to all requests.
fn ends_as(p: &dyn TrafficProvider, f: &Fixture, live: &Value, at_once: &Value, shape: &Shape) {
    if live.to_string().contains("x-tidegate-parked") {
        assert_eq!(p.stored(live, &f.backends), p.stored(at_once, &f.backends), "{shape}");
        assert_eq!(render(p, f, live, Some(shape)), *live, "{}: {shape}", f.name);
    } else {
        assert_eq!(live, at_once, "{}: {shape}", f.name);
    }
}

/// Forth and back through all of them, without a pause at rest.
fn any_sequence_ends_as_its_last(provider: &dyn TrafficProvider, f: &Fixture, shapes: &[Shape]) {
    let mut live = f.live.clone();
    let sequence: Vec<_> = shapes.iter().chain(shapes.iter().rev().step_by(7)).collect();
    for shape in &sequence {
        live = render(provider, f, &live, Some(shape));
    }
    let last = sequence.last();
    let last = last.expect("some shapes");
    ends_as(provider, f, &live, &render(provider, f, &f.live, Some(last)), last);
    assert_eq!(render(provider, f, &live, None), f.live, "{}", f.name);
}

fn a_release_leaves_what_the_owner_wrote(
    provider: &dyn TrafficProvider,
    f: &Fixture,
    shape: &Shape,
) {
    let split = render(provider, f, &f.live, Some(shape));
    assert_eq!(render(provider, f, &split, None), f.live, "{}: {shape}", f.name);
    assert_eq!(render(provider, f, &f.live, None), f.live, "{} was never split", f.name);
}

/// By ourselves, the patch holds all of it. By the server, it holds annotations, and nothing that anyone else owns.
fn a_change_makes_what_is_rendered(provider: &dyn TrafficProvider, f: &Fixture, shape: &Shape) {
    let split = render(provider, f, &f.live, Some(shape));
    for (live, shape, wanted) in [(&f.live, Some(shape), &split), (&split, None, &f.live)] {
        let patch = change(provider, f, live, shape, SplitBy::Us).expect("something changes");
        let mut there = merged(live, &patch);
        // The fixture's gateway accepts whatever comes.
        if let Some(second) = change(provider, f, &there, shape, SplitBy::Us) {
            let on_the_way = provider.stored(&there, &f.backends);
            assert!(on_the_way.shape.is_some_and(|s| s.matches.is_empty()), "{}", f.name);
            there = merged(&there, &second);
        }
        assert_eq!(there, *wanted, "{}: {patch}", f.name);

        let server = change(provider, f, live, shape, SplitBy::Server).expect("something changes");
        let keys: Vec<_> = server.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["metadata"], "{}: {server}", f.name);
        assert_eq!(server["metadata"], patch["metadata"], "{}", f.name);
        let version = &patch["metadata"]["resourceVersion"];
        assert_eq!(*version, live["metadata"]["resourceVersion"], "{}: {patch}", f.name);
    }
}

/// A shape without obstacle is there whole; where a part of it is left out, the obstacle says so before, and the trouble after.
fn what_is_stored_is_read(provider: &dyn TrafficProvider, f: &Fixture, shape: &Shape) {
    let split = render(provider, f, &f.live, Some(shape));
    let seen = provider.read(&split, &f.backends);
    let obstacle = provider.obstacle(&f.live, &f.backends, shape).map(|o| o.to_string());
    assert_eq!(provider.obstacle(&split, &f.backends, shape).map(|o| o.to_string()), obstacle);
    assert_eq!((seen.accepted, seen.trouble), (obstacle.is_none(), obstacle), "{}", f.name);
    if seen.accepted {
        assert_eq!(seen.stored, Some(shape.clone().in_order()), "{}", f.name);
    } else {
        assert_eq!(seen.stored.map(|s| s.weight), Some(shape.weight), "{}", f.name);
    }
    let seen = provider.read(&f.live, &f.backends);
    assert_eq!((seen.stored, seen.accepted, seen.trouble), (None, true, None), "{}", f.name);
}

fn nothing_is_written_twice(provider: &dyn TrafficProvider, f: &Fixture, shapes: &[Shape]) {
    for shape in shapes.iter().map(Some).chain([None]) {
        let there = render(provider, f, &f.live, shape);
        for by in [SplitBy::Server, SplitBy::Us] {
            assert_eq!(change(provider, f, &there, shape, by), None, "{} at {shape:?}", f.name);
        }
    }
}

fn a_change_needs_a_version(provider: &dyn TrafficProvider, f: &Fixture) {
    let mut live = f.live.clone();
    live["metadata"]["resourceVersion"].take();
    let shape = Shape::default();
    let change = super::change(provider, &live, &f.backends, Some(&shape), SplitBy::Server);
    assert!(matches!(change, Err(NeverRead { .. })), "{}: {change:?}", f.name);
}

/// Whether a system says anything about its routes: else there is nothing to wait for.
fn answers(provider: &dyn TrafficProvider, f: &Fixture) -> bool {
    let says = |parent: &Parent| match parent {
        Parent::Of(system) => system.capabilities().verification > Verification::Stored,
        Parent::Gateway(_) | Parent::Service { .. } => true,
    };
    provider.parents(&f.live).iter().any(says)
}

fn an_answer_to_an_older_generation_does_not_count(provider: &dyn TrafficProvider, f: &Fixture) {
    if f.live.get("status").is_none() {
        return;
    }
    let mut live = f.live.clone();
    live["metadata"]["generation"] = json!(live["metadata"]["generation"].as_i64().unwrap() + 1);
    let seen = provider.read(&live, &f.backends);
    assert!(!seen.accepted && seen.trouble.is_some(), "{}: {seen:?}", f.name);
    // Nor does silence.
    live["status"].take();
    assert!(!provider.read(&live, &f.backends).accepted, "{}", f.name);
}

/// Each part of the object replaced by something that isn't of its shape.
fn nothing_unknown_is_fatal(provider: &dyn TrafficProvider, f: &Fixture) {
    let mut pointers = Vec::new();
    collect(&f.live, String::new(), &mut pointers);
    let whole = Shape { weight: share(50), matches: kinds(), mirror: Some(share(5)) };
    for pointer in pointers {
        for odd in [json!(null), json!("odd"), json!([]), json!([{}]), json!({}), json!(u64::MAX)] {
            let mut live = f.live.clone();
            *live.pointer_mut(&pointer).expect("a place") = odd;
            for shape in [Some(&whole), None] {
                let _ = provider.render(&live, &f.backends, shape);
                let _ = super::change(provider, &live, &f.backends, shape, SplitBy::Us);
                let _ = provider.read(&live, &f.backends);
                let _ = super::find(provider, [&live], &f.backends);
                let _ = provider.conflicts(&f.live, &[&live], &f.backends);
                let _ = provider.obstacle(&live, &f.backends, &whole);
                let _ = provider.services(&live);
            }
        }
    }
}

fn collect(value: &Value, at: String, all: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(k, v)| {
            collect(v, format!("{at}/{}", k.replace('~', "~0").replace('/', "~1")), all);
        }),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(i, v)| collect(v, format!("{at}/{i}"), all));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    all.push(at);
}

fn render(p: &dyn TrafficProvider, f: &Fixture, live: &Value, shape: Option<&Shape>) -> Value {
    p.render(live, &f.backends, shape)
}

fn change(
    p: &dyn TrafficProvider,
    f: &Fixture,
    live: &Value,
    shape: Option<&Shape>,
    by: SplitBy,
) -> Option<Value> {
    super::change(p, live, &f.backends, shape, by).expect("a fixture can be changed")
}

/// RFC 7386, and what the API server does with an empty map of annotations.
pub(crate) fn merged(live: &Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut all = live.as_object().cloned().unwrap_or_default();
    for (key, value) in patch {
        let old = all.remove(key).unwrap_or_default();
        let new = merged(&old, value);
        let gone = new.is_null() || (key == "annotations" && new == json!({}));
        if !gone {
            all.insert(key.clone(), new);
        }
    }
    Value::Object(all)
}
