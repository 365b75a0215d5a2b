//! A Prometheus of one's own, whose scrape configuration has the fault in it.

use std::fs::{self, File};
use std::time::Duration;

use anyhow::{Context, Result};
use tests::{Cluster, wait_for};
use tokio::process::{Child, Command};

/// The real Prometheus of the cluster again, with another configuration. It ends with this value.
#[derive(Debug)]
pub(crate) struct Scraper {
    pub(crate) url: String,
    _process: Child,
}

impl Scraper {
    /// `scrape_configs` of its configuration; `DIR` is the cluster's folder.
    pub(crate) async fn start(
        cluster: &Cluster,
        name: &str,
        port: u16,
        scrape_configs: &str,
    ) -> Result<Self> {
        let dir = cluster.dir();
        let config = dir.join(format!("prometheus-{name}.yml"));
        let global = "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n";
        let configs = scrape_configs.replace("DIR", &dir.to_string_lossy());
        fs::write(&config, format!("{global}{configs}"))?;
        let pid = fs::read_to_string(dir.join("pids/prometheus"))?;
        let binary = fs::read_link(format!("/proc/{}/exe", pid.trim()))?;
        let log = File::create(dir.join(format!("prometheus-{name}.log")))?;
        let process = Command::new(binary)
            .arg("--config.file")
            .arg(&config)
            .arg("--storage.tsdb.path")
            .arg(dir.join(format!("prometheus-{name}")))
            .args(["--web.listen-address", &format!("127.0.0.1:{port}"), "--log.level", "warn"])
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("starting another Prometheus")?;
        let url = format!("http://127.0.0.1:{port}");
        let ready = format!("{url}/-/ready");
        wait_for(&format!("prometheus {name}"), Duration::from_secs(30), async || {
            Ok(reqwest::get(&ready).await?.error_for_status().ok().map(drop))
        })
        .await?;
        Ok(Self { url, _process: process })
    }
}
