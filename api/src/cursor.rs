use chrono::{DateTime, Utc};
use rollout::{
    Cause, Check, Hold, Look, Orphan, Outcome, Phase, Plan, Progress, Promotion, PromotionStage,
    Retreat, RetreatStage, Revision, Sighting, Stage, Timed, Weight,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a run stands, flat, as the wire has it: [`Phase`] and back.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Cursor {
    /// `Progressing`, `WaitingPromotion`, `Promoting`, `Finalising`, `RollingBack`, `Succeeded` or `Failed`.
    pub phase: String,
    /// What the phase is doing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stage: String,
    /// From 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u32>,
    /// The canary's share, in percent; absent while the route is as its owner wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u8>,
    /// The step, from 1, whose testers, matches and mirror the route is meant to have beside the weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routed: Option<u32>,
    /// Since when the stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
    /// Since when what the stage wants has been so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached_at: Option<DateTime<Utc>>,
    /// When the metrics are asked, before the stage is left, whether requests still reach the canary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub look_at: Option<DateTime<Utc>>,
    /// What they said the last time that they answered, if that was requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sighting: Option<WireSighting>,
    /// The run has routed requests to the canary: before a rollback takes its pods away, the metrics are asked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exposed: bool,
    /// Passed checks of this step.
    #[serde(default)]
    pub passes: u32,
    /// Failed checks of the run.
    #[serde(default)]
    pub failures: u32,
    /// No check's window reaches back before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_check_at: Option<DateTime<Utc>>,
    /// Someone has promoted this step.
    #[serde(default)]
    pub approved: bool,
    /// Since when no check has had a usable verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blind_since: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended_since: Option<DateTime<Utc>>,
    /// The revision that a rollback goes back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_to: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<WireCause>,
}

/// Requests that reached the canary where none should.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct WireSighting {
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    pub canary: u64,
    /// Of both arms.
    pub all: u64,
}

/// Why a run is or was rolled back.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct WireCause {
    pub kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Who aborted; the revision that took its place.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failures: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<u32>,
}

/// A cursor that this version did not write.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "status.cursor.{field}: {value:?} is not known to this version; was it written by a newer one, or by hand?"
)]
pub struct CursorError {
    pub field: &'static str,
    pub value: String,
}

fn unknown(field: &'static str, value: impl std::fmt::Debug) -> CursorError {
    CursorError { field, value: format!("{value:?}") }
}

const ORPHANED: &str = "Orphaned";

impl Cursor {
    pub fn new(phase: &Phase, plan: &Plan) -> Self {
        let mut wire = Self {
            phase: phase_name(phase, plan).to_owned(),
            stage: String::new(),
            step: None,
            weight: phase.weight().map(Weight::percent),
            routed: None,
            since: None,
            reached_at: None,
            look_at: None,
            sighting: None,
            exposed: false,
            passes: 0,
            failures: 0,
            effective_at: None,
            next_check_at: None,
            approved: false,
            blind_since: None,
            suspended_since: None,
            back_to: None,
            cause: None,
        };
        match phase {
            Phase::Progressing(p) => wire.set_progress(p),
            Phase::Promoting(p) => {
                wire.set_stage(promotion_stage(p.stage.at), &p.stage);
                wire.weight = p.from.map(Weight::percent);
            }
            Phase::RollingBack(r) => {
                wire.set_stage(retreat_stage(r.stage.at), &r.stage);
                wire.weight = r.weight.map(Weight::percent);
                wire.exposed = r.exposed;
                wire.back_to = Some(r.to.as_str().to_owned());
                wire.cause = Some(WireCause::new(&r.cause));
            }
            Phase::Orphaned(o) => {
                ORPHANED.clone_into(&mut wire.stage);
                wire.since = Some(o.since);
            }
            Phase::Ended(Outcome::Succeeded) => {}
            Phase::Ended(Outcome::Failed(cause)) => wire.cause = Some(WireCause::new(cause)),
        }
        wire
    }

    fn set_progress(&mut self, p: &Progress) {
        self.step = u32::try_from(p.step + 1).ok();
        self.routed = p.routed.and_then(|step| u32::try_from(step + 1).ok());
        self.set_stage(stage_name(&p.stage.at), &p.stage);
        self.passes = p.passes;
        self.failures = p.failures;
        self.blind_since = p.blind_since;
        self.suspended_since = p.suspended_since;
        if let Stage::Check(check) = &p.stage.at {
            self.effective_at = Some(check.effective);
            self.next_check_at = Some(check.next);
            self.approved = check.approved;
        }
    }

    fn set_stage<S>(&mut self, name: &str, stage: &Timed<S>) {
        name.clone_into(&mut self.stage);
        self.since = Some(stage.since);
        self.reached_at = stage.reached;
        self.look_at = stage.look.map(|look| look.due);
        self.sighting = stage.look.and_then(|look| look.sighting).map(|sighting| {
            let Sighting { from, to, canary, all } = sighting;
            WireSighting { from, to, canary, all }
        });
    }

    /// # Errors
    /// When a word or a combination of fields is none that [`Cursor::new`] writes.
    pub fn parse(&self) -> Result<Phase, CursorError> {
        match self.phase.as_str() {
            "Progressing" | "WaitingPromotion" if self.stage == ORPHANED => {
                Ok(Phase::Orphaned(Orphan { weight: self.weight()?, since: self.since()? }))
            }
            "Progressing" | "WaitingPromotion" => self.progress().map(Phase::Progressing),
            "Promoting" | "Finalising" => {
                let at = match self.stage.as_str() {
                    "Fill" => PromotionStage::Fill,
                    "Shift" => PromotionStage::Shift,
                    "Open" => PromotionStage::Open,
                    "Roll" => PromotionStage::Roll,
                    "Isolate" => PromotionStage::Isolate,
                    "Return" => PromotionStage::Return,
                    "Exclude" => PromotionStage::Exclude,
                    "Remove" => PromotionStage::Remove,
                    "Release" => PromotionStage::Release,
                    other => return Err(unknown("stage", other)),
                };
                Ok(Phase::Promoting(Promotion { from: self.weight()?, stage: self.timed(at)? }))
            }
            "RollingBack" => {
                let at = match self.stage.as_str() {
                    "Undo" => RetreatStage::Undo,
                    "Await" => RetreatStage::Await,
                    "Back" => RetreatStage::Back,
                    "Remove" => RetreatStage::Remove,
                    "Release" => RetreatStage::Release,
                    other => return Err(unknown("stage", other)),
                };
                let to = self.back_to.clone().ok_or_else(|| unknown("backTo", &self.back_to))?;
                Ok(Phase::RollingBack(Retreat {
                    cause: self.cause()?,
                    to: Revision::new(to),
                    weight: self.weight()?,
                    exposed: self.exposed,
                    stage: self.timed(at)?,
                }))
            }
            "Succeeded" => Ok(Phase::Ended(Outcome::Succeeded)),
            "Failed" => Ok(Phase::Ended(Outcome::Failed(self.cause()?))),
            other => Err(unknown("phase", other)),
        }
    }

    fn progress(&self) -> Result<Progress, CursorError> {
        let at = match self.stage.as_str() {
            "Pin" => Stage::Pin,
            "BringUp" => Stage::BringUp,
            "Shift" => Stage::Shift,
            "Check" => Stage::Check(Check {
                effective: self.effective_at.ok_or_else(|| unknown("effectiveAt", ""))?,
                next: self.next_check_at.ok_or_else(|| unknown("nextCheckAt", ""))?,
                approved: self.approved,
            }),
            other => return Err(unknown("stage", other)),
        };
        let index = |step: u32| step.checked_sub(1).map(|step| step as usize);
        let step = self.step.and_then(index).ok_or_else(|| unknown("step", self.step))?;
        let routed = match self.routed {
            None => None,
            Some(step) => Some(index(step).ok_or_else(|| unknown("routed", step))?),
        };
        Ok(Progress {
            step,
            weight: self.weight()?,
            routed,
            stage: self.timed(at)?,
            passes: self.passes,
            failures: self.failures,
            blind_since: self.blind_since,
            suspended_since: self.suspended_since,
        })
    }

    fn weight(&self) -> Result<Option<Weight>, CursorError> {
        match self.weight {
            None => Ok(None),
            Some(w) => Weight::new(w).map(Some).ok_or_else(|| unknown("weight", w)),
        }
    }

    fn since(&self) -> Result<DateTime<Utc>, CursorError> {
        self.since.ok_or_else(|| unknown("since", ""))
    }

    fn timed<S>(&self, at: S) -> Result<Timed<S>, CursorError> {
        let sighting = self.sighting.as_ref().map(|sighting| {
            let WireSighting { from, to, canary, all } = *sighting;
            Sighting { from, to, canary, all }
        });
        let look = self.look_at.map(|due| Look { due, sighting });
        Ok(Timed { at, since: self.since()?, reached: self.reached_at, look })
    }

    fn cause(&self) -> Result<Cause, CursorError> {
        self.cause.as_ref().ok_or_else(|| unknown("cause", ""))?.parse()
    }
}

impl WireCause {
    fn new(cause: &Cause) -> Self {
        let mut wire = Self { kind: cause.name().to_owned(), ..Self::default() };
        match cause {
            Cause::ChecksFailed { failures, threshold, sentence } => {
                wire.failures = Some(*failures);
                wire.threshold = Some(*threshold);
                wire.message.clone_from(sentence);
            }
            Cause::CannotRun { why } | Cause::NoData { why } => wire.message.clone_from(why),
            Cause::DeadlineExceeded { waited_for } => wire.message.clone_from(waited_for),
            Cause::Aborted { by, why } => {
                wire.by.clone_from(by);
                wire.message.clone_from(why);
            }
            Cause::Superseded { by } => by.as_str().clone_into(&mut wire.by),
            Cause::Reverted | Cause::StartedByOthers | Cause::Recreated | Cause::Deleted => {}
        }
        wire
    }

    fn parse(&self) -> Result<Cause, CursorError> {
        let (message, by) = (self.message.clone(), self.by.clone());
        Ok(match self.kind.as_str() {
            "ChecksFailed" => Cause::ChecksFailed {
                failures: self.failures.unwrap_or_default(),
                threshold: self.threshold.unwrap_or_default(),
                sentence: message,
            },
            "CannotRun" => Cause::CannotRun { why: message },
            "DeadlineExceeded" => Cause::DeadlineExceeded { waited_for: message },
            "NoData" => Cause::NoData { why: message },
            "Aborted" => Cause::Aborted { by, why: message },
            "Reverted" => Cause::Reverted,
            "Superseded" => Cause::Superseded { by: Revision::new(by) },
            "StartedByOthers" => Cause::StartedByOthers,
            "Recreated" => Cause::Recreated,
            "Deleted" => Cause::Deleted,
            other => return Err(unknown("cause.kind", other)),
        })
    }
}

fn phase_name(phase: &Phase, plan: &Plan) -> &'static str {
    match phase {
        Phase::Progressing(p) if waits_for_promotion(p, plan) => "WaitingPromotion",
        Phase::Progressing(_) | Phase::Orphaned(_) => "Progressing",
        Phase::Promoting(p) if p.stage.at < PromotionStage::Return => "Promoting",
        Phase::Promoting(_) => "Finalising",
        Phase::RollingBack(_) => "RollingBack",
        Phase::Ended(Outcome::Succeeded) => "Succeeded",
        Phase::Ended(Outcome::Failed(_)) => "Failed",
    }
}

/// Every check of the last step has passed, and a person decides.
fn waits_for_promotion(p: &Progress, plan: &Plan) -> bool {
    let last = p.step + 1 == plan.steps().len();
    let Some(step) = plan.steps().get(p.step) else { return false };
    let held = matches!(p.stage.at, Stage::Check(check) if !check.approved);
    last && held && step.hold == Hold::UntilApproved && p.passes >= step.checks
}

fn stage_name(stage: &Stage) -> &'static str {
    match stage {
        Stage::Pin => "Pin",
        Stage::BringUp => "BringUp",
        Stage::Shift => "Shift",
        Stage::Check(_) => "Check",
    }
}

fn promotion_stage(stage: PromotionStage) -> &'static str {
    match stage {
        PromotionStage::Fill => "Fill",
        PromotionStage::Shift => "Shift",
        PromotionStage::Open => "Open",
        PromotionStage::Roll => "Roll",
        PromotionStage::Isolate => "Isolate",
        PromotionStage::Return => "Return",
        PromotionStage::Exclude => "Exclude",
        PromotionStage::Remove => "Remove",
        PromotionStage::Release => "Release",
    }
}

fn retreat_stage(stage: RetreatStage) -> &'static str {
    match stage {
        RetreatStage::Undo => "Undo",
        RetreatStage::Await => "Await",
        RetreatStage::Back => "Back",
        RetreatStage::Remove => "Remove",
        RetreatStage::Release => "Release",
    }
}
