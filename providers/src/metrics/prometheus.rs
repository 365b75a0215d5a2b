//! Prometheus, and what speaks its query API: Thanos, Mimir, `VictoriaMetrics`.

use std::error::Error as _;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use analysis::Query;
use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable as _};
use chrono::{DateTime, Utc};
use prometheus_http_query::Client;
use prometheus_http_query::response::{Data, PromqlResult};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Certificate, Identity, Response, StatusCode, redirect};
use serde::Deserialize;
use url::Url;

use super::credentials::{Credentials, CredentialsError, Login};
use super::{MetricError, MetricSource};

/// An answer is one value; more than this is series upon series.
const LONGEST_ANSWER: usize = 1024 * 1024;

/// How much of an error of Prometheus' is repeated: its messages quote the query.
const LONGEST_MESSAGE: usize = 300;

/// Two more attempts, 100 and 200 ms apart: enough for a connection that a restart or a load
/// balancer cut, and gone within a check. A longer outage is for the next check.
const RETRIES: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(100))
    .with_factor(2.0)
    .with_max_times(2);

/// Where Prometheus is and how to talk to it.
#[derive(Clone)]
pub struct PrometheusConfig {
    /// A path is kept as a prefix of the API's paths; user and password in it are used.
    pub url: Url,
    /// For one query, retries included.
    pub timeout: Duration,
    /// A directory where a Secret is mounted, with any of: `token`, or `username` and `password`;
    /// `ca.crt`, then the only authority trusted; `tls.crt` and `tls.key`; `header.<Name>`. Takes
    /// precedence over the URL's user. A change of the files is noticed.
    pub credentials: Option<PathBuf>,
}

/// An address that can't be Prometheus'.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("metrics server {url}: scheme is `{scheme}`, need `http` or `https`")]
    Scheme { url: String, scheme: String },
    #[error("metrics server {url}: has a query or a fragment; give the address alone")]
    Suffix { url: String },
}

/// A Prometheus server. Redirects are not followed, so credentials go nowhere else.
///
/// The process needs rustls' default crypto provider installed before the first query.
pub struct Prometheus {
    /// Without user and password: fit to be shown.
    url: Url,
    /// As it was configured.
    with_login: Url,
    timeout: Duration,
    credentials: Option<PathBuf>,
    /// With what it was made from.
    client: Mutex<Option<(Credentials, Client)>>,
}

impl Prometheus {
    pub fn new(config: PrometheusConfig) -> Result<Self, ConfigError> {
        let PrometheusConfig { url: mut with_login, timeout, credentials } = config;
        // Every API path is appended with a slash of its own.
        let prefix = with_login.path().trim_end_matches('/').to_owned();
        with_login.set_path(&prefix);
        let mut url = with_login.clone();
        // Neither fails for a URL with a host; one without is refused by its scheme.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        // What follows may be a token, too.
        url.set_query(None);
        url.set_fragment(None);
        if !matches!(url.scheme(), "http" | "https") {
            let scheme = url.scheme().to_owned();
            return Err(ConfigError::Scheme { url: url.to_string(), scheme });
        }
        if with_login.query().is_some() || with_login.fragment().is_some() {
            return Err(ConfigError::Suffix { url: url.to_string() });
        }
        Ok(Self { url, with_login, timeout, credentials, client: Mutex::new(None) })
    }

    /// The client for the credentials as they are now. Reading a few small files each time is
    /// simpler than noticing that the kubelet has swapped them, and can't miss it.
    fn client(&self) -> Result<Client, MetricError> {
        let credentials = match &self.credentials {
            Some(directory) => Credentials::read(directory)?,
            None => Credentials::default(),
        };
        let mut known = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made_from, client)) = &*known
            && *made_from == credentials
        {
            return Ok(client.clone());
        }
        let client = self.connect(&credentials)?;
        *known = Some((credentials, client.clone()));
        Ok(client)
    }

    fn connect(&self, credentials: &Credentials) -> Result<Client, MetricError> {
        let invalid = |file: &str, problem| CredentialsError::Invalid {
            path: self.credentials.clone().unwrap_or_default().join(file),
            problem,
        };
        let mut builder = reqwest::Client::builder()
            .user_agent("tidegate")
            .redirect(redirect::Policy::none())
            .no_proxy()
            .default_headers(credentials.headers.clone());
        if let Some(pem) = &credentials.authorities {
            let authorities = Certificate::from_pem_bundle(pem).ok().filter(|all| !all.is_empty());
            let problem = "there is no certificate in it; PEM is needed";
            builder =
                builder.tls_certs_only(authorities.ok_or_else(|| invalid("ca.crt", problem))?);
        } else if self.url.scheme() == "http" {
            // An image without any authorities is fine as long as nobody needs them.
            builder = builder.tls_certs_only([]);
        }
        if let Some(pem) = &credentials.identity {
            let problem = "certificate and key are not a pair in PEM";
            let identity = Identity::from_pem(pem).map_err(|_| invalid("tls.crt", problem))?;
            builder = builder.identity(identity);
        }
        let client = builder.build().map_err(|error| self.broken(&error))?;

        let url = match &credentials.login {
            Some(Login { username, password }) => {
                let mut url = self.url.clone();
                // As above, neither fails for this URL.
                let _ = url.set_username(username);
                let _ = url.set_password(Some(password));
                url
            }
            None if credentials.headers.contains_key(AUTHORIZATION) => self.url.clone(),
            None => self.with_login.clone(),
        };
        Client::from(client, url.as_str()).map_err(|_| MetricError::Unreachable {
            url: self.shown(),
            reason: "not an address".to_owned(),
        })
    }

    async fn ask(&self, promql: &str, at: DateTime<Utc>) -> Result<Option<f64>, MetricError> {
        let timeout = i64::try_from(self.timeout.as_millis()).unwrap_or(i64::MAX);
        let response = self
            .client()?
            .query(promql)
            // Not `at`, which takes whole seconds only.
            .query("time", format!("{}.{:03}", at.timestamp(), at.timestamp_subsec_millis()))
            .timeout(timeout)
            // Hundreds of pods make a query too long for a URL.
            .post_raw()
            .await
            .map_err(|error| self.not_sent(&error))?;
        let status = response.status();
        let kind = content_type(&response);
        let body = self.body(response).await?;
        let Envelope { status: outcome, data, error } =
            serde_json::from_slice(&body).unwrap_or_default();
        match (status.is_success(), outcome) {
            (true, Some(Outcome::Success)) => value(data),
            (true, None) => Err(MetricError::NotPrometheus { url: self.shown(), found: kind }),
            (true, Some(Outcome::Error)) | (false, _) => Err(self.refused(status, &error)),
        }
    }

    /// The body, as far as one value can need it.
    async fn body(&self, mut response: Response) -> Result<Vec<u8>, MetricError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > LONGEST_ANSWER {
                return Err(MetricError::Shape {
                    found: "more than 1 MiB of series",
                    way_out: "wrap it in `sum(...)`",
                });
            }
        }
        Ok(body)
    }

    fn not_sent(&self, error: &prometheus_http_query::Error) -> MetricError {
        match error {
            prometheus_http_query::Error::Client(error) => match error.inner() {
                Some(error) => self.broken(error),
                None => self.interrupted(error.to_string()),
            },
            error => self.interrupted(error.to_string()),
        }
    }

    fn broken(&self, error: &reqwest::Error) -> MetricError {
        let (url, reason) = (self.shown(), root(error));
        // The reasons are rustls' own, and its types are hidden behind several layers. Should its
        // words change, the message is the less helpful one of an address that can't be reached.
        if reason.to_ascii_lowercase().contains("certificate") {
            MetricError::Untrusted { url, reason }
        } else if error.is_connect() || error.is_builder() {
            MetricError::Unreachable { url, reason }
        } else {
            self.interrupted(reason)
        }
    }

    fn interrupted(&self, reason: String) -> MetricError {
        MetricError::Interrupted { url: self.shown(), reason }
    }

    /// An error's status says whether to come again, as Prometheus uses it: 400 and 422 are about
    /// the query, 503 is a time-out or an abort.
    fn refused(&self, status: StatusCode, error: &str) -> MetricError {
        let (url, message) = (self.shown(), one_line(error));
        let passing = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        let status = status.as_u16();
        if passing {
            MetricError::Failing { url, status, message }
        } else {
            MetricError::Refused { url, status, message }
        }
    }

    fn shown(&self) -> String {
        self.url.to_string()
    }
}

#[async_trait]
impl MetricSource for Prometheus {
    async fn value(&self, query: &Query, at: DateTime<Utc>) -> Result<Option<f64>, MetricError> {
        let attempts = (|| self.ask(&query.promql, at)).retry(RETRIES).when(MetricError::may_pass);
        tokio::time::timeout(self.timeout, attempts).await.unwrap_or_else(|_| {
            Err(MetricError::TimedOut { url: self.shown(), seconds: self.timeout.as_secs() })
        })
    }
}

impl fmt::Debug for Prometheus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prometheus").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

impl fmt::Debug for PrometheusConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrometheusConfig")
            .field("host", &self.url.host_str())
            .finish_non_exhaustive()
    }
}

/// What every answer of Prometheus' is wrapped in. Nothing else has a `status` like these.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Envelope {
    status: Option<Outcome>,
    data: serde_json::Value,
    error: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Success,
    Error,
}

fn value(data: serde_json::Value) -> Result<Option<f64>, MetricError> {
    let shape = |found, way_out| Err(MetricError::Shape { found, way_out });
    match serde_json::from_value::<PromqlResult>(data).map(|result| result.into_inner().0) {
        Ok(Data::Vector(series)) => match &series[..] {
            [] => Ok(None),
            [one] => Ok(Some(one.sample().value())),
            more => Err(MetricError::Series { found: more.len() }),
        },
        Ok(Data::Scalar(sample)) => Ok(Some(sample.value())),
        Ok(Data::Matrix(_)) => {
            shape("a range of samples", "wrap it in `sum(rate(...))` or remove the range")
        }
        // A string, or a native histogram where a number belongs.
        Err(_) => shape("something other than numbers", "write a query that yields one number"),
    }
}

fn content_type(response: &Response) -> String {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.map_or_else(|| "an unknown type".to_owned(), one_line)
}

/// What lies at the bottom: the layers above say "error sending request for url", with the URL.
fn root(error: &reqwest::Error) -> String {
    let mut root: &dyn std::error::Error = error;
    while let Some(source) = root.source() {
        root = source;
    }
    if error.source().is_none() {
        "no reason given".to_owned()
    } else {
        one_line(&root.to_string())
    }
}

fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST_MESSAGE) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests;
