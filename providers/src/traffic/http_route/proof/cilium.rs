//! What Cilium tells its proxies is an object, and the only proof: the conditions of a Service are never taken back.

use std::collections::BTreeSet;

use rollout::Weight;
use serde_json::Value;

use super::{Place, refused};
use crate::traffic::http_route::{refs, refs::Parent, status::Condition};
use crate::traffic::{Backends, ObjectKind, Proof, Wanted, object};

const CONDITIONS: [&str; 2] =
    ["gamma.cilium.io/GammaRoutesAttached", "gamma.cilium.io/GammaRoutesProgrammed"];

pub(super) fn evidence(route: &Value, parent: &Parent) -> Vec<Wanted> {
    let Some(served) = Served::by(parent) else { return vec![] };
    // Another route of the same parent is in the same programme.
    [
        Wanted::all(ObjectKind::CILIUM_ENVOY_CONFIG, &served.namespace),
        Wanted::all(ObjectKind::HTTP_ROUTE, refs::namespace(route)),
        Wanted::all(ObjectKind::GRPC_ROUTE, refs::namespace(route)),
    ]
    .into()
}

/// `answered`: it has said that the route is taken, so that its programme has to agree.
pub(super) fn proof(place: &Place<'_>, answered: bool) -> Proof {
    let condition = place.service().and_then(|service| {
        let of = |kind| Condition::of(&service["status"], kind);
        CONDITIONS.into_iter().filter_map(of).find(|c| c.status == "False")
    });
    let refusal = unfit(place).or(condition.map(|c| format!("the service has {}", c.says())));
    let Some(served) = Served::by(place.parent).filter(|_| answered) else {
        return refused(refusal);
    };
    let Some(programme) = Programme::of(place, &served) else {
        let none = format!(
            "no ciliumenvoyconfig in namespace {} is for service {}, so cilium's proxies haven't been told of the route; does the operator's \
             log say why?",
            served.namespace, served.name
        );
        return refused(refusal.or(Some(none)));
    };
    let wanted = wanted(place);
    let other = programme.shares.iter().rev().find(|share| !wanted.contains(share));
    let lacks = wanted.iter().rev().find(|share| !programme.shares.contains(share));
    let old = match (other, lacks) {
        (Some(share), _) => Some(format!(
            "{} still tells cilium's proxies to give {} {share}",
            programme.label, place.backends.canary
        )),
        (None, Some(share)) => Some(format!(
            "{} doesn't tell cilium's proxies to give {} {share} yet",
            programme.label, place.backends.canary
        )),
        (None, None) => None,
    };
    let programmed = other.or(programme.shares.last()).map(Share::rounded_up);
    Proof { refused: refusal.or(old), complaint: None, programmed }
}

/// A Service that it passes by without a word.
fn unfit(place: &Place<'_>) -> Option<String> {
    let service = place.service()?;
    let kind = object::text(service, "/spec/type");
    if !kind.is_empty() && kind != "ClusterIP" {
        return Some(format!(
            "the service is of type {kind}, and cilium follows routes of ClusterIP ones only; give the route a service of its own"
        ));
    }
    let http = |p: &Value| {
        let protocol = object::text(p, "/appProtocol");
        ["http", "grpc"].contains(&protocol)
    };
    let none = !refs::list(service, "/spec/ports").iter().any(http);
    (place.parent.port().is_none() && none).then(|| {
        "parentRefs names no port, and no port of the service has appProtocol http (grpc for a GRPCRoute), so cilium takes the route for \
         none; set either"
            .to_owned()
    })
}

/// What a programme is found by: the Service whose requests it redirects.
struct Served {
    namespace: String,
    name: String,
    /// Long names are shortened: then this is what is left.
    gateway: Option<String>,
}

impl Served {
    fn by(parent: &Parent) -> Option<Self> {
        if let Some((namespace, name)) = parent.of_service() {
            let (namespace, name) = (namespace.to_owned(), name.to_owned());
            return Some(Self { namespace, name, gateway: None });
        }
        let gateway = parent.gateway()?;
        let name = format!("cilium-gateway-{}", gateway.name);
        Some(Self { namespace: gateway.namespace, name, gateway: Some(gateway.name) })
    }

    fn is_in(&self, config: &Value) -> bool {
        let service = |s: &Value| {
            object::text(s, "/name") == self.name && object::text(s, "/namespace") == self.namespace
        };
        let of_gateway = self.gateway.as_deref().is_some_and(|gateway| {
            object::text(config, "/metadata/labels/gateway.networking.k8s.io~1gateway-name")
                == gateway
                && object::list(config, "/metadata/ownerReferences")
                    .iter()
                    .any(|owner| object::text(owner, "/kind") == "Gateway")
        });
        object::namespace(config) == self.namespace
            && (of_gateway || object::list(config, "/spec/services").iter().any(service))
    }
}

/// What its proxies are told of our backends.
struct Programme {
    label: String,
    shares: BTreeSet<Share>,
}

impl Programme {
    fn of(place: &Place<'_>, served: &Served) -> Option<Self> {
        let mut all = place.around.all(ObjectKind::CILIUM_ENVOY_CONFIG);
        let config = all.find(|config| served.is_in(config))?;
        let label =
            format!("ciliumenvoyconfig {}/{}", object::namespace(config), object::name(config));
        let hosts = object::list(config, "/spec/resources")
            .iter()
            .flat_map(|resource| object::list(resource, "/virtualHosts"));
        let routes = hosts.flat_map(|host| object::list(host, "/routes"));
        let shares = routes.filter_map(|route| {
            let alone = object::text(route, "/route/cluster");
            let mut clusters: Vec<(&str, u64)> =
                object::list(route, "/route/weightedClusters/clusters")
                    .iter()
                    .map(|c| (object::text(c, "/name"), c["weight"].as_u64().unwrap_or_default()))
                    .collect();
            if !alone.is_empty() {
                clusters.push((alone, 1));
            }
            Share::of(
                place.backends,
                clusters.into_iter().filter_map(|(name, weight)| {
                    // `<namespace>:<service>:<port>`
                    let mut parts = name.split(':');
                    Some((parts.next()?, parts.next()?, weight))
                }),
            )
        });
        Some(Self { label, shares: shares.collect() })
    }
}

/// What they are to be told: by this route, and by others of the same parent.
fn wanted(place: &Place<'_>) -> BTreeSet<Share> {
    let others = [ObjectKind::HTTP_ROUTE, ObjectKind::GRPC_ROUTE]
        .into_iter()
        .flat_map(|kind| place.around.all(kind))
        .filter(|other| {
            (object::text(other, "/kind"), refs::name(other))
                != (object::text(place.route, "/kind"), refs::name(place.route))
        })
        .filter(|other| refs::parents(other).iter().any(|p| p.overlaps(place.parent)));
    let routes = others.chain([place.route]);
    let rules = routes.flat_map(|route| refs::rules(route).iter().map(move |rule| (route, rule)));
    rules
        .filter_map(|(route, rule)| {
            let backends = refs::backends(route, rule);
            Share::of(place.backends, backends.map(|b| (b.namespace, b.name, b.weight)))
        })
        .collect()
}

/// The canary's part of the requests of one rule: two are equal whatever their weights add up to.
#[derive(Clone, Copy, Debug)]
struct Share {
    canary: u64,
    all: u64,
}

impl Share {
    /// From namespace, Service and weight of each backend. `None`: neither of ours is among them, or nobody gets a request.
    fn of<'a>(
        ours: &Backends,
        backends: impl Iterator<Item = (&'a str, &'a str, u64)> + Clone,
    ) -> Option<Self> {
        let here = |namespace: &str| namespace == ours.namespace;
        let mut found = backends.clone();
        found.find(|(ns, name, _)| here(ns) && (*name == ours.service || *name == ours.canary))?;
        let all = backends.clone().map(|(_, _, weight)| weight).sum();
        let canary = backends
            .filter(|(ns, name, _)| here(ns) && *name == ours.canary)
            .map(|(_, _, weight)| weight)
            .sum();
        (all > 0).then_some(Self { canary, all })
    }

    fn rounded_up(&self) -> Weight {
        let percent = self.canary.saturating_mul(100).div_ceil(self.all);
        u8::try_from(percent).ok().and_then(Weight::new).unwrap_or(Weight::FULL)
    }
}

impl Ord for Share {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let across = |a: u64, b: u64| u128::from(a) * u128::from(b);
        across(self.canary, other.all).cmp(&across(other.canary, self.all))
    }
}

impl PartialOrd for Share {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Share {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Share {}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.canary, self.all)
    }
}
