//! `HTTPProxy` of Contour and `TraefikService` of Traefik: the API server splits them as `providers` says, their proxies do as they are
//! told, and canaries run on them.

mod objects;
mod policies;
mod proxies;
mod runs;

use std::time::Duration;

use tests::Plane;

const PLANES: &[Plane] = &[Plane::Prometheus, Plane::Contour, Plane::Traefik];
const ENOUGH: Duration = Duration::from_mins(1);
