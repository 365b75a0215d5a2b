//! `tidegate status -w`: what a watch brings, drawn in place on a terminal or a line at a time.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use api::{Canary, CanaryRun};
use chrono::{DateTime, SecondsFormat, Utc};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};

use crate::args::Output;
use crate::clock::{now, span};
use crate::cluster::ClusterError;
use crate::exit::Exit;
use crate::screen::on_steps;
use crate::status::{StatusError, Wanted, print_lines};
use crate::terminal::{Paint, Terminal, Tone};
use crate::text::{chain, cut};

/// Countdowns are told in seconds.
const TICK: Duration = Duration::from_secs(1);

/// Follows one canary until it is deleted or nobody looks any more.
pub(crate) async fn one(wanted: &Wanted, name: &str) -> Result<Exit, StatusError> {
    let mut canaries = watcher::watch_object(wanted.canaries(), name).default_backoff().boxed();
    let mut runs: BoxStream<'_, watcher::Result<Option<CanaryRun>>> = stream::pending().boxed();
    let mut named: Option<String> = None;
    let mut canary: Option<Canary> = None;
    let mut run: Option<CanaryRun> = None;
    let mut view = View::new(wanted);
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            biased;
            Some(next) = canaries.next() => match next {
                Ok(Some(next)) => {
                    view.contact();
                    let of = next.status.as_ref().and_then(|s| Some(s.run.as_ref()?.name.clone()));
                    if of != named {
                        run = None;
                        runs = match &of {
                            Some(of) => watcher::watch_object(wanted.runs(), of).default_backoff().boxed(),
                            None => stream::pending().boxed(),
                        };
                        named = of;
                    }
                    view.changed(&next)?;
                    canary = Some(next);
                }
                Ok(None) => return gone(wanted, name, canary.is_some()),
                Err(error) => view.lost(error, canary.is_some())?,
            },
            // Without the run there is less to see, and that is all.
            Some(next) = runs.next() => if let Ok(next) = next { run = next },
            _ = tick.tick() => {}
        }
        if let Some(canary) = &canary {
            view.draw(|| wanted.screen(canary, run.as_ref()))?;
        }
    }
}

fn gone(wanted: &Wanted, name: &str, was_there: bool) -> Result<Exit, StatusError> {
    if !was_there {
        return Err(wanted.missing(name).into());
    }
    eprintln!("canary {name} has been deleted");
    Ok(Exit::Failed)
}

/// Follows all canaries until nobody looks any more.
pub(crate) async fn all(wanted: &Wanted) -> Result<Exit, StatusError> {
    let mut events = watch(wanted.canaries(), watcher::Config::default()).default_backoff().boxed();
    let mut canaries: BTreeMap<Key, Canary> = BTreeMap::new();
    let mut listed: BTreeMap<Key, Canary> = BTreeMap::new();
    let mut ready = false;
    let mut view = View::new(wanted);
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            biased;
            Some(event) = events.next() => match event {
                Ok(event) => {
                    view.contact();
                    match event {
                        Event::Init => listed.clear(),
                        Event::InitApply(canary) => {
                            view.changed(&canary)?;
                            listed.insert(key(&canary), canary);
                        }
                        Event::InitDone => {
                            canaries = std::mem::take(&mut listed);
                            ready = true;
                        }
                        Event::Apply(canary) => {
                            view.changed(&canary)?;
                            canaries.insert(key(&canary), canary);
                        }
                        Event::Delete(canary) => {
                            canaries.remove(&key(&canary));
                        }
                    }
                }
                Err(error) => view.lost(error, ready)?,
            },
            _ = tick.tick() => {}
        }
        if ready {
            view.draw(|| {
                if canaries.is_empty() {
                    vec![wanted.none()]
                } else {
                    wanted.table(canaries.values())
                }
            })?;
        }
    }
}

type Key = (Option<String>, Option<String>);

fn key(canary: &Canary) -> Key {
    (canary.metadata.namespace.clone(), canary.metadata.name.clone())
}

/// What has been shown, and how the next is.
struct View<'a> {
    wanted: &'a Wanted,
    /// Objects or lines, one below the other.
    appends: bool,
    /// The newest line of each canary.
    told: BTreeMap<Key, String>,
    drawn: usize,
    last: Vec<String>,
    size: (usize, Option<usize>),
    lost: Option<(DateTime<Utc>, String)>,
}

impl<'a> View<'a> {
    fn new(wanted: &'a Wanted) -> Self {
        let objects = matches!(wanted.output, Some(Output::Json | Output::Yaml | Output::Name));
        let appends = objects || !wanted.terminal.is_terminal;
        let size = (wanted.terminal.width(), wanted.terminal.height());
        Self {
            wanted,
            appends,
            told: BTreeMap::new(),
            drawn: 0,
            last: Vec::new(),
            size,
            lost: None,
        }
    }

    fn contact(&mut self) {
        self.lost = None;
    }

    /// Before anything has been seen it is an answer; later, something to wait for.
    fn lost(&mut self, error: watcher::Error, seen: bool) -> Result<(), StatusError> {
        let error = self.fault(error);
        if !seen {
            return Err(error.into());
        }
        if self.appends && self.lost.is_none() {
            eprintln!("no contact with the API server, trying again: {}", chain(&error));
        }
        let since = self.lost.take().map_or_else(now, |(since, _)| since);
        self.lost = Some((since, chain(&error)));
        Ok(())
    }

    fn fault(&self, error: watcher::Error) -> ClusterError {
        let error = match error {
            watcher::Error::InitialListFailed(error)
            | watcher::Error::WatchStartFailed(error)
            | watcher::Error::WatchFailed(error) => error,
            watcher::Error::WatchError(status) => kube::Error::Api(status),
            watcher::Error::NoResourceVersion => {
                let why = "the server sent no resourceVersion to watch from";
                return ClusterError::Answer(why.to_owned());
            }
        };
        self.wanted.cluster.fault(error)
    }

    fn changed(&mut self, canary: &Canary) -> Result<(), StatusError> {
        if !self.appends {
            return Ok(());
        }
        match self.wanted.output {
            Some(Output::Json | Output::Yaml | Output::Name) => self.wanted.print_object(canary),
            None | Some(Output::Wide) => {
                let line = change(canary);
                if self.told.insert(key(canary), line.clone()).as_ref() == Some(&line) {
                    return Ok(());
                }
                let at = now().to_rfc3339_opts(SecondsFormat::Secs, true);
                print_lines(&[format!("{at}  {line}")])
            }
        }
    }

    fn draw(&mut self, lines: impl Fn() -> Vec<String>) -> Result<(), StatusError> {
        if self.appends {
            return Ok(());
        }
        let Terminal { colours, .. } = self.wanted.terminal;
        let mut lines = lines();
        if let Some((since, error)) = &self.lost {
            let text = format!("no contact for {}: {error}", span(now() - *since));
            let text = cut(&text, self.wanted.terminal.width());
            // On top: all that is below it is old.
            lines.insert(0, Paint { colours }.paint(Tone::Bad, &text));
        }
        if let Some(height) = self.wanted.terminal.height()
            && lines.len() >= height
        {
            lines.truncate(height.saturating_sub(2));
            lines.push(Paint { colours }.paint(Tone::Faint, "… more in a taller window"));
        }
        let size = (self.wanted.terminal.width(), self.wanted.terminal.height());
        if lines == self.last && size == self.size {
            return Ok(());
        }
        let mut out = std::io::stdout().lock();
        if size != self.size {
            // Where the last drawing is now, the terminal alone knows.
            out.write_all(b"\x1b[H\x1b[2J")?;
            self.drawn = 0;
        }
        out.write_all(redraw(self.drawn, &lines).as_bytes())?;
        self.size = size;
        out.flush()?;
        self.drawn = lines.len();
        self.last = lines;
        Ok(())
    }
}

/// Goes up to where the last drawing began and writes over it, in one go and without wrapping, so that nothing flickers or moves.
fn redraw(drawn: usize, lines: &[String]) -> String {
    let mut text = "\u{1b}[?7l\r".to_owned();
    if drawn > 0 {
        text = format!("{text}\u{1b}[{drawn}A");
    }
    for line in lines {
        // Cleared first: behind a full line, clearing would take its last character.
        text += "\u{1b}[2K";
        text += line;
        text.push('\n');
    }
    text + "\u{1b}[J\u{1b}[?7h"
}

/// What a line says that is appended when it changes: no times, or it would always.
fn change(canary: &Canary) -> String {
    let status = canary.status.clone().unwrap_or_default();
    let meta = &canary.metadata;
    let name = meta.name.as_deref().unwrap_or_default();
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let phase = if status.phase.is_empty() { "Unknown" } else { &status.phase };
    let mut parts = vec![format!("{namespace}/{name}"), phase.to_owned()];
    let on = status.run.as_ref().filter(|run| run.ended_at.is_none());
    if let Some(run) = on.filter(|_| on_steps(&status)) {
        parts.push(format!("step {}/{}", run.step, run.steps));
    }
    if on.is_some() {
        parts.extend(status.traffic.as_ref().map(|t| format!("{} %", t.intended)));
    }
    parts.extend(status.waiting_for.map(|w| w.message));
    parts.join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_where_a_canary_is_and_no_time_that_would_change_it() {
        let line = |status: serde_json::Value| {
            let canary = serde_json::from_value(serde_json::json!({
                "apiVersion": "tidegate.dev/v1alpha1", "kind": "Canary",
                "metadata": {"name": "checkout", "namespace": "shop"},
                "spec": {"targetRef": {"name": "x"}, "traffic": {"service": {"name": "x"}}},
                "status": status,
            }));
            change(&canary.unwrap())
        };
        let run = serde_json::json!({
            "name": "r", "revision": "7f", "startedAt": "2026-11-24T03:00:00Z", "step": 2,
            "steps": 5, "failures": 0, "threshold": 5,
        });
        let waiting = serde_json::json!({
            "reason": "x", "message": "the story", "since": "2026-11-24T03:00:00Z",
            "nextAt": "2026-11-24T03:00:30Z",
        });
        let traffic = serde_json::json!({"intended": 10});
        let of = |phase: &str| {
            line(serde_json::json!({
                "phase": phase, "run": run, "waitingFor": waiting, "traffic": traffic,
            }))
        };
        assert_eq!(of("Progressing"), "shop/checkout  Progressing  step 2/5  10 %  the story");
        assert_eq!(of("RollingBack"), "shop/checkout  RollingBack  10 %  the story");
        assert_eq!(line(serde_json::json!({"phase": "Idle"})), "shop/checkout  Idle");
    }

    #[test]
    fn a_drawing_covers_the_one_before_and_leaves_nothing_of_it() {
        let lines = ["a".to_owned(), "b".to_owned()];
        assert_eq!(redraw(0, &lines), "\u{1b}[?7l\r\u{1b}[2Ka\n\u{1b}[2Kb\n\u{1b}[J\u{1b}[?7h");
        assert!(redraw(3, &lines).starts_with("\u{1b}[?7l\r\u{1b}[3A\u{1b}[2Ka"));
    }
}
