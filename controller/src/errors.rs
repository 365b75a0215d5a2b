use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The first wait after an error; each further one in a row is twice as long, up to [`AT_MOST`].
const FIRST: Duration = Duration::from_millis(500);
/// An API server that comes back is noticed within this.
const AT_MOST: Duration = Duration::from_secs(30);

/// How often each canary has failed in a row.
#[derive(Debug, Default)]
pub(crate) struct Failures(Mutex<BTreeMap<Key, u32>>);

type Key = (Option<String>, String);

impl Failures {
    /// Counts one, and says how long to wait.
    pub(crate) fn next(&self, key: Key) -> Duration {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(key).or_default();
        let wait = FIRST.saturating_mul(1 << (*count).min(10)).min(AT_MOST);
        *count += 1;
        wait
    }

    pub(crate) fn clear(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// An error and everything that it is due to, in one line: for logs too, since their JSON would leave the causes out.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a string can't fail.
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}
