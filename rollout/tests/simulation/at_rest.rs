//! A canary without a run.

use std::collections::BTreeMap;

use rollout::{
    Answer, Cause, Effect, Ended, HeldBy, Observation, Outcome, Rest, Target, Verb, Workload, rest,
};

use crate::given::{asks, at_rest_seen, seen, target};
use crate::plans::revision;

#[test]
fn what_a_canary_without_a_run_does() {
    use HeldBy::{Pause, Policies};
    let serving = |paused| Workload { revision: revision("v1"), paused, ..target(4, 0) };
    let held = || target(4, 0);
    let start = |r: &str| Effect::Start(revision(r));
    at_rest(serving(false), Policies, false, None, Rest::Idle, &[]);
    at_rest(serving(true), Policies, false, None, Rest::Idle, &[start("v1")]);
    at_rest(serving(false), Pause, false, None, Rest::Idle, &[Effect::Hold]);
    at_rest(serving(true), Pause, false, None, Rest::Idle, &[]);
    at_rest(serving(true), Pause, true, None, Rest::Terminating, &[start("v1")]);
    at_rest(serving(true), Policies, true, None, Rest::Terminating, &[start("v1")]);
    at_rest(held(), Policies, false, None, Rest::Start, &[]);
    at_rest(held(), Policies, true, None, Rest::Terminating, &[]);
    // What was found wanting isn't tried again, what was only overtaken is.
    let aborted = Cause::Aborted { by: "ann".to_owned(), why: String::new() };
    at_rest(held(), Policies, false, Some(aborted), Rest::Failed, &[]);
    at_rest(held(), Policies, false, Some(Cause::Reverted), Rest::Start, &[]);
    // On its way, or half-way.
    let rolling = Workload { paused: false, ..target(3, 2) };
    at_rest(rolling.clone(), Policies, false, None, Rest::Initializing, &[]);
    at_rest(Workload { paused: true, ..rolling }, Policies, false, None, Rest::Initializing, &[]);
    // Nobody serves, so nobody can be compared with.
    let empty = |paused| Workload { replicas: 0, paused, pods: BTreeMap::new(), ..target(0, 0) };
    at_rest(empty(true), Policies, false, None, Rest::Waiting, &[]);
    at_rest(empty(false), Policies, false, None, Rest::Idle, &[]);
}

#[track_caller]
fn at_rest(
    target: Workload,
    held_by: HeldBy,
    deleting: bool,
    failed: Option<Cause>,
    then: Rest,
    effects: &[Effect],
) {
    let target = Target::Found(target);
    let seen = Observation { target, held_by, deleting, ..at_rest_seen() };
    let outcome = failed.map(Outcome::Failed);
    let last = outcome.map(|outcome| Ended { revision: revision("v2"), outcome });
    let decided = rest(last.as_ref(), &seen);
    let cleaning = [Effect::Route(None), Effect::Canary(None), Effect::Pin(None)];
    let extra: Vec<_> = decided.effects.into_iter().filter(|e| !cleaning.contains(e)).collect();
    assert_eq!((decided.rest, &extra[..]), (then, effects), "because {}", decided.reason);
}

#[test]
fn at_rest_everything_of_ours_is_taken_away_unless_it_may_be_someone_elses() {
    let cleaning = [Effect::Route(None), Effect::Canary(None), Effect::Pin(None)];
    let idle = Workload { revision: revision("v1"), paused: false, ..target(4, 0) };
    let clean = Observation { target: Target::Found(idle), ..seen() };
    assert_eq!(rest(None, &clean).effects, cleaning);
    let gone = Observation { target: Target::Missing, ..seen() };
    // A new run waits until it is gone.
    assert_eq!(
        (rest(None, &seen()).rest, rest(None, &seen()).effects),
        (Rest::Waiting, cleaning.to_vec())
    );
    assert_eq!(rest(None, &gone).effects, cleaning);
    let blocked = Observation { blocker: Some("another has it".to_owned()), ..clean };
    assert_eq!(
        (rest(None, &blocked).effects, rest(None, &blocked).rest),
        (vec![], Rest::Initializing)
    );
}

#[test]
fn a_retry_is_for_what_is_held_after_a_failed_run() {
    let cause = || Cause::NoData { why: "silence".to_owned() };
    let asked = |verb, failed: bool, suspended| {
        let outcome = if failed { Outcome::Failed(cause()) } else { Outcome::Succeeded };
        let last = Ended { revision: revision("v2"), outcome };
        let seen = Observation { request: Some(asks(verb, None)), suspended, ..at_rest_seen() };
        let decided = rest(Some(&last), &seen);
        (decided.rest, decided.answer.unwrap())
    };
    let refused = |why: &str| Answer::Refused(why.to_owned());
    assert_eq!(asked(Verb::Retry, true, false), (Rest::Start, Answer::Accepted));
    assert_eq!(asked(Verb::Retry, true, true), (Rest::Waiting, refused("spec.suspend is true")));
    let nothing = refused("no revision is held after a failed run");
    assert_eq!(asked(Verb::Retry, false, false), (Rest::Start, nothing));
    assert_eq!(asked(Verb::Abort, true, false), (Rest::Failed, refused("no run is on")));
    assert_eq!(asked(Verb::Promote, false, false), (Rest::Start, refused("no run is on")));
}
