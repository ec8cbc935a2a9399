//! A table of the file, read key by key.
//!
//! Role: remembers which keys its reader knows, so that the others can be reported with a suggestion.
//! Imports `field`, `problem`, `source`, `suggest`.

use toml::de::DeTable;

use super::field::Field;
use super::problem::{Problem, Problems, quoted};
use super::source::Span;
use super::suggest;

/// A table while it is read. `finish` must be the last call.
pub(super) struct TableReader<'a> {
    /// What the table is, for messages: "pool `web`".
    what: String,
    /// Where the table is named.
    span: Span,
    table: &'a DeTable<'a>,
    known: Vec<&'static str>,
}

impl<'a> TableReader<'a> {
    pub fn new(what: impl Into<String>, span: Span, table: &'a DeTable<'a>) -> Self {
        Self { what: what.into(), span, table, known: Vec::new() }
    }

    /// The value of `key`, if it is there.
    pub fn optional(&mut self, key: &'static str) -> Option<Field<'a>> {
        self.known.push(key);
        self.table.get(key).map(|value| Field { key, value })
    }

    /// The value of `key`, or a problem that shows `example`.
    pub fn required(
        &mut self,
        key: &'static str,
        example: &str,
        problems: &mut Problems,
    ) -> Option<Field<'a>> {
        let field = self.optional(key);
        if field.is_none() {
            let message = format!("{} has no `{key}`", self.what);
            problems.push(Problem::relation(self.span.clone(), message, format!("add {example}")));
        }
        field
    }

    /// Whether `key` is there and nobody asked for it yet.
    pub fn has_left(&self, key: &str) -> bool {
        !self.known.contains(&key) && self.table.contains_key(key)
    }

    /// Where `key` itself is written.
    pub fn key_span(&self, key: &str) -> Option<Span> {
        self.table.get_key_value(key).map(|(key, _)| key.span())
    }

    /// Reports the keys that nobody asked for.
    pub fn finish(self, problems: &mut Problems) {
        for key in self.table.keys() {
            if self.known.contains(&key.get_ref().as_ref()) {
                continue;
            }
            problems.push_with(|| {
                let written = key.get_ref();
                let message = format!("{} has no key {}", self.what, quoted(written));
                if let Some(near) = suggest::nearest(written, self.known.iter().copied()) {
                    return Problem::value(key.span(), message, format!("did you mean `{near}`?"));
                }
                // Under a broken header a good key is in the wrong table: not a problem of its own.
                Problem::relation(key.span(), message, format!("its keys are {}", listed(&self.known)))
            });
        }
    }
}

/// The entries of a table whose keys are names ("[pools.web]"): the name, its place and the value.
pub(super) fn named_entries<'a>(
    table: &'a DeTable<'a>,
) -> impl Iterator<Item = (&'a str, Span, Field<'a>)> + 'a {
    table.iter().map(|(key, value)| {
        let name = key.get_ref().as_ref();
        (name, key.span(), Field { key: name, value })
    })
}

fn listed(keys: &[&str]) -> String {
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}
