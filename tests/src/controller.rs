use std::fs::{self, File};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;

use crate::cluster::{script, tidegate_binary};
use crate::load::terminate;
use crate::{Cluster, User, wait_for};

const NAMESPACE: &str = "tidegate-system";
const NAME: &str = "tidegate";

/// The controller as a process of its own, with the rights of the ServiceAccount that `deploy/` gives it.
#[derive(Debug)]
pub struct Controller {
    process: Child,
    user: User,
    listen: String,
    log: PathBuf,
}

impl Controller {
    /// Starts `tidegate controller` against this Prometheus, with more arguments if need be, and waits until it is ready.
    pub async fn start(cluster: &Cluster, prometheus: &str, args: &[&str]) -> Result<Self> {
        static STARTED: AtomicU16 = AtomicU16::new(0);
        let n = STARTED.fetch_add(1, Ordering::Relaxed);
        let user = cluster.service_account(NAMESPACE, NAME).await?;
        let listen = format!("127.0.0.1:{}", 9200 + n);
        let mut command = Command::new(tidegate_binary()?);
        command
            .arg("controller")
            .arg("--kubeconfig")
            .arg(&user.kubeconfig)
            .args(["--metrics-server", prometheus, "--listen", &listen])
            .args(args);
        let log = cluster.dir().join(format!("tidegate-{n}.log"));
        Self::run(command, user, listen, log).await
    }

    /// The one that all stories of this process share, with the cluster's own Prometheus; installs `deploy/` first.
    pub async fn shared(cluster: &Cluster) -> Result<&'static Self> {
        static SHARED: OnceCell<Controller> = OnceCell::const_new();
        let start = async || {
            cluster.installed().await?;
            Self::start(cluster, cluster.prometheus().url(), &[]).await
        };
        SHARED.get_or_try_init(start).await
    }

    /// Starts it in place of the pod of the Deployment in `deploy/`: with that pod's arguments, volumes and token.
    ///
    /// It listens on every pod's address, so not beside Envoy Gateway, which has the same port; and only once per cluster.
    pub async fn start_as_shipped(cluster: &Cluster) -> Result<Self> {
        let user = cluster.service_account(NAMESPACE, NAME).await?;
        let leave_the_pod_to_us = r#"{"spec": {"replicas": 1, "template": {"metadata":
            {"annotations": {"bench/serve": "false"}}}}}"#;
        let kubectl =
            async |args: &[&str]| cluster.kubectl(&[&["-n", NAMESPACE], args].concat()).await;
        kubectl(&["patch", "deployment", NAME, "-p", leave_the_pod_to_us]).await?;
        cluster.rolled_out(NAMESPACE, NAME).await?;
        let of = format!("app.kubernetes.io/name={NAME}");
        let found = "jsonpath={.items[0]['metadata.name','status.podIP']}";
        let pod = kubectl(&["get", "pods", "-l", &of, "-o", found]).await?;
        let (pod, address) = pod.split_once(' ').context("the pod has no address")?;

        let mut command = Command::new(script("run-container"));
        command
            .arg(cluster.dir().join("bin/kubectl"))
            .arg(cluster.dir())
            .args([NAMESPACE, pod, NAME])
            .arg(tidegate_binary()?)
            .env("KUBECONFIG", &cluster.admin().kubeconfig);
        let log = cluster.dir().join("tidegate-shipped.log");
        Self::run(command, user, format!("{address}:8080"), log).await
    }

    async fn run(mut command: Command, user: User, listen: String, log: PathBuf) -> Result<Self> {
        let output = File::create(&log)?;
        command.stdout(output.try_clone()?).stderr(output).kill_on_drop(true);
        let process = command.spawn()?;
        let mut controller = Self { process, user, listen, log };
        controller.ready().await?;
        Ok(controller)
    }

    async fn ready(&mut self) -> Result<()> {
        let url = format!("http://{}/readyz", self.listen);
        let (process, log) = (&mut self.process, &self.log);
        let ended = wait_for("the controller to be ready", Duration::from_secs(30), async || {
            if let Some(status) = process.try_wait()? {
                return Ok(Some(Some(status)));
            }
            let answer = reqwest::get(&url).await?;
            Ok(answer.status().is_success().then_some(None))
        })
        .await
        .with_context(|| format!("its log: {}", log.display()))?;
        if let Some(status) = ended {
            bail!("the controller ended with {status}: {}", fs::read_to_string(log)?);
        }
        Ok(())
    }

    /// Whom the API server sees: for [`Cluster::api_requests`].
    pub fn user(&self) -> &User {
        &self.user
    }

    /// Where its `/metrics`, `/healthz` and `/readyz` are.
    pub fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// What it holds of the machine's memory now, in kB.
    pub fn resident_kb(&self) -> Result<u64> {
        let pid = self.process.id().context("the controller has ended")?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|rest| rest.trim().strip_suffix("kB"));
        Ok(resident.context("no VmRSS")?.trim().parse()?)
    }

    /// Its own `/metrics`.
    pub async fn metrics(&self) -> Result<String> {
        let answer = reqwest::get(format!("{}/metrics", self.url())).await?;
        Ok(answer.error_for_status()?.text().await?)
    }

    /// All that it has logged.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.log)?)
    }

    /// SIGKILL, as a node's death.
    pub async fn kill(mut self) -> Result<()> {
        Ok(self.process.kill().await?)
    }

    /// SIGTERM, as the kubelet sends it; waits for its end, 30 s at most.
    pub async fn terminate(mut self) -> Result<ExitStatus> {
        terminate(&self.process).await?;
        let ended = tokio::time::timeout(Duration::from_secs(30), self.process.wait()).await;
        Ok(ended.context("the controller didn't end within 30 s of SIGTERM")??)
    }
}
