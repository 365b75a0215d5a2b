//! The shell around the state machine: watches, reads, writes, and nothing that decides.

mod action;
mod analyst;
mod apply;
mod around;
mod caches;
mod clock;
mod destination_rules;
mod errors;
mod events;
mod metrics;
pub mod objects;
mod policies;
mod preflight;
mod proof;
mod reconcile;
mod record;
mod replica_sets;
mod rest;
mod routes;
mod selector;
mod server;
mod status;
mod systems;
mod time;
mod trouble;
mod watched;
mod world;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api::Canary;
use futures::StreamExt;
use futures::stream::unfold;
use kube::api::Api;
use kube::runtime::controller::Action;
use kube::runtime::{Controller, watcher};
use kube::{Client, ResourceExt};
use providers::metrics::{ConfigError, MetricSource, Prometheus, PrometheusConfig};
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinSet;

use analyst::Analyst;
use caches::{Caches, Wake};
pub use clock::{Clock, SystemClock};
use metrics::{Metrics, client};
use policies::Policies;
use reconcile::reconcile;
use record::Written;
use replica_sets::ReplicaSets;

/// How long one look at a canary may take. An API server that doesn't answer must not keep an abort waiting for ever; what was
/// begun is begun again.
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);
/// How long one query may take, its retries included.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// What a controller needs to know besides a cluster. Not to be shown: the address may have a login in it.
#[derive(Clone)]
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

/// Why a controller can't run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Metrics(#[from] ConfigError),
    #[error("can't listen on {address}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("can't talk to the API server")]
    Client(#[from] kube::Error),
}

/// What every look at a canary has at hand.
struct Context {
    client: Client,
    /// Only this namespace; `None`: all.
    namespace: Option<String>,
    clock: Arc<dyn Clock>,
    caches: Caches,
    replica_sets: ReplicaSets,
    metrics: Arc<dyn MetricSource>,
    observability: Arc<Metrics>,
    analyst: Analyst,
    written: Written,
    said: status::Said,
    policies: Arc<Policies>,
    wake: Wake,
    failures: errors::Failures,
}

/// Runs until `shutdown` resolves; a look that has begun is finished.
///
/// # Errors
/// When it can't begin.
pub async fn run(
    kubeconfig: kube::Config,
    config: Config,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) -> Result<(), Error> {
    let Config { metrics_server, metrics_credentials, namespace, listen } = config;
    let observability = Arc::new(Metrics::new());
    let client = client(kubeconfig, &observability).await?;
    let source = Prometheus::new(PrometheusConfig {
        url: metrics_server,
        timeout: QUERY_TIMEOUT,
        credentials: metrics_credentials,
    })?;
    let ready = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    let serving = server::serve(
        listen,
        observability.clone(),
        ready.clone(),
        futures::future::pending(), // ends with the process, so that the end of the last look can be seen
    );
    let canaries = match &namespace {
        Some(ns) => Api::<Canary>::namespaced(client.clone(), ns),
        None => Api::all(client.clone()),
    };
    let (wake, woken) = unbounded_channel();
    let controller = Controller::new(canaries, watcher::Config::default());
    let caches =
        Caches::start(&client, namespace.as_deref(), controller.store(), &wake, &mut tasks);
    let policies = Arc::<Policies>::default();
    policies.clone().watch(&client, &caches.canaries, &wake, &mut tasks).await;
    let context = Arc::new(Context {
        client,
        namespace,
        clock: Arc::new(SystemClock),
        caches: caches.clone(),
        replica_sets: ReplicaSets::default(),
        metrics: Arc::new(source),
        observability,
        analyst: Analyst::default(),
        written: Written::default(),
        said: status::Said::default(),
        policies,
        wake,
        failures: errors::Failures::default(),
    });
    let woken =
        unfold(woken, |mut woken| async move { woken.recv().await.map(|canary| (canary, woken)) });
    let working = async {
        if !caches.ready().await {
            return; // only when everything is being torn down
        }
        ready.store(true, Ordering::Relaxed);
        tracing::info!("ready");
        controller
            .reconcile_on(woken.boxed())
            .graceful_shutdown_on(shutdown)
            .run(look, after_error, context)
            .for_each(|_| futures::future::ready(()))
            .await;
    };
    tokio::select! {
        biased;
        served = serving => served.map_err(|source| Error::Listen { address: listen, source })?,
        () = working => {}
    }
    tracing::info!("stopped");
    Ok(())
}

async fn look(canary: Arc<Canary>, ctx: Arc<Context>) -> Result<Action, reconcile::Error> {
    let began = ctx.clock.now();
    let key = (canary.namespace(), canary.name_any());
    let result = match tokio::time::timeout(LOOK_TIMEOUT, reconcile(canary, ctx.clone())).await {
        Ok(result) => result,
        Err(_) => Err(reconcile::Error::Timeout(LOOK_TIMEOUT)),
    };
    let took = (ctx.clock.now() - began).to_std().unwrap_or_default();
    ctx.observability.reconciled(took.as_secs_f64(), result.is_ok());
    if result.is_ok() {
        ctx.failures.clear(&key);
    }
    result
}

#[expect(clippy::needless_pass_by_value, reason = "the signature is the controller runtime's")]
fn after_error(canary: Arc<Canary>, error: &reconcile::Error, ctx: Arc<Context>) -> Action {
    let wait = ctx.failures.next((canary.namespace(), canary.name_any()));
    tracing::warn!(
        namespace = canary.namespace(), canary = canary.name_any(),
        error = errors::chain(error), retry_in = ?wait, "trying again"
    );
    Action::requeue(wait)
}
