//! What canaries at rest cost: requests to the API server, queries, memory.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tests::{Cluster, Controller, FaultyPrometheus, Plane};

use crate::fleet::{Fleet, by_verb, quiet, requests_between};
use crate::journal::now;
use crate::report::Report;

/// How long each number of canaries is looked at.
const MINUTE: Duration = Duration::from_mins(1);
const PER_NAMESPACE: usize = 10;

pub(crate) async fn run() -> Result<Report> {
    let cluster = Cluster::start(&[Plane::Traefik]).await?;
    cluster.installed().await?;
    // Nothing is behind it: whoever asks is counted, and gets an error.
    let prometheus = FaultyPrometheus::start(Plane::Prometheus.url()).await?;
    let controller = Controller::start(&cluster, prometheus.url(), &[]).await?;
    let mut report = Report::new(
        "idle: canaries at rest, interval 10 s, for a minute",
        &["canaries", "API requests", "of them", "watches renewed", "queries", "resident MB"],
    );
    let mut fleets = vec![];
    let mut resident = vec![];
    for count in [1_usize, 20, 200] {
        for n in fleets.len()..count.div_ceil(PER_NAMESPACE) {
            fleets.push(Fleet::new(&cluster, &format!("idle-{n:02}")).await?);
        }
        let grown = fleets.iter_mut().map(async |fleet| {
            fleet.grow(PER_NAMESPACE.min(count), |app| app).await?;
            fleet.adopt(|_| json!({"analysis": {"interval": "10s"}})).await
        });
        futures::future::try_join_all(grown).await?;
        quiet(&cluster, &controller.user().name).await?;
        let (from, queries) = (now(), prometheus.queries());
        tokio::time::sleep(MINUTE).await;
        let all = requests_between(&cluster, &controller.user().name, from, now())?;
        // A watch ends after five minutes and is begun anew: one for each kind, however many canaries there are.
        let (watches, asked): (Vec<_>, Vec<_>) = all.into_iter().partition(|r| r.verb == "watch");
        let queries = prometheus.queries() - queries;
        let kb = controller.resident_kb()?;
        resident.push((count, kb));
        let of_them: Vec<_> =
            by_verb(&asked).into_iter().map(|(what, n)| format!("{what} {n}")).collect();
        report.row([
            &count,
            &asked.len(),
            &of_them.join(", "),
            &watches.len(),
            &queries,
            &format!("{}.{}", kb / 1000, kb % 1000 / 100),
        ]);
        report.limit(format!("{count} canaries: no request"), asked.is_empty());
        report.limit(format!("{count} canaries: no query"), queries == 0);
    }
    controller.terminate().await?;
    if let [(few, before), .., (many, after)] = resident[..] {
        let each = after.saturating_sub(before) / (many - few) as u64;
        report = report.note(format!("{each} kB of memory per canary."));
    }
    Ok(report.note("Flagger 1.44.0: 72 requests for 1 canary, 7,200 for 100, 12 for each check of each canary; queries none.").note("Argo Rollouts 1.10.2: 30 requests, all of its Lease. Memory at 1 and 100: Flagger 58.8 and 70.2 MB, Argo Rollouts 76.9 and 93.3 MB."))
}
