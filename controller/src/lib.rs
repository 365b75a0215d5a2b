//! The shell around the state machine: watches, reads, writes, and nothing that decides.

use std::net::SocketAddr;
use std::path::PathBuf;

/// What a controller needs to know besides a cluster.
#[derive(Clone, Debug)]
pub struct Config {
    /// Prometheus; a path is kept as prefix.
    pub metrics_server: url::Url,
    /// A mounted Secret: `token`, `username` and `password`, `ca.crt`, `tls.crt` and `tls.key`, `header.<Name>`.
    pub metrics_credentials: Option<PathBuf>,
    /// Only this namespace; `None`: all.
    pub namespace: Option<String>,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub listen: SocketAddr,
}
