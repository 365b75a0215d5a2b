//! A real Prometheus that scrapes what a test has made up: each sample has its time, so that nothing has to be waited for.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use analysis::{Arm, Query, Subject};
use anyhow::{Context, Result, anyhow, ensure};
use axum::Router;
use axum::routing::get;
use chrono::{DateTime, TimeDelta, Utc};
use providers::metrics::{MetricSource, Prometheus, PrometheusConfig};
use tests::{Plane, wait_for};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use crate::SYSTEMS;

/// All series of a system, with numbers until that moment in milliseconds.
type Exposition = fn(&str, i64) -> Result<String>;

pub(crate) struct Server {
    pub source: Prometheus,
    /// The last samples' time.
    pub end: DateTime<Utc>,
    _prometheus: Child,
}

/// What is scraped, until it is known to have been: again and again it would only cost time.
#[derive(Clone)]
struct Exposed {
    text: Arc<str>,
    scraped: Arc<AtomicBool>,
}

impl Exposed {
    fn answer(&self) -> String {
        if self.scraped.load(Ordering::Relaxed) { String::new() } else { self.text.to_string() }
    }
}

/// Runs one test on the Prometheus that all tests of this process share; the first one starts it.
pub(crate) fn with_prometheus(
    exposition: Exposition,
    test: impl AsyncFnOnce(&Server) -> Result<()>,
) -> Result<()> {
    static RUNTIME: OnceLock<Result<Runtime, std::io::Error>> = OnceLock::new();
    static SERVER: OnceCell<Result<Server, String>> = OnceCell::const_new();
    let runtime =
        RUNTIME.get_or_init(Runtime::new).as_ref().map_err(|e| anyhow!("no runtime: {e}"))?;
    runtime.block_on(async {
        let server = SERVER
            .get_or_init(async || Server::start(exposition).await.map_err(|e| format!("{e:#}")))
            .await
            .as_ref()
            .map_err(|e| anyhow!("no Prometheus: {e}"))?;
        test(server).await
    })
}

impl Server {
    async fn start(exposition: Exposition) -> Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let end = whole_second(a_little_ago())?;
        let scraped = Arc::new(AtomicBool::new(false));
        let mut router = Router::new();
        for (system, ..) in SYSTEMS {
            let mut text = exposition(system, end.timestamp_millis())?;
            // All of a scrape is there at once: who sees this sees everything.
            writeln!(text, "told{{system=\"{system}\"}} 1 {}", end.timestamp_millis())?;
            let exposed = Exposed { text: text.into(), scraped: scraped.clone() };
            router = router.route(&format!("/{system}"), get(async move || exposed.answer()));
        }
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let target = listener.local_addr()?.to_string();
        tokio::spawn(async move { axum::serve(listener, router).await });

        let dir = empty_folder()?;
        std::fs::write(dir.join("prometheus.yml"), configuration(&target))?;
        let prometheus = Command::new(binary().await?)
            .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
            .args(["--web.listen-address=127.0.0.1:9090", "--log.level=error"])
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let config = PrometheusConfig {
            url: Plane::Prometheus.url().parse()?,
            timeout: Duration::from_secs(10),
            credentials: None,
        };
        let server = Self { source: Prometheus::new(config)?, end, _prometheus: prometheus };
        server.until_scraped().await?;
        scraped.store(true, Ordering::Relaxed);
        Ok(server)
    }

    async fn until_scraped(&self) -> Result<()> {
        let query = Query {
            subject: Subject::Requests,
            arm: Arm::Canary,
            promql: "count(told)".to_owned(),
        };
        let all = SYSTEMS.len();
        wait_for("every system to be scraped", Duration::from_mins(1), async || {
            let seen = self.source.value(&query, self.end).await?;
            #[expect(clippy::cast_precision_loss, reason = "there are few systems")]
            Ok((seen == Some(all as f64)).then_some(()))
        })
        .await
    }
}

/// Samples must be no older than an hour, and are asked for at their own time: any moment before now does.
#[expect(clippy::disallowed_methods, reason = "Prometheus takes samples of now only")]
fn a_little_ago() -> DateTime<Utc> {
    Utc::now() - TimeDelta::seconds(30)
}

fn whole_second(time: DateTime<Utc>) -> Result<DateTime<Utc>> {
    DateTime::from_timestamp(time.timestamp(), 0).context("now is a time")
}

fn configuration(target: &str) -> String {
    let jobs = SYSTEMS.iter().map(|(system, ..)| {
        format!(
            "- job_name: {system}\n  metrics_path: /{system}\n  honor_labels: true\n  \
             static_configs: [{{targets: ['{target}']}}]\n"
        )
    });
    let head = "global: {scrape_interval: 2s, scrape_timeout: 2s}\nscrape_configs:\n";
    head.to_owned() + &jobs.collect::<String>()
}

/// What an earlier run has left there would be answered, too.
fn empty_folder() -> Result<PathBuf> {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("queries");
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// Where `tests/cluster/build prometheus` puts it.
async fn binary() -> Result<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/cluster/paths");
    let said = Command::new("bash")
        .args(["-c", ". \"$0\" && echo \"$planes/prometheus\"", script])
        .output()
        .await?;
    let path = String::from_utf8(said.stdout)?.trim().to_owned();
    ensure!(
        said.status.success() && Path::new(&path).exists(),
        "no Prometheus at {path:?}; run this test with tests/cluster/test queries"
    );
    Ok(path)
}
