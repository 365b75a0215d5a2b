//! A release with 20 % errors under load: how soon it is stopped, and how many requests it got.

use anyhow::Result;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tests::{Cluster, Controller, Plane};

use crate::fleet::Fleet;
use crate::journal::Journal;
use crate::report::{Report, ratio};

/// Flagger 1.44.0 on the same cluster, with Traefik's own kinds: three runs agreed within a second.
const FLAGGER: Stopped = Stopped { ms: 45_000, requests: 751, failed: 160, others: 0 };

struct Stopped {
    /// From the new image to weight 0.
    ms: i64,
    /// On the bad version, as its pods counted them.
    requests: u64,
    failed: u64,
    /// Failed requests that the bad version didn't answer.
    others: u64,
}

pub(crate) async fn run() -> Result<Report> {
    let cluster = Cluster::start(&[Plane::Prometheus, Plane::Traefik]).await?;
    cluster.installed().await?;
    let prometheus = cluster.prometheus();
    let controller = Controller::start(&cluster, prometheus.url(), &[]).await?;
    let as_flagger = json!([{"weight": 25}, {"weight": 50}]);
    let default = json!([0, 10, 25, 50, 100].map(|weight| json!({"weight": weight})));
    let runs = futures::future::try_join(
        stop(&cluster, "same-steps", &as_flagger),
        stop(&cluster, "default-steps", &default),
    );
    let ((same, same_steps), (ours, our_steps)) = runs.await?;
    controller.terminate().await?;

    let mut report = Report::new(
        "release: 20 % errors, 100 requests/s, interval 10 s, threshold 2, Traefik",
        &[
            "",
            "steps",
            "s to weight 0",
            "requests on it",
            "of them failed",
            "other failures",
            "times sooner",
            "times fewer",
        ],
    );
    let rows = [
        ("Flagger 1.44.0", "25, 50", &FLAGGER),
        ("Tidegate", "25, 50", &same),
        ("Tidegate", "0, 10, 25, 50, 100", &ours),
    ];
    for (who, steps, stopped) in rows {
        let Stopped { ms, requests, failed, others } = stopped;
        let ms = u64::try_from(*ms)?;
        report.row([
            &who,
            &steps,
            &format!("{}.{}", ms / 1000, ms % 1000 / 100),
            requests,
            failed,
            others,
            &ratio(45_000, ms),
            &ratio(FLAGGER.requests, *requests),
        ]);
    }
    for (steps, stopped) in [("25, 50", &same), ("default", &ours)] {
        report.limit(format!("{steps}: sooner than Flagger"), stopped.ms < FLAGGER.ms);
        let fewer = stopped.requests < FLAGGER.requests;
        report.limit(format!("{steps}: fewer requests than with Flagger"), fewer);
        report.limit(format!("{steps}: nothing else fails"), stopped.others == 0);
    }
    let steps = [("25, 50", same_steps), ("Default steps", our_steps)];
    Ok(steps.into_iter().fold(report, |report, (name, steps)| {
        report.note(format!("{name}, seconds after the new image: {steps}."))
    }))
}

/// The bad release, and its weights with their seconds.
async fn stop(cluster: &Cluster, namespace: &str, steps: &Value) -> Result<(Stopped, String)> {
    let weights = Journal::of_weights(&cluster.client(), namespace);
    let like = |app: tests::App| {
        app.replicas(2).behaves("latency-ms", "5").behaves("latency-spread", "0.3")
    };
    let fleet = Fleet::deploy(cluster, namespace, 1, like).await?;
    fleet
        .adopt(|_| json!({"steps": steps, "analysis": {"interval": "10s", "threshold": 2}}))
        .await?;
    let app = &fleet.apps()[0];
    let load = fleet.load(app, 100).await?;
    // Stable has a whole window of its own before the canary comes.
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    let bad = app.clone().version("2.0").behaves("error-rate", "0.2");
    let began = fleet.bump(&bad).await?;
    let risen = weights.until("a weight", app.name(), began, |w| w > 0).await?;
    let back = weights.until("weight 0", app.name(), risen, |w| w == 0).await?;
    fleet.outcomes().await?;
    let summary = load.stop().await?;
    let served = cluster.served(namespace).await?;
    let stopped = Stopped {
        ms: (back - began).num_milliseconds(),
        requests: served.by("2.0"),
        failed: served.with_code("2.0", 500),
        others: summary.failed - summary.failed_by("2.0"),
    };
    Ok((stopped, told(&weights.changes(app.name(), began), began)))
}

fn told(changes: &[(DateTime<Utc>, u64)], began: DateTime<Utc>) -> String {
    let each = changes
        .iter()
        .map(|(at, weight)| format!("{weight} % at {:.1}", (*at - began).as_seconds_f64()));
    each.collect::<Vec<_>>().join(", ")
}
