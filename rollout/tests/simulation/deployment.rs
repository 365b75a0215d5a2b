use std::collections::BTreeMap;

use rollout::{Pods, Revision, Workload};

use crate::clock::{Time, secs};

/// What becomes of a new pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// Seconds after its birth.
    ReadyAfter(i64),
    /// Never ready, and known to be broken this many seconds after its birth.
    CrashesAfter(i64),
    NeverReady,
}

/// A ReplicaSet: its pods are the times of their births.
#[derive(Clone, Debug, Default)]
pub(crate) struct Set {
    pub(crate) desired: u32,
    pub(crate) births: Vec<Time>,
}

impl Set {
    pub(crate) fn follow(&mut self, now: Time) {
        self.births.resize(self.desired as usize, now);
    }

    pub(crate) fn ready(&self, health: Health, now: Time) -> u32 {
        let Health::ReadyAfter(delay) = health else { return 0 };
        count(self.births.iter().filter(|born| **born + secs(delay) <= now).count())
    }

    pub(crate) fn broken(&self, health: Health, now: Time) -> bool {
        let Health::CrashesAfter(delay) = health else { return false };
        self.births.iter().any(|born| *born + secs(delay) <= now)
    }

    pub(crate) fn existing(&self) -> u32 {
        count(self.births.len())
    }
}

/// The user's Deployment, as its controller treats it: a surge of a quarter, none unavailable.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Deployment {
    pub(crate) template: Revision,
    pub(crate) paused: bool,
    pub(crate) replicas: u32,
    /// The controller has seen the newest generation.
    pub(crate) current: bool,
    pub(crate) sets: BTreeMap<Revision, Set>,
    /// `revisionHistoryLimit: 0`
    pub(crate) forgets: bool,
    /// Tidegate has put its label on it, so the API server holds a new revision.
    pub(crate) labelled: bool,
}

impl Deployment {
    pub(crate) fn new(template: &Revision, replicas: u32) -> Self {
        Self {
            template: template.clone(),
            paused: false,
            replicas,
            current: false,
            sets: BTreeMap::new(),
            forgets: false,
            labelled: false,
        }
    }

    pub(crate) fn write(&mut self, template: &Revision) {
        if self.template != *template {
            self.template = template.clone();
            self.paused |= self.labelled;
            self.current = false;
        }
    }

    /// Holds it and leaves pods of this revision only; one thing after the other, as it is seen to be so.
    pub(crate) fn only(&mut self, revision: &Revision) {
        let Some(kept) = self.sets.get_mut(revision) else { return };
        if !self.paused {
            (self.paused, self.current) = (true, false);
        } else if self.current {
            if kept.desired == 0 {
                kept.desired = self.replicas;
            }
            self.sets.retain(|r, _| r == revision || *r != self.template);
            self.sets.iter_mut().filter(|(r, _)| *r != revision).for_each(|(_, s)| s.desired = 0);
        }
    }

    /// One turn of the Deployment controller and the ReplicaSet controller.
    pub(crate) fn tick(&mut self, now: Time, health: impl Fn(&Revision) -> Health) {
        self.current = true;
        if self.paused {
            self.keep();
        } else {
            self.roll(now, health);
        }
        self.sets.values_mut().for_each(|set| set.follow(now));
    }

    /// Paused: one active ReplicaSet is kept at size, several are left alone.
    fn keep(&mut self) {
        let active: Vec<_> =
            self.sets.iter().filter(|(_, s)| s.desired > 0).map(|(r, _)| r.clone()).collect();
        let kept = match &active[..] {
            [one] => Some(one.clone()),
            [] if self.sets.contains_key(&self.template) => Some(self.template.clone()),
            [] => self.sets.keys().next_back().cloned(),
            _ => None,
        };
        if let Some(set) = kept.and_then(|r| self.sets.get_mut(&r)) {
            set.desired = self.replicas;
        }
    }

    fn roll(&mut self, now: Time, health: impl Fn(&Revision) -> Health) {
        let surge = self.replicas + (self.replicas / 4).max(1);
        let all: u32 = self.sets.values().map(|s| s.desired).sum();
        let new = self.sets.entry(self.template.clone()).or_default();
        let room = surge.saturating_sub(all);
        new.desired = (new.desired + room).min(self.replicas);
        let unready = new.desired - new.ready(health(&self.template), now).min(new.desired);
        let all: u32 = self.sets.values().map(|s| s.desired).sum();
        let mut excess = all.saturating_sub(self.replicas + unready);
        for (revision, set) in &mut self.sets {
            if *revision != self.template {
                let less = excess.min(set.desired);
                set.desired -= less;
                excess -= less;
            }
        }
        if self.forgets && all == self.replicas && unready == 0 {
            self.sets.retain(|r, _| *r == self.template);
        }
    }

    pub(crate) fn seen(&self, now: Time, health: impl Fn(&Revision) -> Health) -> Workload {
        let pods = |(revision, set): (&Revision, &Set)| {
            let ready = set.ready(health(revision), now);
            let pods =
                Pods { desired: set.desired, existing: set.existing(), ready, available: ready };
            (revision.clone(), pods)
        };
        Workload {
            revision: self.template.clone(),
            paused: self.paused,
            replicas: self.replicas,
            current: self.current,
            pods: self.sets.iter().map(pods).collect(),
        }
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap()
}
