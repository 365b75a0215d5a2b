use rollout::{Hold, Plan, Revision, Rules, Step, Weight};

use crate::clock::secs;

pub(crate) fn weight(percent: u8) -> Weight {
    Weight::new(percent).unwrap()
}

pub(crate) fn revision(name: &str) -> Revision {
    Revision::new(name)
}

/// One check where there is traffic, no hold.
pub(crate) fn step(percent: u8) -> Step {
    Step { weight: weight(percent), checks: u32::from(percent > 0), hold: Hold::None }
}

/// A check each 10 s, 2 failures end the run, a minute for pods and a minute without data.
pub(crate) fn rules() -> Rules {
    let defaults = Rules::default();
    Rules {
        interval: secs(10),
        threshold: 2,
        no_data: rollout::NoData { deadline: secs(60), ..defaults.no_data },
        progress_deadline: secs(60),
        ..defaults
    }
}

pub(crate) fn plan(steps: impl IntoIterator<Item = Step>, rules: Rules) -> Plan {
    Plan::new(steps.into_iter().collect(), rules).unwrap()
}

/// 0, 10, 25, 50, 100.
pub(crate) fn default_plan() -> Plan {
    plan(Plan::default_steps(), rules())
}
