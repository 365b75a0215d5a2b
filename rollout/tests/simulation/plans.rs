use rollout::{Condition, Match, Part, Pattern, Plan, Revision, Rules, Shape, Step, Weight};

use crate::clock::secs;

pub(crate) fn weight(percent: u8) -> Weight {
    Weight::new(percent).unwrap()
}

pub(crate) fn revision(name: &str) -> Revision {
    Revision::new(name)
}

/// One check where there is traffic, no hold.
pub(crate) fn step(percent: u8) -> Step {
    Step { weight: weight(percent), checks: u32::from(percent > 0), ..Step::default() }
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
    Plan::new(steps.into_iter().collect(), vec![], rules).unwrap()
}

/// A plan whose testers send `x-tester: 1`.
pub(crate) fn tested(steps: impl IntoIterator<Item = Step>) -> Plan {
    Plan::new(steps.into_iter().collect(), vec![header("x-tester", "1")], rules()).unwrap()
}

pub(crate) fn header(name: &str, value: &str) -> Match {
    let (name, value) = (name.to_owned(), Pattern::Exact(value.to_owned()));
    Match::new(vec![Condition { part: Part::Header, name, value }]).unwrap()
}

/// The canary's share of the requests and nothing else.
pub(crate) fn share(percent: u8) -> Shape {
    Shape::weight(weight(percent))
}

/// 0, 10, 25, 50, 100.
pub(crate) fn default_plan() -> Plan {
    plan(Plan::default_steps(), rules())
}
