//! The invariants of the design, each as far as it can be seen from here, over random plans and random fates.

use std::collections::{BTreeMap, BTreeSet};

use analysis::Outcome as Found;
use proptest::prelude::*;
use rollout::{
    Answer, Blind, Cause, DueVerdict, Effect, Hold, Left, Outcome, Phase, Promotion,
    PromotionStage, RetreatStage, Revision, Run, Shape, Stage, Target, Verb, Weight, decide,
};

use crate::clock::{secs, start};
use crate::deployment::Health;
use crate::events::{Event, Fate, a_plan, fate, hostile, ordinary};
use crate::metrics::Metrics;
use crate::plans::revision;
use crate::transcript::serving;
use crate::world::{Taken, World};

/// Whatever happened, and then the end of it.
fn lived(plan: rollout::Plan, fate: &Fate) -> World {
    let mut world = World::after(plan, fate);
    world.recover();
    world
}

/// The decisions of each run, in order.
fn runs(world: &World) -> Vec<Vec<&Taken>> {
    let mut runs = vec![];
    for taken in &world.steps {
        match (&taken.before, &taken.run) {
            (None, Some(_)) => runs.push(vec![]),
            (Some(_), Some(_)) => runs.last_mut().unwrap().push(taken),
            (_, None) => {}
        }
    }
    runs
}

fn run_of(taken: &Taken) -> &Run {
    taken.run.as_ref().unwrap()
}

fn enters(taken: &Taken, stage: PromotionStage) -> bool {
    let at =
        |phase: &Option<Phase>| matches!(phase, Some(Phase::Promoting(p)) if p.stage.at == stage);
    at(&taken.after) && !at(&taken.before)
}

/// A quarter of what is usual, or of `PROPTEST_CASES`: each case is a whole life.
fn config() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases / 4, failure_persistence: None, ..usual }
}

proptest! {
    #![proptest_config(config())]

    // 1
    #[test]
    fn a_weight_above_0_is_written_only_where_canary_pods_are_ready(
        plan in a_plan(), fate in fate(hostile()),
    ) {
        for taken in &lived(plan, &fate).steps {
            let up = |e: &Effect| matches!(e, Effect::Route(Some(s)) if s.weight > Weight::ZERO);
            let nothing_else = match &taken.seen.target {
                Target::Found(t) => !t.serves(),
                Target::Missing => true,
            };
            let fine = taken.seen.canary.ready > 0 || nothing_else;
            prop_assert!(fine || !taken.changed.iter().any(up), "{taken:#?}");
        }
    }

    #[test]
    fn in_the_steps_the_weight_is_the_last_step_s_or_this_one_s_or_0(
        plan in a_plan(), fate in fate(hostile()),
    ) {
        for taken in &lived(plan, &fate).steps {
            let Some(Phase::Progressing(p)) = &taken.after else { continue };
            let steps = run_of(taken).plan.steps();
            let before = p.step.checked_sub(1).map(|i| steps[i].weight);
            let allowed = [None, Some(Weight::ZERO), before, Some(steps[p.step].weight)];
            prop_assert!(allowed.contains(&p.weight), "{taken:#?}");
        }
    }

    // 2
    #[test]
    fn nothing_is_promoted_without_what_each_step_asks_for(
        plan in a_plan(), fate in fate(hostile()),
    ) {
        for run in runs(&lived(plan, &fate)) {
            let Some(promoted) = run.iter().position(|t| enters(t, PromotionStage::Fill)) else {
                continue;
            };
            let plan = &run_of(run[0]).plan;
            let passes = passes(&run[..=promoted], plan.rules.no_data.then);
            let approved = approved(&run[..=promoted]);
            for (i, step) in plan.steps().iter().enumerate() {
                let judged = passes.get(&i).is_some_and(|n| *n >= step.checks) || step.checks == 0;
                let held = step.hold == Hold::UntilApproved && !approved.contains(&i);
                prop_assert!(plan.rules.skip_analysis || (judged && !held), "step {i}");
            }
        }
    }

    #[test]
    fn failed_checks_that_reach_the_threshold_end_it(plan in a_plan(), fate in fate(hostile())) {
        for run in runs(&lived(plan, &fate)) {
            let threshold = run_of(run[0]).plan.rules.threshold.max(1);
            let failures = |t: &&Taken| match &t.after {
                Some(Phase::Progressing(p)) => p.failures,
                _ => 0,
            };
            prop_assert!(run.iter().map(failures).max().unwrap_or(0) < threshold);
        }
    }

    // 3
    #[test]
    fn users_are_served_all_the_time_on_an_ordinary_day(
        plan in a_plan(), fate in fate(ordinary()),
    ) {
        for taken in &lived(plan, &fate).steps {
            prop_assert!(taken.outage.is_none(), "{taken:#?}");
        }
    }

    #[test]
    fn traffic_goes_back_only_onto_ready_pods(plan in a_plan(), fate in fate(hostile())) {
        for taken in &lived(plan, &fate).steps {
            let Some(Phase::RollingBack(r)) = &taken.after else { continue };
            let (Target::Found(target), ready) = (&taken.seen.target, taken.seen.canary.ready) else {
                continue;
            };
            let was_back = matches!(&taken.before, Some(Phase::RollingBack(r)) if r.stage.at >= RetreatStage::Back);
            let back = r.stage.at == RetreatStage::Back && !was_back;
            let onto = target.replicas == 0 || target.of(&r.to).ready > 0;
            let carries = ready > 0 && r.weight > Some(Weight::ZERO);
            prop_assert!(!back || onto || !carries, "{taken:#?}");
        }
    }

    // 4
    #[test]
    fn canary_pods_stay_until_no_route_gives_them_anything(
        plan in a_plan(), fate in fate(hostile()),
    ) {
        for taken in lived(plan, &fate).steps.iter().filter(|t| t.before.is_some()) {
            let deleted = taken.changed.contains(&Effect::Canary(None));
            let routed = taken.seen.traffic.stored.as_ref().is_some_and(|s| !s.is_nothing());
            prop_assert!(!deleted || !routed, "{taken:#?}");
        }
    }

    #[test]
    fn on_an_ordinary_day_they_stay_until_the_route_without_them_is_accepted(
        plan in a_plan(), fate in fate(ordinary()),
    ) {
        for taken in lived(plan, &fate).steps.iter().filter(|t| t.before.is_some()) {
            let deleted = taken.changed.contains(&Effect::Canary(None));
            let traffic = &taken.seen.traffic;
            prop_assert!(!deleted || traffic.accepted || traffic.stored.is_none(), "{taken:#?}");
        }
    }

    #[test]
    fn nor_do_they_go_while_the_metrics_see_requests_reach_them(
        plan in a_plan(), fate in fate(hostile()),
    ) {
        let world = lived(plan, &fate);
        let mut quiet = start();
        for taken in &world.steps {
            let routed = taken.seen.traffic.stored.as_ref().is_some_and(|s| !s.is_nothing());
            if routed || taken.before.is_none() {
                quiet = taken.at;
            }
            let deleted = taken.changed.contains(&Effect::Canary(None));
            let skips = taken.run.as_ref().is_none_or(|run| run.plan.rules.skip_analysis);
            // Somebody else has taken its Deployment away.
            if !deleted || skips || taken.seen.canary.revision.is_none() {
                continue;
            }
            let mut since = world.looks.iter().filter(|(at, _)| *at > quiet && *at <= taken.at);
            let last = since.rfind(|(_, left)| !matches!(left, Left::Unseen { .. }));
            if let Some((at, Left::Requests(_))) = last {
                prop_assert!(taken.at - *at >= secs(119), "{at} {taken:#?}");
            }
        }
    }

    #[test]
    fn where_requests_were_routed_to_them_somebody_looked_before_they_go(
        plan in a_plan(), fate in fate(ordinary()),
    ) {
        let world = lived(plan, &fate);
        for run in runs(&world) {
            let skips = run_of(run[0]).plan.rules.skip_analysis;
            let routed = |t: &&&Taken| t.seen.traffic.stored.as_ref().is_some_and(|s| !s.is_nothing());
            let last = run.iter().filter(routed).map(|t| t.at).max();
            let goes = run.iter().find(|t| t.changed.contains(&Effect::Canary(None)));
            let (Some(last), Some(goes)) = (last, goes) else { continue };
            let looked = world.looks.iter().any(|(at, _)| *at > last && *at <= goes.at);
            prop_assert!(looked || skips, "{goes:#?}");
        }
    }

    #[test]
    fn where_nothing_was_routed_to_them_nobody_looks(plan in a_plan(), fate in fate(ordinary())) {
        let world = lived(plan, &fate);
        for run in runs(&world) {
            let routed = run.iter().any(|t| t.changed.iter().any(|e| {
                matches!(e, Effect::Route(Some(shape)) if !shape.is_nothing())
            }));
            let waits = run.iter().find(|t| matches!(&t.after, Some(Phase::RollingBack(r)) if r.stage.look.is_some()));
            prop_assert!(routed || waits.is_none(), "{waits:#?}");
        }
    }

    #[test]
    fn the_target_is_not_started_while_the_service_is_pinned(
        plan in a_plan(), fate in fate(hostile()),
    ) {
        for taken in lived(plan, &fate).steps.iter().filter(|t| t.before.is_some()) {
            let by_others = matches!(
                &taken.seen.target, Target::Found(t) if t.started(&run_of(taken).canary)
            );
            let rolls = enters(taken, PromotionStage::Roll) && !by_others;
            let starts = taken.changed.iter().any(|e| matches!(e, Effect::Start(_)));
            prop_assert!(!(rolls || starts && !by_others) || taken.seen.pinned.is_none(), "{taken:#?}");
        }
    }

    #[test]
    fn what_is_on_its_way_back_or_over_has_neither_matches_nor_a_mirror(
        plan in a_plan(), fate in fate(ordinary()),
    ) {
        let leaves = |phase: &Option<Phase>| {
            matches!(phase, None | Some(Phase::RollingBack(_) | Phase::Orphaned(_) | Phase::Ended(_)))
        };
        for taken in &lived(plan, &fate).steps {
            let written = taken.changed.iter().all(|e| !matches!(e, Effect::Route(Some(s)) if !s.is_weight()));
            prop_assert!(!leaves(&taken.after) || written, "{taken:#?}");
            let stored = taken.seen.traffic.stored.as_ref().is_none_or(Shape::is_weight);
            prop_assert!(!leaves(&taken.before) || stored, "{taken:#?}");
        }
    }

    #[test]
    fn matches_and_mirrors_are_written_only_where_a_canary_pod_is_ready(
        plan in a_plan(), fate in fate(hostile()),
    ) {
        for taken in &lived(plan, &fate).steps {
            let new = |e: &Effect| matches!(e, Effect::Route(Some(s)) if !s.is_weight());
            let fine = taken.seen.canary.ready > 0 || !taken.changed.iter().any(new);
            prop_assert!(fine, "{taken:#?}");
        }
    }

    #[test]
    fn nothing_is_mirrored_once_it_is_promoted(plan in a_plan(), fate in fate(hostile())) {
        for taken in &lived(plan, &fate).steps {
            let Some(phase @ Phase::Promoting(p)) = &taken.after else { continue };
            let shape = phase.shape(run_of(taken)).unwrap_or_default();
            prop_assert_eq!(shape.mirror, None);
            prop_assert!(p.stage.at == PromotionStage::Fill || shape.matches.is_empty(), "{taken:#?}");
        }
    }

    #[test]
    fn in_the_steps_the_route_looks_as_in_this_step_or_the_last_or_has_nothing_beside_0(
        plan in a_plan(), fate in fate(hostile()),
    ) {
        for taken in &lived(plan, &fate).steps {
            let Some(phase @ Phase::Progressing(p)) = &taken.after else { continue };
            let run = run_of(taken);
            let before = p.step.checked_sub(1).map(|i| run.plan.shape(i));
            let nothing = Some(Shape::default());
            let shape = phase.shape(run);
            let allowed = [None, nothing, before, Some(run.plan.shape(p.step))];
            prop_assert!(allowed.contains(&shape), "{taken:#?}");
        }
    }

    // 5
    #[test]
    fn silence_neither_passes_nor_fails(plan in a_plan(), fate in fate(hostile())) {
        for taken in &lived(plan, &fate).steps {
            let (Some(Phase::Progressing(p)), Some(Phase::Progressing(q))) =
                (&taken.before, &taken.after) else { continue };
            let silent = taken.seen.verdict.as_ref().is_some_and(|v| {
                says_nothing(taken, v)
            });
            let promotes = run_of(taken).plan.rules.no_data.then == Blind::Promote;
            if silent && !promotes && taken.seen.canary.ready > 0 && p.step == q.step {
                prop_assert_eq!((p.passes, p.failures), (q.passes, q.failures));
            }
        }
    }

    // 6
    #[test]
    fn what_has_ended_stays_ended(plan in a_plan(), fate in fate(hostile())) {
        let world = lived(plan, &fate);
        let mut seen = world.steps.iter().map(|t| &t.seen);
        for taken in &world.steps {
            let Some(Phase::Ended(_)) = &taken.after else { continue };
            let phase = taken.after.clone().unwrap();
            let decided = decide(run_of(taken), &phase, seen.next().unwrap(), taken.at);
            prop_assert_eq!(decided.look_again_at, None);
            prop_assert_eq!(&decided.next, &phase);
        }
    }

    // 7
    #[test]
    fn an_edit_of_the_spec_moves_nothing(
        plan in a_plan(), other in a_plan(), fate in fate(hostile()),
    ) {
        let (mut edited, mut left) = (World::after(plan.clone(), &fate), World::after(plan, &fate));
        edited.plan = other;
        let first = edited.run.as_ref().map(|(run, _)| run.clone());
        for _ in 0..300 {
            edited.second();
            left.second();
            if edited.run.as_ref().map(|(run, _)| run) != first.as_ref() {
                break;
            }
            prop_assert_eq!(&edited.run, &left.run);
        }
    }

    // 8
    #[test]
    fn nothing_is_started_but_what_is_judged_or_serves(plan in a_plan(), fate in fate(hostile())) {
        for taken in &lived(plan, &fate).steps {
            for effect in &taken.changed {
                let Effect::Start(revision) = effect else { continue };
                let Target::Found(target) = &taken.seen.target else { continue };
                let judged = match (&taken.after, &taken.run) {
                    (Some(Phase::Promoting(Promotion { stage, .. })), Some(run)) => {
                        stage.at == PromotionStage::Roll && run.canary == *revision
                    }
                    (None, _) => target.serving() == Some(revision),
                    _ => false,
                };
                prop_assert!(judged, "{taken:#?}");
            }
        }
    }

    #[test]
    fn on_an_ordinary_day_only_promoted_revisions_get_pods(
        plan in a_plan(), fate in fate(ordinary()),
    ) {
        let world = lived(plan, &fate);
        let mut judged = BTreeSet::from([revision("v1")]);
        for taken in &world.steps {
            if enters(taken, PromotionStage::Roll) {
                judged.insert(run_of(taken).canary.clone());
            }
            let Target::Found(target) = &taken.seen.target else { continue };
            let live = target.pods.iter().filter(|(_, p)| p.existing > 0).map(|(r, _)| r.clone());
            prop_assert!(live.collect::<BTreeSet<Revision>>().is_subset(&judged), "{taken:#?}");
        }
    }

    // 9 and liveness: see also the table of restarts below
    #[test]
    fn once_faults_stop_a_run_ends_and_leaves_nothing_behind(
        plan in a_plan(), fate in fate(hostile()),
    ) {
        let world = lived(plan, &fate);
        prop_assert_eq!(&world.pinned, &None);
        prop_assert!(world.canary.is_none() && world.going.is_empty());
        prop_assert_eq!(world.route.as_ref().and_then(|r| r.stored.clone()), None);
        prop_assert_eq!(world.outage(), None);
    }

    // 10
    #[test]
    fn deciding_again_on_an_unchanged_world_changes_nothing(
        plan in a_plan(), fate in fate(hostile()),
    ) {
        for taken in &lived(plan, &fate).steps {
            let (Some(run), Some(phase)) = (&taken.run, &taken.after) else { continue };
            let mut phase = phase.clone();
            let mut seen = taken.seen.clone();
            seen.request = None;
            // A step that has nothing to wait for is passed through, hence their number.
            let most = 3 * run.plan.steps().len() + 5;
            let settles = (0..most).any(|_| {
                let decided = decide(run, &phase, &seen, taken.at);
                let same = decided.next == phase && decided.look_again_at != Some(taken.at);
                phase = decided.next;
                same
            });
            prop_assert!(settles, "{taken:#?}");
        }
    }

    #[test]
    fn whoever_asks_is_answered_once(plan in a_plan(), fate in fate(hostile())) {
        for taken in &lived(plan, &fate).steps {
            prop_assert_eq!(taken.seen.request.is_some(), taken.answer.is_some());
        }
    }
}

/// Passing checks of each step, counted from the verdicts alone.
fn passes(run: &[&Taken], blind: Blind) -> BTreeMap<usize, u32> {
    let mut counted = BTreeSet::new();
    for taken in run {
        let (Some(Phase::Progressing(p)), Some(v)) = (&taken.before, &taken.seen.verdict) else {
            continue;
        };
        let Stage::Check(check) = p.stage.at else { continue };
        let passed = match v.verdict.outcome {
            _ if says_nothing(taken, v) => blind == Blind::Promote,
            outcome => outcome == Found::Pass,
        };
        if passed && (v.step, v.due) == (p.step, check.next) {
            counted.insert((v.step, v.due));
        }
    }
    let mut passes = BTreeMap::new();
    for (step, _) in counted {
        *passes.entry(step).or_default() += 1;
    }
    passes
}

/// No usable answer, or one whose share isn't the weight's where the weight decides alone.
fn says_nothing(taken: &Taken, v: &DueVerdict) -> bool {
    let shape = run_of(taken).plan.shape(v.step);
    let decides = shape.is_weight() && !matches!(shape.weight.percent(), 0 | 100);
    let elsewhere = Metrics::Elsewhere.verdict(v.verdict.window, shape.weight).requests.stable;
    match v.verdict.outcome {
        Found::NoData | Found::Error | Found::TooEarly => true,
        Found::Pass => decides && v.verdict.requests.stable == elsewhere,
        Found::Fail => false,
    }
}

fn approved(run: &[&Taken]) -> BTreeSet<usize> {
    let accepted = |t: &&Taken| {
        let promote = t.seen.request.as_ref().is_some_and(|r| r.verb == Verb::Promote);
        match &t.before {
            Some(Phase::Progressing(p)) if promote && t.answer == Some(Answer::Accepted) => {
                Some(p.step)
            }
            _ => None,
        }
    };
    run.iter().filter_map(accepted).collect()
}

/// How it ends: the last outcome, without its numbers, and who serves.
fn end(world: &World) -> (Option<&'static str>, Vec<&'static str>) {
    let name = world.last.as_ref().map(|last| match &last.outcome {
        Outcome::Succeeded => "Succeeded",
        Outcome::Failed(cause) => Cause::name(cause),
    });
    (name, serving(world))
}

// 9
#[test]
fn a_restart_after_any_write_reaches_the_same_end() {
    let plan = crate::plans::default_plan();
    let bad = |metrics, canary_health| {
        move |world: &mut World| (world.metrics, world.canary_health) = (metrics, canary_health)
    };
    let ready = Health::ReadyAfter(3);
    for (metrics, health) in [
        (Metrics::Good, ready),
        (Metrics::Failing, ready),
        (Metrics::Silent, ready),
        (Metrics::Good, Health::NeverReady),
        (Metrics::Good, Health::CrashesAfter(7)),
        (Metrics::Erring, ready),
        (Metrics::Elsewhere, ready),
    ] {
        let with_crash = |crash: Option<(usize, usize)>| {
            let mut world = World::new(plan.clone());
            bad(metrics, health)(&mut world);
            world.crash = crash;
            world.bump("v2");
            world.second();
            let over = (0..500).any(|_| {
                world.second();
                world.run.is_none()
            });
            assert!(over);
            world
        };
        let undisturbed = with_crash(None);
        for decision in 0..undisturbed.decisions {
            for effects in 0..4 {
                let disturbed = with_crash(Some((decision, effects)));
                assert_eq!(end(&disturbed), end(&undisturbed), "{decision} {effects}");
            }
        }
    }
}

/// So that a fate which shrinks to one event can be written down as a test.
#[test]
fn an_event_can_be_told() {
    let world = World::after(crate::plans::default_plan(), &vec![(10, Event::Write("v1"))]);
    assert_eq!(serving(&world), ["v1"]);
}

// Whatever is recorded and whatever is seen: no panic, an answer to who asks, and no run that ends twice.
proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_phase_in_any_world_is_decided(
        plan in a_plan(), here in fate(hostile()), there in fate(hostile()), step in 0usize..9,
    ) {
        let (here, there) = (World::after(plan.clone(), &here), World::after(plan, &there));
        for (taken, other) in here.steps.iter().zip(there.steps.iter().rev()) {
            let (Some(run), Some(mut phase)) = (&taken.run, taken.after.clone()) else { continue };
            if let Phase::Progressing(progress) = &mut phase {
                progress.step = step;
            }
            for at in [taken.at, other.at] {
                let decided = decide(run, &phase, &other.seen, at);
                prop_assert_eq!(decided.answer.is_some(), other.seen.request.is_some());
                let ended = matches!(phase, Phase::Ended(_));
                prop_assert!(!ended || decided.next == phase);
                prop_assert!(decided.next.effects(run).len() <= 4);
            }
        }
    }
}
