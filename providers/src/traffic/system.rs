use std::collections::BTreeSet;
use std::fmt;

use analysis::{Profile, Reporter};
use chrono::TimeDelta;
use rollout::{Match, Part, Pattern, Shape, Weight};
use serde_json::Value;

use super::object;

/// A Gateway object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GatewayName {
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for GatewayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Who programs a route, as far as the route itself says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Parent {
    /// The controller of this Gateway's class.
    Gateway(GatewayName),
    /// A mesh, in whose clients the requests to this Service are split. Which one, its controller says in the route's status.
    Service { name: String, controller: Option<String> },
    /// The kind of route is this system's own.
    Of(System),
}

/// A traffic system.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum System {
    Traefik,
    EnvoyGateway,
    /// Contour, by its own `HTTPProxy`.
    Contour,
    /// Traefik, by its own `TraefikService`.
    TraefikService,
    /// No proxy: the Service's own selector.
    Kubernetes,
    /// Its own kinds of route, in gateways and in clients of the mesh.
    Istio,
    /// The same, where its proxies count requests only as any Envoy does.
    IstioWithoutTelemetry,
    /// Istio, by routes on its Gateways.
    IstioGateway(Telemetry),
    /// Istio, by routes on Services that its clients' sidecars follow.
    IstioMesh(Telemetry),
    /// Istio, by routes on Services that waypoints follow.
    IstioAmbient,
    Linkerd,
    /// Cilium, by routes on its Gateways.
    CiliumGateway,
    /// Cilium, by routes on Services.
    CiliumMesh,
    /// Contour, by routes on its Gateways.
    ContourGateway,
    Kgateway,
    NginxGatewayFabric,
    /// A controller that is none of the others, by its `controllerName`.
    Other(String),
}

/// What Istio's proxies count requests by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Telemetry {
    /// `istio_requests_total` and the like, as an installation has it.
    Istio,
    /// As any Envoy does.
    Envoy,
}

/// What differs between traffic systems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// How long a write takes until no request is routed by the old one, at most.
    pub settle: TimeDelta,
    /// Whose metrics tell the arms apart; `None`: the built-in metrics can't be used.
    pub profile: Option<Profile>,
    /// Whether a share between 0 and 100 can be told.
    pub weights: bool,
    /// Requests that can be told apart.
    pub matching: Matching,
    pub mirroring: Mirroring,
    /// How far the system itself shows what it has made of a write; the metrics come on top.
    pub verification: Verification,
}

/// Which requests can be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matching {
    pub header: bool,
    /// Needed for cookies.
    pub header_regex: bool,
    pub query: bool,
}

impl Matching {
    pub const ALL: Self = Self { header: true, header_regex: true, query: true };
    pub const NONE: Self = Self { header: false, header_regex: false, query: false };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mirroring {
    No,
    /// All requests or none.
    Whole,
    Percent,
}

/// What can be known of a write, each including those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verification {
    /// The API server has it.
    Stored,
    /// The system says in a status that it has taken it.
    Accepted,
    /// The system shows what its proxies are told.
    Programmed,
}

/// `status.supportedFeatures` of a `GatewayClass`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features(BTreeSet<String>);

impl Features {
    /// `None`: it lists none, which most do whatever they can.
    pub fn of(class: &Value) -> Option<Self> {
        let all = object::list(class, "/status/supportedFeatures").iter();
        // Gateway API had plain names before 1.2.
        let name = |f: &Value| f.get("name").unwrap_or(f).as_str().map(str::to_owned);
        let all: BTreeSet<String> = all.filter_map(name).collect();
        (!all.is_empty()).then_some(Self(all))
    }
}

impl System {
    /// All that have a name.
    pub const KNOWN: [Self; 18] = [
        Self::Traefik,
        Self::TraefikService,
        Self::EnvoyGateway,
        Self::Contour,
        Self::Istio,
        Self::IstioWithoutTelemetry,
        Self::IstioGateway(Telemetry::Istio),
        Self::IstioGateway(Telemetry::Envoy),
        Self::IstioMesh(Telemetry::Istio),
        Self::IstioMesh(Telemetry::Envoy),
        Self::IstioAmbient,
        Self::Linkerd,
        Self::CiliumGateway,
        Self::CiliumMesh,
        Self::ContourGateway,
        Self::Kgateway,
        Self::NginxGatewayFabric,
        Self::Kubernetes,
    ];

    /// By the `controllerName` of a Gateway's class. Where each is from: `upstream/controllers.yaml`.
    pub fn of_gateway(controller_name: &str) -> Self {
        match controller_name {
            "traefik.io/gateway-controller" => Self::Traefik,
            "gateway.envoyproxy.io/gatewayclass-controller" => Self::EnvoyGateway,
            "istio.io/gateway-controller" => Self::IstioGateway(Telemetry::Istio),
            "io.cilium/gateway-controller" => Self::CiliumGateway,
            "projectcontour.io/gateway-controller" => Self::ContourGateway,
            "kgateway.dev/kgateway" => Self::Kgateway,
            "gateway.nginx.org/nginx-gateway-controller" => Self::NginxGatewayFabric,
            other => Self::Other(other.to_owned()),
        }
    }

    /// By the `controllerName` that answers for a route on a Service.
    pub fn of_service(controller_name: &str) -> Self {
        match controller_name {
            "istio.io/gateway-controller" => Self::IstioMesh(Telemetry::Istio),
            "linkerd.io/policy-controller" => Self::Linkerd,
            "io.cilium/gateway-controller" => Self::CiliumMesh,
            other => Self::Other(other.to_owned()),
        }
    }

    /// Where its proxies count requests only as any Envoy does; waypoints are always Istio's own proxies.
    #[must_use]
    pub fn without_telemetry(self) -> Self {
        match self {
            Self::Istio => Self::IstioWithoutTelemetry,
            Self::IstioGateway(_) => Self::IstioGateway(Telemetry::Envoy),
            Self::IstioMesh(_) => Self::IstioMesh(Telemetry::Envoy),
            other => other,
        }
    }

    /// By the name that the status keeps: the inverse of `Display`.
    pub fn named(name: &str) -> Self {
        let known = Self::KNOWN.into_iter().find(|system| system.to_string() == name);
        known.unwrap_or_else(|| Self::Other(name.to_owned()))
    }

    pub fn capabilities(&self) -> Capabilities {
        let gateway = Capabilities {
            // Nobody has measured it.
            settle: TimeDelta::seconds(5),
            profile: None,
            weights: true,
            matching: Matching::ALL,
            mirroring: Mirroring::Percent,
            verification: Verification::Accepted,
        };
        match self {
            Self::Traefik => Capabilities {
                // A lone write acts within 0.1 s, but its configuration is rebuilt at most every 2 s
                // (`providersThrottleDuration`, the default): a write 0.3 s after another took 2 s, 5 times of 5 (3.7.13).
                settle: TimeDelta::seconds(3),
                profile: Some(Profile::Traefik),
                // It accepts a RequestMirror, and answers every request of the rule with 500 (3.7.13).
                mirroring: Mirroring::No,
                ..gateway
            },
            Self::EnvoyGateway => Capabilities {
                // 8 ms at most in 10 writes (1.9.1); the rest is for a proxy that is busy.
                settle: TimeDelta::seconds(1),
                profile: Some(Profile::EnvoyGateway),
                ..gateway
            },
            Self::Kubernetes => Capabilities {
                // The endpoints follow within 0.1 s; kube-proxy writes its rules anew once a second at most
                // (`iptables.minSyncPeriod`, the default), longer with thousands of Services.
                settle: TimeDelta::seconds(3),
                profile: Some(Profile::Pods),
                weights: false,
                matching: Matching::NONE,
                mirroring: Mirroring::No,
                verification: Verification::Stored,
            },
            Self::Contour => Capabilities {
                // 0.1 s at most in 20 writes on a busy machine (1.33.8); the rest is for a proxy that is busy.
                settle: TimeDelta::seconds(1),
                profile: Some(Profile::Contour),
                ..gateway
            },
            Self::TraefikService => Capabilities {
                // As for its routes of Gateway API: the same throttle.
                settle: TimeDelta::seconds(3),
                profile: Some(Profile::TraefikService),
                // An IngressRoute tells requests apart, and is its owner's.
                matching: Matching::NONE,
                mirroring: Mirroring::No,
                // It has no status.
                verification: Verification::Stored,
                ..gateway
            },
            Self::Istio | Self::IstioWithoutTelemetry => Capabilities {
                // 105 ms at most in 10 writes (istiod 20260827): it waits 100 ms for more, and as long as more comes, but at most 10 s
                // (`PILOT_DEBOUNCE_AFTER`, `PILOT_DEBOUNCE_MAX`, the defaults). The rest is for many proxies.
                settle: TimeDelta::seconds(2),
                profile: Some(match self {
                    Self::IstioWithoutTelemetry => Profile::IstioProxy,
                    // What a client's sidecar and what a gateway reports.
                    _ => Profile::Istio(Reporter::Source),
                }),
                // It says nothing, unless its analysis is on, and then only about what it was given.
                verification: Verification::Stored,
                ..gateway
            },
            Self::IstioGateway(_) | Self::IstioMesh(_) | Self::IstioAmbient => Capabilities {
                // 0.24 s at most (istiod 20260827, `tests/e2e/planes.rs`): it gathers changes for 100 ms, and for as long as more
                // come, at most 10 s (`PILOT_DEBOUNCE_AFTER`, `PILOT_DEBOUNCE_MAX`, the defaults). The rest is for many proxies.
                settle: TimeDelta::seconds(2),
                profile: Some(match self {
                    Self::IstioAmbient => Profile::Istio(Reporter::Waypoint),
                    Self::IstioGateway(Telemetry::Envoy) | Self::IstioMesh(Telemetry::Envoy) => {
                        Profile::IstioProxy
                    }
                    _ => Profile::Istio(Reporter::Source),
                }),
                ..gateway
            },
            Self::Linkerd => Capabilities {
                // `upstream/linkerd/dropped-update.yaml`: a route with a filter RequestMirror isn't taken.
                mirroring: Mirroring::No,
                profile: Some(Profile::Linkerd),
                ..gateway
            },
            // `upstream/cilium/programmed.yaml`: the weights of its proxies are in an object. Mirroring on a Service is in no test
            // of conformance; the translation is the one for Gateways.
            Self::CiliumGateway | Self::CiliumMesh => Capabilities {
                verification: Verification::Programmed,
                profile: Some(Profile::Cilium),
                ..gateway
            },
            Self::ContourGateway => Capabilities {
                // `upstream/contour/mirror-of-all.yaml`: `percent` isn't read.
                mirroring: Mirroring::Whole,
                profile: Some(Profile::Contour),
                ..gateway
            },
            // As the table in `upstream/controllers.yaml` says: conformance reports of theirs have all of it.
            Self::Kgateway => Capabilities { profile: Some(Profile::Kgateway), ..gateway },
            // It counts requests by host and code, and not by backend.
            Self::NginxGatewayFabric => Capabilities { profile: Some(Profile::Pods), ..gateway },
            Self::Other(_) => gateway,
        }
    }

    /// Whether the conditions that it writes always say which generation they are about. Where nobody has looked, a condition without
    /// it counts.
    pub fn tells_generation(&self) -> bool {
        match self {
            Self::Traefik
            | Self::EnvoyGateway
            | Self::Contour
            | Self::Istio
            | Self::IstioWithoutTelemetry
            | Self::IstioGateway(_)
            | Self::IstioMesh(_)
            | Self::IstioAmbient
            | Self::CiliumGateway
            | Self::CiliumMesh
            | Self::ContourGateway
            | Self::Kgateway
            | Self::NginxGatewayFabric => true,
            // `upstream/linkerd/accepted.yaml`: none of its conditions has one.
            Self::Linkerd | Self::TraefikService | Self::Kubernetes | Self::Other(_) => false,
        }
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Traefik => "traefik",
            Self::EnvoyGateway => "envoy-gateway",
            Self::Contour => "contour",
            Self::TraefikService => "traefik-service",
            Self::Kubernetes => "kubernetes",
            Self::Istio => "istio",
            Self::IstioWithoutTelemetry => "istio-without-telemetry",
            Self::IstioGateway(Telemetry::Istio) => "istio-gateway",
            Self::IstioGateway(Telemetry::Envoy) => "istio-gateway-without-telemetry",
            Self::IstioMesh(Telemetry::Istio) => "istio-mesh",
            Self::IstioMesh(Telemetry::Envoy) => "istio-mesh-without-telemetry",
            Self::IstioAmbient => "istio-ambient",
            Self::Linkerd => "linkerd",
            Self::CiliumGateway => "cilium-gateway",
            Self::CiliumMesh => "cilium-mesh",
            Self::ContourGateway => "contour-gateway",
            Self::Kgateway => "kgateway",
            Self::NginxGatewayFabric => "nginx-gateway-fabric",
            Self::Other(name) => name,
        })
    }
}

impl Capabilities {
    /// What this shape needs and the system doesn't have; `None`: it can take it.
    pub fn lacks(&self, shape: &Shape) -> Option<String> {
        let between = shape.weight > Weight::ZERO && shape.weight < Weight::FULL;
        if between && !self.weights {
            return Some(format!(
                "a share of {}: it can only send all requests or none",
                shape.weight
            ));
        }
        let conditions = shape.matches.iter().flat_map(Match::conditions);
        let unmet = conditions.into_iter().find(|c| match (c.part, &c.value) {
            (Part::Header, Pattern::Exact(_)) => !self.matching.header,
            (Part::Header, Pattern::Regex(_)) | (Part::Cookie, _) => !self.matching.header_regex,
            (Part::Query, _) => !self.matching.query,
        });
        if let Some(condition) = unmet {
            return Some(format!("requests with {condition}: it can't tell them apart"));
        }
        match (shape.mirror, self.mirroring) {
            (None, _) | (Some(_), Mirroring::Percent) | (Some(Weight::FULL), Mirroring::Whole) => {
                None
            }
            (Some(part), Mirroring::Whole) => {
                Some(format!("a copy of {part} of the requests: it can only copy all of them"))
            }
            (Some(part), Mirroring::No) => {
                Some(format!("a copy of {part} of the requests: it can't mirror"))
            }
        }
    }

    /// Without what a Gateway's class doesn't list among its features; `None`: it doesn't say.
    ///
    /// A list can only take away: Cilium's names everything that Gateway API has, a few things aside. Matching by regular expression
    /// is in no list.
    #[must_use]
    pub fn with_features(self, features: Option<&Features>) -> Self {
        let Some(Features(listed)) = features else { return self };
        let has = |feature: &str| listed.contains(feature);
        let mirroring =
            match (has("HTTPRouteRequestMirror"), has("HTTPRouteRequestPercentageMirror")) {
                (_, true) => Mirroring::Percent,
                (true, false) => Mirroring::Whole,
                (false, false) => Mirroring::No,
            };
        Self {
            matching: Matching {
                query: self.matching.query && has("HTTPRouteQueryParamMatching"),
                ..self.matching
            },
            mirroring: self.mirroring.min(mirroring),
            ..self
        }
    }

    /// Of two systems that are split together: what both can. Their metrics can't be read as one.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        Self {
            settle: self.settle.max(other.settle),
            profile: self.profile.filter(|p| Some(*p) == other.profile),
            weights: self.weights && other.weights,
            matching: Matching {
                header: self.matching.header && other.matching.header,
                header_regex: self.matching.header_regex && other.matching.header_regex,
                query: self.matching.query && other.matching.query,
            },
            mirroring: self.mirroring.min(other.mirroring),
            verification: self.verification.min(other.verification),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_system_is_known_again_by_its_name() {
        for system in System::KNOWN.into_iter().chain([System::Other("example.com/c".into())]) {
            assert_eq!(System::named(&system.to_string()), system);
        }
    }

    #[test]
    fn a_list_of_features_takes_away_what_it_lacks_and_no_list_takes_nothing() {
        let class = |features: Value| json!({"status": {"supportedFeatures": features}});
        let of = |system: System, features: Value| {
            let able = system.capabilities().with_features(Features::of(&class(features)).as_ref());
            (able.matching.query, able.mirroring)
        };
        let all = json!([{"name": "HTTPRouteQueryParamMatching"}, {"name": "HTTPRouteRequestMirror"}, {"name": "HTTPRouteRequestPercentageMirror"}]);
        assert_eq!(of(System::Kgateway, all.clone()), (true, Mirroring::Percent));
        assert_eq!(of(System::ContourGateway, all), (true, Mirroring::Whole));
        assert_eq!(of(System::Kgateway, json!([])), (true, Mirroring::Percent));
        assert_eq!(of(System::Kgateway, json!([{"name": "HTTPRoute"}])), (false, Mirroring::No));
        assert_eq!(
            of(System::Kgateway, json!(["HTTPRoute", "HTTPRouteRequestMirror"])),
            (false, Mirroring::Whole)
        );
    }
}
