//! Text in columns and lines.

use crate::terminal::{Paint, Tone};

/// A piece of text in one tone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) tone: Tone,
}

impl Cell {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self::toned(Tone::Plain, text)
    }

    pub(crate) fn toned(tone: Tone, text: impl Into<String>) -> Self {
        Self { text: text.into(), tone }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows under a heading. The last column is as wide as it likes, or is cut.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<Cell>>,
}

/// Between two columns.
const GAP: &str = "  ";

impl Table {
    pub(crate) fn new(columns: impl IntoIterator<Item = (&'static str, Align)>) -> Self {
        Self { columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Lines of at most `width` characters if it is given.
    pub(crate) fn lines(&self, paint: Paint, width: Option<usize>) -> Vec<String> {
        let widths: Vec<_> = (0..self.columns.len()).map(|i| self.width_of(i)).collect();
        let head: Vec<_> =
            self.columns.iter().map(|(name, _)| Cell::toned(Tone::Faint, *name)).collect();
        std::iter::once(&head)
            .chain(&self.rows)
            .map(|row| self.line(row, &widths, paint, width))
            .collect()
    }

    fn width_of(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| length(&cell.text)).max().unwrap_or_default();
        widest.max(self.columns.get(column).map_or(0, |(name, _)| name.len()))
    }

    fn line(&self, row: &[Cell], widths: &[usize], paint: Paint, width: Option<usize>) -> String {
        let mut line = String::new();
        let mut left = width.unwrap_or(usize::MAX);
        for (i, ((cell, size), (_, align))) in row.iter().zip(widths).zip(&self.columns).enumerate()
        {
            let last = i + 1 == row.len();
            let text = if last { cut(&cell.text, left) } else { cell.text.clone() };
            let padding = " ".repeat(size.saturating_sub(length(&text)));
            let painted = paint.paint(cell.tone, &text);
            match align {
                Align::Right => line += &(padding + &painted),
                Align::Left if last => line += &painted,
                Align::Left => line += &(painted + &padding),
            }
            if !last {
                line += GAP;
            }
            left = left.saturating_sub(size + GAP.len());
        }
        line.truncate(line.trim_end().len());
        line
    }
}

pub(crate) fn length(text: &str) -> usize {
    text.chars().count()
}

/// At most `width` characters, with an ellipsis for what is missing.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if length(text) <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// Lines of at most `width` characters, broken between words; only a longer word is broken itself.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        let Some(line) = lines.last_mut() else { break };
        let used = length(line);
        if used > 0 && used + 1 + word.len() <= width {
            line.push(' ');
            line.extend(word);
            continue;
        }
        if used > 0 {
            lines.push(String::new());
        }
        loop {
            let rest = word.split_off(word.len().min(width));
            if let Some(line) = lines.last_mut() {
                line.extend(&word);
            }
            if rest.is_empty() {
                break;
            }
            lines.push(String::new());
            word = rest;
        }
    }
    lines
}

/// An error with its causes, without those that it has told already.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let why = cause.to_string();
        if !text.contains(&why) {
            text = format!("{text}: {why}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARE: Paint = Paint { colours: false };

    fn table() -> Table {
        let mut table =
            Table::new([("NAME", Align::Left), ("WEIGHT", Align::Right), ("WHY", Align::Left)]);
        table.row([Cell::new("checkout"), Cell::new("25 %"), Cell::new("a long story")]);
        table.row([Cell::toned(Tone::Bad, "b"), Cell::new("-"), Cell::new("")]);
        table
    }

    #[test]
    fn columns_stand_under_their_headings() {
        let lines = ["NAME      WEIGHT  WHY", "checkout    25 %  a long story", "b              -"];
        assert_eq!(table().lines(BARE, None), lines);
    }

    #[test]
    fn only_the_last_column_is_cut() {
        let lines = ["NAME      WEIGHT  WHY", "checkout    25 %  a long…", "b              -"];
        assert_eq!(table().lines(BARE, Some(25)), lines);
    }

    #[test]
    fn colours_take_no_room() {
        let line = "\u{1b}[1;31mb\u{1b}[0m              -";
        assert_eq!(
            table().lines(Paint { colours: true }, None).get(2).map(String::as_str),
            Some(line)
        );
    }

    #[test]
    fn text_is_wrapped_between_words_and_a_long_word_is_broken() {
        assert_eq!(wrap("one two  three", 8), ["one two", "three"]);
        assert_eq!(wrap("a sha256:0123456789 b", 8), ["a", "sha256:0", "12345678", "9 b"]);
        assert_eq!(wrap("", 8), [""]);
    }
}
