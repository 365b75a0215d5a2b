use std::fmt;

/// What the name of the canary's Service adds to the user's.
const SUFFIX: &str = "-canary";

/// The longest name of a Service (a DNS label), and of what follows the `/` of an annotation's key.
const LONGEST: usize = 63;

/// The user's Service and ours, in the namespace of the route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backends {
    pub namespace: String,
    pub service: String,
    pub canary: String,
}

impl Backends {
    /// Refuses a Service whose canary would have no valid name.
    pub fn new(
        namespace: impl Into<String>,
        service: impl Into<String>,
    ) -> Result<Self, ServiceNameTooLong> {
        let (namespace, service) = (namespace.into(), service.into());
        let canary = Self::canary_of(&service);
        if canary.len() > LONGEST {
            return Err(ServiceNameTooLong { namespace, service });
        }
        Ok(Self { namespace, service, canary })
    }

    pub(super) fn canary_of(service: &str) -> String {
        format!("{service}{SUFFIX}")
    }

    /// The inverse of [`canary_of`](Self::canary_of).
    pub(super) fn service_of(canary: &str) -> Option<&str> {
        canary.strip_suffix(SUFFIX)
    }
}

impl fmt::Display for Backends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "service {}/{}", self.namespace, self.service)
    }
}

/// No room for `-canary`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "service {namespace}/{service}: its name has {} characters, and with {SUFFIX} a name may have {LONGEST}; use a service with at most {} characters",
    service.len(),
    LONGEST - SUFFIX.len()
)]
pub struct ServiceNameTooLong {
    pub namespace: String,
    pub service: String,
}
