//! One thing that is wrong, and the list of them that grows while a file is read.
//!
//! Role: what readers and rules write and reports show. Imports `source` and `bounds`.
//! Always holds: a problem has a place and a hint; the list keeps a bounded number and counts the rest.

use super::bounds::{MAX_PROBLEMS_KEPT, MAX_QUOTED_CHARS};
use super::source::Span;

/// What a problem depends on: decides whether it is shown beside syntax errors, which may have caused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nature {
    /// The text is no TOML.
    Syntax,
    /// The value is wrong in itself.
    Value,
    /// Something is missing, or disagrees with another part of the file.
    Relation,
}

/// Another place that a problem is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Related {
    pub span: Span,
    pub label: String,
}

/// One thing that is wrong, or (in a list of warnings) suspicious.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub nature: Nature,
    pub span: Span,
    pub message: String,
    pub hint: String,
    pub related: Vec<Related>,
}

impl Problem {
    pub fn syntax(span: Span, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Nature::Syntax, span, message.into(), hint.into())
    }

    pub fn value(span: Span, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Nature::Value, span, message.into(), hint.into())
    }

    pub fn relation(span: Span, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Nature::Relation, span, message.into(), hint.into())
    }

    /// Adds another place; `label` says what is there ("first use").
    pub fn related(mut self, span: Span, label: impl Into<String>) -> Self {
        self.related.push(Related { span, label: label.into() });
        self
    }

    fn new(nature: Nature, span: Span, message: String, hint: String) -> Self {
        Self { nature, span, message, hint, related: Vec::new() }
    }
}

/// The problems found so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Problems {
    kept: Vec<Problem>,
    omitted: usize,
}

impl Problems {
    pub fn push(&mut self, problem: Problem) {
        if self.is_full() {
            self.omitted += 1;
        } else {
            self.kept.push(problem);
        }
    }

    /// Adds the problem that `make` builds, or only counts it. For problems whose hint is costly to find.
    pub fn push_with(&mut self, make: impl FnOnce() -> Problem) {
        if self.is_full() {
            self.omitted += 1;
        } else {
            self.kept.push(make());
        }
    }

    pub fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.omitted == 0
    }

    /// The problems in the order of the file, and how many were only counted.
    pub fn into_sorted(mut self) -> (Vec<Problem>, usize) {
        self.kept.sort_by_key(|problem| (problem.span.start, problem.span.end));
        self.kept.dedup();
        (self.kept, self.omitted)
    }

    /// Drops problems for which `keep` is false.
    pub fn retain(&mut self, keep: impl FnMut(&Problem) -> bool) {
        self.kept.retain(keep);
    }

    fn is_full(&self) -> bool {
        self.kept.len() >= MAX_PROBLEMS_KEPT
    }
}

/// The operator's text in backticks: shortened, control characters escaped, so that a message stays one line.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_QUOTED_CHARS).flat_map(escape_control).collect();
    if text.chars().nth(MAX_QUOTED_CHARS).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

fn escape_control(character: char) -> Vec<char> {
    if character.is_control() { character.escape_default().collect() } else { vec![character] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_bounded_and_counts_the_rest() {
        let mut problems = Problems::default();
        for start in 0..MAX_PROBLEMS_KEPT + 5 {
            problems.push(Problem::value(start..start, "wrong", "mend it"));
        }
        let (kept, omitted) = problems.into_sorted();
        assert_eq!((kept.len(), omitted), (MAX_PROBLEMS_KEPT, 5));
    }

    #[test]
    fn quoted_text_is_short_and_on_one_line() {
        assert_eq!(quoted("a\nb\u{1b}[31m"), "`a\\nb\\u{1b}[31m`");
        assert_eq!(quoted(&"x".repeat(200)).chars().count(), MAX_QUOTED_CHARS + 3);
    }
}
