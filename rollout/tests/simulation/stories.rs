//! Each story is a golden file in `golden/`: read those first.

use rollout::{Blind, Effect, Hold, NoData, Plan, Rest, Rules, Step, Verb};

use crate::clock::secs;
use crate::deployment::Health;
use crate::metrics::Metrics;
use crate::plans::{default_plan, header, plan, revision, rules, step, tested, weight};
use crate::transcript::{Story, is_golden, serving};
use crate::world::World;

/// `v2` is written where `v1` serves.
fn bumped(plan: Plan) -> Story {
    let mut story = Story::new(World::new(plan));
    story.bump("v2");
    story
}

fn held(hold: Hold) -> Plan {
    plan([step(0), Step { hold, ..step(25) }, step(100)], rules())
}

fn blind(then: Blind) -> Plan {
    let no_data = NoData { deadline: secs(25), then };
    plan([step(0), step(50)], Rules { no_data, ..rules() })
}

#[test]
fn promotion() {
    let mut story = bumped(default_plan());
    story.until_over();
    assert_eq!(serving(&story.world), ["v2"]);
    story.ends_without_outage_as("promotion");
}

#[test]
fn a_plan_that_ends_at_50_is_promoted_from_100() {
    let mut story = bumped(plan([step(0), step(50)], rules()));
    story.until_over();
    assert_eq!(serving(&story.world), ["v2"]);
    story.ends_without_outage_as("last-weight-50");
}

#[test]
fn without_analysis_it_is_promoted_once_its_pods_are_ready() {
    let mut story = bumped(plan(Plan::default_steps(), Rules { skip_analysis: true, ..rules() }));
    story.until_over();
    assert_eq!(serving(&story.world), ["v2"]);
    story.ends_without_outage_as("skip-analysis");
}

#[test]
fn failing_requests_roll_it_back() {
    let mut story = bumped(default_plan());
    story.until("step 3");
    story.then("v2 begins to fail requests", |w| w.metrics = Metrics::Failing);
    story.until_over();
    assert_eq!((serving(&story.world), story.world.rest), (vec!["v1"], Rest::Failed));
    story.ends_without_outage_as("rollback-success-rate");
}

#[test]
fn slow_requests_roll_it_back() {
    let mut story = bumped(default_plan());
    story.world.metrics = Metrics::Slow;
    story.until_over();
    story.ends_without_outage_as("rollback-latency");
}

#[test]
fn requests_that_linger_keep_the_canary_until_they_end() {
    let mut story = bumped(plan([step(50)], rules()));
    story.world.metrics = Metrics::Failing;
    story.then("clients stay with the pods that they know for 150 s", |w| w.lingers = Some(150));
    story.until_over();
    story.ends_without_outage_as("requests-linger");
}

#[test]
fn requests_that_never_end_keep_it_until_somebody_takes_it_away() {
    let mut story = bumped(plan([step(50)], rules()));
    story.then("clients stay with the pods that they know", |w| w.lingers = None);
    story.until("Promoting Exclude");
    story.wait(200);
    story.then("somebody deletes the canary's deployment", |w| w.canary = None);
    story.until_over();
    assert_eq!(serving(&story.world), ["v2"]);
    story.ends_without_outage_as("requests-never-end");
}

#[test]
fn metrics_that_never_answer_do_not_keep_a_canary_for_ever() {
    let mut story = bumped(plan([step(50)], rules()));
    story.until("step 1 Check");
    story.then("the metric source is gone", |w| w.metrics = Metrics::Erring);
    story.asks(Verb::Abort, "");
    story.until_over();
    story.ends_without_outage_as("nobody-saw");
}

#[test]
fn a_share_that_is_not_the_weight_holds_it() {
    let mut story = bumped(plan([step(20), step(50)], rules()));
    story.until("step 2 Check");
    story.then("the gateway does something else", |w| w.metrics = Metrics::Elsewhere);
    story.wait(45);
    story.then("it does as it is told", |w| w.metrics = Metrics::Good);
    story.until_over();
    story.ends_without_outage_as("share-differs");
}

#[test]
fn a_share_that_is_never_the_weight_ends_it() {
    let mut story = bumped(plan([step(20), step(50)], rules()));
    story.world.metrics = Metrics::Elsewhere;
    story.until_over();
    assert_eq!((serving(&story.world), story.world.rest), (vec!["v1"], Rest::Failed));
    story.ends_without_outage_as("share-never-agrees");
}

#[test]
fn a_route_that_is_not_given_back_says_what_is_read() {
    let mut story = bumped(plan([step(50)], rules()));
    story.until("Promoting Roll");
    story.then("the gateway is gone", |w| w.acceptance = None);
    story.until("Promoting Return");
    story.wait(150);
    story.then("it is back", |w| w.acceptance = Some(1));
    story.until_over();
    story.ends_without_outage_as("not-returned");
}

#[test]
fn a_crash_loop_rolls_it_back() {
    let mut story = bumped(default_plan());
    story.world.canary_health = Health::CrashesAfter(15);
    story.until_over();
    story.ends_without_outage_as("crash-loop");
}

#[test]
fn pods_that_never_become_ready_roll_it_back() {
    let mut story = bumped(default_plan());
    story.world.canary_health = Health::NeverReady;
    story.until_over();
    story.ends_without_outage_as("never-ready");
}

#[test]
fn a_route_that_is_never_accepted_rolls_it_back() {
    let mut story = bumped(default_plan());
    story.world.acceptance = None;
    story.until_over();
    story.ends_without_outage_as("route-never-accepted");
}

#[test]
fn without_data_it_is_rolled_back_after_the_deadline() {
    let mut story = bumped(blind(Blind::Rollback));
    story.world.metrics = Metrics::Silent;
    story.until_over();
    story.ends_without_outage_as("no-data-rollback");
}

#[test]
fn without_data_it_is_held_until_there_is_some() {
    let mut story = bumped(blind(Blind::Hold));
    story.world.metrics = Metrics::Erring;
    story.wait(120);
    story.then("the metric source is back", |w| w.metrics = Metrics::Good);
    story.until_over();
    story.ends_without_outage_as("no-data-hold");
}

#[test]
fn without_data_it_is_promoted_where_the_plan_says_so() {
    let mut story = bumped(blind(Blind::Promote));
    story.world.metrics = Metrics::Silent;
    story.until_over();
    story.ends_without_outage_as("no-data-promote");
}

#[test]
fn too_few_requests_hold_it() {
    let mut story = bumped(default_plan());
    story.until("step 2 Check");
    story.then("nobody calls", |w| w.metrics = Metrics::TooFew);
    story.wait(35);
    story.then("callers are back", |w| w.metrics = Metrics::Good);
    story.until_over();
    story.ends_without_outage_as("too-early");
}

#[test]
fn a_fault_that_stable_shares_holds_it() {
    let mut story = bumped(default_plan());
    story.until("step 3 Check");
    story.then("the database is slow for everyone", |w| w.metrics = Metrics::BothSlow);
    story.wait(45);
    story.then("the database is well again", |w| w.metrics = Metrics::Good);
    story.until_over();
    story.ends_without_outage_as("both-arms-bad");
}

#[test]
fn stable_pods_that_are_not_ready_hold_it() {
    let mut story = bumped(default_plan());
    story.until("step 2 Check");
    story.then("a node goes, and a pod of v1 with it", |w| {
        let sets = &mut w.deployment.as_mut().unwrap().sets;
        sets.get_mut(&revision("v1")).unwrap().births[0] = w.now + secs(60);
    });
    story.wait(90);
    story.until_over();
    story.ends_without_outage_as("stable-unhealthy");
}

#[test]
fn a_step_waits_for_approval() {
    let mut story = bumped(held(Hold::UntilApproved));
    story.asks(Verb::Promote, "");
    story.until("step 2 Check");
    story.asks(Verb::Promote, "");
    story.wait(60);
    story.asks(Verb::Promote, "");
    story.until_over();
    story.ends_without_outage_as("approval");
}

#[test]
fn a_step_is_held_for_a_time() {
    let mut story = bumped(held(Hold::For(secs(45))));
    story.until_over();
    story.ends_without_outage_as("timed-hold");
}

#[test]
fn silence_during_a_timed_hold_holds_on() {
    let mut story = bumped(held(Hold::For(secs(30))));
    story.until("step 2 Check");
    story.wait(12);
    story.then("the metric source knows nothing", |w| w.metrics = Metrics::Silent);
    story.wait(40);
    story.then("it is back", |w| w.metrics = Metrics::Good);
    story.until_over();
    story.ends_without_outage_as("silence-during-hold");
}

#[test]
fn abort_reaches_it_at_every_place() {
    let places = [
        ("step 1 Pin", "v1"),
        ("step 1 BringUp", "v1"),
        ("step 2 Shift", "v1"),
        ("step 3 BringUp", "v1"),
        ("step 3 Check", "v1"),
        ("Promoting Fill", "v1"),
        ("Promoting Shift", "v1"),
        ("Promoting Open", "v1"),
        ("Promoting Roll", "v1"),
        ("Promoting Return", "v1"),
        ("Promoting Exclude", "v1"),
        ("Promoting Remove", "v2"),
    ];
    let mut text = String::new();
    for (place, serves) in places {
        let mut story = bumped(plan([step(0), step(10), step(50)], rules()));
        story.until(place);
        story.begin_here(&format!("at {place}"));
        story.asks(Verb::Abort, "the shop looks odd");
        story.until_over();
        assert_eq!(serving(&story.world), [serves], "{place}");
        text += &story.text();
    }
    assert!(!text.contains("         !"), "users were not served:\n{text}");
    is_golden("abort-everywhere", &text);
}

#[test]
fn abort_in_the_middle_of_the_roll_undoes_it() {
    let mut story = bumped(plan([step(50)], rules()));
    story.until("Promoting Roll");
    story.wait(4);
    assert_eq!(serving(&story.world), ["v1", "v2"]);
    story.asks(Verb::Abort, "");
    story.until_over();
    assert_eq!((serving(&story.world), story.world.rest), (vec!["v1"], Rest::Failed));
    story.ends_without_outage_as("abort-in-mid-roll");
}

#[test]
fn a_roll_that_takes_too_long_is_undone() {
    let mut story = bumped(plan([step(50)], rules()));
    story.world.health.insert(revision("v2"), Health::NeverReady);
    story.until_over();
    assert_eq!((serving(&story.world), story.world.rest), (vec!["v1"], Rest::Failed));
    story.ends_without_outage_as("roll-never-ends");
}

#[test]
fn a_canary_that_is_lost_while_the_target_rolls_costs_its_traffic_nothing() {
    let mut story = bumped(plan([step(50)], rules()));
    story.until("Promoting Roll");
    story.wait(4);
    story.then("all canary pods go", |w| w.canary_health = Health::NeverReady);
    story.until_over();
    assert_eq!(serving(&story.world), ["v2"]);
    story.ends_without_outage_as("canary-lost-in-mid-roll");
}

#[test]
fn a_newer_revision_takes_its_place() {
    let mut story = bumped(default_plan());
    story.until("step 3 Check");
    story.bump("v3");
    story.until_over();
    story.until_over();
    assert_eq!(serving(&story.world), ["v3"]);
    story.ends_without_outage_as("newer-revision");
}

#[test]
fn a_newer_revision_in_the_middle_of_the_roll_waits_for_its_end() {
    let mut story = bumped(plan([step(50)], rules()));
    story.until("Promoting Roll");
    story.wait(4);
    assert_eq!(serving(&story.world), ["v1", "v2"]);
    story.bump("v3");
    story.until("Succeeded");
    story.until_over();
    story.ends_without_outage_as("newer-revision-in-mid-roll");
}

#[test]
fn a_newer_revision_before_the_roll_has_begun_is_judged_instead() {
    let mut story = bumped(plan([step(50)], rules()));
    story.until("Promoting Open");
    story.wait(3);
    story.bump("v3");
    story.until_over();
    story.until_over();
    assert_eq!(serving(&story.world), ["v3"]);
    story.ends_without_outage_as("newer-revision-before-roll");
}

#[test]
fn the_old_revision_back_ends_it_and_restarts_nothing() {
    let mut story = bumped(default_plan());
    story.until("step 4 Check");
    let births = |w: &World| w.deployment.as_ref().unwrap().sets[&revision("v1")].births.clone();
    let before = births(&story.world);
    story.bump("v1");
    story.until_over();
    assert_eq!(births(&story.world), before);
    story.ends_without_outage_as("old-revision-back");
}

#[test]
fn the_old_revision_back_in_the_middle_of_the_roll_undoes_it() {
    let mut story = bumped(plan([step(50)], rules()));
    story.until("Promoting Roll");
    story.wait(4);
    story.bump("v1");
    story.until_over();
    assert_eq!(serving(&story.world), ["v1"]);
    story.ends_without_outage_as("old-revision-back-in-mid-roll");
}

#[test]
fn a_failed_revision_is_tried_again_on_request() {
    let mut story = bumped(plan([step(50)], rules()));
    story.world.metrics = Metrics::Failing;
    story.until_over();
    story.then("the cause is mended elsewhere", |w| w.metrics = Metrics::Good);
    story.wait(30);
    story.asks(Verb::Retry, "");
    story.until_over();
    assert_eq!(serving(&story.world), ["v2"]);
    story.ends_without_outage_as("retry");
}

#[test]
fn suspended_it_stands_still_and_goes_on_where_it_was() {
    let mut story = bumped(default_plan());
    story.until("step 2 Check");
    story.wait(4);
    story.then("suspended", |w| w.suspended = true);
    story.wait(300);
    story.asks(Verb::Promote, "");
    story.wait(5);
    story.then("no longer suspended", |w| w.suspended = false);
    story.until_over();
    story.ends_without_outage_as("suspend");
}

#[test]
fn an_edit_of_the_spec_moves_nothing_in_mid_run() {
    let mut story = bumped(plan([step(10), step(50)], rules()));
    story.until("step 1 Check");
    story.then("the steps become 100", |w| w.plan = plan([step(100)], rules()));
    story.until_over();
    story.ends_without_outage_as("spec-edit");
}

#[test]
fn deleting_the_canary_object_takes_the_canary_away() {
    let mut story = bumped(default_plan());
    story.until("step 3 Check");
    story.then("the canary object is deleted", |w| w.deleting = true);
    story.until_over();
    assert_eq!((serving(&story.world), story.world.rest), (vec!["v1"], Rest::Terminating));
    story.ends_without_outage_as("deleted");
}

#[test]
fn deleting_the_canary_object_in_the_middle_of_the_roll_lets_it_finish() {
    let mut story = bumped(plan([step(50)], rules()));
    story.until("Promoting Roll");
    story.wait(4);
    story.then("the canary object is deleted", |w| w.deleting = true);
    story.until_over();
    assert_eq!((serving(&story.world), story.world.rest), (vec!["v2"], Rest::Terminating));
    story.ends_without_outage_as("deleted-in-mid-roll");
}

#[test]
fn the_canary_serves_while_the_target_is_gone() {
    for (template, promoted) in [("v1", "v1"), ("v2", "v2")] {
        let mut story = bumped(default_plan());
        story.until("step 4 Check");
        story.then("the deployment is deleted", |w| w.deployment = None);
        story.wait(20);
        let words = format!("it is created again, as {template}");
        story.then(&words, |w| w.create(template));
        story.until_over();
        assert_eq!(serving(&story.world), [promoted]);
        story.ends_without_outage_as(&format!("target-recreated-as-{template}"));
    }
}

#[test]
fn canary_pods_that_are_lost_give_their_traffic_back() {
    let mut story = bumped(default_plan());
    story.until("step 3 Check");
    story.then("its node goes", |w| w.canary_health = Health::NeverReady);
    story.wait(20);
    story.then("there is room again", |w| w.canary_health = Health::ReadyAfter(3));
    story.until_over();
    assert_eq!(serving(&story.world), ["v2"]);
    // Until its loss is seen, and no longer.
    story.ends_as("canary-lost");
}

#[test]
fn whoever_starts_it_unjudged_has_it_undone() {
    let mut story = bumped(default_plan());
    story.until("step 3 Check");
    story.then("someone unpauses the deployment", |w| {
        w.deployment.as_mut().unwrap().paused = false;
    });
    story.until_over();
    assert_eq!((serving(&story.world), story.world.rest), (vec!["v1"], Rest::Failed));
    story.ends_as("started-by-others");
}

#[test]
fn a_route_that_is_rewritten_is_split_again_and_judged_anew() {
    let mut story = bumped(default_plan());
    story.until("step 3 Check");
    story.wait(5);
    story.then("someone replaces the route", |w| {
        let route = w.route.as_mut().unwrap();
        (route.stored, route.written) = (None, w.now);
    });
    story.until_over();
    story.ends_without_outage_as("route-rewritten");
}

#[test]
fn a_route_that_is_deleted_does_not_keep_the_run() {
    let mut story = bumped(default_plan());
    story.until("step 3 Check");
    story.then("the route is deleted", |w| w.route = None);
    story.until_over();
    story.ends_without_outage_as("route-deleted");
}

#[test]
fn scaling_in_mid_run_takes_the_canary_along() {
    let mut story = bumped(default_plan());
    story.until("step 4 Check");
    story.then("scaled to 8", |w| w.deployment.as_mut().unwrap().replicas = 8);
    story.until("Promoting Roll");
    story.then("scaled to 0", |w| w.deployment.as_mut().unwrap().replicas = 0);
    story.until_over();
    story.ends_without_outage_as("scaled");
}

fn blue_green() -> Plan {
    tested([
        Step { checks: 3, ..step(0) },
        Step { hold: Hold::UntilApproved, ..step(0) },
        Step { checks: 5, hold: Hold::For(secs(120)), ..step(100) },
    ])
}

/// The weights that the route was given, one after the other, and how many pods stable had then.
fn writes(story: &Story) -> Vec<(Option<u8>, u32)> {
    let steps = story.world.steps.iter();
    let all = steps.flat_map(|taken| taken.changed.iter().map(move |effect| (taken, effect)));
    all.filter_map(|(taken, effect)| {
        let rollout::Target::Found(target) = &taken.seen.target else { return None };
        let Effect::Route(shape) = effect else { return None };
        let stable = target.of(&revision("v1")).ready;
        Some((shape.as_ref().map(|s| s.weight.percent()), stable))
    })
    .collect()
}

#[test]
fn blue_green_is_tested_approved_and_switched_at_once() {
    let mut story = bumped(blue_green());
    story.until("step 2 Check");
    story.then("the testers go home", |w| w.metrics = Metrics::Silent);
    story.wait(100);
    story.then("users are there", |w| w.metrics = Metrics::Good);
    story.asks(Verb::Promote, "");
    story.until("step 3 Check");
    story.wait(110);
    story.until_over();
    assert_eq!(serving(&story.world), ["v2"]);
    // Testers' requests, the switch, the end of the testers' rule, and the way back to the target: v1 is whole until it rolls.
    let expected = [(Some(0), 4), (Some(100), 4), (Some(100), 4), (Some(0), 0), (None, 0)];
    assert_eq!(writes(&story), expected);
    story.ends_without_outage_as("blue-green");
}

#[test]
fn blue_green_is_switched_back_at_once() {
    let mut story = bumped(blue_green());
    story.until("step 2 Check");
    story.asks(Verb::Promote, "");
    story.until("step 3 Check");
    story.wait(70);
    story.then("v2 begins to fail requests", |w| w.metrics = Metrics::Failing);
    story.until_over();
    assert_eq!((serving(&story.world), story.world.rest), (vec!["v1"], Rest::Failed));
    assert_eq!(writes(&story), [(Some(0), 4), (Some(100), 4), (Some(0), 4), (None, 4)]);
    story.ends_without_outage_as("blue-green-switched-back");
}

#[test]
fn a_and_b_are_compared_on_the_requests_that_match() {
    let matches = vec![header("x-group", "b")];
    let mut story = bumped(plan([Step { matches, checks: 4, ..step(0) }], rules()));
    story.until_over();
    assert_eq!(serving(&story.world), ["v2"]);
    story.ends_without_outage_as("a-b");
}

#[test]
fn mirrored_requests_are_judged_before_any_user_s() {
    let mirrored = |percent| Step { mirror: Some(weight(percent)), checks: 2, ..step(0) };
    let mut story = bumped(plan([mirrored(20), mirrored(100), step(10)], rules()));
    story.until_over();
    assert_eq!(serving(&story.world), ["v2"]);
    story.ends_without_outage_as("mirror");
}

#[test]
fn in_a_mix_a_lost_canary_takes_testers_and_matches_back() {
    let steps = [
        step(0),
        Step { mirror: Some(weight(50)), checks: 1, ..step(0) },
        Step { matches: vec![header("x-group", "b")], checks: 2, ..step(10) },
        step(50),
    ];
    let mut story = bumped(tested(steps));
    story.until("step 3 Check");
    story.then("its node goes", |w| w.canary_health = Health::NeverReady);
    story.wait(20);
    story.then("there is room again", |w| w.canary_health = Health::ReadyAfter(3));
    story.until_over();
    assert_eq!(serving(&story.world), ["v2"]);
    // Until its loss is seen, and no longer.
    story.ends_as("mix-with-canary-lost");
}
