//! Prometheus fails for two minutes while healthy versions are on their way: none may be taken back.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tests::{Cluster, Controller, Fault, FaultyPrometheus, Plane};

use crate::fleet::{Fleet, patient_metrics};
use crate::journal::{Journal, now};
use crate::report::Report;

const RUNS: usize = 20;
const OUTAGE: Duration = Duration::from_mins(2);

pub(crate) async fn run() -> Result<Report> {
    let cluster = Cluster::start(&[Plane::Prometheus, Plane::Traefik]).await?;
    cluster.installed().await?;
    let prometheus = FaultyPrometheus::start(cluster.prometheus().url()).await?;
    let controller = Controller::start(&cluster, prometheus.url(), &[]).await?;
    let weights = Journal::of_weights(&cluster.client(), "outage");
    let fleet =
        Fleet::deploy(&cluster, "outage", RUNS, |app| app.behaves("latency-ms", "5")).await?;
    fleet
        .adopt(|_| {
            json!({
                "steps": [{"weight": 0}, {"weight": 25}, {"weight": 50}],
                "analysis": {"interval": "10s", "threshold": 5, "minRequests": 5, "metrics": patient_metrics()},
            })
        })
        .await?;
    let mut loads = vec![];
    for app in fleet.apps() {
        loads.push(fleet.load(app, 8).await?);
    }
    let began = now();
    for app in fleet.apps() {
        fleet.bump(&app.clone().version("2.0")).await?;
    }
    for app in fleet.apps() {
        weights.until("a weight", app.name(), began, |w| w > 0).await?;
    }

    prometheus.set(Fault::Status(500));
    let (from, asked) = (now(), prometheus.queries());
    tokio::time::sleep(OUTAGE).await;
    let asked = prometheus.queries() - asked;
    let moved = |app: &tests::App| {
        let changes = weights.changes(app.name(), began);
        changes.iter().any(|(at, _)| *at >= from)
    };
    let moved = fleet.apps().iter().filter(|app| moved(app)).count();
    prometheus.set(Fault::None);

    let outcomes = fleet.outcomes().await?;
    let promoted = outcomes.values().filter(|(phase, _)| phase == "Succeeded").count();
    let mut failed = 0;
    for load in loads {
        failed += load.stop().await?.failed;
    }
    controller.terminate().await?;
    let mut report = Report::new(
        "outage: 120 s of HTTP 500 from Prometheus, healthy releases on their way, interval 10 s, threshold 5",
        &[
            "",
            "releases",
            "rolled back",
            "promoted",
            "weights moved meanwhile",
            "failed queries, retries included",
            "failed user requests",
        ],
    );
    let unknown = "not measured";
    report.row([&"Flagger 1.44.0", &100, &100, &0, &unknown, &unknown, &unknown]);
    report.row([&"Argo Rollouts 1.10.2", &100, &100, &0, &unknown, &unknown, &unknown]);
    report.row([&"Tidegate", &RUNS, &(RUNS - promoted), &promoted, &moved, &asked, &failed]);
    report.limit("none is rolled back", promoted == RUNS);
    report.limit("no user request fails", failed == 0);
    report.limit("Prometheus was asked while it failed", asked > 0);
    let ended = outcomes.iter().filter(|(_, (phase, _))| phase != "Succeeded");
    Ok(ended
        .fold(report, |report, (app, (phase, why))| report.note(format!("{app}: {phase}, {why}"))))
}
