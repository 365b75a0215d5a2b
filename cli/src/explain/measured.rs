//! What Prometheus says: the queries of a check as the controller sends them, and where one finds nothing, which part of it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use analysis::{
    Arm, ArmContext, Checks, PodAddress, Profile, Protocol, Query, QueryError, Subject, Window,
    queries,
};
use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt as _;
use providers::metrics::{ConfigError, MetricError, MetricSource, Prometheus, PrometheusConfig};
use serde_json::Value;
use url::Url;

use providers::traffic::port;

use super::facts::Facts;
use super::object::{name, text};
use super::selector::{Matcher, Selector};

/// For one query, retries included: as the controller has it.
const PATIENCE: Duration = Duration::from_secs(5);
/// The window holds a few scrapes, however short the interval of the checks is.
const SHORTEST: TimeDelta = TimeDelta::seconds(60);
/// As Prometheus evaluates at a time by default.
const AT_ONCE: usize = 20;

/// Where Prometheus is, as the controller is told it.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) url: Url,
    pub(super) credentials: Option<PathBuf>,
}

#[derive(Clone, Debug)]
pub(super) enum Measured {
    /// Nobody has said where Prometheus is.
    NotAsked,
    /// There is nothing to ask: why.
    Nothing(String),
    Silent {
        url: String,
        why: String,
    },
    Asked(Answers),
}

#[derive(Clone, Debug)]
pub(super) struct Answers {
    pub(super) url: String,
    pub(super) window: TimeDelta,
    pub(super) all: Vec<Asked>,
}

/// One query and its answer.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) query: Query,
    pub(super) answer: Answer,
    /// Of an answer that is empty.
    pub(super) probe: Option<Probe>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    Value(f64),
    Empty,
    Failed(String),
}

/// The first series of a query, taken apart.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    pub(super) selector: Selector,
    /// Any metric begins with the same word.
    pub(super) family: bool,
    /// There are series of this name.
    pub(super) series: bool,
    /// The matchers that, each alone, leave nothing.
    pub(super) unmet: Vec<Unmet>,
}

#[derive(Clone, Debug)]
pub(super) struct Unmet {
    pub(super) matcher: Matcher,
    /// Some series has the label, with another value.
    pub(super) has_label: bool,
    /// With `exported_` before it the label would match.
    pub(super) exported: bool,
}

impl Answers {
    /// Requests of an arm in the window.
    pub(super) fn requests(&self, arm: Arm) -> Option<&Asked> {
        let of =
            |asked: &&Asked| asked.query.subject == Subject::Requests && asked.query.arm == arm;
        self.all.iter().find(of)
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.query.subject, self.query.arm)
    }
}

/// What the checks of the run that is on would find.
pub(super) async fn measure(facts: &Facts, server: Option<&Server>) -> Measured {
    let Some(server) = server else { return Measured::NotAsked };
    let asked = match questions(facts) {
        Ok(asked) => asked,
        Err(why) => return Measured::Nothing(why),
    };
    let config = PrometheusConfig {
        url: server.url.clone(),
        timeout: PATIENCE,
        credentials: server.credentials.clone(),
    };
    let source = match Prometheus::new(config) {
        Ok(source) => source,
        Err(ConfigError::Scheme { url, scheme }) => {
            return Measured::Silent { url, why: format!("scheme {scheme} is not http or https") };
        }
        Err(ConfigError::Suffix { url }) => {
            return Measured::Silent { url, why: "it has a query or a fragment".to_owned() };
        }
    };
    let shown = without_login(&server.url);
    let asking = Asking { source: &source, at: facts.now };
    if let Err(error) = asking.value("vector(1)").await {
        return Measured::Silent { url: shown, why: error.to_string() };
    }
    let (window, queries) = asked;
    let all = futures::stream::iter(queries)
        .map(|query| asking.asked(query))
        .buffered(AT_ONCE)
        .collect()
        .await;
    Measured::Asked(Answers { url: shown, window, all })
}

struct Asking<'a> {
    source: &'a Prometheus,
    at: DateTime<Utc>,
}

impl Asking<'_> {
    async fn value(&self, promql: &str) -> Result<Option<f64>, MetricError> {
        let query =
            Query { subject: Subject::Requests, arm: Arm::Canary, promql: promql.to_owned() };
        self.source.value(&query, self.at).await
    }

    /// Whether there are such series. What can't be asked counts as there: nothing is blamed on it.
    async fn any(&self, promql: &str) -> bool {
        self.value(promql).await.map_or(true, |found| found.is_some_and(|n| n > 0.0))
    }

    async fn asked(&self, query: Query) -> Asked {
        let answer = match self.source.value(&query, self.at).await {
            Ok(Some(value)) if value.is_nan() => Answer::Empty,
            Ok(Some(value)) => Answer::Value(value),
            Ok(None) => Answer::Empty,
            Err(error) => Answer::Failed(error.to_string()),
        };
        let selector = Selector::first(&query.promql).filter(|_| answer == Answer::Empty);
        let probe = match selector {
            Some(selector) => Some(self.probe(selector).await),
            None => None,
        };
        Asked { query, answer, probe }
    }

    async fn probe(&self, selector: Selector) -> Probe {
        let series = self.any(&selector.bare()).await;
        let family = series || self.any(&selector.family()).await;
        let mut unmet = vec![];
        for matcher in selector.matchers.iter().filter(|_| series) {
            if !self.any(&selector.with(matcher)).await {
                unmet.push(Unmet {
                    has_label: self.any(&selector.having(&matcher.label)).await,
                    exported: self.any(&selector.exported(matcher)).await,
                    matcher: matcher.clone(),
                });
            }
        }
        Probe { selector, family, series, unmet }
    }
}

/// As the controller's analyst asks them, over a window that is long enough to be looked at by hand.
fn questions(facts: &Facts) -> Result<(TimeDelta, Vec<Query>), String> {
    let run = match &facts.run {
        Ok(Some(run)) => run,
        Ok(None) => return Err("no run is on, so there is nothing to measure".to_owned()),
        Err(blind) => return Err(blind.says.clone()),
    };
    let parsed = api::parse(&run.spec.plan).map_err(|invalid| invalid.to_string())?;
    let profile = profile(facts).ok_or("nobody knows which metrics tell the two apart here")?;
    let length = parsed.plan.rules.interval.max(SHORTEST);
    let window = Window { start: facts.now - length, end: facts.now };
    let queries = ask(facts, profile, &parsed.checks, window).map_err(|e| e.to_string())?;
    Ok((length, queries))
}

fn ask(
    facts: &Facts,
    profile: Profile,
    checks: &Checks,
    window: Window,
) -> Result<Vec<Query>, QueryError> {
    let (found, _) = facts.found();
    let port = port(found.iter().map(|r| r.object), facts.service_name()).unwrap_or_default();
    let grpc = |r: &super::facts::Route| r.provider.kind().protocol() == Protocol::Grpc;
    let all_grpc = !found.is_empty() && found.iter().all(grpc);
    let mut routes: Vec<_> = found.iter().map(|r| name(r.object).to_owned()).collect();
    routes.sort();
    routes.dedup();
    let arm = |workload: String, service: String, pods: Vec<&Value>| ArmContext {
        namespace: facts.namespace().to_owned(),
        workload,
        service,
        apex: facts.service_name().to_owned(),
        port: port.clone(),
        protocol: if all_grpc { Protocol::Grpc } else { Protocol::Http },
        routes: routes.clone(),
        pods: pods.into_iter().filter_map(address).collect(),
    };
    let backends = facts.backends();
    let canary = arm(facts.canary_name(), backends.canary, facts.canary_pods());
    let stable = arm(facts.target_name().to_owned(), backends.service, facts.stable_pods());
    queries(profile, checks, &canary, Some(&stable), window)
}

fn profile(facts: &Facts) -> Option<Profile> {
    let traffic = facts.canary.status.as_ref()?.traffic.as_ref()?;
    let all = traffic.systems.iter().map(|s| providers::traffic::System::named(s).capabilities());
    all.reduce(|a, b| a.and(&b))?.profile
}

fn address(pod: &Value) -> Option<PodAddress> {
    let ip = text(pod, "/status/podIP");
    (!ip.is_empty()).then(|| PodAddress { name: name(pod).to_owned(), ip: ip.to_owned() })
}

/// What may be shown of an address.
pub(super) fn without_login(url: &Url) -> String {
    let mut shown = url.clone();
    // Neither fails for a URL with a host, and one without has no login.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.as_str().trim_end_matches('/').to_owned()
}
