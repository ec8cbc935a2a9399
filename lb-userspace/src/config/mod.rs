//! Configuration: TOML text to a valid `Model`, edits of the text, and writing it back.
//!
//! Role: the only way to a `Model` from outside. Imports model only.
//! Always holds: every problem of a file is found in one go and has a place and a hint; a `Model` that comes
//! out satisfies everything its docstrings say; edits touch nothing but what they name.
//!
//! The way of a file: `syntax` (text to spanned values), `draft` (each value by itself), `rules` (values
//! against each other), then the `Model`, or a `report` of the problems.

mod address;
pub mod bounds;
mod draft;
pub mod edit;
mod field;
mod load;
mod problem;
mod report;
mod rules;
mod source;
pub(crate) mod suggest;
mod syntax;
mod table;
mod write;

use std::collections::BTreeSet;
use std::path::Path;

pub use load::{LoadError, load};
pub use report::{ConfigErrors, Entry, RelatedEntry, Warnings};
pub use source::Position;
pub use write::{WriteError, write_atomically};

use crate::model::Model;
use bounds::MAX_FILE_BYTES;
use draft::Draft;
use problem::{Nature, Problem, Problems};
use source::Source;

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// What it means.
    pub model: Model,
    /// What is legal and probably not meant.
    pub warnings: Warnings,
}

/// Reads a configuration. `origin` names the file in messages; nothing is opened.
///
/// # Errors
/// Everything that is wrong with the text, in the order of the file.
pub fn parse(text: &str, origin: &Path) -> Result<Parsed, ConfigErrors> {
    let source = Source::new(text, origin);
    let mut problems = Problems::default();
    if text.len() > MAX_FILE_BYTES {
        let message = format!("the text has {} bytes; at most {MAX_FILE_BYTES} are read", text.len());
        problems.push(Problem::syntax(0..0, message, "check that this is the right file"));
        return Err(ConfigErrors::new(source, problems));
    }
    let tree = syntax::parse(text, &mut problems);
    let is_toml = problems.is_empty();
    let draft = Draft::read(tree.get_ref(), &mut problems);
    if is_toml {
        rules::check(&draft, &mut problems);
    } else {
        drop_consequences(&source, &mut problems);
    }
    if !problems.is_empty() {
        return Err(ConfigErrors::new(source, problems));
    }
    let mut warnings = Problems::default();
    rules::warn(&draft, &mut warnings);
    let Some(model) = draft.into_model() else {
        // A reader left something out without a word. Refusing is right, whatever it was.
        let hint = "please report this file as a bug";
        problems.push(Problem::relation(0..0, "the configuration could not be read", hint));
        return Err(ConfigErrors::new(source, problems));
    };
    Ok(Parsed { model, warnings: Warnings::new(source, warnings) })
}

/// Beside syntax errors, keeps only problems that cannot come from them: a value that is wrong in itself, on
/// a line without a syntax error. What is missing or does not fit together may only have been misread.
fn drop_consequences(source: &Source, problems: &mut Problems) {
    let mut broken_lines = BTreeSet::new();
    problems.retain(|problem| {
        if problem.nature == Nature::Syntax {
            broken_lines.insert(source.position(&problem.span).line);
        }
        true
    });
    problems.retain(|problem| match problem.nature {
        Nature::Syntax => true,
        // The parser stands in for a value that it could not read with one that has no place.
        Nature::Value => {
            !problem.span.is_empty() && !broken_lines.contains(&source.position(&problem.span).line)
        }
        Nature::Relation => false,
    });
}
