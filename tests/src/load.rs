use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use tokio::process::{Child, Command};

use crate::{Cluster, Plane};

/// Which requests to send: at a constant rate, whatever the answers.
#[derive(Clone, Debug)]
pub struct Requests {
    url: String,
    host: String,
    headers: Vec<String>,
    per_second: u32,
    new_connections: bool,
}

impl Requests {
    /// 100 requests a second through a gateway.
    pub fn through(gateway: Plane, host: &str) -> Self {
        Self {
            url: gateway.url().to_owned(),
            host: host.to_owned(),
            headers: Vec::new(),
            per_second: 100,
            new_connections: false,
        }
    }

    /// 100 requests a second to port 80 of a Service's own address, over kept connections.
    pub fn to_service(namespace: &str, service: &str) -> Self {
        Self {
            url: format!("http://{service}.{namespace}.svc.cluster.local"),
            host: String::new(),
            headers: Vec::new(),
            per_second: 100,
            new_connections: false,
        }
    }

    /// A path or a query: `/?beta=yes`.
    #[must_use]
    pub fn path(mut self, path: &str) -> Self {
        self.url.push_str(path);
        self
    }

    /// A header that each request has, such as a tester's.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push(format!("{name}: {value}"));
        self
    }

    #[must_use]
    pub fn per_second(mut self, requests: u32) -> Self {
        self.per_second = requests;
        self
    }

    /// A connection for each request.
    #[must_use]
    pub fn new_connections(mut self) -> Self {
        self.new_connections = true;
        self
    }
}

/// What came back.
#[derive(Clone, Debug, Deserialize)]
pub struct Summary {
    pub seconds: f64,
    pub requests: u64,
    /// Without an answer, or with a code of 400 and above.
    pub failed: u64,
    /// Those of the failed that no pod answered.
    pub lost: u64,
    /// By the version that answered; the key is empty where no pod did.
    pub versions: BTreeMap<String, Answers>,
    pub ms: Milliseconds,
    /// Why requests had no answer: up to ten different reasons with their counts.
    pub errors: BTreeMap<String, u64>,
}

impl Summary {
    /// Requests that a version answered.
    pub fn by(&self, version: &str) -> u64 {
        self.versions.get(version).map_or(0, |v| v.requests)
    }

    /// Failed requests that a version answered.
    pub fn failed_by(&self, version: &str) -> u64 {
        self.versions.get(version).map_or(0, |v| v.failed)
    }
}

/// The answers of one version.
#[derive(Clone, Debug, Deserialize)]
pub struct Answers {
    pub requests: u64,
    pub failed: u64,
    /// By HTTP status code; 0 is none.
    pub codes: BTreeMap<String, u64>,
    pub ms: Milliseconds,
}

/// How long answers took.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Milliseconds {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

/// What came back within one second.
#[derive(Clone, Debug, Deserialize)]
pub struct Second {
    /// Its end, in Unix seconds.
    pub time: f64,
    #[serde(flatten)]
    pub answers: Summary,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// When it was sent, in Unix seconds.
    pub sent: f64,
    pub ms: f64,
    /// 0: no answer.
    pub code: u16,
    /// Empty where no pod answered.
    pub version: String,
}

impl Request {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(' ');
        Some(Self {
            sent: fields.next()?.parse().ok()?,
            ms: fields.next()?.parse().ok()?,
            code: fields.next()?.parse().ok()?,
            version: fields.next()?.to_owned(),
        })
    }
}

/// Requests that are being sent until [`Load::stop`].
#[derive(Debug)]
pub struct Load {
    generator: Child,
    each: PathBuf,
    per_second: PathBuf,
}

impl Load {
    /// Begins to send.
    pub async fn start(cluster: &Cluster, requests: &Requests) -> Result<Self> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let n = STARTED.fetch_add(1, Ordering::Relaxed);
        let each = cluster.dir().join(format!("load-{n}.log"));
        let per_second = cluster.dir().join(format!("load-{n}.jsonl"));
        let mut generator = Command::new(cluster.dir().join("bin/podrunner"));
        generator
            .args(["load", "-url", &requests.url, "-host", &requests.host])
            .args(requests.headers.iter().flat_map(|header| ["-header", header]))
            .args(["-rps", &requests.per_second.to_string()])
            .arg("-log")
            .arg(&each)
            .arg("-per-second")
            .arg(&per_second)
            .args(requests.new_connections.then_some("-new-connections"))
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let load = Self { generator: generator.spawn()?, each, per_second };
        // Its first act is to open the file, so from here on a stop finds it sending.
        crate::wait_for("the load to begin", std::time::Duration::from_secs(10), async || {
            Ok(load.per_second.exists().then_some(()))
        })
        .await?;
        Ok(load)
    }

    /// What came back so far, second by second.
    pub fn seconds(&self) -> Result<Vec<Second>> {
        let log = fs::read_to_string(&self.per_second)?;
        Ok(log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// Each request that was answered until a second ago, in the order of the answers.
    pub fn each(&self) -> Result<Vec<Request>> {
        Ok(fs::read_to_string(&self.each)?.lines().filter_map(Request::parse).collect())
    }

    /// Sends no more, waits for the answers under way, and sums up.
    pub async fn stop(self) -> Result<Summary> {
        terminate(&self.generator).await?;
        let output = self.generator.wait_with_output().await?;
        ensure!(output.status.success(), "the load generator ended with {}", output.status);
        serde_json::from_slice(&output.stdout).context("the load generator's summary")
    }
}

/// Sends SIGTERM; nothing in std does.
pub(crate) async fn terminate(child: &Child) -> Result<()> {
    let pid = child.id().context("it has ended already")?.to_string();
    let sent = Command::new("bash").args(["-c", "kill -TERM \"$0\"", &pid]).status().await?;
    ensure!(sent.success(), "could not stop process {pid}");
    Ok(())
}
