use chrono::TimeDelta;

use crate::{Match, Revision, Shape, Weight};

/// One attempt to take one revision from 0 to promoted: frozen when the run starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub plan: Plan,
    /// The revision under test.
    pub canary: Revision,
    /// The revision that served users when the run began.
    pub stable: Revision,
}

/// The steps of a run, rising and judgeable by construction, and the rules by which they are judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    steps: Vec<Step>,
    /// Requests that reach the canary at every step, whatever its weight.
    testers: Vec<Match>,
    pub rules: Rules,
}

/// How the steps of a plan are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// One check is counted per interval, never more.
    pub interval: TimeDelta,
    /// How long after a weight change nothing is measured yet.
    pub warm_up: TimeDelta,
    /// How many failed checks of a run end it; 0 counts as 1.
    pub threshold: u32,
    pub no_data: NoData,
    /// How long pods may take to become ready, a weight to be accepted, a promoted revision to roll out.
    pub progress_deadline: TimeDelta,
    /// No steps, checks or holds: the revision is promoted once its pods are ready.
    pub skip_analysis: bool,
    /// No proxy shares requests out: the canary's share is its part of all pods.
    pub by_pods: bool,
}

impl Default for Rules {
    /// A check each 30 s, 5 failures, 10 minutes for progress and without data (Flagger's defaults, and its habit of 30 s intervals).
    fn default() -> Self {
        Self {
            interval: TimeDelta::seconds(30),
            warm_up: TimeDelta::zero(),
            threshold: 5,
            no_data: NoData { deadline: TimeDelta::minutes(10), then: Blind::Rollback },
            progress_deadline: TimeDelta::minutes(10),
            skip_analysis: false,
            by_pods: false,
        }
    }
}

/// Who reaches the canary, how many passing checks it needs, and how it is held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    pub weight: Weight,
    /// Requests that reach the canary in this step whatever its weight, beside the testers' (A/B).
    pub matches: Vec<Match>,
    /// The share of the requests that the canary gets a copy of. Not together with `matches`.
    pub mirror: Option<Weight>,
    /// Passing checks that end the step. None where no request reaches the canary: there is nothing to judge.
    pub checks: u32,
    pub hold: Hold,
}

/// What else a step waits for, once its checks have passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hold {
    #[default]
    None,
    /// The weight stays for at least this long, counted from when it took effect.
    For(TimeDelta),
    /// A person promotes.
    UntilApproved,
}

/// How long a run may go on without a usable verdict, and what happens then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoData {
    pub deadline: TimeDelta,
    pub then: Blind,
}

/// What a run does when it has seen nothing for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blind {
    Rollback,
    Hold,
    /// Each further check without data counts as passed.
    Promote,
}

/// Why a list of steps is no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanError {
    NoSteps,
    /// Step `step` (from 1) has a lower weight than the one before.
    FallingWeight {
        step: usize,
        weight: Weight,
        before: Weight,
    },
    /// Step `step` (from 1) asks for checks where no request reaches the canary.
    ChecksWithoutTraffic {
        step: usize,
    },
    /// Step `step` (from 1) has matches and a mirror.
    MatchAndMirror {
        step: usize,
    },
    /// Step `step` (from 1) mirrors 0 %.
    MirrorOfNothing {
        step: usize,
    },
    /// Step `step` (from 1) routes requests to the canary, asks for no check and isn't held.
    Unjudged {
        step: usize,
    },
    /// Step `step` (from 1) needs a canary with more pods than the target has, for its share of all pods.
    TooManyPods {
        step: usize,
        weight: Weight,
    },
}

impl std::fmt::Display for PlanError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoSteps => write!(f, "steps: at least one step is needed"),
            Self::FallingWeight { step, weight, before } => write!(
                f,
                "steps[{}].weight: {} is below the {} of the step before; weights rise from step to step",
                step - 1,
                weight.percent(),
                before.percent()
            ),
            Self::ChecksWithoutTraffic { step } => write!(
                f,
                "steps[{}].checks: no request reaches the canary at weight 0, so there is nothing to check; \
                 remove `checks`, give the step a weight, a match or a mirror, or name testers",
                step - 1
            ),
            Self::MatchAndMirror { step } => write!(
                f,
                "steps[{}].mirror: together with match nobody could tell whose requests were judged; make them two steps",
                step - 1
            ),
            Self::MirrorOfNothing { step } => write!(
                f,
                "steps[{}].mirror.percent: 0 mirrors nothing; 1 to 100, or remove mirror",
                step - 1
            ),
            Self::TooManyPods { step, weight } => write!(
                f,
                "steps[{}].weight: {} of all pods would be more than the deployment has; go from 50 to 100 at most",
                step - 1,
                weight.percent()
            ),
            Self::Unjudged { step } => write!(
                f,
                "steps[{}].checks: 0 checks at a weight above 0, with a match or with a mirror would go on unjudged; \
                 ask for 1 or more, or set skipAnalysis",
                step - 1
            ),
        }
    }
}

impl std::error::Error for PlanError {}

impl Plan {
    /// The steps 0, 10, 25, 50, 100, one check each where requests reach the canary.
    pub fn default_steps() -> Vec<Step> {
        [0, 10, 25, 50, 100]
            .into_iter()
            .filter_map(Weight::new)
            .map(|weight| Step {
                weight,
                checks: u32::from(weight > Weight::ZERO),
                ..Step::default()
            })
            .collect()
    }

    /// A plan of these steps under these rules. `testers` may be empty.
    ///
    /// # Errors
    /// When the steps are empty, fall, or ask for a judgement that can't be made.
    pub fn new(steps: Vec<Step>, testers: Vec<Match>, rules: Rules) -> Result<Self, PlanError> {
        if steps.is_empty() {
            return Err(PlanError::NoSteps);
        }
        let mut before = Weight::ZERO;
        for (i, step) in steps.iter().enumerate() {
            if step.weight < before {
                return Err(PlanError::FallingWeight { step: i + 1, weight: step.weight, before });
            }
            step.judgeable(i + 1, &testers)?;
            let half = step.weight <= step.weight.rest() || step.weight == Weight::FULL;
            if rules.by_pods && !half {
                return Err(PlanError::TooManyPods { step: i + 1, weight: step.weight });
            }
            before = step.weight;
        }
        Ok(Self { steps, testers, rules })
    }

    /// How many pods the canary needs in this step, as a share of the target's replicas.
    ///
    /// By pods, beside R of stable's it has R·w/(100−w), which is w percent of all: rounded down here, and up to whole pods later.
    pub fn size(&self, index: usize) -> Weight {
        let size = self.step(index).size();
        let (part, rest) = (u32::from(size.percent()), u32::from(size.rest().percent()));
        match (self.rules.by_pods, (part * 100).checked_div(rest)) {
            (true, Some(beside)) => {
                u8::try_from(beside).ok().and_then(Weight::new).unwrap_or(Weight::FULL)
            }
            (true, None) | (false, _) => size,
        }
    }

    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    pub fn testers(&self) -> &[Match] {
        &self.testers
    }

    /// The step at this index; the last one beyond the end.
    pub fn step(&self, index: usize) -> Step {
        let nothing = || Step { hold: Hold::UntilApproved, ..Step::default() };
        self.steps.get(index).or(self.steps.last()).cloned().unwrap_or_else(nothing)
    }

    /// One of the first `steps` steps routes requests to the canary.
    pub(crate) fn exposes(&self, steps: usize) -> bool {
        (0..steps.min(self.steps.len())).any(|step| !self.shape(step).is_nothing())
    }

    /// What the route looks like in the step at this index: testers come first.
    pub fn shape(&self, index: usize) -> Shape {
        let step = self.step(index);
        let mut matches = self.testers.clone();
        matches.extend(step.matches);
        Shape { weight: step.weight, matches, mirror: step.mirror }.in_order()
    }
}

impl Step {
    /// The share of the target's replicas that the canary has pods for.
    pub fn size(&self) -> Weight {
        // Nobody knows how many requests match.
        let whole = !self.matches.is_empty();
        if whole { Weight::FULL } else { self.weight.max(self.mirror.unwrap_or_default()) }
    }

    /// Something of this step's own brings requests to the canary.
    fn routes(&self) -> bool {
        self.weight > Weight::ZERO || !self.matches.is_empty() || self.mirror.is_some()
    }

    /// `number` counts from 1.
    fn judgeable(&self, number: usize, testers: &[Match]) -> Result<(), PlanError> {
        if self.mirror == Some(Weight::ZERO) {
            return Err(PlanError::MirrorOfNothing { step: number });
        }
        if self.mirror.is_some() && !self.matches.is_empty() {
            return Err(PlanError::MatchAndMirror { step: number });
        }
        match (self.routes(), self.checks > 0) {
            (false, true) if testers.is_empty() => {
                Err(PlanError::ChecksWithoutTraffic { step: number })
            }
            (true, false) => Err(PlanError::Unjudged { step: number }),
            // Nobody has promised that testers come, so a step of theirs may ask for no check.
            _ => Ok(()),
        }
    }
}
