//! Problems as people and programs read them.
//!
//! Role: the public face of a list of problems: one line each, with the source line (annotate-snippets), or
//! JSON. Imports `problem`, `source`, `bounds`.
//! Always holds: problems are in the order of the file, and what is left out is counted.

use std::fmt;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::{Serialize, Serializer};

use super::bounds::MAX_PROBLEMS_SHOWN;
use super::problem::{Problem, Problems};
use super::source::{Position, Source, Span};

/// Everything that is wrong with a configuration. Never empty.
#[derive(Clone, Debug)]
pub struct ConfigErrors(Report);

/// What is legal and probably not meant. May be empty.
#[derive(Clone, Debug)]
pub struct Warnings(Report);

/// One problem, as programs read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
    /// Other places that the problem is about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<RelatedEntry>,
}

/// Another place that a problem is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RelatedEntry {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is there.
    pub message: String,
}

#[derive(Clone, Debug)]
struct Report {
    source: Source,
    problems: Vec<Problem>,
    omitted: usize,
}

impl ConfigErrors {
    pub(super) fn new(source: Source, problems: Problems) -> Self {
        Self(Report::new(source, problems))
    }

    /// For a terminal: every problem with its source line and hint, like a compiler's. `color` adds escape
    /// sequences; leave it off when the output is no terminal.
    pub fn render(&self, color: bool) -> String {
        self.0.render(Kind::Error, color)
    }

    /// Every problem, in the order of the file.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.0.entries()
    }

    /// How many problems there are, including those that were only counted.
    #[expect(clippy::len_without_is_empty, reason = "errors are never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The file that the configuration came from.
    pub fn origin(&self) -> &Path {
        &self.0.source.origin
    }
}

impl Warnings {
    pub(super) fn new(source: Source, problems: Problems) -> Self {
        Self(Report::new(source, problems))
    }

    /// Like `ConfigErrors::render`; empty when there are none.
    pub fn render(&self, color: bool) -> String {
        self.0.render(Kind::Warning, color)
    }

    /// Every warning, in the order of the file.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.0.entries()
    }

    /// How many there are, including those that were only counted.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One line per problem: `file:line:column: message; other place: line N (hint)`.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt_lines(formatter)
    }
}

/// One line per warning, in the form of `ConfigErrors`.
impl fmt::Display for Warnings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt_lines(formatter)
    }
}

impl std::error::Error for ConfigErrors {}

/// `{"file": …, "errors": [Entry], "omitted": N}`.
impl Serialize for ConfigErrors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Form {
            file: String,
            errors: Vec<Entry>,
            omitted: usize,
        }
        let (file, errors) = self.0.parts();
        Form { file, errors, omitted: self.0.omitted }.serialize(serializer)
    }
}

/// `{"file": …, "warnings": [Entry], "omitted": N}`.
impl Serialize for Warnings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Form {
            file: String,
            warnings: Vec<Entry>,
            omitted: usize,
        }
        let (file, warnings) = self.0.parts();
        Form { file, warnings, omitted: self.0.omitted }.serialize(serializer)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Error,
    Warning,
}

impl Report {
    fn new(source: Source, problems: Problems) -> Self {
        let (problems, omitted) = problems.into_sorted();
        Self { source, problems, omitted }
    }

    fn len(&self) -> usize {
        self.problems.len() + self.omitted
    }

    /// How many problems a person is not shown.
    fn unseen(&self) -> usize {
        self.len().saturating_sub(MAX_PROBLEMS_SHOWN)
    }

    fn shown(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().take(MAX_PROBLEMS_SHOWN)
    }

    fn parts(&self) -> (String, Vec<Entry>) {
        (self.source.origin.display().to_string(), self.entries().collect())
    }

    fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.problems.iter().map(|problem| self.entry(problem))
    }

    fn entry(&self, problem: &Problem) -> Entry {
        let Position { line, column } = self.source.position(&problem.span);
        let related = problem.related.iter().map(|related| {
            let Position { line, column } = self.source.position(&related.span);
            RelatedEntry { line, column, message: related.label.clone() }
        });
        let related = related.collect();
        Entry { line, column, message: problem.message.clone(), hint: problem.hint.clone(), related }
    }

    fn fmt_lines(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = self.source.origin.display();
        for (index, problem) in self.shown().enumerate() {
            let entry = self.entry(problem);
            let separator = if index == 0 { "" } else { "\n" };
            write!(formatter, "{separator}{origin}:{}:{}: {}", entry.line, entry.column, entry.message)?;
            for related in &entry.related {
                write!(formatter, "; {}: line {}", related.message, related.line)?;
            }
            write!(formatter, " ({})", entry.hint)?;
        }
        match self.unseen() {
            0 => Ok(()),
            more => write!(formatter, "\n{origin}: and {more} more"),
        }
    }

    fn render(&self, kind: Kind, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut rendered: Vec<String> =
            self.shown().map(|problem| renderer.render(&self.groups(problem, kind))).collect();
        if self.unseen() > 0 {
            let noun = if kind == Kind::Error { "errors" } else { "warnings" };
            rendered.push(format!("… and {} more {noun}", self.unseen()));
        }
        rendered.join("\n\n")
    }

    fn groups<'s>(&'s self, problem: &'s Problem, kind: Kind) -> [Group<'s>; 1] {
        let level = if kind == Kind::Error { Level::ERROR } else { Level::WARNING };
        let spans = std::iter::once(&problem.span).chain(problem.related.iter().map(|related| &related.span));
        let (range, first_line) = self.source.excerpt(spans);
        let excerpt = self.source.text.get(range.clone()).unwrap_or_default();
        let inside = |span: &Span| {
            let span = self.source.clamp(span);
            span.start.saturating_sub(range.start)..span.end.saturating_sub(range.start)
        };
        let snippet = Snippet::source(excerpt)
            .line_start(first_line)
            .path(self.source.origin.display().to_string())
            .annotation(AnnotationKind::Primary.span(inside(&problem.span)))
            .annotations(problem.related.iter().map(|related| {
                AnnotationKind::Context.span(inside(&related.span)).label(related.label.as_str())
            }));
        let title = level.primary_title(problem.message.as_str());
        [title.element(snippet).element(Level::HELP.message(problem.hint.as_str()))]
    }
}
