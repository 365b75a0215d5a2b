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
}

impl Cluster {
    pub(crate) async fn connect(args: &ClusterArgs) -> Result<Self, ClusterError> {
        let ClusterArgs { kubeconfig, context, namespace } = args;
        let config = config(kubeconfig.as_deref(), context.as_deref()).await?;
        let namespace = namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let server = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(|e| failure(e, Some(&server)))?;
        Ok(Self { client, namespace })
    }
}

/// Of this file and context, or of those that are usual where this runs: a person's, else a pod's.
pub(crate) async fn config(
    kubeconfig: Option<&Path>,
    context: Option<&str>,
) -> Result<Config, ClusterError> {
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..Default::default() };
    Ok(match (kubeconfig, context) {
        (Some(file), _) => {
            Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &options).await?
        }
        (None, Some(_)) => Config::from_kubeconfig(&options).await?,
        (None, None) => Config::infer().await.map_err(Box::new)?,
    })
}

/// Why a cluster didn't do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    #[error("the kubeconfig can't be used; try another --kubeconfig or --context")]
    Kubeconfig(#[from] KubeconfigError),
    #[error("no cluster is configured; give --kubeconfig FILE or set KUBECONFIG")]
    Nowhere(#[from] Box<kube::config::InferConfigError>),
    #[error(
        "this cluster does not know Tidegate's resources; install them with: tidegate crds | kubectl apply --server-side -f -"
    )]
    NotInstalled,
    #[error("canary {name} not found in namespace {namespace}; see all with: tidegate status -A")]
    NoCanary { name: String, namespace: String },
    /// As the API server says it.
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Answer(String),
    #[error(
        "no answer from the API server{at}; is its address right, and can it be reached from here?"
    )]
    Unreachable { at: String, source: Box<kube::Error> },
    #[error("the API server has not answered within {} s", PATIENCE.as_secs())]
    Slow,
}

impl ClusterError {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Refused(_) => Exit::Refused,
            Self::Kubeconfig(_)
            | Self::Nowhere(_)
            | Self::NotInstalled
            | Self::NoCanary { .. }
            | Self::Answer(_)
            | Self::Unreachable { .. }
            | Self::Slow => Exit::Failed,
        }
    }
}

impl From<kube::Error> for ClusterError {
    fn from(error: kube::Error) -> Self {
        failure(error, None)
    }
}

fn failure(error: kube::Error, server: Option<&str>) -> ClusterError {
    match error {
        kube::Error::Api(status) => match status.code {
            // A policy without a reason of its own denies with 422.
            403 | 422 => ClusterError::Refused(status.message),
            // An object that isn't there has a name, a resource that isn't there has none.
            404 if status.details.as_ref().is_none_or(|d| d.name.is_empty()) => {
                ClusterError::NotInstalled
            }
            _ => ClusterError::Answer(status.message),
        },
        other => {
            let at = server.map(|s| format!(" {s}")).unwrap_or_default();
            ClusterError::Unreachable { at, source: Box::new(other) }
        }
    }
}

/// The answer to one request, if it comes while anybody would wait for it.
pub(crate) async fn answer<T>(
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, ClusterError> {
    match tokio::time::timeout(PATIENCE, request).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(ClusterError::Slow),
    }
}
