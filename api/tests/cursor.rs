//! What is recorded is what is read again after a restart: every phase, with everything that it carries.

use api::Cursor;
use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use rollout::{
    Cause, Check, Look, Orphan, Outcome, Phase, Plan, Progress, Promotion, PromotionStage, Retreat,
    RetreatStage, Revision, Rules, Sighting, Stage, Timed, Weight,
};

fn times() -> impl Strategy<Value = DateTime<Utc>> {
    (0..4_000_000_000_000_i64).prop_map(|ms| DateTime::UNIX_EPOCH + TimeDelta::milliseconds(ms))
}

fn weights() -> impl Strategy<Value = Option<Weight>> {
    prop::option::of((0..=100_u8).prop_filter_map("a percentage", Weight::new))
}

fn causes() -> impl Strategy<Value = Cause> {
    let why = "[a-z0-9 %.,:<>]{0,20}";
    prop_oneof![
        (1..9_u32, 1..9_u32, why).prop_map(|(failures, threshold, sentence)| {
            Cause::ChecksFailed { failures, threshold, sentence }
        }),
        why.prop_map(|why| Cause::CannotRun { why }),
        why.prop_map(|waited_for| Cause::DeadlineExceeded { waited_for }),
        why.prop_map(|why| Cause::NoData { why }),
        (why, why).prop_map(|(by, why)| Cause::Aborted { by, why }),
        "[0-9a-f]{10}".prop_map(|by| Cause::Superseded { by: Revision::new(by) }),
        Just(Cause::Reverted),
        Just(Cause::StartedByOthers),
        Just(Cause::Recreated),
        Just(Cause::Deleted),
    ]
}

fn looks() -> impl Strategy<Value = Look> {
    let sighting =
        (times(), times(), any::<u32>(), any::<u32>()).prop_map(|(from, to, canary, all)| {
            Sighting { from, to, canary: canary.into(), all: all.into() }
        });
    (times(), prop::option::of(sighting)).prop_map(|(due, sighting)| Look { due, sighting })
}

fn timed<S: std::fmt::Debug>(stage: impl Strategy<Value = S>) -> impl Strategy<Value = Timed<S>> {
    (stage, times(), prop::option::of(times()), prop::option::of(looks()))
        .prop_map(|(at, since, reached, look)| Timed { at, since, reached, look })
}

fn progress() -> impl Strategy<Value = Progress> {
    let check = (times(), times(), any::<bool>())
        .prop_map(|(effective, next, approved)| Stage::Check(Check { effective, next, approved }));
    let stage = prop_oneof![Just(Stage::Pin), Just(Stage::BringUp), Just(Stage::Shift), check];
    let counts = (0..5_usize, prop::option::of(0..5_usize), 0..9_u32, 0..9_u32);
    let since = (prop::option::of(times()), prop::option::of(times()));
    (counts, weights(), timed(stage), since).prop_map(
        |((step, routed, passes, failures), weight, stage, (blind_since, suspended_since))| {
            Progress { step, weight, routed, stage, passes, failures, blind_since, suspended_since }
        },
    )
}

fn phases() -> impl Strategy<Value = Phase> {
    use PromotionStage as P;
    use RetreatStage as R;
    let promotion = prop::sample::select(vec![
        P::Fill,
        P::Shift,
        P::Open,
        P::Roll,
        P::Isolate,
        P::Return,
        P::Exclude,
        P::Remove,
        P::Release,
    ]);
    let retreat = prop::sample::select(vec![R::Undo, R::Await, R::Back, R::Remove, R::Release]);
    prop_oneof![
        progress().prop_map(Phase::Progressing),
        (weights(), timed(promotion))
            .prop_map(|(from, stage)| Phase::Promoting(Promotion { from, stage })),
        (causes(), "[0-9a-f]{10}", weights(), any::<bool>(), timed(retreat)).prop_map(
            |(cause, to, weight, exposed, stage)| {
                let to = Revision::new(to);
                Phase::RollingBack(Retreat { cause, to, weight, exposed, stage })
            }
        ),
        (weights(), times()).prop_map(|(weight, since)| Phase::Orphaned(Orphan { weight, since })),
        Just(Phase::Ended(Outcome::Succeeded)),
        causes().prop_map(|cause| Phase::Ended(Outcome::Failed(cause))),
    ]
}

proptest! {
    #[test]
    fn what_is_recorded_is_read_again(phase in phases()) {
        let plan = Plan::new(Plan::default_steps(), vec![], Rules::default()).unwrap();
        let wire = serde_json::to_string(&Cursor::new(&phase, &plan)).unwrap();
        let read: Cursor = serde_json::from_str(&wire).unwrap();
        prop_assert_eq!(read.parse(), Ok(phase));
    }
}

#[test]
fn a_word_of_another_version_is_named() {
    let plan = Plan::new(Plan::default_steps(), vec![], Rules::default()).unwrap();
    let mut cursor = Cursor::new(&Phase::first(DateTime::UNIX_EPOCH), &plan);
    cursor.stage = "Ponder".to_owned();
    let error = cursor.parse().unwrap_err().to_string();
    assert!(error.contains("stage") && error.contains("Ponder"), "{error}");
}
