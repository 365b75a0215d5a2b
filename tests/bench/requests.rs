//! What one whole promotion asks of the API server and of Prometheus.

use anyhow::{Result, ensure};
use serde_json::json;
use tests::{Cluster, Controller, FaultyPrometheus, Plane};

use crate::fleet::{Fleet, by_verb, patient_metrics, quiet, requests_between};
use crate::journal::now;
use crate::report::{Report, ratio};

/// Per rollout of 5 steps, as Argo Rollouts needs it among 100; alone 92, of which 25 for its Lease.
const ARGO: u64 = 75;
const FLAGGER: u64 = 171;

pub(crate) async fn run() -> Result<Report> {
    let cluster = Cluster::start(&[Plane::Prometheus, Plane::Traefik]).await?;
    cluster.installed().await?;
    let prometheus = FaultyPrometheus::start(cluster.prometheus().url()).await?;
    let controller = Controller::start(&cluster, prometheus.url(), &[]).await?;
    let fleet =
        Fleet::deploy(&cluster, "requests", 1, |app| app.replicas(2).behaves("latency-ms", "5"))
            .await?;
    fleet.adopt(|_| json!({"analysis": {"interval": "10s", "metrics": patient_metrics()}})).await?;
    let app = &fleet.apps()[0];
    let load = fleet.load(app, 100).await?;
    quiet(&cluster, &controller.user().name).await?;
    let queries = prometheus.queries();
    let began = fleet.bump(&app.clone().version("2.0")).await?;
    let outcomes = fleet.outcomes().await?;
    ensure!(outcomes.values().all(|(phase, _)| phase == "Succeeded"), "{outcomes:?}");
    quiet(&cluster, &controller.user().name).await?;
    let all = requests_between(&cluster, &controller.user().name, began, now())?;
    let asked: Vec<_> = all.into_iter().filter(|r| r.verb != "watch").collect();
    let queries = prometheus.queries() - queries;
    let failed = load.stop().await?.failed;
    controller.terminate().await?;

    let mut report = Report::new(
        "requests: one promotion by the default steps, interval 10 s",
        &["request", "count"],
    );
    for (what, count) in by_verb(&asked) {
        report.row([&what, &count]);
    }
    let total = asked.len() as u64;
    report.row([&"all", &total]);
    report.limit(format!("fewer than Flagger, {FLAGGER}"), total < FLAGGER);
    report.limit("no user request fails", failed == 0);
    Ok(report.note(format!(
        "{queries} queries to Prometheus. Flagger 1.44.0: {FLAGGER} requests per rollout of 5 steps, {} times as many; Argo Rollouts 1.10.2: {ARGO}, {} times.",
        ratio(FLAGGER, total), ratio(ARGO, total)
    )))
}
