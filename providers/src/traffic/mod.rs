//! Where the share of a canary is written, and what the traffic system says about it.
//!
//! Everything here is a plain function over plain JSON: the caller reads the objects, and writes the patches.

mod annotations;
mod around;
mod attached;
mod backends;
mod change;
mod conflict;
mod find;
mod http_proxy;
mod http_route;
mod managed;
pub mod mesh;
mod named;
mod object;
mod system;
mod traefik_service;
mod virtual_service;

#[cfg(test)]
mod contract;
#[cfg(test)]
mod matrix;
#[cfg(test)]
mod upstream;

use std::fmt;

use analysis::Protocol;
use rollout::{Shape, Weight};
use serde_json::Value;

pub use around::{Around, ObjectKind, Wanted};
pub use attached::{policies, uncovered};
pub use backends::{Backends, ServiceNameTooLong};
pub use change::{NeverRead, SplitBy, change};
pub use conflict::Conflict;
pub use find::{Found, Refusal, Refused, Route, find};
pub use http_proxy::HttpProxy;
pub use http_route::{GrpcRoute, HttpRoute, LinkerdRoute};
pub use managed::{GatewayRef, Managed};
pub use named::{mentions, port};
pub use system::{
    Capabilities, Features, GatewayName, Matching, Mirroring, Parent, System, Telemetry,
    Verification,
};
pub use traefik_service::{IngressRoute, TraefikService};
pub use virtual_service::{Companion, VirtualService, companion};

/// A kind of object that gives backends their shares of the requests. Every implementation passes the functions of `contract`.
///
/// Whatever the kind: at rest the object is as its owner wrote it. A run begins with the annotation
/// `split.tidegate.dev/<service>: "0"`, which turns the owner's one backend into two, goes on with other values of it, and ends by
/// taking it off, which makes one of the two again. Each is one write, and none of them makes a new object or takes a field over.
/// Around them: the canary's Service exists before the first, has ready addresses before any share above 0, and stays until after
/// the last.
pub trait TrafficProvider: fmt::Debug + Send + Sync {
    fn kind(&self) -> &'static RouteKind;

    /// The Services of its own namespace that the route sends requests to.
    fn services(&self, route: &Value) -> Vec<String>;

    /// Who programs the route, each once.
    fn parents(&self, route: &Value) -> Vec<Parent>;

    /// Some rule of the route, which is of the Service's namespace, can be split.
    fn can_split(&self, route: &Value, backends: &Backends) -> bool;

    /// Places in the route that name the Service and stand in the way. It may be of another namespace.
    fn refusals(&self, route: &Value, backends: &Backends) -> Vec<Refused>;

    /// What gets in the way of splitting this route: `others` of its kind that claim the same requests, and other canaries that
    /// split it with a Service of ours.
    fn conflicts(&self, route: &Value, others: &[&Value], backends: &Backends) -> Vec<Conflict>;

    /// What keeps a route that can be split from taking just this shape; `None`: nothing.
    fn obstacle(&self, route: &Value, backends: &Backends, shape: &Shape) -> Option<Refused>;

    /// The whole object as the API server stores it once it is told this shape; `None`: as its owner wrote it.
    ///
    /// A shape that is already there changes nothing, and what can't be split is left alone: a way back never fails for it.
    fn render(&self, live: &Value, backends: &Backends, shape: Option<&Shape>) -> Value;

    /// The object on the way to this shape, where requests would be lost if it were there at once; `None`: they aren't.
    ///
    /// To be asked with each version of the object that is read. Nothing that takes requests from the canary waits for it.
    fn on_the_way(&self, _live: &Value, _backends: &Backends, _shape: &Shape) -> Option<Value> {
        None
    }

    /// The canary's part in the object, whatever the annotations say.
    fn stored(&self, live: &Value, backends: &Backends) -> Stored;

    /// What the traffic system says about the object as it is now.
    fn answer(&self, live: &Value) -> Answer;

    /// What has to be read for [`proof`](Self::proof).
    fn evidence(&self, _live: &Value) -> Vec<Wanted> {
        vec![]
    }

    /// What other objects show about the object as it is now, whose answer alone would be believed too easily.
    fn proof(&self, _live: &Value, _backends: &Backends, _around: &Around) -> Proof {
        Proof::default()
    }

    /// The route at rest where there is none: it names the user's own Service alone. All defaults are spelt out, so that it can be
    /// compared with what is stored.
    ///
    /// # Errors
    /// What this kind of route can't say, as `field: why`.
    fn managed(&self, wanted: &Managed) -> Result<Value, String>;

    /// The shape that the object has and whether the system has taken it.
    fn read(&self, live: &Value, backends: &Backends) -> Observed {
        let stored = self.stored(live, backends);
        let answer = self.answer(live);
        let idle = stored.shape.as_ref().is_some_and(Shape::is_nothing);
        Observed {
            accepted: stored.trouble.is_none() && answer.refused.is_none(),
            // A canary without requests may be without pods.
            trouble: stored.trouble.or(answer.refused).or(answer.complaint.filter(|_| !idle)),
            stored: stored.shape.map(Shape::in_order),
        }
    }
}

/// What the API server calls a kind of route, and `spec.provider`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteKind {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    /// The field of `spec` that a split is written into. Empty: such routes are only looked at, and refused where they go past one that
    /// is split.
    pub rules: &'static str,
    /// The value of `spec.provider` that stands for it.
    pub provider: &'static str,
}

impl RouteKind {
    /// The `CustomResourceDefinition` that brings it.
    pub fn crd(&self) -> String {
        format!("{}.{}", self.plural, self.group)
    }

    /// The admission policy by which the API server splits it.
    pub fn policy(&self) -> String {
        match self.provider {
            "gateway-api" => "tidegate-split".to_owned(),
            _ => format!("tidegate-split-{}", self.kind.to_lowercase()),
        }
    }

    /// What its routes carry.
    pub fn protocol(&self) -> Protocol {
        if self.kind == "GRPCRoute" { Protocol::Grpc } else { Protocol::Http }
    }

    /// An object of this kind as kubectl takes it: `httproute/web`. With its group where that of another kind would be meant.
    pub fn called(&self, name: &str) -> String {
        let kind = self.kind.to_lowercase();
        let first = KINDS.iter().find(|p| p.kind().kind == self.kind);
        if first.is_none_or(|p| p.kind().group == self.group) {
            format!("{kind}/{name}")
        } else {
            format!("{kind}.{}/{name}", self.group)
        }
    }
}

/// Every kind of route that can be split, in the order in which they are looked for.
pub const KINDS: [&dyn TrafficProvider; 7] = [
    &HttpRoute,
    &GrpcRoute,
    &LinkerdRoute,
    &VirtualService,
    &HttpProxy,
    &TraefikService,
    &IngressRoute,
];

/// What is looked for, for people: `HTTPRoute or GRPCRoute`. `provider`: the value of `spec.provider`, if it is set.
pub fn names_of_kinds(provider: Option<&str>) -> String {
    let wanted = |kind: &&RouteKind| provider.is_none_or(|p| p == kind.provider);
    let split = KINDS.iter().map(|p| p.kind()).filter(|kind| !kind.rules.is_empty());
    let mut names = Vec::new();
    for kind in split.filter(wanted) {
        if !names.contains(&kind.kind) {
            names.push(kind.kind);
        }
    }
    names.join(" or ")
}

/// The canary's part in a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// `None`: nothing of ours is in it, it is as its owner wrote it. Where rules differ, the largest share: on the way down none
    /// may be overlooked that still gives the canary requests.
    pub shape: Option<Shape>,
    /// What isn't as the annotations say; on the way up, the rule that lags behind.
    pub trouble: Option<String>,
}

/// The traffic system's own word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Why the route isn't accepted as it is now; `None`: it is, or the system never says.
    pub refused: Option<String>,
    /// What it complains of all the same.
    pub complaint: Option<String>,
}

/// What other objects show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// Why the traffic system's yes is worth nothing; `None`: nothing speaks against it.
    pub refused: Option<String>,
    /// What has to be told all the same.
    pub complaint: Option<String>,
    /// The canary's share that the proxies are told; `None`: the system doesn't show it.
    pub programmed: Option<Weight>,
}

impl Proof {
    /// Both have to be fine.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            refused: self.refused.or(other.refused),
            complaint: self.complaint.or(other.complaint),
            programmed: self.programmed.max(other.programmed),
        }
    }
}

/// A shape as stored, and what the traffic system makes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// `None`: nothing of ours is in it, it is as its owner wrote it.
    pub stored: Option<Shape>,
    /// All rules say what is stored, and the traffic system has accepted it.
    pub accepted: bool,
    /// What keeps it from being accepted, or else what the system complains of.
    pub trouble: Option<String>,
}

impl Observed {
    /// With what other objects show.
    #[must_use]
    pub fn proven(self, proof: Proof) -> Self {
        let idle = self.stored.as_ref().is_some_and(Shape::is_nothing);
        Self {
            accepted: self.accepted && proof.refused.is_none(),
            // A reason that keeps it from being accepted comes before a complaint.
            trouble: match (self.accepted, proof.refused) {
                (true, Some(refused)) => Some(refused),
                _ => self.trouble.or(proof.complaint.filter(|_| !idle)),
            },
            stored: self.stored,
        }
    }

    /// Several objects as one, since all of them are split together. `None` without any.
    pub fn together(all: impl IntoIterator<Item = Self>) -> Option<Self> {
        all.into_iter().reduce(|a, b| {
            let agree =
                a.stored.clone().unwrap_or_default() == b.stored.clone().unwrap_or_default();
            Self {
                accepted: agree && a.accepted && b.accepted,
                trouble: a.trouble.or(b.trouble),
                stored: larger(a.stored, b.stored),
            }
        })
    }
}

/// The one that gives the canary more, so that none is overlooked.
fn larger(a: Option<Shape>, b: Option<Shape>) -> Option<Shape> {
    let size = |shape: &Option<Shape>| -> Option<(Weight, usize, Option<Weight>)> {
        shape.as_ref().map(|s| (s.weight, s.matches.len(), s.mirror))
    };
    if size(&b) > size(&a) { b } else { a }
}
