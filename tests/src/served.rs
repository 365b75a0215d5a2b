use std::collections::BTreeMap;

use anyhow::Result;

use crate::Cluster;

/// What the pods of a namespace answered since the cluster started, as counted by themselves, those that are gone too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served(BTreeMap<String, BTreeMap<String, u64>>);

impl Served {
    /// Requests that a version answered.
    pub fn by(&self, version: &str) -> u64 {
        self.0.get(version).map_or(0, |codes| codes.values().sum())
    }

    /// Those that it answered with this code.
    pub fn with_code(&self, version: &str, code: u16) -> u64 {
        self.0.get(version).and_then(|codes| codes.get(&code.to_string())).copied().unwrap_or(0)
    }
}

impl Cluster {
    /// What the pods of `namespace` served so far.
    pub async fn served(&self, namespace: &str) -> Result<Served> {
        let answer = reqwest::get("http://127.0.0.1:9099/counts").await?.error_for_status()?;
        let mut all: BTreeMap<String, _> = answer.json().await?;
        Ok(all.remove(namespace).map(Served).unwrap_or_default())
    }
}
