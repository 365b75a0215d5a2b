//! The routes that a canary's Service gets its requests by, of whichever kind.

use std::collections::BTreeSet;
use std::fmt;

use analysis::Protocol;
use api::Canary;
use providers::traffic::{
    Around, Backends, KINDS, Observed, Parent, Proof, Refused, TrafficProvider, find, mentions,
    port,
};
use serde_json::Value;

use crate::caches::Caches;

/// A route that is or can be split, whole.
pub(crate) struct Route {
    pub(crate) provider: &'static dyn TrafficProvider,
    pub(crate) object: Value,
    /// Who programs it.
    pub(crate) parents: Vec<Parent>,
}

impl Route {
    pub(crate) fn name(&self) -> &str {
        self.object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
    }

    /// `around`: with what proves it.
    pub(crate) fn read(&self, backends: &Backends, around: Option<&Around>) -> Observed {
        let seen = self.provider.read(&self.object, backends);
        match around {
            Some(around) => seen.proven(self.proof(backends, around)),
            None => seen,
        }
    }

    pub(crate) fn proof(&self, backends: &Backends, around: &Around) -> Proof {
        self.provider.proof(&self.object, backends, around)
    }
}

/// `httproute/web`, as kubectl takes it.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.provider.kind().called(self.name()))
    }
}

/// What was found for a Service.
#[derive(Default)]
pub(crate) struct Routes {
    /// Of one provider, all split together.
    pub(crate) all: Vec<Route>,
    pub(crate) refused: Vec<Refused>,
    /// The value of `spec.provider` that they stand for, and why; `None`: nothing was found and nothing is set.
    pub(crate) provider: Option<(&'static str, String)>,
    /// Routes of several providers name the Service, and the spec doesn't say which is meant: each with an example.
    pub(crate) candidates: Vec<String>,
}

impl Routes {
    /// Those of the namespace that name the Service. At a tie between providers a run stays with the one that the status names.
    pub(crate) fn of(
        caches: &Caches,
        canary: &Canary,
        provider: Option<api::Provider>,
        backends: &Backends,
    ) -> Self {
        let wanted = provider.map(api::Provider::name);
        let known = canary.status.as_ref().and_then(|s| s.traffic.as_ref()?.provider.clone());
        let mut found: Vec<Self> = Vec::new();
        for (i, provider) in KINDS.into_iter().enumerate() {
            let name = provider.kind().provider;
            if wanted.is_some_and(|wanted| wanted != name) {
                continue;
            }
            let routes = Self::of_kind(caches, i, provider, backends);
            let Some(because) = routes.example() else { continue };
            match found.iter_mut().find(|f| f.is(name)) {
                Some(same) => {
                    same.all.extend(routes.all);
                    same.refused.extend(routes.refused);
                }
                None => found.push(Self { provider: Some((name, because)), ..routes }),
            }
        }
        let candidates = match found.len() {
            0 | 1 => vec![],
            _ => found.iter().filter_map(|f| f.provider.clone()).map(candidate).collect(),
        };
        let chosen = found.iter().position(|f| known.as_deref().is_some_and(|k| f.is(k)));
        let mut chosen = if found.is_empty() {
            Self::default()
        } else {
            found.swap_remove(chosen.unwrap_or_default())
        };
        match (provider, canary.spec.provider) {
            (Some(set), Some(_)) => {
                chosen.provider = Some((set.name(), "spec.provider says so".to_owned()));
            }
            // What a run has begun with, though nothing shows it any more.
            (Some(kept), None) if chosen.provider.is_none() => {
                chosen.provider = Some((kept.name(), "the run began with it".to_owned()));
            }
            (Some(_) | None, None) | (None, Some(_)) => {}
        }
        Self { candidates, ..chosen }
    }

    fn is(&self, provider: &str) -> bool {
        self.provider.as_ref().is_some_and(|(name, _)| *name == provider)
    }

    fn of_kind(
        caches: &Caches,
        kind: usize,
        provider: &'static dyn TrafficProvider,
        backends: &Backends,
    ) -> Self {
        let objects: Vec<Value> = caches
            .routes_in(kind, &backends.namespace)
            .iter()
            .filter(|route| {
                route
                    .metadata
                    .annotations
                    .iter()
                    .flatten()
                    .any(|(k, _)| *k == backends.annotation())
                    || mentions(&route.data, &backends.service)
            })
            .filter_map(|route| serde_json::to_value(&**route).ok())
            .collect();
        let found = find(provider, &objects, backends);
        let whole = |name: &str| {
            let named =
                |o: &&Value| o.pointer("/metadata/name").and_then(Value::as_str) == Some(name);
            objects.iter().find(named).cloned().unwrap_or_default()
        };
        let all = found.routes.into_iter().map(|r| Route {
            provider,
            object: whole(&r.name),
            parents: r.parents,
        });
        Self { all: all.collect(), refused: found.refused, ..Self::default() }
    }

    /// Why they count, by the first of them.
    fn example(&self) -> Option<String> {
        let first = self.all.first().map(ToString::to_string);
        let first = first.or_else(|| self.refused.first().map(|r| r.route.clone()))?;
        Some(format!("{first} names the service"))
    }

    /// The port of the Service that all of them name; `None` if they name several or none.
    pub(crate) fn port(&self, backends: &Backends) -> Option<String> {
        port(self.all.iter().map(|route| &route.object), &backends.service)
    }

    /// What they carry.
    pub(crate) fn protocol(&self) -> Protocol {
        let grpc = |route: &Route| route.provider.kind().protocol() == Protocol::Grpc;
        if !self.all.is_empty() && self.all.iter().all(grpc) {
            Protocol::Grpc
        } else {
            Protocol::Http
        }
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let all: BTreeSet<_> = self.all.iter().map(|route| route.name().to_owned()).collect();
        all.into_iter().collect()
    }
}

fn candidate((name, because): (&'static str, String)) -> String {
    format!("{name} ({because})")
}
