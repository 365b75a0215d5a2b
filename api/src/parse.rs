use std::collections::BTreeMap;

use analysis::{Checks, MetricKind};
use chrono::TimeDelta;
use kube::core::Duration;
use rollout::{Blind, Plan, Rules, Weight};

use crate::matcher::matches;
use crate::{
    Analysis, Builtin, CanarySpec, Hold, Matcher, Metric, MetricTemplateSpec, NoDataThen, PlanSpec,
    Step,
};

/// A spec that can be acted on.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    pub plan: Plan,
    pub checks: Checks,
}

/// Why a spec can't be acted on: the field, its value, and the way out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct Invalid {
    /// Below `spec`.
    pub field: String,
    pub why: String,
}

pub(crate) fn invalid(field: impl Into<String>, why: impl Into<String>) -> Invalid {
    Invalid { field: field.into(), why: why.into() }
}

/// The parts of a spec that a run keeps, with the text of the templates that it names, and a step of weight 0 in front if
/// testers would else come after the first users.
///
/// # Errors
/// When a metric names a template that `templates` doesn't have, or when the steps are wrong: here they still have the numbers
/// that their owner knows.
pub fn plan_of(
    spec: &CanarySpec,
    templates: &BTreeMap<String, MetricTemplateSpec>,
) -> Result<PlanSpec, Invalid> {
    let mut analysis = spec.analysis.clone();
    for (i, metric) in analysis.metrics.iter_mut().enumerate() {
        let Some(reference) = metric.template_ref.take() else { continue };
        let template = templates.get(&reference.name).ok_or_else(|| {
            let field = format!("analysis.metrics[{i}].templateRef.name");
            let why =
                format!("no MetricTemplate {:?} in this namespace; create it", reference.name);
            invalid(field, why)
        })?;
        metric.query = Some(template.query.clone());
        let own = std::mem::replace(&mut metric.variables, template.variables.clone());
        metric.variables.extend(own);
    }
    let by_pods = spec.traffic.by_pods;
    plan(&spec.steps, &spec.testers, Rules { by_pods, ..Rules::default() })?;
    let mut steps = spec.steps.clone();
    if !spec.testers.is_empty() && steps.first().is_some_and(Step::routes) {
        steps.insert(0, Step::default());
    }
    Ok(PlanSpec {
        steps,
        testers: spec.testers.clone(),
        analysis,
        progress_deadline: spec.progress_deadline,
        skip_analysis: spec.skip_analysis,
        by_pods,
        provider: spec.provider,
    })
}

/// The plan and the checks of a run.
///
/// What the schema can't see is refused here, and what it can is refused again: a [`Plan`] can't be invalid.
///
/// # Errors
/// The first field that is wrong.
pub fn parse(spec: &PlanSpec) -> Result<Parsed, Invalid> {
    let Analysis { interval, warm_up, threshold, min_requests, no_data, metrics } = &spec.analysis;
    let rules = Rules {
        interval: positive("analysis.interval", *interval, TimeDelta::seconds(1))?,
        warm_up: match warm_up {
            Some(warm_up) => positive("analysis.warmUp", *warm_up, TimeDelta::zero())?,
            None => TimeDelta::zero(),
        },
        threshold: *threshold,
        no_data: rollout::NoData {
            deadline: positive("analysis.noData.deadline", no_data.deadline, TimeDelta::zero())?,
            then: match no_data.then {
                NoDataThen::Rollback => Blind::Rollback,
                NoDataThen::Hold => Blind::Hold,
                NoDataThen::Promote => Blind::Promote,
            },
        },
        progress_deadline: positive(
            "progressDeadline",
            spec.progress_deadline,
            TimeDelta::seconds(1),
        )?,
        skip_analysis: spec.skip_analysis,
        by_pods: spec.by_pods,
    };
    if *threshold == 0 {
        return Err(invalid("analysis.threshold", "0: at least one failed check ends a run"));
    }
    let plan = plan(&spec.steps, &spec.testers, rules)?;
    let metrics =
        metrics.iter().enumerate().map(|(i, m)| metric(i, m)).collect::<Result<Vec<_>, _>>()?;
    for (i, m) in metrics.iter().enumerate() {
        if metrics.iter().take(i).any(|before| before.name == m.name) {
            let why = format!("{:?} is the name of another metric; names are unique", m.name);
            return Err(invalid(format!("analysis.metrics[{i}].name"), why));
        }
    }
    if metrics.is_empty() && !spec.skip_analysis {
        return Err(invalid("analysis.metrics", "empty: name at least one, or set skipAnalysis"));
    }
    Ok(Parsed { plan, checks: Checks { metrics, min_requests: *min_requests } })
}

fn plan(steps: &[Step], testers: &[Matcher], rules: Rules) -> Result<Plan, Invalid> {
    let testers = matches("testers", testers)?;
    let steps = steps.iter().enumerate().map(|(i, s)| step(i, s)).collect::<Result<_, _>>()?;
    Plan::new(steps, testers, rules).map_err(|e| {
        let text = e.to_string();
        let (field, why) = text.split_once(": ").unwrap_or(("steps", &text));
        invalid(field, why)
    })
}

fn step(i: usize, step: &Step) -> Result<rollout::Step, Invalid> {
    let field = |name: &str| format!("steps[{i}].{name}");
    let weight = Weight::new(step.weight)
        .ok_or_else(|| invalid(field("weight"), format!("{}: 0 to 100", step.weight)))?;
    let hold = match &step.hold {
        None => rollout::Hold::None,
        Some(Hold { span: Some(span), until_approved: None | Some(false) }) => {
            rollout::Hold::For(positive(&field("hold.for"), *span, TimeDelta::zero())?)
        }
        Some(Hold { span: None, until_approved: Some(true) }) => rollout::Hold::UntilApproved,
        Some(_) => return Err(invalid(field("hold"), "set either for or untilApproved: true")),
    };
    let mirror = match &step.mirror {
        None => None,
        Some(mirror) => Some(Weight::new(mirror.percent).ok_or_else(|| {
            invalid(field("mirror.percent"), format!("{}: 1 to 100", mirror.percent))
        })?),
    };
    let matches = matches(&field("match"), &step.matches)?;
    Ok(rollout::Step { weight, matches, mirror, checks: step.wanted_checks(), hold })
}

fn metric(i: usize, metric: &Metric) -> Result<analysis::Metric, Invalid> {
    let field = |name: &str| format!("analysis.metrics[{i}].{name}");
    let limit = analysis::Limit { min: metric.limit.min, max: metric.limit.max };
    match (limit.min, limit.max) {
        (None, None) => return Err(invalid(field("limit"), "set min, max or both")),
        (Some(min), Some(max)) if min > max => {
            return Err(invalid(field("limit"), format!("min {min} is above max {max}")));
        }
        _ => {}
    }
    let kind = match (metric.builtin, &metric.query, metric.quantile) {
        (Some(Builtin::RequestSuccessRate), None, None) => {
            MetricKind::Builtin(analysis::Builtin::RequestSuccessRate)
        }
        (Some(Builtin::RequestDuration), None, Some(quantile))
            if quantile > 0.0 && quantile < 1.0 =>
        {
            MetricKind::Builtin(analysis::Builtin::RequestDuration { quantile })
        }
        (Some(Builtin::RequestDuration), None, _) => {
            return Err(invalid(
                field("quantile"),
                "request-duration needs one between 0 and 1, such as 0.99",
            ));
        }
        (None, Some(query), None) => {
            let variables = metric.variables.clone();
            analysis::lint(query, &variables)
                .map_err(|e| invalid(field("query"), e.to_string()))?;
            MetricKind::Custom { query: query.clone(), variables }
        }
        _ => {
            return Err(invalid(
                field("builtin"),
                "set exactly one of builtin, query and templateRef",
            ));
        }
    };
    Ok(analysis::Metric { name: metric.name.clone(), kind, limit })
}

fn positive(field: &str, duration: Duration, least: TimeDelta) -> Result<TimeDelta, Invalid> {
    let out_of_range = || {
        invalid(field, format!("{duration:?}: at least {}s, at most a year", least.num_seconds()))
    };
    let delta = TimeDelta::from_std(duration.into()).map_err(|_| out_of_range())?;
    let in_range = delta >= least && delta <= TimeDelta::days(366) && !duration.is_negative();
    if in_range { Ok(delta) } else { Err(out_of_range()) }
}
