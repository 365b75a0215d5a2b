//! Whole runs on real gateways under load: how they go, how they end, and what users and pods saw of it.

mod abort;
mod approval;
mod custom;
mod promotion;
mod rollback;

use anyhow::Result;
use tests::{Cluster, Controller, Plane, scenario};

const PLANES: &[Plane] = &[Plane::Prometheus, Plane::Traefik, Plane::EnvoyGateway];

/// Runs a story while the controller looks after the cluster.
fn story(tell: impl AsyncFnOnce(&'static Cluster) -> Result<()>) -> Result<()> {
    scenario(PLANES, async |cluster| {
        Controller::shared(cluster).await?;
        tell(cluster).await
    })
}
