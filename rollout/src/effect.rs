use crate::{
    Phase, Plan, Progress, Promotion, PromotionStage, Retreat, RetreatStage, Revision, Run, Shape,
    Stage, Weight,
};

/// What a phase wants of the cluster. Absolute, never relative: a repeat is harmless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The user's Service selects only pods of this revision of the target; `None`: as its owner wrote it.
    Pin(Option<Revision>),
    /// The route looks like this; `None`: as its owner wrote it.
    Route(Option<Shape>),
    /// The canary has pods for this share of the target's replicas, at least one; `None`: it has none.
    Canary(Option<Weight>),
    /// The target is started, if its template is this revision.
    Start(Revision),
    /// The target is held, and has pods of this revision only: its ReplicaSet gets them all, every other gets none, and that of
    /// the template goes, for it would be the first to get pods again. Nothing is done if there is no ReplicaSet of this
    /// revision.
    Only(Revision),
    /// The target is held, as it is (the fallback for servers that can't hold a new revision by themselves).
    Hold,
}

impl Phase {
    /// All that this phase wants, in the order in which it is to be brought about.
    pub fn effects(&self, run: &Run) -> Vec<Effect> {
        match self {
            Self::Progressing(p) => p.effects(run),
            Self::Promoting(p) => p.effects(run),
            Self::RollingBack(r) => r.effects(),
            Self::Orphaned(o) => vec![OPEN, FULL, Effect::Route(o.weight.map(Shape::weight))],
            Self::Ended(_) => released(),
        }
    }
}

const OPEN: Effect = Effect::Pin(None);
const FULL: Effect = Effect::Canary(Some(Weight::FULL));

impl Progress {
    fn effects(&self, run: &Run) -> Vec<Effect> {
        let pinned = Effect::Pin(Some(run.stable.clone()));
        // The next step's pods come up while the route still looks as in the last step.
        match self.stage.at {
            Stage::Pin => vec![pinned],
            Stage::BringUp | Stage::Shift | Stage::Check(_) => {
                let size = Effect::Canary(Some(self.size(&run.plan)));
                vec![pinned, size, Effect::Route(self.shape(&run.plan))]
            }
        }
    }

    /// A step may need fewer pods than the last one (after matches or a mirror): they go when no request comes to them any more.
    fn size(&self, plan: &Plan) -> Weight {
        let size = plan.size(self.step);
        match (self.stage.at, self.step.checked_sub(1)) {
            (Stage::BringUp | Stage::Shift, Some(before)) => size.max(plan.size(before)),
            (Stage::BringUp | Stage::Shift, None) | (Stage::Pin | Stage::Check(_), _) => size,
        }
    }
}

impl Promotion {
    fn effects(&self, run: &Run) -> Vec<Effect> {
        use PromotionStage as S;
        let route = Effect::Route(self.shape(&run.plan));
        let (pinned, left_out) = (Some(run.stable.clone()), Some(run.canary.clone()));
        match self.stage.at {
            S::Fill | S::Shift => vec![Effect::Pin(pinned), FULL, route],
            S::Open | S::Return => vec![OPEN, FULL, route],
            S::Roll => vec![OPEN, FULL, route, Effect::Start(run.canary.clone())],
            S::Isolate => vec![OPEN, FULL, route, Effect::Only(run.canary.clone())],
            S::Exclude => vec![Effect::Pin(left_out), FULL, route],
            S::Remove => vec![Effect::Pin(left_out), route, Effect::Canary(None)],
            S::Release => released(),
        }
    }
}

impl Retreat {
    fn effects(&self) -> Vec<Effect> {
        use RetreatStage as S;
        let route = Effect::Route(self.weight().map(Shape::weight));
        let pinned = Effect::Pin(Some(self.to.clone()));
        match self.stage.at {
            // The canary carries its traffic until the target's pods are back. One that carries none stays as it is.
            S::Undo if self.weight > Some(Weight::ZERO) => {
                vec![OPEN, FULL, route, Effect::Only(self.to.clone())]
            }
            S::Undo => vec![OPEN, route, Effect::Only(self.to.clone())],
            S::Await => vec![route],
            S::Back => vec![pinned, route],
            S::Remove => vec![pinned, route, Effect::Canary(None)],
            S::Release => released(),
        }
    }
}

/// Nothing of ours is left in what users own.
pub(crate) fn released() -> Vec<Effect> {
    vec![Effect::Route(None), Effect::Canary(None), OPEN]
}
