//! TOML text to a tree of values with places.
//!
//! Role: calls the TOML parser, which goes on after an error, and gives its errors hints. Imports `problem`.

use toml::Spanned;
use toml::de::DeTable;

use super::problem::{Problem, Problems};
use super::source::Span;

/// Reads the text; what could be read is in the tree even when there are errors.
pub(super) fn parse<'t>(text: &'t str, problems: &mut Problems) -> Spanned<DeTable<'t>> {
    let (tree, errors) = DeTable::parse_recoverable(text);
    // Below a header that is there twice, each key that is there twice is a consequence.
    let mut repeated_table: Span = 0..0;
    for error in errors {
        let span = error.span().unwrap_or_default();
        if error.message() == DUPLICATE_KEY {
            if repeated_table.contains(&span.start) {
                continue;
            }
            repeated_table = table_below(text, &span).unwrap_or(repeated_table);
        }
        let message = if is_bare_word(text, &span, error.message()) { BARE_WORD } else { error.message() };
        problems.push(Problem::syntax(span, message, hint(message)));
    }
    tree
}

/// The lines below the header that `key` stands in, up to the next header; `None` if it is no header.
fn table_below(text: &str, key: &Span) -> Option<Span> {
    let line_start = text.get(..key.start)?.rfind('\n').map_or(0, |newline| newline + 1);
    let is_header = |line: &str| line.trim_start().starts_with('[');
    if !is_header(text.get(line_start..)?) {
        return None;
    }
    let mut end = key.end;
    for line in text.get(key.end..)?.split_inclusive('\n') {
        if end > key.end && is_header(line) {
            break;
        }
        end += line.len();
    }
    Some(key.end..end)
}

const DUPLICATE_KEY: &str = "duplicate key";
const BARE_WORD: &str = "string values must be quoted";

/// The parser takes some words without quotes for numbers that went wrong ("nat" begins like `nan`).
fn is_bare_word(text: &str, span: &Span, message: &str) -> bool {
    let is_value = ["invalid float", "invalid integer", "invalid boolean", BARE_WORD]
        .iter()
        .any(|start| message.starts_with(start));
    is_value && text.get(span.start..).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic()))
}

/// What to do about an error of the parser, by the beginning of its message.
fn hint(message: &str) -> &'static str {
    const HINTS: [(&str, &str); 16] = [
        (BARE_WORD, "put the value in double quotes"),
        (DUPLICATE_KEY, "this name is used before; keep one of the two, or rename one"),
        ("unclosed array", "close the array with `]`"),
        ("unclosed table", "close the header with `]`"),
        ("unclosed array table", "close the header with `]]`"),
        ("unclosed inline table", "close the inline table with `}`"),
        ("missing comma", "put a comma between the two"),
        ("extra comma", "remove the comma"),
        ("key with no value", "write key = value"),
        ("missing value", "write a value after the `=`"),
        ("missing assignment", "put `=` between the key and the value"),
        ("extra `=`", "remove the second `=`"),
        ("invalid basic string", "close the text with a double quote on the same line"),
        ("cannot extend value", "keep the value or the table of this name, not both"),
        ("cannot recurse further", "nest fewer arrays and tables"),
        ("unexpected content", "begin a new line, or put `#` before a comment"),
    ];
    let found =
        HINTS.iter().filter(|(start, _)| message.starts_with(start)).max_by_key(|(start, _)| start.len());
    found.map_or("the text must be TOML 1.0: key = value lines under [table] headers", |(_, hint)| hint)
}
