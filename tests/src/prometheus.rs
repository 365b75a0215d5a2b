use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

/// A Prometheus to ask.
#[derive(Clone, Debug)]
pub struct Prometheus {
    url: String,
}

/// One series of an answer, at one moment.
#[derive(Clone, Debug)]
pub struct Sample {
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Prometheus {
    pub(crate) fn at(url: &str) -> Self {
        Self { url: url.to_owned() }
    }

    /// Its base URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What a query says now.
    pub async fn query(&self, query: &str) -> Result<Vec<Sample>> {
        let mut url = reqwest::Url::parse(&self.url)?.join("api/v1/query")?;
        url.query_pairs_mut().append_pair("query", query);
        let answer = reqwest::get(url).await?.error_for_status()?.json::<Answer>().await?;
        answer
            .data
            .result
            .into_iter()
            .map(|s| {
                let value = s.value.1.parse().with_context(|| format!("{query}: {}", s.value.1))?;
                Ok(Sample { labels: s.metric, value })
            })
            .collect()
    }

    /// The only value of a query that has one series; none if it has none.
    pub async fn value(&self, query: &str) -> Result<Option<f64>> {
        Ok(self.query(query).await?.first().map(|s| s.value))
    }
}

#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    value: (f64, String),
}
