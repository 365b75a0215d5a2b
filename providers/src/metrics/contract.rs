//! What every metric source does, whatever is behind it.

use std::time::Duration;

use analysis::{Arm, Query, Subject};
use chrono::{DateTime, TimeDelta, Utc};

use super::{MetricError, MetricSource};

/// A source must not take longer than this, whatever happens to it.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// What the backend does when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scene {
    OneValue,
    Scalar,
    NotANumber,
    Infinite,
    NoSeries,
    TwoSeries,
    Range,
    Text,
    BadQuery,
    Unauthorized,
    NotFound,
    Redirect,
    Html,
    OtherJson,
    Endless,
    ServerError,
    TooMany,
    Hang,
    Close,
    NobodyThere,
}

impl Scene {
    pub(super) const ALL: [Scene; 20] = [
        Scene::OneValue,
        Scene::Scalar,
        Scene::NotANumber,
        Scene::Infinite,
        Scene::NoSeries,
        Scene::TwoSeries,
        Scene::Range,
        Scene::Text,
        Scene::BadQuery,
        Scene::Unauthorized,
        Scene::NotFound,
        Scene::Redirect,
        Scene::Html,
        Scene::OtherJson,
        Scene::Endless,
        Scene::ServerError,
        Scene::TooMany,
        Scene::Hang,
        Scene::Close,
        Scene::NobodyThere,
    ];
}

pub(super) fn query() -> Query {
    Query { subject: Subject::Requests, arm: Arm::Canary, promql: "sum(up)".to_owned() }
}

pub(super) fn at() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::milliseconds(1_700_000_000_250)
}

/// Plays every scene to a source that `source` makes for it.
pub(super) async fn metric_source<S: MetricSource>(source: impl AsyncFn(Scene) -> S) {
    for scene in Scene::ALL {
        let source = source(scene).await;
        let answer = tokio::time::timeout(PATIENCE, source.value(&query(), at())).await;
        let answer = answer.unwrap_or_else(|_| panic!("{scene:?}: no answer in {PATIENCE:?}"));
        let may_pass = answer.as_ref().err().map(MetricError::may_pass);
        match scene {
            Scene::OneValue | Scene::Scalar => assert_eq!(answer, Ok(Some(42.5)), "{scene:?}"),
            Scene::NotANumber => assert!(matches!(answer, Ok(Some(v)) if v.is_nan()), "{answer:?}"),
            Scene::Infinite => assert_eq!(answer, Ok(Some(f64::INFINITY))),
            Scene::NoSeries => assert_eq!(answer, Ok(None)),
            Scene::TwoSeries => assert_eq!(answer, Err(MetricError::Series { found: 2 })),
            Scene::Range
            | Scene::Text
            | Scene::BadQuery
            | Scene::Unauthorized
            | Scene::NotFound
            | Scene::Redirect
            | Scene::Html
            | Scene::OtherJson
            | Scene::Endless => assert_eq!(may_pass, Some(false), "{scene:?}: {answer:?}"),
            Scene::ServerError
            | Scene::TooMany
            | Scene::Hang
            | Scene::Close
            | Scene::NobodyThere => assert_eq!(may_pass, Some(true), "{scene:?}: {answer:?}"),
        }
    }
}
