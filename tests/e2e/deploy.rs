//! What `deploy/` ships, as it is.

use std::time::Duration;

use anyhow::{Result, ensure};
use tests::{Controller, Plane, scenario, wait_for};

#[test]
fn the_shipped_deployment_becomes_ready_and_prometheus_finds_its_metrics() -> Result<()> {
    scenario(&[Plane::Prometheus, Plane::Traefik], async |cluster| {
        cluster.install().await?;
        let controller = Controller::start_as_shipped(cluster).await?;
        ensure!(controller.metrics().await?.contains("# TYPE"), "its own metrics");
        let up = r#"up{namespace="tidegate-system"}"#;
        wait_for("Prometheus to scrape it", Duration::from_mins(1), async || {
            Ok(cluster.prometheus().value(up).await?.filter(|up| *up >= 1.0))
        })
        .await?;
        let ended = controller.terminate().await?;
        ensure!(ended.success(), "a stop is no failure: {ended}");
        Ok(())
    })
}
