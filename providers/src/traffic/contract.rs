//! What every traffic provider keeps, whatever its objects look like.

use rollout::{Shape, Weight};
use serde_json::{Value, json};

use super::{Backends, NeverRead, SplitBy, TrafficProvider};

/// An object as its owner wrote it and the API server stored it, with a status that accepts it as it is.
pub(crate) struct Fixture {
    pub(crate) name: String,
    pub(crate) live: Value,
    pub(crate) backends: Backends,
}

/// All of it, for each fixture.
pub(crate) fn keeps(provider: &dyn TrafficProvider, fixtures: &[Fixture]) {
    assert!(!fixtures.is_empty());
    for fixture in fixtures {
        for share in shares() {
            a_share_is_absolute(provider, fixture, share);
            a_release_leaves_what_the_owner_wrote(provider, fixture, share);
            a_change_makes_what_is_rendered(provider, fixture, share);
            what_is_stored_is_read(provider, fixture, share);
        }
        nothing_is_written_twice(provider, fixture);
        a_change_needs_a_version(provider, fixture);
        an_answer_to_an_older_generation_does_not_count(provider, fixture);
        nothing_unknown_is_fatal(provider, fixture);
    }
}

pub(crate) fn shares() -> impl Iterator<Item = Weight> {
    (0..=100).filter_map(Weight::new)
}

fn a_share_is_absolute(provider: &dyn TrafficProvider, f: &Fixture, share: Weight) {
    let at_once = render(provider, f, &f.live, Some(share));
    for before in [Weight::ZERO, share.rest(), share, Weight::FULL] {
        let first = render(provider, f, &f.live, Some(before));
        assert_eq!(render(provider, f, &first, Some(share)), at_once, "{} at {before}", f.name);
    }
}

fn a_release_leaves_what_the_owner_wrote(
    provider: &dyn TrafficProvider,
    f: &Fixture,
    share: Weight,
) {
    let split = render(provider, f, &f.live, Some(share));
    assert_eq!(render(provider, f, &split, None), f.live, "{} at {share}", f.name);
    assert_eq!(render(provider, f, &f.live, None), f.live, "{} was never split", f.name);
}

/// By ourselves, the patch holds all of it. By the server, it holds an annotation, and nothing that anyone else owns.
fn a_change_makes_what_is_rendered(provider: &dyn TrafficProvider, f: &Fixture, share: Weight) {
    let split = render(provider, f, &f.live, Some(share));
    for (live, share, wanted) in [(&f.live, Some(share), &split), (&split, None, &f.live)] {
        let patch = change(provider, f, live, share, SplitBy::Us).expect("something changes");
        assert_eq!(merged(live, &patch), *wanted, "{}: {patch}", f.name);

        let patch = change(provider, f, live, share, SplitBy::Server).expect("something changes");
        let keys: Vec<_> = patch.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["metadata"], "{}: {patch}", f.name);
        let mut annotated = merged(live, &patch);
        assert_eq!(annotated["metadata"].take(), wanted["metadata"], "{}: {patch}", f.name);
        for patch in [&patch, &change(provider, f, live, share, SplitBy::Us).expect("the same")] {
            let version = &patch["metadata"]["resourceVersion"];
            assert_eq!(*version, live["metadata"]["resourceVersion"], "{}: {patch}", f.name);
        }
    }
}

fn what_is_stored_is_read(provider: &dyn TrafficProvider, f: &Fixture, share: Weight) {
    let split = render(provider, f, &f.live, Some(share));
    let seen = provider.read(&split, &f.backends);
    let wanted = Some(Shape::weight(share));
    assert_eq!((seen.stored, seen.accepted, seen.trouble), (wanted, true, None), "{}", f.name);
    let seen = provider.read(&f.live, &f.backends);
    assert_eq!((seen.stored, seen.accepted, seen.trouble), (None, true, None), "{}", f.name);
}

fn nothing_is_written_twice(provider: &dyn TrafficProvider, f: &Fixture) {
    for share in shares().map(Some).chain([None]) {
        let there = render(provider, f, &f.live, share);
        for by in [SplitBy::Server, SplitBy::Us] {
            assert_eq!(change(provider, f, &there, share, by), None, "{} at {share:?}", f.name);
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

fn an_answer_to_an_older_generation_does_not_count(provider: &dyn TrafficProvider, f: &Fixture) {
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
    for pointer in pointers {
        for odd in [json!(null), json!("odd"), json!([]), json!([{}]), json!({}), json!(u64::MAX)] {
            let mut live = f.live.clone();
            *live.pointer_mut(&pointer).expect("a place") = odd;
            for shape in [Some(&Shape::weight(Weight::FULL)), None] {
                let _ = provider.render(&live, &f.backends, shape);
                let _ = super::change(provider, &live, &f.backends, shape, SplitBy::Us);
                let _ = provider.read(&live, &f.backends);
                let _ = super::find(provider, [&live], &f.backends);
                let _ = provider.conflicts(&f.live, &[&live], &f.backends);
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

fn render(p: &dyn TrafficProvider, f: &Fixture, live: &Value, share: Option<Weight>) -> Value {
    p.render(live, &f.backends, share.map(Shape::weight).as_ref())
}

fn change(
    p: &dyn TrafficProvider,
    f: &Fixture,
    live: &Value,
    share: Option<Weight>,
    by: SplitBy,
) -> Option<Value> {
    let shape = share.map(Shape::weight);
    super::change(p, live, &f.backends, shape.as_ref(), by).expect("a fixture can be changed")
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
