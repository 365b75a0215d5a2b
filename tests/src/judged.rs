use std::cell::Cell;

use anyhow::{Context, Result, ensure};
use api::CanaryStatus;
use serde_json::Value;

use crate::{App, Cluster, Controller, Fault, FaultyPrometheus, Load, Plane, Release, Status};

/// A good version on its way, under load, with a Prometheus of its own that can be made to misbehave.
#[derive(Debug)]
pub struct Judged {
    pub shop: Release,
    pub prometheus: FaultyPrometheus,
    pub load: Load,
    _controller: Controller,
}

impl Judged {
    /// Writes version 2.0 of a quick app, with the fault already there.
    pub async fn begin(
        cluster: &'static Cluster,
        namespace: &str,
        fault: Fault,
        spec: Value,
    ) -> Result<Self> {
        let app = App::new("shop", namespace).behaves("latency-ms", "5");
        Self::of(cluster, app.clone(), app.version("2.0"), fault, spec).await
    }

    /// The same from one app to another.
    pub async fn of(
        cluster: &'static Cluster,
        app: App,
        new: App,
        fault: Fault,
        spec: Value,
    ) -> Result<Self> {
        cluster.installed().await?;
        let prometheus = FaultyPrometheus::start(cluster.prometheus().url()).await?;
        cluster.namespace(app.namespace()).await?;
        let alone = ["--namespace", app.namespace()];
        let controller = Controller::start(cluster, prometheus.url(), &alone).await?;
        let shop = Release::of(cluster, Plane::EnvoyGateway, app, spec).await?;
        let load = shop.load().await?;
        prometheus.set(fault);
        shop.write(&new).await?;
        Ok(Self { shop, prometheus, load, _controller: controller })
    }

    /// Several checks later it still waits for the same, at the same weight, with no check counted.
    pub async fn held(&self, reason: &str, says: &str) -> Result<CanaryStatus> {
        let first = self.shop.until_waiting(reason).await?;
        ensure!(first.message().contains(says), "{:?} does not say {says:?}", first.message());
        let asked = self.prometheus.queries();
        let other = Cell::new(None);
        let second = self
            .shop
            .until("more checks", |s| {
                if !s.waits_for(reason) {
                    other.set(s.waiting_for.clone());
                }
                self.prometheus.queries() >= asked + 2 && s.waits_for(reason)
            })
            .await?;
        let other = other.take();
        ensure!(other.is_none(), "all the while it says why it waits, but also: {other:?}");
        ensure!(second.phase == "Progressing" && second.step == first.step, "{second:?}");
        let cursor = self.shop.run().await?.status.and_then(|s| s.cursor).context("a cursor")?;
        ensure!((cursor.passes, cursor.failures) == (0, 0), "nothing is counted: {cursor:?}");
        Ok(second)
    }

    /// All the while.
    pub async fn no_request_failed(self) -> Result<()> {
        let summary = self.load.stop().await?;
        ensure!(summary.failed == 0, "no request fails: {summary:?}");
        Ok(())
    }
}
