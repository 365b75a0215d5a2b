//! Every event in every phase, as one golden table.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rollout::{
    Answer, CanaryPods, Left, Leftover, Look, Observation, Orphan, Outcome, Phase, Pods, Progress,
    PromotionStage, Request, Rest, RetreatStage, Shape, Sighting, Stage, Target, Timed, Verb,
    Workload, decide,
};

use crate::clock::{Time, after, start};
use crate::given::{asks, checking, found, pods, progress, promotion, retreat, run, seen, target};
use crate::metrics::Metrics;
use crate::plans::{revision, share, weight};
use crate::transcript::{is_golden, place};

#[test]
fn every_event_in_every_phase() {
    let mut text = String::new();
    for (phase, given) in phases() {
        let quiet = decide(&run(), &phase, &given, after(5)).reason.name();
        let _ = writeln!(text, "{} ({quiet})", place(Some(&phase), Rest::Idle));
        for (words, now, change) in events() {
            let mut seen = given.clone();
            change(&mut seen);
            let decided = decide(&run(), &phase, &seen, after(now));
            let mut outcome = match &decided.next {
                next if *next == phase && decided.reason.name() == quiet => String::new(),
                next if *next == phase => decided.reason.name().to_owned(),
                next => format!("{}, {}", place(Some(next), Rest::Idle), decided.reason.name()),
            };
            match &decided.answer {
                None => {}
                Some(Answer::Accepted) => outcome += " < accepted",
                Some(Answer::Refused(why)) => {
                    let _ = write!(outcome, " < refused: {why}");
                }
            }
            if !outcome.is_empty() {
                let _ = writeln!(text, "  {words:26} {outcome}");
            }
        }
    }
    is_golden("every-event-in-every-phase", &text);
}

/// Each phase, and the world as it is while it waits for something.
fn phases() -> Vec<(Phase, Observation)> {
    use PromotionStage as P;
    use RetreatStage as R;
    let of = |old, new, stored: &Shape, pinned: Option<&str>, ready| {
        let mut seen = seen();
        seen.target = Target::Found(target(old, new));
        (seen.traffic.stored, seen.traffic.accepted) = (Some(stored.clone()), false);
        seen.pinned = pinned.map(revision);
        (seen.canary.ready, seen.canary.existing) = (ready, 4);
        seen
    };
    let (none, half, full) = (share(0), share(50), share(100));
    let as_written = |mut seen: Observation| {
        seen.traffic.stored = None;
        seen
    };
    let accepted = |mut seen: Observation| {
        seen.traffic.accepted = true;
        seen
    };
    let (v1, v2) = (Some("v1"), Some("v2"));
    let mut checked = of(4, 0, &half, v1, 2);
    checked.traffic.accepted = true;
    let orphan = Orphan { weight: Some(weight(50)), since: start() };
    let mut gone = of(4, 0, &half, None, 2);
    gone.target = Target::Missing;
    let pin = Progress { step: 0, weight: None, routed: None, ..progress(Stage::Pin) };
    let up = Progress { step: 2, ..progress(Stage::BringUp) };
    vec![
        (Phase::Progressing(pin), as_written(of(4, 0, &none, None, 0))),
        (Phase::Progressing(up), of(4, 0, &half, v1, 2)),
        (Phase::Progressing(progress(Stage::Shift)), of(4, 0, &none, v1, 2)),
        (Phase::Progressing(checking(20, 1, 0)), checked),
        (promotion(P::Fill), of(4, 0, &half, v1, 2)),
        (promotion(P::Shift), of(4, 0, &half, v1, 4)),
        (promotion(P::Open), of(4, 0, &full, v1, 4)),
        (promotion(P::Roll), of(3, 2, &full, None, 4)),
        (promotion(P::Isolate), of(0, 3, &full, None, 4)),
        (promotion(P::Return), of(0, 4, &full, None, 4)),
        (promotion(P::Exclude), of(0, 4, &none, None, 4)),
        (promotion(P::Remove), of(0, 4, &none, v2, 0)),
        (promotion(P::Release), of(0, 4, &none, v2, 0)),
        (retreat(R::Undo), of(3, 2, &half, None, 4)),
        (retreat(R::Await), {
            let mut seen = of(4, 0, &half, v1, 2);
            let mut unready = target(4, 0);
            unready.pods.insert(revision("v1"), Pods { ready: 0, available: 0, ..pods(4) });
            seen.target = Target::Found(unready);
            seen
        }),
        (retreat(R::Back), of(4, 0, &half, v1, 2)),
        (looking(retreat(R::Back), after(0)), accepted(of(4, 0, &none, v1, 2))),
        (looking(retreat(R::Back), after(-120)), accepted(of(4, 0, &none, v1, 2))),
        (looking(promotion(P::Exclude), after(0)), accepted(of(0, 4, &none, v2, 4))),
        (looking(promotion(P::Exclude), after(-120)), accepted(of(0, 4, &none, v2, 4))),
        (retreat(R::Remove), of(4, 0, &none, v1, 0)),
        (retreat(R::Release), of(4, 0, &none, v1, 0)),
        (Phase::Orphaned(orphan), gone),
        (Phase::Ended(Outcome::Succeeded), as_written(of(0, 4, &none, None, 0))),
    ]
}

/// It has been so since second 0, and the metrics are asked at second 20.
fn looking(mut phase: Phase, since: Time) -> Phase {
    let (reached, look) = (Some(start()), Some(Look { due: after(20), sighting: None }));
    match &mut phase {
        Phase::RollingBack(r) => r.stage = Timed { at: r.stage.at, since, reached, look },
        Phase::Promoting(p) => p.stage = Timed { at: p.stage.at, since, reached, look },
        Phase::Progressing(_) | Phase::Orphaned(_) | Phase::Ended(_) => {}
    }
    phase
}

/// What it does to what is seen.
type Change = fn(&mut Observation);

fn sighting() -> Sighting {
    Sighting { from: after(10), to: after(20), canary: 12, all: 1204 }
}

/// In words, when it is seen, and what it is.
fn events() -> Vec<(&'static str, i64, Change)> {
    fn with_target(seen: &mut Observation, change: impl FnOnce(&mut Workload)) {
        if let Target::Found(target) = &mut seen.target {
            change(target);
        }
    }
    fn accepted(seen: &mut Observation, stored: Option<Shape>) {
        (seen.traffic.stored, seen.traffic.accepted) = (stored, true);
    }
    fn looked(seen: &mut Observation, left: Left) {
        seen.left = Some(Leftover { due: after(20), left });
    }
    fn unseen() -> Left {
        Left::Unseen { why: "no answer".to_owned() }
    }
    vec![
        ("its time is over", 60, |_| {}),
        ("canary pods ready", 5, |s| s.canary.ready = 4),
        ("canary pods lost", 5, |s| s.canary.ready = 0),
        ("canary pods gone", 5, |s| s.canary = CanaryPods::default()),
        ("canary crashes", 5, |s| {
            s.canary.broken = Some("container shop: OOMKilled".to_owned());
        }),
        ("route at 0 % accepted", 5, |s| accepted(s, Some(share(0)))),
        ("route at 50 % accepted", 5, |s| accepted(s, Some(share(50)))),
        ("route at 100 % accepted", 5, |s| accepted(s, Some(share(100)))),
        ("route as written", 5, |s| accepted(s, None)),
        ("service pinned to v1", 5, |s| {
            s.pinned = Some(revision("v1"));
        }),
        ("service as written", 5, |s| s.pinned = None),
        ("check passes", 21, |s| s.verdict = Some(found(Metrics::Good, 20))),
        ("check fails", 21, |s| s.verdict = Some(found(Metrics::Slow, 20))),
        ("check fails on both arms", 21, |s| s.verdict = Some(found(Metrics::BothSlow, 20))),
        ("check without data", 21, |s| s.verdict = Some(found(Metrics::Silent, 20))),
        ("look sees no request", 21, |s| looked(s, Left::None)),
        ("look sees requests", 21, |s| looked(s, Left::Requests(sighting()))),
        ("look isn't answered", 21, |s| looked(s, unseen())),
        ("look at another time", 21, |s| {
            s.left = Some(Leftover { due: after(19), left: Left::None });
        }),
        ("metrics can't tell", 21, |s| s.traffic.observable = false),
        ("stable pods not ready", 5, |s| {
            with_target(s, |t| {
                t.pods.entry(revision("v1")).and_modify(|p| (p.ready, p.available) = (0, 0));
            });
        }),
        ("target has rolled out", 5, |s| with_target(s, |t| *t = target(0, 4))),
        ("target back at v1", 5, |s| with_target(s, |t| *t = target(4, 0))),
        ("started by someone", 5, |s| with_target(s, |t| t.paused = false)),
        ("v3 is written", 5, |s| {
            with_target(s, |t| (t.revision, t.paused) = (revision("v3"), true));
        }),
        ("v1 is written", 5, |s| {
            with_target(s, |t| (t.revision, t.paused) = (revision("v1"), true));
        }),
        ("scaled to 0", 5, |s| {
            with_target(s, |t| {
                t.replicas = 0;
                t.pods.values_mut().for_each(|p| *p = Pods::default());
            });
        }),
        ("target deleted", 5, |s| s.target = Target::Missing),
        ("target created as v3", 5, |s| {
            let new = Workload { revision: revision("v3"), paused: false, ..target(0, 0) };
            let pods = BTreeMap::from([(revision("v3"), pods(4))]);
            s.target = Target::Found(Workload { pods, ..new });
        }),
        ("canary object deleted", 5, |s| s.deleting = true),
        ("suspended", 5, |s| s.suspended = true),
        ("promote", 5, |s| s.request = Some(asks(Verb::Promote, None))),
        ("abort", 5, |s| s.request = Some(asks(Verb::Abort, None))),
        ("retry", 5, |s| s.request = Some(asks(Verb::Retry, None))),
        ("abort of another run", 5, |s| {
            let run = Some("old".to_owned());
            s.request = Some(Request { run, names_this_run: false, ..asks(Verb::Abort, None) });
        }),
    ]
}
