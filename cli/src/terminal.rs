//! Where the output goes: its size, and whether it can be drawn on and coloured.

use std::io::IsTerminal;

/// What a page has if there is no terminal to ask.
const WIDTH: usize = 80;
/// Longer lines are harder to read.
const WIDEST: usize = 120;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terminal {
    /// Can be drawn on in place.
    pub(crate) is_terminal: bool,
    pub(crate) colours: bool,
}

impl Terminal {
    pub(crate) fn stdout(no_color: Option<&str>) -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        let unwanted = no_color.is_some_and(|value| !value.is_empty());
        Self { is_terminal, colours: is_terminal && !unwanted }
    }

    /// Now: a window may be resized at any time.
    pub(crate) fn width(self) -> usize {
        match self.size() {
            Some((width, _)) => width.clamp(20, WIDEST),
            None => WIDTH,
        }
    }

    /// `None`: without end.
    pub(crate) fn height(self) -> Option<usize> {
        self.size().map(|(_, height)| height)
    }

    fn size(self) -> Option<(usize, usize)> {
        let (width, height) = terminal_size::terminal_size().filter(|_| self.is_terminal)?;
        Some((width.0.into(), height.0.into()))
    }
}

/// How a piece of text is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Strong,
    Faint,
    Good,
    Busy,
    Warn,
    Bad,
}

/// Puts tones on text, or leaves it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Paint {
    pub(crate) colours: bool,
}

impl Paint {
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Strong => "1",
            Tone::Faint => "2",
            Tone::Good => "32",
            Tone::Busy => "36",
            Tone::Warn => "33",
            Tone::Bad => "1;31",
        };
        if self.colours && !text.is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}
