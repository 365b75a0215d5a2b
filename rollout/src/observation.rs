use std::collections::BTreeMap;

use analysis::Verdict;
use chrono::{DateTime, TimeDelta, Utc};

use crate::{Leftover, Revision, Shape};

/// What was seen of the world. Facts only: what they mean is decided by [`decide`](crate::decide) and [`rest`](crate::rest()).
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    pub target: Target,
    pub canary: CanaryPods,
    pub traffic: Traffic,
    /// The revision that the user's Service is pinned to; `None`: it selects as its owner wrote it.
    pub pinned: Option<Revision>,
    /// The verdict of the check that was due, if it has been made.
    pub verdict: Option<DueVerdict>,
    /// The answer to the look that was due, if it has been made.
    pub left: Option<Leftover>,
    /// The oldest action that nobody has answered yet.
    pub request: Option<Request>,
    /// What keeps the canary from working at all: a sentence with the way out.
    pub blocker: Option<String>,
    /// Keeps a run from starting and holds one in its steps. A promotion is finished: half-way is no place to stay.
    pub suspended: bool,
    /// The canary object is being deleted.
    pub deleting: bool,
    pub held_by: HeldBy,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Missing,
    Found(Workload),
}

/// The user's Deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Of its template, which may be held.
    pub revision: Revision,
    pub paused: bool,
    pub replicas: u32,
    /// The Deployment controller has seen the newest generation.
    pub current: bool,
    /// Its ReplicaSets by revision, those without pods too.
    pub pods: BTreeMap<Revision, Pods>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pods {
    pub desired: u32,
    pub existing: u32,
    pub ready: u32,
    pub available: u32,
}

impl Observation {
    /// Nothing of ours is left in what users own.
    pub(crate) fn released(&self) -> bool {
        self.pinned.is_none() && self.traffic.stored.is_none() && self.canary.gone()
    }
}

impl CanaryPods {
    pub(crate) fn gone(&self) -> bool {
        self.revision.is_none() && self.existing == 0
    }
}

impl Traffic {
    /// Nothing is routed to the canary. A route that is as its owner wrote it, or gone, needs no confirmation.
    pub(crate) fn returned(&self) -> bool {
        match &self.stored {
            None => true,
            Some(shape) => shape.is_nothing() && self.accepted,
        }
    }
}

impl Pods {
    /// There are some, or are to be some.
    pub fn live(&self) -> bool {
        self.desired > 0 || self.existing > 0
    }
}

impl Workload {
    pub fn of(&self, revision: &Revision) -> Pods {
        self.pods.get(revision).copied().unwrap_or_default()
    }

    /// What users get: the only revision that has pods. Without pods, what would start: its template, unless that is held.
    pub fn serving(&self) -> Option<&Revision> {
        let mut active = self.pods.iter().filter(|(_, p)| p.live());
        match (active.next(), active.next()) {
            (Some((revision, _)), None) => Some(revision),
            (None, _) if !self.paused => Some(&self.revision),
            _ => None,
        }
    }

    /// No pod is of another revision.
    pub fn only(&self, revision: &Revision) -> bool {
        self.pods.iter().all(|(r, p)| r == revision || !p.live())
    }

    /// It has been told to run this revision, whether or not a pod has come up yet.
    pub fn started(&self, revision: &Revision) -> bool {
        (self.revision == *revision && !self.paused) || self.of(revision).live()
    }

    /// It runs another revision, or is on its way to one.
    pub fn strays_from(&self, revision: &Revision) -> bool {
        !self.only(revision) || (!self.paused && self.revision != *revision)
    }

    /// All pods that it should have, of this revision and no other, available.
    pub fn rolled_to(&self, revision: &Revision) -> bool {
        let pods = self.of(revision);
        self.current
            && self.only(revision)
            && pods.existing == self.replicas
            && pods.available == self.replicas
            // With no pods to tell by, its template has to.
            && (self.replicas > 0 || (self.revision == *revision && !self.paused))
    }

    /// Some pod of it is ready, whatever its revision.
    pub fn serves(&self) -> bool {
        self.pods.values().any(|p| p.ready > 0)
    }

    /// There is a ReplicaSet of this revision to go back to.
    pub fn remembers(&self, revision: &Revision) -> bool {
        self.pods.contains_key(revision)
    }
}

/// The Deployment that Tidegate makes for the time of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CanaryPods {
    /// Of its template; `None`: there is none.
    pub revision: Option<Revision>,
    /// Ready addresses of the canary's Service.
    pub ready: u32,
    /// Pods that exist, those that are going included.
    pub existing: u32,
    /// A container can't run and won't without a new revision: which, and why.
    pub broken: Option<String>,
    /// What else keeps pods from being ready.
    pub trouble: Option<String>,
}

/// The user's route, as stored and as the traffic system says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// What it looks like; `None`: as its owner wrote it.
    pub stored: Option<Shape>,
    /// The traffic system has accepted what is stored.
    pub accepted: bool,
    /// What it says if it hasn't.
    pub trouble: Option<String>,
    /// How long a write takes until no request is routed by the old one, at most.
    pub settle: TimeDelta,
    /// The metrics can tell whether a request was routed to the canary: they count no probes and no scrapes.
    pub observable: bool,
    /// Whether all that they count is shared out by the weight alone: no client stays with its arm, none goes past the route.
    pub by_weight: bool,
}

/// The verdict of one check.
#[derive(Clone, Debug, PartialEq)]
pub struct DueVerdict {
    pub step: usize,
    /// [`DueCheck::due`](crate::DueCheck::due) of the check.
    pub due: DateTime<Utc>,
    pub verdict: Verdict,
}

/// What a person asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub verb: Verb,
    pub by: String,
    pub why: String,
    /// For this run only.
    pub run: Option<String>,
    /// For this step only, from 1.
    pub step: Option<usize>,
    /// Whether `run` is the run that is on.
    pub names_this_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Promote,
    Abort,
    Retry,
}

/// Who keeps a new revision from starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldBy {
    /// The API server's admission policies: nothing is set at rest.
    Policies,
    /// `paused: true` at rest, set by us: the server can't do it by itself.
    Pause,
}
