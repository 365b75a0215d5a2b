//! What may happen to a run: random plans and random strokes of fate.

use proptest::prelude::*;
use proptest::{collection, option, sample};
use rollout::{Blind, Hold, NoData, Plan, Request, Rest, Rules, Shape, Step, Verb};

use analysis::Window;

use crate::clock::secs;
use crate::deployment::Health;
use crate::metrics::Metrics;
use crate::plans::{header, revision, rules, weight};
use crate::world::{Route, World};

#[derive(Clone, Debug)]
pub(crate) enum Event {
    Write(&'static str),
    Scale(u32),
    Metrics(Metrics),
    Ask(Verb, Option<usize>, bool),
    Suspend(bool),
    Acceptance(i64),
    /// Requests of clients that stay with the canary come for so many seconds after the route gives it none; `None`: for ever.
    Lingers(Option<i64>),
    /// The controller dies at its next decision, after so many effects.
    Crash(usize),
    DeleteCanaryObject,
    // from here on somebody means ill
    Unpause,
    DeleteDeployment,
    CreateDeployment(&'static str),
    ForgetHistory,
    CanaryHealth(Health),
    Health(&'static str, Health),
    KillCanaryPods,
    KillPods(&'static str),
    WriteRoute(Option<Shape>),
    DeleteRoute,
    RouteNeverAccepted,
    Pin(Option<&'static str>),
    /// A verdict for another step or another time than the one that is due.
    WrongVerdict(usize, i64, Metrics),
}

/// Seconds to wait, then what happens.
pub(crate) type Fate = Vec<(i64, Event)>;

/// What owners and operators do on an ordinary day.
pub(crate) fn ordinary() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => a_revision().prop_map(Event::Write),
        1 => (1u32..9).prop_map(Event::Scale),
        2 => metrics().prop_map(Event::Metrics),
        2 => (verb(), option::of(1usize..5), any::<bool>()).prop_map(|(v, s, r)| Event::Ask(v, s, r)),
        1 => any::<bool>().prop_map(Event::Suspend),
        1 => (0i64..6).prop_map(Event::Acceptance),
        1 => option::weighted(0.9, 0i64..300).prop_map(Event::Lingers),
        2 => (0usize..5).prop_map(Event::Crash),
        1 => Just(Event::DeleteCanaryObject),
    ]
}

pub(crate) fn hostile() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => ordinary(),
        1 => Just(Event::Scale(0)),
        1 => Just(Event::Unpause),
        1 => Just(Event::DeleteDeployment),
        2 => a_revision().prop_map(Event::CreateDeployment),
        1 => Just(Event::ForgetHistory),
        1 => health().prop_map(Event::CanaryHealth),
        1 => (a_revision(), health()).prop_map(|(r, h)| Event::Health(r, h)),
        1 => Just(Event::KillCanaryPods),
        1 => a_revision().prop_map(Event::KillPods),
        1 => option::of(a_shape()).prop_map(Event::WriteRoute),
        1 => Just(Event::DeleteRoute),
        1 => Just(Event::RouteNeverAccepted),
        1 => option::of(a_revision()).prop_map(Event::Pin),
        1 => (0usize..5, -20i64..20, metrics()).prop_map(|(s, d, m)| Event::WrongVerdict(s, d, m)),
    ]
}

pub(crate) fn fate(event: impl Strategy<Value = Event>) -> impl Strategy<Value = Fate> {
    collection::vec((0i64..40, event), 0..12)
}

pub(crate) fn a_plan() -> impl Strategy<Value = Plan> {
    let hold = prop_oneof![
        4 => Just(Hold::None),
        1 => (0i64..40).prop_map(|s| Hold::For(secs(s))),
        1 => Just(Hold::UntilApproved),
    ];
    let special = prop_oneof![
        4 => Just(Special::None),
        1 => Just(Special::Match),
        1 => (1u8..=100).prop_map(Special::Mirror),
    ];
    let step = (prop_oneof![1 => Just(0u8), 3 => 0u8..=100], special, 0u32..3, hold);
    let blind = prop_oneof![Just(Blind::Rollback), Just(Blind::Hold), Just(Blind::Promote)];
    let judged = (1i64..20, 0i64..10, 0u32..4, blind, prop::bool::weighted(0.1));
    let testers = prop::bool::weighted(0.4);
    (collection::vec(step, 1..5), testers, judged).prop_map(|(mut steps, tested, rest)| {
        steps.sort_by_key(|(percent, ..)| *percent);
        let steps = steps.into_iter().map(|(percent, special, checks, hold)| {
            let (matches, mirror) = match special {
                Special::None => (vec![], None),
                Special::Match => (vec![header("x-group", "b")], None),
                Special::Mirror(percent) => (vec![], Some(weight(percent))),
            };
            let checks = match (percent > 0 || special != Special::None, tested) {
                (true, _) => checks.max(1),
                (false, true) => checks,
                (false, false) => 0,
            };
            Step { weight: weight(percent), matches, mirror, checks, hold }
        });
        let testers = if tested { vec![header("x-tester", "1")] } else { vec![] };
        let (interval, warm_up, threshold, then, skip_analysis) = rest;
        let no_data = NoData { deadline: secs(30), then };
        let (interval, warm_up) = (secs(interval), secs(warm_up));
        let rules = Rules { interval, warm_up, threshold, no_data, skip_analysis, ..rules() };
        Plan::new(steps.collect(), testers, rules).unwrap()
    })
}

/// What a step has beside its weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Special {
    None,
    Match,
    Mirror(u8),
}

fn a_shape() -> impl Strategy<Value = Shape> {
    let matches = sample::subsequence(vec![header("x-tester", "1"), header("x-group", "b")], 0..=2);
    let mirror = option::weighted(0.2, (1u8..=100).prop_map(weight));
    (0u8..=100, matches, mirror).prop_map(|(percent, matches, mirror)| Shape {
        weight: weight(percent),
        matches,
        mirror,
    })
}

fn a_revision() -> impl Strategy<Value = &'static str> {
    sample::select(vec!["v1", "v2", "v3"])
}

fn verb() -> impl Strategy<Value = Verb> {
    sample::select(vec![Verb::Promote, Verb::Abort, Verb::Retry])
}

fn metrics() -> impl Strategy<Value = Metrics> {
    use Metrics as M;
    sample::select(vec![
        M::Good,
        M::Failing,
        M::Slow,
        M::BothSlow,
        M::Silent,
        M::Erring,
        M::TooFew,
        M::Elsewhere,
    ])
}

fn health() -> impl Strategy<Value = Health> {
    prop_oneof![
        (0i64..20).prop_map(Health::ReadyAfter),
        (0i64..20).prop_map(Health::CrashesAfter),
        Just(Health::NeverReady),
    ]
}

impl World {
    /// A world in which `v2` has been written and all of this has happened.
    pub(crate) fn after(plan: Plan, fate: &Fate) -> Self {
        let mut world = Self::new(plan);
        world.bump("v2");
        for (wait, event) in fate {
            (0..*wait).for_each(|_| world.second());
            world.suffer(event);
        }
        world.second();
        world
    }

    fn suffer(&mut self, event: &Event) {
        let now = self.now;
        match (event.clone(), &mut self.deployment) {
            (Event::Write(to), _) => self.bump(to),
            (Event::Scale(to), Some(d)) => d.replicas = to,
            (Event::Metrics(metrics), _) => self.metrics = metrics,
            (Event::Ask(verb, step, names_this_run), _) => {
                let run = (!names_this_run).then(|| "another".to_owned());
                let (by, why) = ("ann".to_owned(), String::new());
                self.request = Some(Request { verb, by, why, run, step, names_this_run });
            }
            (Event::Suspend(so), _) => self.suspended = so,
            (Event::Acceptance(lag), _) => self.acceptance = Some(lag),
            (Event::Lingers(seconds), _) => self.lingers = seconds,
            (Event::Crash(effects), _) => self.crash = Some((self.decisions + 1, effects)),
            (Event::DeleteCanaryObject, _) => self.deleting = true,
            (Event::Unpause, Some(d)) => d.paused = false,
            (Event::DeleteDeployment, _) => self.deployment = None,
            (Event::CreateDeployment(template), _) => self.create(template),
            (Event::ForgetHistory, Some(d)) => d.forgets = true,
            (Event::CanaryHealth(health), _) => self.canary_health = health,
            (Event::Health(of, health), _) => {
                self.health.insert(revision(of), health);
            }
            (Event::KillCanaryPods, _) => {
                let births = self.canary.iter_mut().flat_map(|(_, set)| &mut set.births);
                births.for_each(|born| *born = now);
            }
            (Event::KillPods(of), Some(d)) => {
                let births = d.sets.get_mut(&revision(of)).into_iter().flat_map(|s| &mut s.births);
                births.for_each(|born| *born = now);
            }
            (Event::WriteRoute(stored), _) => {
                self.route = self.route.take().map(|_| Route { stored, written: now });
            }
            (Event::DeleteRoute, _) => self.route = None,
            (Event::RouteNeverAccepted, _) => self.acceptance = None,
            (Event::Pin(to), _) => self.pinned = to.map(revision),
            (Event::WrongVerdict(step, seconds, metrics), _) => {
                let at = now + secs(seconds);
                let verdict = metrics.verdict(Window { start: at - secs(10), end: at }, weight(50));
                self.verdict = Some(rollout::DueVerdict { step, due: at, verdict });
            }
            (_, None) => {}
        }
    }

    /// Everything that was broken is mended, and people approve what waits for them.
    pub(crate) fn recover(&mut self) {
        self.mend();
        let mut quiet = 0;
        for second in 0..20_000 {
            self.second();
            if second % 10 == 0 && self.run.is_some() && self.request.is_none() {
                self.ask(Verb::Promote, "");
            }
            let over = self.run.is_none() && self.rest != Rest::Start;
            quiet = if over { quiet + 1 } else { 0 };
            if quiet == 10 {
                return;
            }
        }
        panic!("no end: {:#?}", self.run);
    }

    fn mend(&mut self) {
        self.health.clear();
        self.canary_health = Health::ReadyAfter(3);
        (self.metrics, self.acceptance, self.suspended) = (Metrics::Good, Some(1), false);
        self.lingers = Some(0);
        let written = self.now;
        self.route.get_or_insert(Route { stored: None, written });
        self.create("v1");
        if let Some(d) = self.deployment.as_mut() {
            d.replicas = d.replicas.max(1);
        }
    }
}
