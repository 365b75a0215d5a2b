//! Sources of metrics: a query in, one value out.

mod credentials;
#[cfg(any(test, feature = "testing"))]
mod fake;
mod prometheus;

#[cfg(test)]
mod contract;

use std::fmt;

use analysis::{Query, Reading, Readings};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::StreamExt as _;

pub use credentials::CredentialsError;
#[cfg(any(test, feature = "testing"))]
pub use fake::Fake;
pub use prometheus::{ConfigError, Prometheus, PrometheusConfig};

/// How many queries are under way at once: as many as Prometheus evaluates at a time by default, and
/// enough for all of a check, which then takes as long as its slowest query.
const AT_ONCE: usize = 20;

/// A metric backend. Every implementation passes the contract that the tests of this module hold.
#[async_trait]
pub trait MetricSource: fmt::Debug + Send + Sync {
    /// The value of `query` at the moment `at`. No series is `Ok(None)`, never an error and never a
    /// zero; a value may be NaN or infinite. Returns in bounded time, its own retries included.
    ///
    /// # Errors
    /// See [`MetricError::may_pass`] for whether asking again can help.
    async fn value(&self, query: &Query, at: DateTime<Utc>) -> Result<Option<f64>, MetricError>;
}

/// Why a query has no value. Messages hold no credentials: addresses are without user and password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetricError {
    #[error(
        "no connection to {url} ({reason}); is the address right, and may the controller reach it?"
    )]
    Unreachable { url: String, reason: String },
    #[error(
        "no secure connection to {url} ({reason}); the credentials' Secret needs its authority in \
         `ca.crt`, and `tls.crt` with `tls.key` where it asks for a client's certificate"
    )]
    Untrusted { url: String, reason: String },
    #[error(
        "no answer from {url} within {seconds} s; may the controller reach it, is it overloaded, or the query too expensive?"
    )]
    TimedOut { url: String, seconds: u64 },
    #[error("{url} broke off its answer ({reason})")]
    Interrupted { url: String, reason: String },
    #[error("{url} answered {status}{}; its own log says more", colon(message))]
    Failing { url: String, status: u16, message: String },
    #[error("{url} answered {status}{}; {}", colon(message), way_out(*status, message))]
    Refused { url: String, status: u16, message: String },
    #[error(
        "{url} answered with {found} where Prometheus answers with JSON; is it Prometheus' address, path prefix included?"
    )]
    NotPrometheus { url: String, found: String },
    #[error("query returned {found} series, need 1; wrap it in `sum(...)`")]
    Series { found: usize },
    #[error("query returned {found}, need one value; {way_out}")]
    Shape { found: &'static str, way_out: &'static str },
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

impl MetricError {
    /// Whether the same question may be answered later. Otherwise something has to be changed.
    pub fn may_pass(&self) -> bool {
        match self {
            MetricError::Unreachable { .. }
            | MetricError::TimedOut { .. }
            | MetricError::Interrupted { .. }
            | MetricError::Failing { .. } => true,
            MetricError::Untrusted { .. }
            | MetricError::Refused { .. }
            | MetricError::NotPrometheus { .. }
            | MetricError::Series { .. }
            | MetricError::Shape { .. }
            | MetricError::Credentials(_) => false,
        }
    }
}

/// Asks `source` every one of `queries`, at once as far as sensible, for the value at `at`.
pub async fn read(source: &dyn MetricSource, queries: Vec<Query>, at: DateTime<Utc>) -> Readings {
    futures::stream::iter(queries)
        .map(|query| async move {
            let reading = reading(source.value(&query, at).await);
            (query, reading)
        })
        .buffered(AT_ONCE)
        .collect::<Vec<_>>()
        .await
        .into_iter()
        .collect()
}

fn reading(answer: Result<Option<f64>, MetricError>) -> Reading {
    match answer {
        Ok(Some(value)) => Reading::Value(value),
        Ok(None) => Reading::Empty,
        Err(error) if error.may_pass() => Reading::Unavailable(error.to_string()),
        Err(error) => Reading::Rejected(error.to_string()),
    }
}

fn colon(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

fn way_out(status: u16, message: &str) -> &'static str {
    const ADDRESS: &str = "is it Prometheus' address, path prefix included?";
    match status {
        status if (300..400).contains(&status) => {
            "redirects are not followed, give the address that it points to"
        }
        401 | 403 => "check the credentials",
        404 | 405 => ADDRESS,
        // Prometheus says what is wrong with a query; a proxy, or TLS where there is none, doesn't.
        _ if message.is_empty() => ADDRESS,
        _ => "correct the query",
    }
}
