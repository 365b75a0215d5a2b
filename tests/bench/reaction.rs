//! From what could be known to the weight in the stored route: pods that are ready, and a sample that fails.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use chrono::{DateTime, Utc};
use serde_json::json;
use tests::{Cluster, Controller, Plane};
use tokio::net::TcpListener;

use crate::fleet::Fleet;
use crate::journal::{Journal, now};
use crate::report::{Report, Spans};

const CANARIES: usize = 20;
const LIMIT_MS: i64 = 2000;

pub(crate) async fn run() -> Result<Report> {
    let cluster = Cluster::start(&[Plane::Traefik]).await?;
    cluster.installed().await?;
    let prometheus = Stub::start().await?;
    let controller = Controller::start(&cluster, &prometheus.url, &[]).await?;
    let mut report = Report::new(
        "reaction: ms until a watch sees the weight in the route",
        &["from", "to", "canaries", "samples", "median", "max"],
    );
    let weights = Journal::of_weights(&cluster.client(), "reaction");
    let pods = Journal::of_ready_pods(&cluster.client(), "reaction");
    let fleet = Fleet::deploy(&cluster, "reaction", CANARIES, |app| app).await?;
    fleet
        .adopt(|_| {
            json!({
                "steps": [{"weight": 0}, {"weight": 25}, {"weight": 50}],
                "analysis": {"interval": "2s", "threshold": 2, "minRequests": 0, "metrics": [{
                    "name": "failed", "query": r#"sum(failed{workload="{{ workload }}"})"#, "limit": {"max": 1},
                }]},
            })
        })
        .await?;

    let first_weight = async |app: &tests::App| {
        let began = fleet.bump(&app.clone().version("2.0")).await?;
        let weight = weights.until("a weight", app.name(), began, |w| w > 0).await?;
        let ready = pods.first(app.name(), began, |n| n > 0).context("no pod was ready")?;
        anyhow::Ok((weight - ready, weight - began))
    };
    let (some, others) = fleet.apps().split_at(CANARIES / 2);
    // First, while no run makes checks every 2 s.
    let at_once = futures::future::try_join_all(others.iter().map(first_weight)).await?;
    let mut apart = vec![];
    for app in some {
        apart.push(first_weight(app).await?);
    }
    for (how, found) in [("one by one", apart), ("all at once", at_once)] {
        let (mut ready, mut bumped) = (Spans::default(), Spans::default());
        for (from_ready, from_bump) in found {
            ready.add(from_ready);
            bumped.add(from_bump);
        }
        for (from, spans) in [("the canary's pod is ready", &ready), ("the new image", &bumped)] {
            report.row([&from, &"25 %", &how, &spans.count(), &spans.median(), &spans.max()]);
        }
        report.limit(format!("ready to 25 %, {how}: below {LIMIT_MS} ms"), ready.max() < LIMIT_MS);
    }

    let back = async |app: &tests::App, failing: DateTime<Utc>| {
        let back = weights.until("weight 0", app.name(), failing, |w| w == 0).await?;
        let sample = prometheus.last_asked(app.name(), back).context("nothing was asked")?;
        anyhow::Ok(back - sample)
    };
    let (mut apart, mut at_once) = (Spans::default(), Spans::default());
    for app in some {
        apart.add(back(app, prometheus.fail([app.name()])).await?);
    }
    let failing = prometheus.fail(others.iter().map(tests::App::name));
    for app in others {
        at_once.add(back(app, failing).await?);
    }
    for (how, spans) in [("one by one", apart), ("all at once", at_once)] {
        let what = "the end of the window of the second failed check";
        report.row([&what, &"0 %", &how, &spans.count(), &spans.median(), &spans.max()]);
        let kept = spans.max() < LIMIT_MS;
        report.limit(format!("failed check to 0 %, {how}: below {LIMIT_MS} ms"), kept);
    }
    controller.terminate().await?;
    Ok(report.note("Flagger 1.44.0 from the new image to its first weight, interval 10 s: 15 s for 1 canary, 22 s for 100. Argo Rollouts 1.10.2: 0.7 and 11 s."))
}

/// A Prometheus without data at first, then with one number that fails the canaries that it is told of and passes their stables.
struct Stub {
    url: String,
    asked: Arc<Asked>,
}

#[derive(Default)]
struct Asked {
    failing: Mutex<BTreeSet<String>>,
    /// As forms, such as `query=…&time=1780000000.123`.
    forms: Mutex<Vec<String>>,
}

impl Stub {
    async fn start() -> Result<Self> {
        let asked = Arc::new(Asked::default());
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = Router::new().fallback(answer).with_state(asked.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url, asked })
    }

    /// From now on these fail.
    fn fail<'a>(&self, apps: impl IntoIterator<Item = &'a str>) -> DateTime<Utc> {
        let from = now();
        lock(&self.asked.failing).extend(apps.into_iter().map(str::to_owned));
        from
    }

    /// The latest moment, before another one, about which the app's canary was asked.
    fn last_asked(&self, app: &str, before: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let forms = lock(&self.asked.forms);
        let about = format!("{app}-canary");
        let times = forms.iter().filter(|form| form.contains(&about)).filter_map(|f| time_of(f));
        times.filter(|time| *time < before).max()
    }
}

fn time_of(form: &str) -> Option<DateTime<Utc>> {
    let time = form.split('&').find_map(|field| field.strip_prefix("time="))?;
    let (seconds, ms) = time.split_once('.')?;
    DateTime::from_timestamp_millis(seconds.parse::<i64>().ok()? * 1000 + ms.parse::<i64>().ok()?)
}

async fn answer(State(asked): State<Arc<Asked>>, form: String) -> impl IntoResponse {
    let value = if form.contains("-canary") { "50" } else { "0" };
    let known = lock(&asked.failing).iter().any(|app| form.contains(app.as_str()));
    let sample = known.then(|| json!({"metric": {}, "value": [now().timestamp(), value]}));
    let result: Vec<_> = sample.into_iter().collect();
    lock(&asked.forms).push(form);
    let body = json!({"status": "success", "data": {"resultType": "vector", "result": result}});
    ([(header::CONTENT_TYPE, "application/json")], body.to_string())
}

fn lock<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
