//! From an abort that somebody asks for to the weight 0 in the stored route.

use anyhow::Result;
use serde_json::json;
use tests::{Cluster, Controller, Fault, FaultyPrometheus, Plane};

use crate::fleet::Fleet;
use crate::journal::{Journal, now};
use crate::report::{Report, Spans};

/// Canaries per interval; half of them are aborted one by one, half at once.
const CANARIES: usize = 20;
const LIMIT_MS: i64 = 1000;

pub(crate) async fn run() -> Result<Report> {
    let cluster = Cluster::start(&[Plane::Traefik]).await?;
    cluster.installed().await?;
    let prometheus = FaultyPrometheus::start(Plane::Prometheus.url()).await?;
    prometheus.set(Fault::Empty); // so the runs stay where they are
    let controller = Controller::start(&cluster, prometheus.url(), &[]).await?;
    let mut report = Report::new(
        "abort: ms from before the action is sent until a watch sees weight 0",
        &["interval", "aborts", "samples", "median", "max"],
    );
    for interval in ["10s", "10m"] {
        let namespace = format!("every-{interval}");
        let weights = Journal::of_weights(&cluster.client(), &namespace);
        let fleet = Fleet::deploy(&cluster, &namespace, CANARIES, |app| app).await?;
        fleet
            .adopt(|_| {
                json!({"steps": [{"weight": 25}, {"weight": 50}], "analysis": {"interval": interval}})
            })
            .await?;
        let began = now();
        for app in fleet.apps() {
            fleet.bump(&app.clone().version("2.0")).await?;
        }
        for app in fleet.apps() {
            weights.until("weight 25", app.name(), began, |w| w == 25).await?;
        }
        let (some, others) = fleet.apps().split_at(CANARIES / 2);
        let mut apart = Spans::default();
        for app in some {
            let asked = fleet.abort(app).await?;
            apart.add(weights.until("weight 0", app.name(), asked, |w| w == 0).await? - asked);
        }
        let mut at_once = Spans::default();
        let all = futures::future::try_join_all(others.iter().map(async |app| {
            let asked = fleet.abort(app).await?;
            anyhow::Ok(weights.until("weight 0", app.name(), asked, |w| w == 0).await? - asked)
        }));
        for span in all.await? {
            at_once.add(span);
        }
        for (how, spans) in [("one by one", apart), ("all at once", at_once)] {
            report.row([&interval, &how, &spans.count(), &spans.median(), &spans.max()]);
            let kept = spans.max() < LIMIT_MS;
            report.limit(format!("interval {interval}, {how}: below {LIMIT_MS} ms"), kept);
        }
    }
    controller.terminate().await?;
    Ok(report.note("Flagger 1.44.0 (a webhook that it polls), interval 60 s: 17 to 35 s. Argo Rollouts 1.10.2, interval 60 s: 60 to 480 ms."))
}
