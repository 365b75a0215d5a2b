use std::fmt;

use analysis::Profile;
use chrono::TimeDelta;

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

/// Who programs a Gateway, by the `controllerName` of its `GatewayClass`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gateway {
    Traefik,
    EnvoyGateway,
    /// With its `controllerName`.
    Other(String),
}

impl Gateway {
    pub fn by(controller_name: &str) -> Self {
        match controller_name {
            "traefik.io/gateway-controller" => Self::Traefik,
            "gateway.envoyproxy.io/gatewayclass-controller" => Self::EnvoyGateway,
            other => Self::Other(other.to_owned()),
        }
    }

    /// How long a write to a route takes until no request is routed by the old one, at most.
    pub fn settle(&self) -> TimeDelta {
        match self {
            // A lone write acts within 0.1 s, but its configuration is rebuilt at most every 2 s
            // (`providersThrottleDuration`, the default): a write 0.3 s after another took 2 s, 5 times of 5 (3.7.13).
            Self::Traefik => TimeDelta::seconds(3),
            // 8 ms at most in 10 writes (1.9.1); the rest is for a proxy that is busy.
            Self::EnvoyGateway => TimeDelta::seconds(1),
            // Nobody has measured it.
            Self::Other(_) => TimeDelta::seconds(5),
        }
    }

    /// Whether the conditions that it writes always say which generation they are about. Seen for the two that are named; for
    /// others a condition without it counts.
    pub fn tells_generation(&self) -> bool {
        match self {
            Self::Traefik | Self::EnvoyGateway => true,
            Self::Other(_) => false,
        }
    }

    /// Whose metrics tell the arms apart.
    pub fn profile(&self) -> Option<Profile> {
        match self {
            Self::Traefik => Some(Profile::Traefik),
            Self::EnvoyGateway => Some(Profile::EnvoyGateway),
            Self::Other(_) => None,
        }
    }
}
