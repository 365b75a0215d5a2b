use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::{App, Prometheus, wait_for};

/// What a cluster may have beside its control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plane {
    Prometheus,
    Traefik,
    EnvoyGateway,
    /// Its own routes: HTTPProxies.
    Contour,
    /// A gateway: VirtualServices of Gateway `istio-system/web`, and HTTPRoutes.
    Istio,
    /// A client in the mesh: VirtualServices of gateway `mesh`, and HTTPRoutes whose parent is a Service. A host is a Service's.
    IstioMesh,
}

impl Plane {
    fn name(self) -> &'static str {
        match self {
            Self::Prometheus => "prometheus",
            Self::Traefik => "traefik",
            Self::EnvoyGateway => "envoy-gateway",
            Self::Contour => "contour",
            Self::Istio | Self::IstioMesh => "istio",
        }
    }

    /// Where it answers; for a gateway, where it takes requests.
    pub fn url(self) -> &'static str {
        match self {
            Self::Prometheus => "http://127.0.0.1:9090",
            Self::Traefik => "http://127.0.0.1:10083",
            Self::EnvoyGateway => "http://127.0.0.1:10080",
            Self::Contour => "http://127.0.0.1:10082",
            Self::Istio => "http://127.0.0.1:10081",
            Self::IstioMesh => "http://127.0.0.1:10086",
        }
    }

    /// Namespace and name of its Gateway, for a route's `parentRefs`.
    pub fn gateway(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Prometheus | Self::Contour | Self::IstioMesh => None,
            Self::Traefik => Some(("traefik", "traefik")),
            Self::EnvoyGateway => Some(("envoy-gateway-system", "envoy")),
            Self::Istio => Some(("istio-system", "istio")),
        }
    }
}

/// Somebody whom the API server knows, with a client and a kubeconfig file.
#[derive(Clone)]
pub struct User {
    pub name: String,
    pub kubeconfig: PathBuf,
    pub client: Client,
}

impl User {
    async fn read(name: &str, kubeconfig: PathBuf) -> Result<Self> {
        let file = Kubeconfig::read_from(&kubeconfig)?;
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        Ok(Self { name: name.to_owned(), kubeconfig, client: Client::try_from(config)? })
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("User").field(&self.name).finish()
    }
}

/// A real control plane with what was asked for, inside this process's namespaces. It ends when they end.
///
/// Its folder, with every log, is `target/cluster/<name of the test binary>`: kept until the next run.
#[derive(Debug)]
pub struct Cluster {
    dir: PathBuf,
    admin: User,
    _lock: File,
}

impl Cluster {
    /// Starts it: about 4 s, a gateway some more.
    pub async fn start(planes: &[Plane]) -> Result<Self> {
        ensure!(
            variable("BENCH_NAMESPACE").as_deref() == Some("1"),
            "this test starts a cluster; run it with tests/cluster/test"
        );
        // Both kube and reqwest take the process's provider of cryptography; a second call changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (dir, lock) = fresh_folder()?;
        let mut up = Command::new(script("up"));
        up.arg(&dir).args(planes.iter().map(|p| p.name())).stdout(Stdio::null());
        ensure!(up.status().await?.success(), "tests/cluster/up failed, see its words above");
        let admin = User::read("admin", dir.join("kubeconfig")).await?;
        Ok(Self { dir, admin, _lock: lock })
    }

    /// The cluster's folder: kubeconfig files, logs, `bin/kubectl`, `bin/podrunner`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A client with every right.
    pub fn client(&self) -> Client {
        self.admin.client.clone()
    }

    /// The user with every right.
    pub fn admin(&self) -> &User {
        &self.admin
    }

    /// `reader` or `oncall`: known, and without rights until a test grants some.
    pub async fn user(&self, name: &str) -> Result<User> {
        User::read(name, self.dir.join(format!("{name}.kubeconfig"))).await
    }

    /// A ServiceAccount, by a token as `kubectl create token` makes them.
    pub async fn service_account(&self, namespace: &str, name: &str) -> Result<User> {
        static WRITTEN: AtomicU32 = AtomicU32::new(0);
        let token = self
            .kubectl(&["-n", namespace, "create", "token", name, "--duration", "24h"])
            .await
            .with_context(|| format!("no token for ServiceAccount {namespace}/{name}"))?;
        let mut file = Kubeconfig::read_from(&self.admin.kubeconfig)?;
        for user in file.auth_infos.iter_mut().filter_map(|u| u.auth_info.as_mut()) {
            user.token = Some(token.trim().to_owned().into());
        }
        let path = self.dir.join(format!("{namespace}.{name}.kubeconfig"));
        // Whole at once: another story's controller may be reading it.
        let part = path.with_extension(WRITTEN.fetch_add(1, Ordering::Relaxed).to_string());
        fs::write(&part, serde_norway::to_string(&file)?)?;
        fs::rename(&part, &path)?;
        User::read(&format!("system:serviceaccount:{namespace}:{name}"), path).await
    }

    /// The real kubectl as admin: what it printed, or an error with what it said.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.kubectl_as(&self.admin, args, "").await
    }

    /// The real kubectl as `user`, with `input` for `-f -`.
    pub async fn kubectl_as(&self, user: &User, args: &[&str], input: &str) -> Result<String> {
        let output = self.run(self.dir.join("bin/kubectl"), user, args, input).await?;
        if !output.status.success() {
            let said = [output.stderr, output.stdout].concat();
            bail!("kubectl {}: {}", args.join(" "), String::from_utf8_lossy(&said).trim());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The `tidegate` binary as `user`: exit code and output as they are.
    pub async fn tidegate(&self, user: &User, args: &[&str]) -> Result<Output> {
        self.run(tidegate_binary()?, user, args, "").await
    }

    /// `kubectl apply -f -` of these manifests, YAML or JSON.
    pub async fn apply(&self, manifests: &str) -> Result<()> {
        self.kubectl_as(&self.admin, &["apply", "-f", "-"], manifests).await.map(drop)
    }

    /// Creates a namespace.
    pub async fn namespace(&self, name: &str) -> Result<()> {
        self.kubectl(&["create", "namespace", name]).await.map(drop)
    }

    /// Creates the app's namespace, applies its manifests and waits until all pods are ready and its Service and routes answer.
    pub async fn deploy(&self, app: &App) -> Result<()> {
        let namespace = app.namespace();
        if self.kubectl(&["get", "namespace", namespace]).await.is_err() {
            self.namespace(namespace).await?;
        }
        self.apply(&app.manifests()).await?;
        self.rolled_out(namespace, app.name()).await?;
        // A pod doesn't count who asks for its metrics.
        let service = format!("http://{}.{namespace}.svc.cluster.local/metrics", app.name());
        wait_for(&format!("{service} to answer"), Duration::from_secs(30), async || {
            Ok(reqwest::get(&service).await.is_ok().then_some(()))
        })
        .await?;
        for (plane, host) in app.hosts() {
            self.answers(*plane, host).await?;
        }
        Ok(())
    }

    /// Waits until a gateway routes requests to `host`.
    pub async fn answers(&self, gateway: Plane, host: &str) -> Result<()> {
        let request = reqwest::Client::new().get(gateway.url()).header("Host", host);
        wait_for(&format!("{host} to answer"), Duration::from_secs(30), async || {
            let answer = request.try_clone().context("a request")?.send().await?;
            Ok(answer.status().is_success().then_some(()))
        })
        .await
    }

    /// Waits until a Deployment's rollout is complete.
    pub async fn rolled_out(&self, namespace: &str, deployment: &str) -> Result<()> {
        let name = format!("deployment/{deployment}");
        self.kubectl(&["-n", namespace, "rollout", "status", &name, "--timeout", "60s"])
            .await
            .map(drop)
    }

    /// Installs `deploy/` as its users do. The controller's own Deployment gets no replica: tests start the binary.
    pub async fn install(&self) -> Result<()> {
        let folder = repository().join("deploy");
        self.kubectl(&["apply", "-k", &folder.to_string_lossy()]).await?;
        self.kubectl(&["-n", "tidegate-system", "scale", "deployment/tidegate", "--replicas", "0"])
            .await?;
        self.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"])
            .await
            .map(drop)
    }

    /// Installs it once for all stories of this process, and waits until the API server holds and splits: policies take a moment.
    pub async fn installed(&self) -> Result<()> {
        static INSTALLED: OnceCell<()> = OnceCell::const_new();
        let install = async || {
            self.install().await?;
            self.policies_in_force().await
        };
        INSTALLED.get_or_try_init(install).await.map(drop)
    }

    async fn policies_in_force(&self) -> Result<()> {
        let app = App::new("probe", "default").host(Plane::Traefik, "probe.test");
        self.apply(&app.manifests()).await?;
        self.kubectl(&["label", "deployment/probe", "tidegate.dev/canary=probe"]).await?;
        let dry = ["--dry-run=server", "-o", "json"];
        let held = ["set", "image", "deployment/probe", "app=example.com/probe:2"];
        let split = ["annotate", "httproute/probe-traefik", "split.tidegate.dev/probe=1"];
        wait_for("the policies to be in force", Duration::from_secs(30), async || {
            let held = self.kubectl(&[&held[..], &dry].concat()).await?;
            let split = self.kubectl(&[&split[..], &dry].concat()).await?;
            let so = held.contains("\"paused\": true") && split.contains("probe-canary");
            Ok(so.then_some(()))
        })
        .await?;
        self.kubectl(&["delete", "deployment/probe", "service/probe", "httproute/probe-traefik"])
            .await
            .map(drop)
    }

    /// The real Prometheus.
    pub fn prometheus(&self) -> Prometheus {
        Prometheus::at(Plane::Prometheus.url())
    }

    async fn run(
        &self,
        program: impl AsRef<OsStr>,
        user: &User,
        args: &[&str],
        input: &str,
    ) -> Result<Output> {
        let program = program.as_ref();
        let mut child = Command::new(program)
            .args(args)
            .env("KUBECONFIG", &user.kubeconfig)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that doesn't read its input may end before it was given all of it.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        Ok(child.wait_with_output().await?)
    }
}

/// The repository that this crate lies in.
pub(crate) fn repository() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests)
}

/// `target/debug/tidegate`, beside this test binary's `deps`.
pub(crate) fn tidegate_binary() -> Result<PathBuf> {
    let deps = std::env::current_exe()?;
    let binary = deps.ancestors().nth(2).context("where is the test binary?")?.join("tidegate");
    ensure!(binary.exists(), "{} is not there; cargo build -p cli", binary.display());
    Ok(binary)
}

pub(crate) fn script(name: &str) -> PathBuf {
    repository().join("tests/cluster").join(name)
}

#[expect(clippy::disallowed_methods, reason = "a test binary has no arguments of its own")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// An empty folder for this test binary's cluster, and a lock on it, because the name is always the same.
fn fresh_folder() -> Result<(PathBuf, File)> {
    let binary = std::env::current_exe()?;
    let name = binary.file_stem().context("a test binary has a name")?.to_string_lossy();
    let name = name.rsplit_once('-').map_or(&*name, |(name, _hash)| name);
    let clusters = binary.ancestors().nth(3).context("where is target?")?.join("cluster");
    fs::create_dir_all(&clusters)?;
    let lock = File::create(clusters.join(format!("{name}.lock")))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => bail!("another run of the test {name} is going on"),
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    let dir = clusters.join(name);
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    Ok((dir, lock))
}
