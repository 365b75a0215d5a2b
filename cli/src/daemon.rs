//! `tidegate controller`: the log, the signals, and the controller itself.

use api::GROUP;
use tracing_subscriber::EnvFilter;

use crate::args::{ControllerArgs, LogFormat};
use crate::cluster::{self, ClusterError};
use crate::exit::Exit;
use crate::signals::stop;

#[derive(Debug, thiserror::Error)]
pub(crate) enum DaemonError {
    #[error("--log-level {level:?}: error, warn, info, debug, trace, or such as info,kube=debug")]
    Level { level: String, source: tracing_subscriber::filter::ParseError },
    #[error("signals can't be waited for")]
    Signals(#[from] std::io::Error),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Controller(#[from] controller::Error),
}

pub(crate) async fn run(args: ControllerArgs) -> Result<Exit, DaemonError> {
    let ControllerArgs {
        kubeconfig,
        metrics_server,
        metrics_server_credentials,
        namespace,
        listen,
        log_format,
        log_level,
    } = args;
    start_log(log_format, &log_level)?;
    let cluster = cluster::config(kubeconfig.as_deref(), None).await?;
    tracing::info!(
        group = GROUP,
        version = env!("CARGO_PKG_VERSION"),
        api_server = %cluster.cluster_url,
        metrics_server = %without_login(&metrics_server),
        namespace = namespace.as_deref().unwrap_or("all"),
        "starting"
    );
    let config = controller::Config {
        metrics_server,
        metrics_credentials: metrics_server_credentials,
        namespace,
        listen,
    };
    controller::run(cluster, config, stop()?).await?;
    Ok(Exit::Done)
}

/// What may be shown of an address.
fn without_login(url: &url::Url) -> url::Url {
    let mut shown = url.clone();
    // Neither fails for a URL with a host, and one without has no login.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown
}

fn start_log(format: LogFormat, level: &str) -> Result<(), DaemonError> {
    let filter = EnvFilter::try_new(level)
        .map_err(|source| DaemonError::Level { level: level.to_owned(), source })?;
    let log = tracing_subscriber::fmt().with_env_filter(filter);
    match format {
        LogFormat::Text => {
            use std::io::IsTerminal;
            log.with_ansi(std::io::stdout().is_terminal()).init();
        }
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}
