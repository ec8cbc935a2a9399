//! The text of a configuration and the places in it.
//!
//! Role: turns byte ranges into lines and columns. Imports nothing of ours.
//! Always holds: lines and columns count from 1, columns in characters; every range, also one beyond the
//! text or inside a character, has a place.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A range of bytes of the text.
pub(super) type Span = Range<usize>;

/// A value together with where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct At<T> {
    pub value: T,
    pub span: Span,
}

impl<T> At<T> {
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

/// A line and a column, both from 1; the column counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

/// The text of one file, with the start of each of its lines.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub origin: PathBuf,
    pub text: Arc<str>,
    line_starts: Vec<usize>,
}

impl Source {
    pub fn new(text: &str, origin: &Path) -> Self {
        let line_starts =
            std::iter::once(0).chain(text.match_indices('\n').map(|(newline, _)| newline + 1)).collect();
        Self { origin: origin.to_path_buf(), text: Arc::from(text), line_starts }
    }

    /// The place where `span` begins.
    pub fn position(&self, span: &Span) -> Position {
        let start = self.text.floor_char_boundary(span.start);
        let line = self.line_of(start);
        let before = self.text.get(self.line_start(line)..start).unwrap_or_default();
        Position { line, column: before.chars().count() + 1 }
    }

    /// The whole lines that hold every span, and the number of the first of them. Renderers get this part
    /// only, so that they do not walk a large file for each problem.
    pub fn excerpt<'s>(&self, spans: impl Iterator<Item = &'s Span> + Clone) -> (Range<usize>, usize) {
        let first = spans.clone().map(|span| self.line_of(span.start)).min().unwrap_or(1);
        let last = spans.map(|span| self.line_of(span.end.max(span.start))).max().unwrap_or(1);
        let end = self.line_starts.get(last).copied().unwrap_or(self.text.len());
        (self.line_start(first)..end, first)
    }

    /// `span`, moved inside the text and onto character boundaries.
    pub fn clamp(&self, span: &Span) -> Span {
        let start = self.text.floor_char_boundary(span.start);
        start..self.text.ceil_char_boundary(span.end.min(self.text.len())).max(start)
    }

    fn line_of(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    fn line_start(&self, line: usize) -> usize {
        line.checked_sub(1).and_then(|index| self.line_starts.get(index)).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, span: Span) -> (usize, usize) {
        let position = Source::new(text, Path::new("lb.toml")).position(&span);
        (position.line, position.column)
    }

    #[test]
    fn lines_and_columns_count_from_one() {
        assert_eq!(place("", 0..0), (1, 1));
        assert_eq!(place("ab\ncd", 0..1), (1, 1));
        assert_eq!(place("ab\ncd", 4..5), (2, 2));
        assert_eq!(place("ab\n", 3..3), (2, 1));
    }

    #[test]
    fn columns_count_characters_not_bytes() {
        assert_eq!(place("# grün\nü = ä", 11..12), (2, 3));
    }

    #[test]
    fn places_outside_the_text_are_its_end() {
        assert_eq!(place("ab", 90..99), (1, 3));
        assert_eq!(place("ü", 1..2), (1, 1));
    }

    #[test]
    fn an_excerpt_holds_whole_lines() {
        let source = Source::new("one\ntwo\nthree\nfour\n", Path::new("lb.toml"));
        let spans = [5..6, 9..10];
        let (range, first) = source.excerpt(spans.iter());
        assert_eq!((&source.text[range], first), ("two\nthree\n", 2));
    }
}
