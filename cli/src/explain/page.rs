//! The chain as a person reads it: what holds, what is broken, what to type.

use super::chain::answer;
use super::facts::Facts;
use super::link::{Break, Link, State};
use crate::args::Program;
use crate::screen::phase_tone;
use crate::terminal::{Paint, Tone};
use crate::text::wrap;

/// The chain, and for whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page<'a> {
    pub(super) facts: &'a Facts,
    pub(super) chain: &'a [Link],
    pub(super) program: Program,
    /// That was asked, without a login.
    pub(super) metrics_server: Option<&'a str>,
    pub(super) paint: Paint,
    pub(super) width: usize,
}

/// Where a link's text begins: a mark, the longest name, and a gap.
const INDENT: usize = 14;
/// Where a command begins.
const COMMAND: usize = 6;

impl Page<'_> {
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.title(), String::new()];
        let found = answer(self.chain);
        let above = found.map_or(self.chain.len(), |(i, _)| i);
        for link in self.chain.iter().take(above) {
            self.short(&mut lines, link);
        }
        if let Some((i, broken)) = found {
            if let Some(link) = self.chain.get(i) {
                self.broken(&mut lines, link.name, broken);
            }
            lines.push(String::new());
            self.commands(&mut lines, "Next", &broken.next);
            self.after(&mut lines, i);
        } else {
            lines.push(String::new());
            self.whole(&mut lines);
        }
        lines
    }

    fn title(&self) -> String {
        let facts = self.facts;
        let title = format!("{}/{}", facts.namespace(), facts.name());
        let mut title = self.paint.paint(Tone::Strong, &title);
        let phase = if facts.phase().is_empty() { "Unknown" } else { facts.phase() };
        title = format!("{title}  {}", self.paint.paint(phase_tone(phase), phase));
        if facts.stepping() {
            let step = facts.canary.status.as_ref().and_then(|s| s.step.clone());
            let step = step.map(|step| format!("  step {}", step.replace('/', " of ")));
            title += &step.unwrap_or_default();
            title = format!("{title}  {} % for the canary", facts.intended());
        }
        title
    }

    fn short(&self, lines: &mut Vec<String>, link: &Link) {
        match &link.state {
            State::Holds { says } => {
                self.line(lines, '✓', Tone::Good, link.name, says, Tone::Plain);
            }
            State::Unknown(blind) => {
                self.line(
                    lines,
                    '?',
                    Tone::Warn,
                    link.name,
                    &format!("unknown: {}", blind.says),
                    Tone::Warn,
                );
            }
            State::Broken(broken) => {
                self.line(lines, '✗', Tone::Bad, link.name, &broken.says, Tone::Bad);
            }
        }
    }

    fn broken(&self, lines: &mut Vec<String>, name: &str, broken: &Break) {
        self.line(lines, '✗', Tone::Bad, name, &broken.says, Tone::Bad);
        for (label, text) in [("is", &broken.read), ("must be", &broken.expected)] {
            self.hanging(lines, label, text);
        }
    }

    fn line(
        &self,
        lines: &mut Vec<String>,
        mark: char,
        tone: Tone,
        name: &str,
        text: &str,
        text_tone: Tone,
    ) {
        let head = format!("{mark} {name}");
        let padding = " ".repeat(INDENT.saturating_sub(crate::text::length(&head)));
        let room = self.width.saturating_sub(INDENT);
        for (i, part) in wrap(text, room).iter().enumerate() {
            let part = self.paint.paint(text_tone, part);
            lines.push(if i == 0 {
                format!("{} {name}{padding}{part}", self.paint.paint(tone, &mark.to_string()))
            } else {
                format!("{}{part}", " ".repeat(INDENT))
            });
        }
    }

    /// Beneath a link: what was found, and what would be right.
    fn hanging(&self, lines: &mut Vec<String>, label: &str, text: &str) {
        const LABEL: usize = 9;
        let room = self.width.saturating_sub(INDENT + LABEL);
        for (i, part) in wrap(text, room).iter().enumerate() {
            let label = if i == 0 { label } else { "" };
            let padding = " ".repeat(LABEL.saturating_sub(label.len()));
            let label = self.paint.paint(Tone::Faint, label);
            lines.push(format!("{}{label}{padding}{part}", " ".repeat(INDENT)));
        }
    }

    fn commands(&self, lines: &mut Vec<String>, label: &str, commands: &[String]) {
        for (i, command) in commands.iter().enumerate() {
            let label = if i == 0 { label } else { "" };
            let padding = " ".repeat(COMMAND.saturating_sub(label.len()));
            let room = self.width.saturating_sub(COMMAND);
            for (j, part) in folded(command, room).iter().enumerate() {
                let part = self.paint.paint(Tone::Good, part);
                lines.push(if j == 0 {
                    format!("{}{padding}{part}", self.paint.paint(Tone::Faint, label))
                } else {
                    format!("{}{part}", " ".repeat(COMMAND + 2))
                });
            }
        }
    }

    /// What follows from the broken link, and how to go on.
    fn after(&self, lines: &mut Vec<String>, broken: usize) {
        let behind = self.chain.iter().skip(broken + 1);
        let too = behind.filter(|link| matches!(link.state, State::Broken(_))).map(|l| l.name);
        let too: Vec<_> = too.collect();
        let mut again = format!(
            "{} explain {} -n {}",
            self.program.0,
            self.facts.name(),
            self.facts.namespace()
        );
        if let Some(url) = self.metrics_server {
            again = format!("{again} --metrics-server {url}");
        }
        self.commands(lines, "Then", &[again]);
        let unknown =
            self.chain.iter().take(broken).filter(|l| matches!(l.state, State::Unknown(_)));
        let unknown: Vec<_> = unknown.map(|l| l.name).collect();
        let mut notes = vec![];
        if !too.is_empty() {
            notes.push(format!("Broken too, maybe because of it: {}.", too.join(", ")));
        }
        if !unknown.is_empty() {
            notes.push(format!("Before it could not be read: {}.", unknown.join(", ")));
        }
        if notes.is_empty() {
            return;
        }
        lines.push(String::new());
        for note in notes {
            let parts = wrap(&note, self.width);
            lines.extend(parts.iter().map(|part| self.paint.paint(Tone::Faint, part)));
        }
    }

    /// Nothing is broken, or nothing that could be seen.
    fn whole(&self, lines: &mut Vec<String>) {
        let unknown: Vec<_> = self
            .chain
            .iter()
            .filter_map(|link| match &link.state {
                State::Unknown(blind) => Some((link.name, blind)),
                State::Holds { .. } | State::Broken(_) => None,
            })
            .collect();
        let conclusion = conclusion(self.facts, self.chain);
        let (tone, text) = if unknown.is_empty() {
            (Tone::Good, conclusion)
        } else {
            let names: Vec<_> = unknown.iter().map(|(name, _)| *name).collect();
            let text = format!(
                "Nothing that could be read is broken, and this could not be: {}. {conclusion}",
                names.join(", ")
            );
            (Tone::Warn, text)
        };
        lines.extend(wrap(&text, self.width).iter().map(|part| self.paint.paint(tone, part)));
        let mut next: Vec<String> =
            unknown.iter().flat_map(|(_, blind)| blind.next.iter().cloned()).collect();
        next.dedup();
        if !next.is_empty() {
            lines.push(String::new());
            self.commands(lines, "Next", &next);
        }
    }
}

/// The last word: of the link that counts requests, or else of the run.
fn conclusion(facts: &Facts, chain: &[Link]) -> String {
    let of = |name: &str| {
        chain.iter().find(|l| l.name == name).and_then(|l| match &l.state {
            State::Holds { says } => Some(says.clone()),
            State::Unknown(_) | State::Broken(_) => None,
        })
    };
    if let Some(requests) = of("requests") {
        return if facts.intended() == 0 {
            format!("Nothing is to reach the canary yet: {requests}.")
        } else {
            format!("Traffic reaches the canary: {requests}.")
        };
    }
    match (of("run"), facts.run_is_on()) {
        (Some(_), false) => {
            "Nothing is broken, and no traffic is meant for a canary: no run is on.".to_owned()
        }
        (Some(run), true) => format!("Nothing is broken: {run}."),
        (None, _) => String::new(),
    }
}

/// A command over several lines that a shell takes as one: broken between words, never in quotes.
fn folded(command: &str, room: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![];
    for word in words(command) {
        // What is broken needs room for a backslash, and is set in by two.
        let fits =
            |line: &String| crate::text::length(line) + 1 + crate::text::length(&word) + 4 <= room;
        match lines.last_mut() {
            Some(line) if fits(line) => {
                line.push(' ');
                line.push_str(&word);
            }
            Some(line) => {
                line.push_str(" \\");
                lines.push(word);
            }
            None => lines.push(word),
        }
    }
    lines
}

/// Between spaces that are not in single quotes; a flag stays with its value.
fn words(command: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut in_quotes = false;
    for c in command.chars() {
        match c {
            ' ' if !in_quotes => all.push(String::new()),
            c => {
                in_quotes ^= c == '\'';
                if let Some(word) = all.last_mut() {
                    word.push(c);
                }
            }
        }
    }
    all.retain(|word| !word.is_empty());
    let mut pieces: Vec<String> = vec![];
    let mut after_flag = false;
    for word in all {
        let flag = word.starts_with('-');
        match pieces.last_mut() {
            Some(piece) if after_flag && !flag => {
                piece.push(' ');
                piece.push_str(&word);
            }
            Some(_) | None => pieces.push(word),
        }
        after_flag = flag;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_command_is_broken_where_a_shell_allows_it() {
        assert_eq!(folded("kubectl get pods -n shop", 80), ["kubectl get pods -n shop"]);
        assert_eq!(
            folded("kubectl get pods -n shop -o 'a b'", 20),
            ["kubectl get pods \\", "-n shop -o 'a b'"]
        );
        assert_eq!(folded("curl 'a long word that can not be broken'", 12).len(), 2);
    }
}
