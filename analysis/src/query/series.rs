//! What every traffic system comes down to: counters of one arm's requests, and a histogram of
//! their durations. A profile names them; the `PromQL` is the same for all.

/// Where one arm's requests are counted.
pub(super) struct Series {
    /// Added up, these count every request that came to its end.
    pub answered: Vec<Counter>,
    /// Those of them that failed.
    pub failed: Counter,
    pub durations: Histogram,
}

/// Series of one counter, as selectors. What several of them select counts once.
pub(super) struct Counter(pub Vec<String>);

/// A histogram's `_bucket` series, as a selector.
pub(super) struct Histogram {
    pub buckets: String,
    pub unit: Unit,
}

/// What a histogram measures in.
pub(super) enum Unit {
    Seconds,
    Milliseconds,
}

impl Series {
    /// Requests in `range`.
    pub(super) fn requests(&self, range: &str) -> String {
        total(&self.answered, "increase", range)
    }

    /// In percent. A code has its own series from the first answer with that code on, so failures
    /// are counted and may be absent: counting successes would find no data where nothing succeeds.
    /// Without requests it is 0/0, which is not a number. Where all fail it is 0 and not nearly 0,
    /// since a number divided by itself is 1.
    pub(super) fn success_rate(&self, range: &str) -> String {
        let all = total(&self.answered, "rate", range);
        let all = if self.answered.len() > 1 { format!("({all})") } else { all };
        format!("100 * (1 - ({} or vector(0)) / {all})", self.failed.sum("rate", range))
    }

    /// Milliseconds at `quantile`.
    pub(super) fn duration(&self, quantile: f64, range: &str) -> String {
        let factor = match self.durations.unit {
            Unit::Seconds => "1000 * ",
            Unit::Milliseconds => "",
        };
        let buckets = &self.durations.buckets;
        format!("{factor}histogram_quantile({quantile}, sum by (le) (rate({buckets}[{range}])))")
    }
}

impl Counter {
    pub(super) fn of(selector: String) -> Self {
        Self(vec![selector])
    }

    /// One counter in `name`, for those series that have all of `labels` and any of `alternatives`.
    pub(super) fn any(name: &str, labels: &str, alternatives: &[&str]) -> Self {
        Self(alternatives.iter().map(|one| selector(name, &format!("{labels},{one}"))).collect())
    }

    fn sum(&self, function: &str, range: &str) -> String {
        let all: Vec<String> =
            self.0.iter().map(|selector| format!("{function}({selector}[{range}])")).collect();
        format!("sum({})", all.join(" or "))
    }
}

pub(super) fn selector(name: &str, labels: &str) -> String {
    format!("{name}{{{labels}}}")
}

fn total(counters: &[Counter], function: &str, range: &str) -> String {
    let all: Vec<String> = counters.iter().map(|counter| counter.sum(function, range)).collect();
    all.join(" + ")
}
