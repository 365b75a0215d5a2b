//! Where the share of a canary is written, and what the traffic system says about it.
//!
//! Everything here is a plain function over plain JSON: the caller reads the objects, and writes the patches.

mod backends;
mod gateway;
mod http_route;

#[cfg(test)]
mod contract;

use std::fmt;

use analysis::Profile;
use chrono::TimeDelta;
use rollout::Weight;
use serde_json::Value;

pub use backends::{Backends, ServiceNameTooLong};
pub use gateway::{Gateway, GatewayName};
pub use http_route::{
    Conflict, Found, GatewayRef, HttpRoute, Managed, Refusal, Refused, Route, conflicts, find,
};

/// A traffic system. Every implementation passes the functions of `contract`.
pub trait TrafficProvider: fmt::Debug + Send + Sync {
    fn capabilities(&self) -> Capabilities;

    /// The whole object as the API server stores it once it is told this share; `None`: as its owner wrote it.
    ///
    /// A share that is already there changes nothing, and what can't be split is left alone: a way back never fails for it.
    fn render(
        &self,
        live: &Value,
        backends: &Backends,
        share: Option<Weight>,
    ) -> Result<Value, RenderError>;

    /// The merge patch that brings this share about, or `None` when it is there. Carries the `resourceVersion` of `live`, so
    /// that it is refused if anything has changed since.
    fn change(
        &self,
        live: &Value,
        backends: &Backends,
        share: Option<Weight>,
        by: SplitBy,
    ) -> Result<Option<Value>, RenderError>;

    fn read(&self, live: &Value, backends: &Backends) -> Observed;
}

/// Who turns one backend into two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitBy {
    /// The API server, by the policy `tidegate-split`, in every write: we write one annotation, and nobody can undo the split.
    Server,
    /// Ourselves: the server can't. The owner's next apply undoes it.
    Us,
}

/// What differs between traffic systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// How long a write takes until no request is routed by the old one, at most.
    pub settle: TimeDelta,
    /// Whose metrics tell the arms apart; `None`: the built-in metrics can't be used.
    pub profile: Option<Profile>,
}

/// A share as stored, and what the traffic system makes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The canary's share, the largest where rules differ; `None`: nothing of ours is in it, it is as its owner wrote it.
    pub stored: Option<Weight>,
    /// All rules say what is stored, and the traffic system has accepted it.
    pub accepted: bool,
    /// What keeps it from being accepted, or else what the system complains of.
    pub trouble: Option<String>,
}

impl Observed {
    /// Several objects as one, since all of them are split together. `None` without any.
    pub fn together(all: impl IntoIterator<Item = Self>) -> Option<Self> {
        all.into_iter().reduce(|a, b| {
            let share = |o: &Self| o.stored.unwrap_or_default();
            let agree = share(&a) == share(&b);
            Self {
                stored: a.stored.max(b.stored),
                accepted: agree && a.accepted && b.accepted,
                trouble: a.trouble.or(b.trouble),
            }
        })
    }
}

/// Why a share can't be written into an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    #[error("{object}: has no metadata.resourceVersion; a change needs the object as it was read")]
    NeverRead { object: String },
}
