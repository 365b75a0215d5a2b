//! What came back for the queries of one check.

use crate::check::Arm;
use crate::query::{Query, Subject};

/// The answer to one query.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// May be NaN (0/0) or infinite: the judge decides what that means.
    Value(f64),
    /// The query is fine and matched no series.
    Empty,
    /// No answer: trying again may help. Why, and what to do about it.
    Unavailable(String),
    /// An answer that no repetition will improve. Why, and what to change.
    Rejected(String),
}

/// Queries with their answers. An arm that was not asked about is an arm that is not there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Readings(Vec<(Query, Reading)>);

impl Readings {
    pub fn push(&mut self, query: Query, reading: Reading) {
        self.0.push((query, reading));
    }

    pub fn iter(&self) -> impl Iterator<Item = &(Query, Reading)> {
        self.0.iter()
    }

    pub(crate) fn get(&self, subject: &Subject, arm: Arm) -> Option<&(Query, Reading)> {
        self.0.iter().find(|(query, _)| query.subject == *subject && query.arm == arm)
    }
}

impl FromIterator<(Query, Reading)> for Readings {
    fn from_iter<I: IntoIterator<Item = (Query, Reading)>>(answers: I) -> Self {
        Self(answers.into_iter().collect())
    }
}
