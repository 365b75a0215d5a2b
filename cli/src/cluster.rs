//! The way to a cluster, and what its refusals mean to a person.

use std::path::Path;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use crate::args::ClusterArgs;
use crate::exit::Exit;

/// For one request: longer than any answer takes, shorter than anybody waits.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client, and where the commands look if nothing else is said.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    server: String,
}

impl Cluster {
    pub(crate) async fn connect(args: &ClusterArgs) -> Result<Self, ClusterError> {
        let ClusterArgs { kubeconfig, context, namespace } = args;
        let config = config(kubeconfig.as_deref(), context.as_deref()).await?;
        let namespace = namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let server = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(|e| failure(e, &server))?;
        Ok(Self { client, namespace, server })
    }

    /// The answer to one request, if it comes while anybody would wait for it.
    pub(crate) async fn answer<T>(
        &self,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, ClusterError> {
        match tokio::time::timeout(PATIENCE, request).await {
            Ok(answer) => answer.map_err(|error| self.fault(error)),
            Err(_) => Err(ClusterError::Slow),
        }
    }

    pub(crate) fn fault(&self, error: kube::Error) -> ClusterError {
        failure(error, &self.server)
    }
}

/// Of this file and context, or of those that are usual where this runs: a person's, else a pod's.
pub(crate) async fn config(
    kubeconfig: Option<&Path>,
    context: Option<&str>,
) -> Result<Config, ClusterError> {
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..Default::default() };
    if let Some(file) = kubeconfig {
        let kubeconfig = Kubeconfig::read_from(file).map_err(unusable)?;
        return Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(unusable);
    }
    match Config::from_kubeconfig(&options).await {
        Ok(config) => Ok(config),
        Err(error) if context.is_some() => Err(unusable(error)),
        Err(error) => Config::incluster().map_err(|_| unusable(error)),
    }
}

fn unusable(error: KubeconfigError) -> ClusterError {
    match error {
        // What the parser says quotes the file, and the file has credentials.
        KubeconfigError::Parse(_) => ClusterError::NoKubeconfig,
        other => ClusterError::Kubeconfig(other),
    }
}

/// Why a cluster didn't do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    #[error("no cluster to talk to; give --kubeconfig FILE or --context NAME, or set KUBECONFIG")]
    Kubeconfig(#[source] KubeconfigError),
    #[error("the kubeconfig is no valid YAML; mend it, or give another with --kubeconfig")]
    NoKubeconfig,
    #[error(
        "this cluster does not know Tidegate's resources; install them with: tidegate crds | kubectl apply --server-side -f -"
    )]
    NotInstalled,
    #[error("canary {name} not found in namespace {namespace}; see all with: tidegate status -A")]
    NoCanary { name: String, namespace: String },
    #[error("the API server does not know who you are; log in again, or try another --context")]
    Unknown,
    /// As the API server says it.
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Answer(String),
    #[error("no answer from the API server {server}; can it be reached from here?")]
    Unreachable { server: String, source: Box<kube::Error> },
    #[error("the API server has not answered within {} s", PATIENCE.as_secs())]
    Slow,
}

impl ClusterError {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Refused(_) => Exit::Refused,
            Self::Kubeconfig(_)
            | Self::NoKubeconfig
            | Self::NotInstalled
            | Self::NoCanary { .. }
            | Self::Unknown
            | Self::Answer(_)
            | Self::Unreachable { .. }
            | Self::Slow => Exit::Failed,
        }
    }
}

fn failure(error: kube::Error, server: &str) -> ClusterError {
    match error {
        kube::Error::Api(status) => match status.code {
            401 => ClusterError::Unknown,
            // A policy without a reason of its own denies with 422.
            403 | 422 => ClusterError::Refused(status.message),
            // An object that isn't there has a name, a resource that isn't there has none.
            404 if status.details.as_ref().is_none_or(|d| d.name.is_empty()) => {
                ClusterError::NotInstalled
            }
            _ => ClusterError::Answer(status.message),
        },
        other => ClusterError::Unreachable { server: server.to_owned(), source: Box::new(other) },
    }
}
