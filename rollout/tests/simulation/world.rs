use std::collections::BTreeMap;

use analysis::Window;
use rollout::{
    Answer, CanaryPods, Decision, DueVerdict, Effect, Ended, HeldBy, Left, Leftover, Observation,
    Phase, Plan, Reason, Request, Rest, Revision, Run, Shape, Sighting, Target, Traffic, Verb,
    decide, rest,
};

use crate::clock::{Time, secs, start};
use crate::deployment::{Deployment, Health, Set};
use crate::metrics::Metrics;
use crate::plans::revision;

/// How long the gateway needs at most, as the providers say it.
pub(crate) const SETTLE: i64 = 3;
/// How long a verdict takes.
const ANALYSIS: i64 = 1;
/// How long a pod takes to go.
const GRACE: i64 = 2;

#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) stored: Option<Shape>,
    pub(crate) written: Time,
}

/// A model of everything that a run touches, and of the controller that observes, decides, records and applies.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Time,
    // the cluster
    pub(crate) deployment: Option<Deployment>,
    pub(crate) canary: Option<(Revision, Set)>,
    pub(crate) going: Vec<Time>,
    pub(crate) route: Option<Route>,
    /// Seconds until the gateway accepts; `None`: never.
    pub(crate) acceptance: Option<i64>,
    pub(crate) pinned: Option<Revision>,
    /// Seconds for which requests still come after the route gives the canary none; `None`: for ever.
    pub(crate) lingers: Option<i64>,
    /// When the route last gave ready canary pods something.
    routed: Option<Time>,
    pub(crate) health: BTreeMap<Revision, Health>,
    pub(crate) canary_health: Health,
    pub(crate) metrics: Metrics,
    // what people say
    pub(crate) plan: Plan,
    pub(crate) suspended: bool,
    pub(crate) deleting: bool,
    pub(crate) held_by: HeldBy,
    pub(crate) request: Option<Request>,
    // the controller
    pub(crate) run: Option<(Run, Phase)>,
    pub(crate) last: Option<Ended>,
    pub(crate) rest: Rest,
    pub(crate) verdict: Option<DueVerdict>,
    pub(crate) left: Option<Leftover>,
    /// Every answer to a look, and when it was given.
    pub(crate) looks: Vec<(Time, Left)>,
    pub(crate) look_again_at: Option<Time>,
    pub(crate) decisions: usize,
    /// At this decision the controller dies after this many effects, and starts again.
    pub(crate) crash: Option<(usize, usize)>,
    last_seen: Option<Observation>,
    last_replicas: u32,
    pub(crate) steps: Vec<Taken>,
}

/// One decision and what it changed.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) at: Time,
    pub(crate) before: Option<Phase>,
    pub(crate) seen: Observation,
    pub(crate) after: Option<Phase>,
    pub(crate) rest: Rest,
    pub(crate) run: Option<Run>,
    pub(crate) reason: Reason,
    pub(crate) answer: Option<Answer>,
    /// Effects that changed something.
    pub(crate) changed: Vec<Effect>,
    /// What users lose from here on, in words.
    pub(crate) outage: Option<String>,
}

impl World {
    /// `v1` serves, all is well, and the canary object is being looked at.
    pub(crate) fn new(plan: Plan) -> Self {
        let v1 = revision("v1");
        let mut deployment = Deployment::new(&v1, 4);
        deployment.labelled = true;
        let mut world = Self {
            now: start() - secs(60),
            deployment: Some(deployment),
            canary: None,
            going: vec![],
            route: Some(Route { stored: None, written: start() - secs(3600) }),
            acceptance: Some(1),
            pinned: None,
            lingers: Some(0),
            routed: None,
            health: BTreeMap::new(),
            canary_health: Health::ReadyAfter(3),
            metrics: Metrics::Good,
            plan,
            suspended: false,
            deleting: false,
            held_by: HeldBy::Policies,
            request: None,
            run: None,
            last: None,
            rest: Rest::Initializing,
            verdict: None,
            left: None,
            looks: vec![],
            look_again_at: None,
            decisions: 0,
            crash: None,
            last_seen: None,
            last_replicas: 4,
            steps: vec![],
        };
        for _ in 0..60 {
            world.second();
        }
        world.steps.clear();
        world.decisions = 0;
        world
    }

    // what owners and people do

    pub(crate) fn bump(&mut self, to: &str) {
        if let Some(deployment) = &mut self.deployment {
            deployment.write(&revision(to));
        }
    }

    pub(crate) fn create(&mut self, template: &str) {
        let replicas = self.last_replicas;
        self.deployment.get_or_insert_with(|| Deployment::new(&revision(template), replicas));
    }

    pub(crate) fn ask(&mut self, verb: Verb, why: &str) {
        self.request = Some(Request {
            verb,
            by: "ann".to_owned(),
            why: why.to_owned(),
            run: None,
            step: None,
            names_this_run: true,
        });
    }

    // what the world does by itself

    pub(crate) fn second(&mut self) {
        self.now += secs(1);
        let (now, health) = (self.now, self.health.clone());
        if let Some(deployment) = &mut self.deployment {
            deployment.labelled |= self.run.is_none();
            deployment.tick(now, |r| health_of(&health, r));
            self.last_replicas = deployment.replicas;
        }
        if let Some((_, set)) = &mut self.canary {
            set.follow(now);
        }
        self.going.retain(|until| *until > now);
        let shape = self.route.as_ref().and_then(|r| r.stored.as_ref());
        if shape.is_some_and(|s| !s.is_nothing()) && self.canary_ready() > 0 {
            self.routed = Some(now);
        }
        self.analyse();
        self.look();
        let woken = self.look_again_at.is_some_and(|at| at <= now);
        if woken || self.last_seen.as_ref() != Some(&self.observe()) {
            self.reconcile();
        }
    }

    fn analyse(&mut self) {
        let Some((run, phase)) = &self.run else { return };
        let asked = self.now - secs(ANALYSIS);
        if let Some(check) = phase.due_check(&run.plan, asked) {
            let window = Window { start: check.from, end: asked };
            let weight = phase.weight().unwrap_or_default();
            let verdict = self.metrics.verdict(window, weight);
            self.verdict = Some(DueVerdict { step: check.step, due: check.due, verdict });
        }
    }

    /// What the metrics saw of the canary where none should reach it.
    fn look(&mut self) {
        let Some((run, phase)) = &self.run else { return };
        let to = self.now - secs(ANALYSIS);
        let Some(look) = phase.due_look(&run.plan, to) else { return };
        let last = self.routed.and_then(|at| Some(at + secs(self.lingers?)));
        let quiet = self.routed.is_none() || last.is_some_and(|last| last <= look.from);
        let left = match self.metrics {
            Metrics::Erring => Left::Unseen { why: "no answer from the metric source".to_owned() },
            _ if quiet => Left::None,
            _ => Left::Requests(Sighting { from: look.from, to, canary: 12, all: 1204 }),
        };
        self.looks.push((self.now, left.clone()));
        self.left = Some(Leftover { due: look.due, left });
    }

    pub(crate) fn canary_ready(&self) -> u32 {
        self.canary.as_ref().map_or(0, |(_, set)| set.ready(self.canary_health, self.now))
    }

    pub(crate) fn observe(&self) -> Observation {
        let now = self.now;
        let target = match &self.deployment {
            Some(d) => Target::Found(d.seen(now, |r| health_of(&self.health, r))),
            None => Target::Missing,
        };
        let broken = self.canary.as_ref().is_some_and(|(_, s)| s.broken(self.canary_health, now));
        let crashes = "container shop: CrashLoopBackOff, exit code 1: no such table";
        let waits = self.canary.is_some() && self.canary_health == Health::NeverReady;
        let written = self.route.as_ref().map(|r| r.written);
        let accepted = written.zip(self.acceptance).is_some_and(|(at, lag)| at + secs(lag) <= now);
        Observation {
            target,
            canary: CanaryPods {
                revision: self.canary.as_ref().map(|(r, _)| r.clone()),
                ready: self.canary_ready(),
                existing: self.canary.as_ref().map_or(0, |(_, s)| s.existing())
                    + u32::try_from(self.going.len()).unwrap(),
                broken: broken.then(|| crashes.to_owned()),
                trouble: waits.then(|| "container shop: readiness probe failed: 503".to_owned()),
            },
            traffic: Traffic {
                stored: self.route.as_ref().and_then(|r| r.stored.clone()),
                accepted,
                trouble: self.route.is_none().then(|| "the route is gone".to_owned()),
                settle: secs(SETTLE),
                observable: true,
                by_weight: true,
            },
            pinned: self.pinned.clone(),
            verdict: self.verdict.clone(),
            left: self.left.clone(),
            request: self.request.clone(),
            blocker: None,
            suspended: self.suspended,
            deleting: self.deleting,
            held_by: self.held_by,
        }
    }

    // what the controller does

    /// Decides until there is nothing left to do now. Each decision is recorded, then its effects are applied.
    pub(crate) fn reconcile(&mut self) {
        for _ in 0..100 {
            let seen = self.observe();
            self.look_again_at = None;
            self.decisions += 1;
            match self.run.clone() {
                Some((run, phase)) => self.decide(&run, &phase, &seen),
                None => self.rest(&seen),
            }
            let again = self.look_again_at.is_some_and(|at| at <= self.now);
            if !again && self.observe() == seen {
                self.last_seen = Some(seen);
                return;
            }
        }
        panic!("no end of deciding at {}: {:#?}", self.now, self.run);
    }

    fn decide(&mut self, run: &Run, phase: &Phase, seen: &Observation) {
        let Decision { next, reason, look_again_at, answer } = decide(run, phase, seen, self.now);
        let effects = next.effects(run);
        self.run = Some((run.clone(), next.clone()));
        let mut changed = vec![];
        if let Some((_, died_after)) = self.crash.filter(|(at, _)| *at == self.decisions) {
            changed = self.apply(effects.iter().take(died_after), Some(run));
            self.now += secs(5);
            // What was only in its memory is gone.
            (self.verdict, self.left) = (None, None);
        }
        changed.extend(self.apply(&effects, Some(run)));
        self.look_again_at = look_again_at;
        if let Phase::Ended(outcome) = &next {
            self.last = Some(Ended { revision: run.canary.clone(), outcome: outcome.clone() });
            self.run = None;
            self.look_again_at = Some(self.now);
        }
        self.took(
            seen,
            Some(phase.clone()),
            Some(next),
            Some(run.clone()),
            reason,
            answer,
            changed,
        );
    }

    fn rest(&mut self, seen: &Observation) {
        let decision = rest(self.last.as_ref(), seen);
        self.rest = decision.rest;
        let mut changed = self.apply(&decision.effects, None);
        let mut run = None;
        if let (Rest::Start, Target::Found(target)) = (decision.rest, &seen.target) {
            let stable = target.serving().unwrap().clone();
            let new = Run { plan: self.plan.clone(), canary: target.revision.clone(), stable };
            let first = Phase::first(self.now);
            changed.extend(self.apply(&first.effects(&new), Some(&new)));
            self.run = Some((new.clone(), first));
            self.look_again_at = Some(self.now);
            run = Some(new);
        }
        let after = self.run.as_ref().map(|(_, phase)| phase.clone());
        self.took(seen, None, after, run, decision.reason, decision.answer, changed);
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of what it records")]
    fn took(
        &mut self,
        seen: &Observation,
        before: Option<Phase>,
        after: Option<Phase>,
        run: Option<Run>,
        reason: Reason,
        answer: Option<Answer>,
        changed: Vec<Effect>,
    ) {
        if answer.is_some() {
            self.request = None;
        }
        let (at, seen, rest, outage) = (self.now, seen.clone(), self.rest, self.outage());
        self.steps.push(Taken {
            at,
            before,
            seen,
            after,
            rest,
            run,
            reason,
            answer,
            changed,
            outage,
        });
    }

    /// What changed.
    fn apply<'a>(
        &mut self,
        effects: impl IntoIterator<Item = &'a Effect>,
        run: Option<&Run>,
    ) -> Vec<Effect> {
        let before = |w: &Self| {
            (w.pinned.clone(), format!("{:?}{:?}", w.route, w.deployment), {
                w.canary.as_ref().map(|(r, s)| (r.clone(), s.desired))
            })
        };
        let mut changed = vec![];
        for effect in effects {
            let was = before(self);
            self.bring_about(effect, run);
            if before(self) != was {
                changed.push(effect.clone());
            }
        }
        changed
    }

    fn bring_about(&mut self, effect: &Effect, run: Option<&Run>) {
        let now = self.now;
        match (effect, &mut self.deployment, &mut self.route) {
            (Effect::Pin(to), _, _) => self.pinned.clone_from(to),
            (Effect::Route(shape), _, Some(route)) if route.stored != *shape => {
                *route = Route { stored: shape.clone(), written: now };
            }
            (Effect::Canary(Some(share)), _, _) => {
                let desired = share.of(self.last_replicas).max(1);
                let template = run.unwrap().canary.clone();
                let new = || (template, Set { desired, births: vec![] });
                let (_, set) = self.canary.get_or_insert_with(new);
                set.desired = desired;
            }
            (Effect::Canary(None), _, _) => {
                if let Some((_, set)) = self.canary.take() {
                    self.going.extend(set.births.iter().map(|_| now + secs(GRACE)));
                }
            }
            (Effect::Start(what), Some(d), _) if d.template == *what && d.paused => {
                d.paused = false;
                d.current = false;
            }
            (Effect::Only(what), Some(d), _) => d.only(what),
            (Effect::Hold, Some(d), _) => d.paused = true,
            (Effect::Route(_) | Effect::Start(_) | Effect::Only(_) | Effect::Hold, _, _) => {}
        }
    }

    /// What users lose, as long as the owner wants pods at all.
    pub(crate) fn outage(&self) -> Option<String> {
        let d = self.deployment.as_ref().filter(|d| d.replicas > 0)?;
        let seen = d.seen(self.now, |r| health_of(&self.health, r));
        let behind_service = match &self.pinned {
            Some(revision) => seen.of(revision).ready,
            None => seen.pods.values().map(|p| p.ready).sum::<u32>() + self.canary_ready(),
        };
        let shape = self.route.as_ref().and_then(|r| r.stored.clone()).unwrap_or_default();
        let weight = shape.weight;
        if behind_service == 0 {
            let routed = weight.rest();
            return Some(format!("the service has no ready pod, nor have {routed} of the route"));
        }
        // Nobody gets the answers to what is mirrored.
        let served = Shape { mirror: None, ..shape };
        let dead = !served.is_nothing() && self.canary_ready() == 0;
        dead.then(|| format!("{served} of the route go to no ready pod"))
    }
}

pub(crate) fn health_of(health: &BTreeMap<Revision, Health>, revision: &Revision) -> Health {
    health.get(revision).copied().unwrap_or(Health::ReadyAfter(2))
}
