use std::fmt;
use std::fs;

use anyhow::{Context, Result};
use chrono::TimeDelta;

/// One table in Markdown, what is to be said about it, and the limits that were missed.
#[derive(Debug)]
pub(crate) struct Report {
    title: String,
    columns: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    notes: Vec<String>,
    missed: Vec<String>,
}

impl Report {
    pub(crate) fn new(title: &str, columns: &[&'static str]) -> Self {
        let (rows, notes, missed) = (vec![], vec![], vec![]);
        Self { title: title.to_owned(), columns: columns.to_vec(), rows, notes, missed }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [&dyn fmt::Display; N]) {
        self.rows.push(cells.iter().map(ToString::to_string).collect());
    }

    /// A sentence below the table.
    #[must_use]
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// A stated limit: missed unless `kept`.
    pub(crate) fn limit(&mut self, what: impl Into<String>, kept: bool) {
        if !kept {
            self.missed.push(what.into());
        }
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.missed.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n### {}\n", self.title)?;
        writeln!(f, "| {} |", self.columns.join(" | "))?;
        writeln!(f, "|{}", " --- |".repeat(self.columns.len()))?;
        for row in &self.rows {
            writeln!(f, "| {} |", row.join(" | "))?;
        }
        writeln!(f)?;
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        for missed in &self.missed {
            writeln!(f, "MISSED: {missed}")?;
        }
        Ok(())
    }
}

/// How long something took, each time.
#[derive(Debug, Default)]
pub(crate) struct Spans(Vec<i64>);

impl Spans {
    pub(crate) fn add(&mut self, span: TimeDelta) {
        self.0.push(span.num_milliseconds());
        self.0.sort_unstable();
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// In milliseconds.
    pub(crate) fn median(&self) -> i64 {
        self.0.get(self.0.len() / 2).copied().unwrap_or_default()
    }

    /// In milliseconds.
    pub(crate) fn max(&self) -> i64 {
        self.0.last().copied().unwrap_or_default()
    }
}

/// How busy the machine has been in the last minute.
pub(crate) fn load_average() -> Result<String> {
    let all = fs::read_to_string("/proc/loadavg")?;
    Ok(all.split(' ').next().context("no load average")?.to_owned())
}

/// How many times less than somebody else's `theirs`.
#[expect(clippy::cast_precision_loss, reason = "counts of some thousands")]
pub(crate) fn ratio(theirs: u64, ours: u64) -> String {
    if ours == 0 { "∞".to_owned() } else { format!("{:.1}", theirs as f64 / ours as f64) }
}
