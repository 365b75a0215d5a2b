//! Series of a traffic system, from `analysis/upstream`, with numbers.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use analysis::ArmContext;
use anyhow::{Context, Result, bail};
use chrono::TimeDelta;

pub(crate) const SCRAPE: TimeDelta = TimeDelta::seconds(5);
/// Twice as many as a window has, so that series are older than it.
pub(crate) const SCRAPES: usize = 25;

/// How long requests take, in milliseconds, and how many of 100 do.
pub(crate) const QUICK: f64 = 40.0;
pub(crate) const SLOWER: f64 = 200.0;
pub(crate) const SLOWEST: f64 = 800.0;
const DURATIONS: [(f64, u32); 3] = [(QUICK, 90), (SLOWER, 8), (SLOWEST, 2)];
/// Of what must not be counted.
const NOT_OURS: [(f64, u32); 1] = [(9000.0, 5000)];

/// How a counter's series lives.
#[derive(Clone, Copy)]
pub(crate) enum Life {
    /// It has grown for long, and grows.
    Steady,
    /// It has grown before, and doesn't any more.
    Stopped,
    /// Its first scrape is this one.
    From(usize),
    /// It begins anew at this scrape.
    Restarted(usize),
    /// There is none.
    Never,
}

#[derive(Clone, Copy)]
pub(crate) struct Traffic {
    pub ok: Life,
    pub failed: Life,
}

/// A file of `analysis/upstream`; its README says what is in one.
pub(crate) struct Upstream {
    series: Vec<(Kind, String)>,
    /// In milliseconds.
    bounds: Vec<f64>,
    unit_ms: f64,
    /// Counters are there at 0 before they count.
    from_zero: bool,
    /// Series of each kind.
    pub ok: u32,
    pub failed: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ok,
    Failed,
    Took,
    Noise,
    Slow,
}

impl Upstream {
    pub(crate) fn read(system: &str) -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../analysis/upstream");
        let path = folder.join(format!("{system}.series"));
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let mut all = Self {
            series: vec![],
            bounds: vec![],
            unit_ms: 1.0,
            from_zero: false,
            ok: 0,
            failed: 0,
        };
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            all.take(line).with_context(|| format!("{}: {line}", path.display()))?;
        }
        Ok(all)
    }

    fn take(&mut self, line: &str) -> Result<()> {
        let (word, rest) = line.split_once(' ').context("no kind")?;
        let kind = match word {
            "ok" => Kind::Ok,
            "failed" => Kind::Failed,
            "took" => Kind::Took,
            "noise" => Kind::Noise,
            "slow" => Kind::Slow,
            "counters" if rest == "from 0" => {
                self.from_zero = true;
                return Ok(());
            }
            "buckets" => {
                let (unit, bounds) = rest.split_once(' ').context("no unit")?;
                self.unit_ms = if unit == "s" { 1000.0 } else { 1.0 };
                for bound in bounds.split(' ') {
                    self.bounds.push(bound.parse::<f64>()? * self.unit_ms);
                }
                return Ok(());
            }
            _ => bail!("no such kind"),
        };
        self.ok += u32::from(kind == Kind::Ok);
        self.failed += u32::from(kind == Kind::Failed);
        self.series.push((kind, rest.to_owned()));
        Ok(())
    }

    /// The bucket that `ms` falls into, in milliseconds.
    pub(crate) fn bucket_ms(&self, ms: f64) -> (f64, f64) {
        let above =
            self.bounds.iter().position(|bound| *bound >= ms).unwrap_or(self.bounds.len() - 1);
        (if above == 0 { 0.0 } else { self.bounds[above - 1] }, self.bounds[above])
    }

    /// Adds every series for one arm: `rates` are the requests of a series between two scrapes, good and failed ones.
    pub(crate) fn write(
        &self,
        text: &mut String,
        arm: &ArmContext,
        traffic: Traffic,
        rates: (u32, u32),
        end: i64,
    ) {
        for (kind, series) in &self.series {
            let series = named(series, arm);
            match kind {
                Kind::Ok => self.counter(text, &series, traffic.ok, rates.0, end),
                Kind::Failed => self.counter(text, &series, traffic.failed, rates.1, end),
                Kind::Noise => self.counter(text, &series, Life::Steady, 5000, end),
                Kind::Took => self.histogram(text, &series, traffic.ok, &DURATIONS, end),
                Kind::Slow => self.histogram(text, &series, Life::Steady, &NOT_OURS, end),
            }
        }
    }

    fn counter(&self, text: &mut String, series: &str, life: Life, each: u32, end: i64) {
        for scrape in 0..SCRAPES {
            let absent = self.from_zero.then_some(0);
            if let Some(value) =
                value(life, each, u32::try_from(scrape).unwrap_or(u32::MAX)).or(absent)
            {
                let before = i64::try_from(SCRAPES - 1 - scrape).unwrap_or_default();
                let at = end - before * SCRAPE.num_milliseconds();
                writeln!(text, "{series} {value} {at}").expect("a string takes everything");
            }
        }
    }

    fn histogram(
        &self,
        text: &mut String,
        series: &str,
        life: Life,
        took: &[(f64, u32)],
        end: i64,
    ) {
        let (name, labels) = series.trim_end_matches('}').split_once('{').unwrap_or((series, ""));
        let count = |most: f64| took.iter().filter(|(ms, _)| *ms <= most).map(|(_, n)| n).sum();
        for bound in self.bounds.iter().chain([&f64::INFINITY]) {
            let le =
                if bound.is_finite() { (bound / self.unit_ms).to_string() } else { "+Inf".into() };
            let bucket = format!("{name}_bucket{{{labels},le=\"{le}\"}}");
            self.counter(text, &bucket, life, count(*bound), end);
        }
    }
}

fn value(life: Life, each: u32, scrape: u32) -> Option<u32> {
    let since = |first: usize| scrape.checked_sub(u32::try_from(first).unwrap_or(u32::MAX));
    match life {
        Life::Steady => Some(each * (10 + scrape)),
        Life::Stopped => Some(each * 10),
        Life::From(first) => since(first).map(|n| each * (n + 1)),
        Life::Restarted(first) => Some(each * since(first).map_or(10 + scrape, |n| n + 1)),
        Life::Never => None,
    }
}

fn named(series: &str, arm: &ArmContext) -> String {
    let pod = &arm.pods[0];
    series
        .replace("<ns>", &arm.namespace)
        .replace("<service>", &arm.service)
        .replace("<workload>", &arm.workload)
        .replace("<apex>", &arm.apex)
        .replace("<pod>", &pod.name)
        .replace("<ip>", &pod.ip)
}
