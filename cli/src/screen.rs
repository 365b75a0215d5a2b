//! One canary as an engineer on call reads it: where it stands, what it waits for, and what to type.

use api::{
    Canary, CanaryRun, CanaryStatus, Condition, Hold, MetricStatus, RunSummary, TrafficStatus,
    WaitingFor,
};
use chrono::{DateTime, TimeDelta, Utc};

use crate::args::Program;
use crate::clock::span;
use crate::terminal::{Paint, Tone};
use crate::text::{Align, Cell, Table, cut, wrap};

/// What is shown, and for whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen<'a> {
    pub(crate) canary: &'a Canary,
    /// The one that `canary.status.run` names, if it can be read.
    pub(crate) run: Option<&'a CanaryRun>,
    pub(crate) now: DateTime<Utc>,
    pub(crate) program: Program,
    pub(crate) paint: Paint,
    pub(crate) width: usize,
    /// All of the history, and the queries.
    pub(crate) wide: bool,
}

/// Where the text begins, after its label.
const INDENT: usize = 11;
/// As many entries as fit below the rest on a small terminal.
const HISTORY: usize = 5;
/// A controller that is up looks within this time after the one that it has named.
const LATE: TimeDelta = TimeDelta::seconds(15);

impl Screen<'_> {
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut page = Page { lines: Vec::new(), paint: self.paint, width: self.width };
        let status = self.canary.status.clone().unwrap_or_default();
        page.lines.push(self.title(&status));
        page.blank();
        self.waiting(&mut page, &status);
        page.blank();
        self.run(&mut page, &status);
        self.traffic(&mut page, &status);
        self.metrics(&mut page, &status.metrics);
        self.history(&mut page);
        Self::conditions(&mut page, &status);
        page.lines
    }

    fn title(&self, status: &CanaryStatus) -> String {
        let meta = &self.canary.metadata;
        let name = meta.name.as_deref().unwrap_or_default();
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let mut title = self.paint.paint(Tone::Strong, &format!("{namespace}/{name}"));
        let phase = if status.phase.is_empty() { "Unknown" } else { &status.phase };
        title += "  ";
        title += &self.paint.paint(phase_tone(phase), phase);
        if let Some(run) = status.run.as_ref().filter(|_| on_steps(status)) {
            title = format!("{title}  step {} of {}", run.step, run.steps);
        }
        title
    }

    fn waiting(&self, page: &mut Page, status: &CanaryStatus) {
        let generation = self.canary.metadata.generation;
        let unseen = generation > status.observed_generation;
        match &status.waiting_for {
            Some(waiting) => {
                page.field("Waits for", Tone::Strong, &waiting.message);
                self.times(page, waiting);
                if let Some(unblock) = &waiting.unblock {
                    page.field("Unblock", Tone::Good, unblock);
                }
            }
            None if status.phase.is_empty() => {
                page.field("Waits for", Tone::Warn, "a controller: none has looked at this yet");
            }
            None => {
                let ready = status.conditions.iter().find(|c| c.kind == "Ready");
                if let Some(ready) = ready {
                    page.field("State", Tone::Plain, &ready.message);
                }
            }
        }
        if unseen && !status.phase.is_empty() {
            let text = "the spec was changed, and no controller has looked at it yet";
            page.field("Not seen", Tone::Warn, text);
        }
        let name = self.canary.metadata.name.as_deref().unwrap_or_default();
        let namespace = self.canary.metadata.namespace.as_deref().unwrap_or_default();
        if matches!(status.phase.as_str(), "Progressing" | "WaitingPromotion" | "Promoting") {
            let command = format!("{} abort {name} -n {namespace}", self.program.0);
            let said = status.waiting_for.as_ref().and_then(|w| w.unblock.as_ref());
            if said != Some(&command) {
                page.field("Stop it", Tone::Plain, &command);
            }
        }
    }

    fn times(&self, page: &mut Page, waiting: &WaitingFor) {
        let since = format!("since {}", span(self.now - waiting.since));
        let late = |next| self.now - next > LATE;
        match waiting.next_at {
            Some(next) if late(next) => {
                let text = format!(
                    "{since}; was due {} ago: is the controller up?",
                    span(self.now - next)
                );
                page.field("", Tone::Bad, &text);
            }
            Some(next) => {
                let what = match waiting.reason.as_str() {
                    "CheckNotDue" | "CheckPassed" | "CheckFailed" => "check",
                    _ => "look",
                };
                let text = format!("{since}, next {what} in {}", span(next - self.now));
                page.field("", Tone::Plain, &text);
            }
            None => page.field("", Tone::Plain, &since),
        }
    }

    fn run(&self, page: &mut Page, status: &CanaryStatus) {
        let Some(summary) = &status.run else { return };
        if let Some(run) = self.run {
            let stable = &run.spec.stable_revision;
            let text = format!("{} (stable is {stable})", summary.revision);
            page.field("Revision", Tone::Plain, &text);
            page.field("Image", Tone::Plain, &run.spec.image);
        } else {
            page.field("Revision", Tone::Plain, &summary.revision);
        }
        page.field("Run", Tone::Plain, &self.summary(summary));
        if let Some(run) = self.run {
            let here = on_steps(status).then_some(summary.step as usize);
            page.field("Steps", Tone::Plain, &steps(run, here));
        }
        if on_steps(status) {
            self.checks(page, summary);
        }
    }

    fn summary(&self, run: &RunSummary) -> String {
        match (run.ended_at, &run.outcome) {
            (Some(ended), outcome) => format!(
                "{}  {} {} ago, after {}",
                run.name,
                outcome.as_deref().unwrap_or("ended"),
                span(self.now - ended),
                span(ended - run.started_at)
            ),
            (None, _) => format!("{}  started {} ago", run.name, span(self.now - run.started_at)),
        }
    }

    fn checks(&self, page: &mut Page, summary: &RunSummary) {
        let failed = format!("{} failed of {} that end it", summary.failures, summary.threshold);
        let text = match self.passes(summary) {
            Some((passes, wanted)) => format!("{passes} of {wanted} passed in this step; {failed}"),
            None => failed,
        };
        let tone = if summary.failures > 0 { Tone::Warn } else { Tone::Plain };
        page.field("Checks", tone, &text);
    }

    /// In this step, and how many end it; `None` where none is asked for.
    fn passes(&self, summary: &RunSummary) -> Option<(u32, u32)> {
        let run = self.run?;
        let cursor = run.status.as_ref()?.cursor.as_ref()?;
        let step = run.spec.plan.steps.get((summary.step as usize).checked_sub(1)?)?;
        let wanted = step.wanted_checks();
        let here = cursor.step == Some(summary.step) && wanted > 0;
        here.then(|| (cursor.passes.min(wanted), wanted))
    }

    fn traffic(&self, page: &mut Page, status: &CanaryStatus) {
        let spec = &self.canary.spec;
        let mut objects = vec![
            format!("deployment/{}", spec.target_ref.name),
            format!("service/{}", spec.traffic.service.name),
        ];
        if let Some(traffic) = &status.traffic {
            self.weight(page, traffic, status.run.as_ref());
            objects.extend(traffic.routes.iter().cloned());
        }
        page.field("Objects", Tone::Plain, &objects.join(", "));
        if let Some(traffic) = status.traffic.as_ref().filter(|t| !t.systems.is_empty()) {
            let provider = traffic.provider.as_deref().unwrap_or_default();
            let because = traffic.because.as_deref().unwrap_or_default();
            let by = format!("{provider} on {}: {because}", traffic.systems.join(", "));
            page.field("Split by", Tone::Plain, &by);
        }
    }

    fn weight(&self, page: &mut Page, traffic: &TrafficStatus, run: Option<&RunSummary>) {
        let in_effect = traffic.accepted && traffic.intended == traffic.stored;
        let on = run.is_some_and(|run| run.ended_at.is_none());
        // At rest the route is as its owner wrote it, and has no share to tell.
        if !on && traffic.stored == 0 {
            if !traffic.accepted {
                page.field("Route", Tone::Warn, "not accepted by its gateway");
            }
            return;
        }
        let stored = if traffic.intended == traffic.stored {
            format!("{} % intended, stored", traffic.intended)
        } else {
            format!("{} % intended, {} % stored", traffic.intended, traffic.stored)
        };
        let level = match (traffic.accepted, traffic.verified.as_deref()) {
            (false, _) => "not accepted yet",
            // The system never says; what is stored is all that is known.
            (true, Some("Stored")) => "nobody says if accepted",
            (true, Some("Programmed")) => "accepted, programmed",
            (true, _) => "accepted",
        };
        let mut text = format!("{stored}, {level}");
        if let Some(observed) = traffic.observed {
            text = format!("{text}, {observed:.1} % observed");
            if let Some(at) = traffic.observed_at {
                text = format!("{text} {} ago", span(self.now - at));
            }
        }
        page.field("Weight", if in_effect { Tone::Plain } else { Tone::Warn }, &text);
        if !traffic.matches.is_empty() {
            page.field("Matched", Tone::Plain, &traffic.matches.join(" or "));
        }
        if let Some(percent) = traffic.mirrored {
            page.field("Mirrored", Tone::Plain, &format!("{percent} % of the requests"));
        }
    }

    fn metrics(&self, page: &mut Page, metrics: &[MetricStatus]) {
        if metrics.is_empty() {
            return;
        }
        page.blank();
        let mut table = Table::new([
            ("METRIC", Align::Left),
            ("CANARY", Align::Right),
            ("STABLE", Align::Right),
            ("LIMIT", Align::Left),
            ("REQUESTS", Align::Right),
            ("VERDICT", Align::Left),
        ]);
        for metric in metrics {
            let value = |v: Option<f64>| v.map_or("-".to_owned(), |v| quantity(v, &metric.unit));
            let tone = verdict_tone(&metric.verdict);
            table.row([
                Cell::new(cut(&metric.name, self.width.saturating_sub(56).max(12))),
                Cell::toned(tone, value(metric.canary)),
                Cell::new(value(metric.stable)),
                Cell::new(limit(metric)),
                Cell::new(metric.requests.map_or("-".to_owned(), |r| format!("{r:.0}"))),
                Cell::toned(tone, &metric.verdict),
            ]);
        }
        page.lines.extend(table.lines(self.paint, None));
        if self.wide {
            for metric in metrics.iter().filter(|m| !m.query.is_empty()) {
                page.blank();
                page.lines
                    .push(self.paint.paint(Tone::Faint, &format!("query of {}", metric.name)));
                page.lines.push(metric.query.clone());
            }
        }
    }

    fn history(&self, page: &mut Page) {
        let history = self.run.and_then(|run| run.status.as_ref()).map(|s| &s.history[..]);
        let all = history.unwrap_or_default();
        let shown = if self.wide { all.len() } else { HISTORY };
        let Some(newest @ [oldest, ..]) = all.get(all.len().saturating_sub(shown)..) else {
            return;
        };
        page.blank();
        let title = if newest.len() < all.len() {
            format!("HISTORY (UTC), the last {} of {}", newest.len(), all.len())
        } else {
            "HISTORY (UTC)".to_owned()
        };
        page.lines.push(self.paint.paint(Tone::Faint, &title));
        let today = oldest.at.date_naive() == self.now.date_naive();
        let format = if today { "%H:%M:%S" } else { "%b %d %H:%M" };
        for entry in newest {
            let at = entry.at.format(format).to_string();
            page.entry(&at, &entry.message);
        }
    }

    fn conditions(page: &mut Page, status: &CanaryStatus) {
        let said = status.waiting_for.as_ref().map(|w| w.message.as_str());
        let shown: Vec<_> = status
            .conditions
            .iter()
            .filter(|c| matters(c) && Some(c.message.as_str()) != said)
            .collect();
        if shown.is_empty() {
            return;
        }
        page.blank();
        for Condition { kind, status, reason, message, .. } in shown {
            let bad = matches!((kind.as_str(), status.as_str()), ("Stalled", "True"));
            let tone = if bad { Tone::Bad } else { Tone::Warn };
            let label = if status == "True" { kind.clone() } else { format!("{kind}={status}") };
            page.hanging(&label, tone, &format!("{reason}: {message}"));
        }
    }
}

/// Those that say more than the phase does.
fn matters(condition: &Condition) -> bool {
    match (condition.kind.as_str(), condition.status.as_str()) {
        ("Ready", status) => status != "True",
        // The phase says it.
        ("Reconciling" | "Promoted", _) => false,
        (_, status) => status == "True",
    }
}

/// A rollback or a promotion is off the steps, and so is a run that has ended.
pub(crate) fn on_steps(status: &CanaryStatus) -> bool {
    let on = status.run.as_ref().is_some_and(|run| run.ended_at.is_none());
    on && matches!(status.phase.as_str(), "Progressing" | "WaitingPromotion")
}

/// `0 > 10 > [25] > 50 until promoted > 100`; in brackets where it is, from 1.
fn steps(run: &CanaryRun, here: Option<usize>) -> String {
    if run.spec.plan.skip_analysis {
        return "skipped: skipAnalysis was set when the run started".to_owned();
    }
    let step = |(i, step): (usize, &api::Step)| {
        let hold = match &step.hold {
            None => String::new(),
            Some(Hold { span: Some(hold), .. }) => format!(" for {}", go_span(*hold)),
            Some(Hold { span: None, .. }) => " until promoted".to_owned(),
        };
        let matched = if step.matches.is_empty() { "" } else { " and match" };
        let mirrored = step.mirror.map(|m| format!(" and mirror {}", m.percent));
        let text = format!("{}{matched}{}{hold}", step.weight, mirrored.unwrap_or_default());
        if here == Some(i + 1) { format!("[{text}]") } else { text }
    };
    run.spec.plan.steps.iter().enumerate().map(step).collect::<Vec<_>>().join(" > ")
}

fn go_span(duration: kube::core::Duration) -> String {
    TimeDelta::from_std(duration.into()).map_or_else(|_| duration.to_string(), span)
}

pub(crate) fn phase_tone(phase: &str) -> Tone {
    match phase {
        "Idle" | "Succeeded" => Tone::Good,
        "Initializing" | "Progressing" | "Promoting" | "Finalising" => Tone::Busy,
        "RollingBack" | "Failed" => Tone::Bad,
        _ => Tone::Warn,
    }
}

fn verdict_tone(verdict: &str) -> Tone {
    match verdict {
        "Pass" => Tone::Good,
        "Fail" | "Error" => Tone::Bad,
        _ => Tone::Warn,
    }
}

/// With its unit, like the values beside it.
fn limit(metric: &MetricStatus) -> String {
    format!("{} {}", metric.limit, metric.unit).trim_end().to_owned()
}

fn quantity(value: f64, unit: &str) -> String {
    let number = number(value);
    if unit.is_empty() { number } else { format!("{number} {unit}") }
}

/// As exact as a person needs to compare it with a limit.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 1000.0 => 0,
        v if v >= 100.0 => 1,
        v if v >= 1.0 || v == 0.0 => 2,
        _ => 4,
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

struct Page {
    lines: Vec<String>,
    paint: Paint,
    width: usize,
}

impl Page {
    fn blank(&mut self) {
        if self.lines.last().is_some_and(|line| !line.is_empty()) {
            self.lines.push(String::new());
        }
    }

    fn field(&mut self, label: &str, tone: Tone, text: &str) {
        self.labelled(label, Tone::Faint, INDENT, tone, text);
    }

    fn entry(&mut self, at: &str, message: &str) {
        self.labelled(at, Tone::Faint, at.len() + 2, Tone::Plain, message);
    }

    /// A label of any length, with the text beneath it where it is long.
    fn hanging(&mut self, label: &str, tone: Tone, text: &str) {
        self.labelled(label, tone, label.len() + 2, Tone::Plain, text);
    }

    fn labelled(&mut self, label: &str, faint: Tone, indent: usize, tone: Tone, text: &str) {
        let room = self.width.saturating_sub(indent);
        for (i, line) in wrap(text, room).iter().enumerate() {
            let label = if i == 0 { label } else { "" };
            let padding = " ".repeat(indent.saturating_sub(label.len()));
            let text = self.paint.paint(tone, line);
            self.lines.push(self.paint.paint(faint, label) + &padding + &text);
        }
    }
}

#[cfg(test)]
mod tests;
