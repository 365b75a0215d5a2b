use crate::{Phase, PromotionStage, RetreatStage, Revision, Run, Stage, Weight};

/// What a phase wants of the cluster. Absolute, never relative: a repeat is harmless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The user's Service selects only pods of this revision of the target; `None`: as its owner wrote it.
    Pin(Option<Revision>),
    /// The route gives the canary this share; `None`: as its owner wrote it.
    Split(Option<Weight>),
    /// The canary has pods for this share of the target's replicas, at least one; `None`: it has none.
    Canary(Option<Weight>),
    /// The target is started, if its template is this revision.
    Start(Revision),
    /// The target is held, and has pods of this revision only.
    Only(Revision),
    /// The target is held, as it is (the fallback for servers that can't hold a new revision by themselves).
    Hold,
}

impl Phase {
    /// All that this phase wants, in the order in which it is to be brought about.
    pub fn effects(&self, run: &Run) -> Vec<Effect> {
        let pinned = || Effect::Pin(Some(run.stable.clone()));
        let open = Effect::Pin(None);
        let full = Effect::Canary(Some(Weight::FULL));
        match self {
            Self::Progressing(p) => match p.stage.at {
                Stage::Pin => vec![pinned()],
                // The next step's pods come up while the route still has the last step's weight.
                Stage::BringUp | Stage::Shift | Stage::Check(_) => {
                    let size = run.plan.steps().get(p.step).map(|s| s.weight).unwrap_or_default();
                    vec![pinned(), Effect::Canary(Some(size)), Effect::Split(p.weight)]
                }
            },
            Self::Promoting(p) => match p.stage.at {
                PromotionStage::Fill | PromotionStage::Shift => {
                    vec![pinned(), full, Effect::Split(p.weight())]
                }
                PromotionStage::Open => vec![open, full, Effect::Split(p.weight())],
                PromotionStage::Roll => {
                    vec![open, full, Effect::Split(p.weight()), Effect::Start(run.canary.clone())]
                }
                PromotionStage::Isolate => {
                    vec![open, full, Effect::Split(p.weight()), Effect::Only(run.canary.clone())]
                }
                PromotionStage::Return => vec![open, full, Effect::Split(p.weight())],
                PromotionStage::Exclude => {
                    vec![Effect::Pin(Some(run.canary.clone())), full, Effect::Split(p.weight())]
                }
                PromotionStage::Remove => vec![
                    Effect::Pin(Some(run.canary.clone())),
                    Effect::Split(p.weight()),
                    Effect::Canary(None),
                ],
                PromotionStage::Release => released(),
            },
            Self::RollingBack(r) => match r.stage.at {
                RetreatStage::Undo => {
                    vec![open, full, Effect::Split(r.weight()), Effect::Only(r.to.clone())]
                }
                RetreatStage::Await => vec![Effect::Split(r.weight())],
                RetreatStage::Back => {
                    vec![Effect::Pin(Some(r.to.clone())), Effect::Split(r.weight())]
                }
                RetreatStage::Remove => vec![
                    Effect::Pin(Some(r.to.clone())),
                    Effect::Split(r.weight()),
                    Effect::Canary(None),
                ],
                RetreatStage::Release => released(),
            },
            Self::Orphaned(o) => vec![open, full, Effect::Split(o.weight)],
            Self::Ended(_) => released(),
        }
    }
}

/// Nothing of ours is left in what users own.
pub(crate) fn released() -> Vec<Effect> {
    vec![Effect::Canary(None), Effect::Split(None), Effect::Pin(None)]
}
