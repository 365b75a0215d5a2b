//! A metric source that answers what a test has told it to.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use analysis::{Arm, Query, Subject};
use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{MetricError, MetricSource};

type Answer = Result<Option<f64>, MetricError>;

/// Answers by subject and arm; what it was not told about has no series.
#[derive(Debug, Default)]
pub struct Fake {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    answers: BTreeMap<(Subject, Arm), Answer>,
    asked: Vec<(Query, DateTime<Utc>)>,
}

impl Fake {
    /// What to answer from now on.
    pub fn set(&self, subject: Subject, arm: Arm, answer: Answer) {
        self.state().answers.insert((subject, arm), answer);
    }

    /// Every question since the last look, in order.
    pub fn asked(&self) -> Vec<(Query, DateTime<Utc>)> {
        std::mem::take(&mut self.state().asked)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl MetricSource for Fake {
    async fn value(&self, query: &Query, at: DateTime<Utc>) -> Answer {
        let mut state = self.state();
        state.asked.push((query.clone(), at));
        state.answers.get(&(query.subject.clone(), query.arm)).cloned().unwrap_or(Ok(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::contract::{self, Scene};

    #[tokio::test]
    async fn a_fake_keeps_the_contract() {
        contract::metric_source(async |scene| {
            let fake = Fake::default();
            if scene != Scene::NoSeries {
                fake.set(Subject::Requests, Arm::Canary, played(scene));
            }
            fake
        })
        .await;
    }

    fn played(scene: Scene) -> Answer {
        let url = || "http://prometheus:9090/".to_owned();
        let refused =
            |status| Err(MetricError::Refused { url: url(), status, message: String::new() });
        let failing =
            |status| Err(MetricError::Failing { url: url(), status, message: String::new() });
        match scene {
            Scene::OneValue | Scene::Scalar => Ok(Some(42.5)),
            Scene::NotANumber => Ok(Some(f64::NAN)),
            Scene::Infinite => Ok(Some(f64::INFINITY)),
            Scene::NoSeries => Ok(None),
            Scene::TwoSeries => Err(MetricError::Series { found: 2 }),
            Scene::Range | Scene::Text | Scene::Endless => {
                Err(MetricError::Shape { found: "something", way_out: "write another query" })
            }
            Scene::BadQuery => refused(422),
            Scene::Unauthorized => refused(401),
            Scene::NotFound => refused(404),
            Scene::Redirect => refused(302),
            Scene::Html | Scene::OtherJson => {
                Err(MetricError::NotPrometheus { url: url(), found: "text/html".to_owned() })
            }
            Scene::ServerError => failing(500),
            Scene::TooMany => failing(429),
            Scene::Hang => Err(MetricError::TimedOut { url: url(), seconds: 5 }),
            Scene::Close => {
                Err(MetricError::Interrupted { url: url(), reason: "closed".to_owned() })
            }
            Scene::NobodyThere => {
                Err(MetricError::Unreachable { url: url(), reason: "refused".to_owned() })
            }
        }
    }

    #[tokio::test]
    async fn a_fake_remembers_what_it_was_asked() {
        let fake = Fake::default();
        let query = contract::query();
        assert_eq!(fake.value(&query, contract::at()).await, Ok(None));
        assert_eq!(fake.asked(), [(query, contract::at())]);
        assert_eq!(fake.asked(), []);
    }
}
