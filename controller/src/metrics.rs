//! What the controller says of itself and of its canaries to Prometheus.
//!
//! What is about one canary goes with it; every label but a canary's namespace and name and its metrics' names is from a
//! closed set. `docs/metrics.md` lists all of it.

mod requests;
mod series;

use std::sync::Arc;

use api::CanaryStatus;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use requests::{Counting, Requests};
use series::Canaries;

/// A request to the API server, a reconcile: 5 milliseconds on a quiet cluster, seconds when something is wrong.
const FAST: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// A run: a minute in a test, a day where people approve. Each bucket is about twice the one before.
const SLOW: [f64; 11] =
    [60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14_400.0, 43_200.0, 86_400.0];

/// Everything that `/metrics` shows.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    canaries: Canaries,
    run_duration: Family<[(&'static str, String); 1], Histogram>,
    reconcile_duration: Histogram,
    reconciles: Family<[(&'static str, &'static str); 1], Counter>,
    requests: Requests,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let run_duration = Family::new_with_constructor(slow as fn() -> Histogram);
        let reconcile_duration = fast();
        let reconciles = Family::default();
        for ok in [true, false] {
            // From 0 on, so that a rate sees the first one.
            drop(reconciles.get_or_create(&result(ok)));
        }
        let canaries = Canaries::default();

        let mut registry = Registry::with_prefix("tidegate");
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "What runs", version);
        registry.register_collector(Box::new(canaries.clone()));
        registry.register_with_unit(
            "run_duration",
            "From the new revision to the end of its run",
            Unit::Seconds,
            run_duration.clone(),
        );
        registry.register_with_unit(
            "reconcile_duration",
            "How long one look at a canary took, what it wrote included",
            Unit::Seconds,
            reconcile_duration.clone(),
        );
        registry.register("reconciles", "Looks at canaries", reconciles.clone());
        let requests = Requests::register(&mut registry);
        Self { registry, canaries, run_duration, reconcile_duration, reconciles, requests }
    }

    /// Everything of one canary as its status says; series that no longer apply go.
    pub(crate) fn observe(&self, namespace: &str, name: &str, status: &CanaryStatus) {
        self.canaries.update(namespace, name, |series| series.observe(status));
    }

    /// One check that was counted.
    pub(crate) fn check(&self, namespace: &str, name: &str, verdict: &analysis::Verdict) {
        self.canaries.update(namespace, name, |series| series.check(verdict));
    }

    /// One reason given, when a decision changed something; a name of `rollout::Reason`.
    pub(crate) fn reason(&self, namespace: &str, name: &str, reason: &'static str) {
        self.canaries.update(namespace, name, |series| series.reason(reason));
    }

    /// A finished run: `Succeeded` without a cause, or `Failed` with the name of one.
    pub(crate) fn ended(
        &self,
        namespace: &str,
        name: &str,
        outcome: &str,
        cause: &str,
        seconds: f64,
    ) {
        self.canaries.update(namespace, name, |series| series.ended(outcome, cause));
        self.run_duration.get_or_create(&[("outcome", outcome.to_owned())]).observe(seconds);
    }

    /// The object is gone: so are all of its series.
    pub(crate) fn forget(&self, namespace: &str, name: &str) {
        self.canaries.forget(namespace, name);
    }

    pub(crate) fn reconciled(&self, seconds: f64, ok: bool) {
        self.reconcile_duration.observe(seconds);
        self.reconciles.get_or_create(&result(ok)).inc();
    }

    /// As `OpenMetrics` text.
    pub(crate) fn encode(&self) -> String {
        let mut out = String::new();
        if let Err(error) = text::encode(&mut out, &self.registry) {
            // Without the closing line a scraper takes nothing of it for complete.
            tracing::error!(error = crate::errors::chain(&error), "metrics not written");
        }
        out
    }
}

/// A layer for a client that counts and times its requests.
pub(crate) fn counting(metrics: Arc<Metrics>) -> Counting {
    Counting::new(metrics)
}

/// A client whose requests are counted. Async, because what queues its requests needs a runtime to be made in.
///
/// # Errors
/// When the configuration names credentials, certificates or a proxy that can't be used.
pub(crate) async fn client(
    config: kube::Config,
    metrics: &Arc<Metrics>,
) -> Result<kube::Client, kube::Error> {
    let plain = kube::client::ClientBuilder::try_from(config)?;
    Ok(plain.with_layer(&counting(Arc::clone(metrics))).build())
}

fn result(ok: bool) -> [(&'static str, &'static str); 1] {
    [("result", if ok { "ok" } else { "error" })]
}

fn fast() -> Histogram {
    Histogram::new(FAST)
}

fn slow() -> Histogram {
    Histogram::new(SLOW)
}

#[cfg(test)]
mod tests;
