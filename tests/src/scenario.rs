use std::sync::OnceLock;

use anyhow::{Result, anyhow};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use crate::{Cluster, Plane};

/// Runs one story on the cluster that all stories of this process share; the first one starts it.
///
/// Every story of a test file names the same planes. Stories run at the same time unless `--test-threads 1` says otherwise, so
/// each takes a namespace and hosts of its own.
pub fn scenario(
    planes: &[Plane],
    story: impl AsyncFnOnce(&'static Cluster) -> Result<()>,
) -> Result<()> {
    // The runtime outlives each test: clients are bound to the one that they were made on.
    static RUNTIME: OnceLock<Result<Runtime, std::io::Error>> = OnceLock::new();
    static CLUSTER: OnceCell<Result<Cluster, String>> = OnceCell::const_new();
    let runtime =
        RUNTIME.get_or_init(Runtime::new).as_ref().map_err(|e| anyhow!("no runtime: {e}"))?;
    runtime.block_on(async {
        let cluster = CLUSTER
            .get_or_init(async || Cluster::start(planes).await.map_err(|e| format!("{e:#}")))
            .await
            .as_ref()
            .map_err(|e| anyhow!("no cluster: {e}"))?;
        story(cluster).await
    })
}
