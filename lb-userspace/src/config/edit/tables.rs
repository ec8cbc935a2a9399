//! `[[pools.NAME.backends]]`: adding to and removing from an array of tables.

use toml_edit::{ArrayOfTables, Item, Table, Value};

use super::document::{after_last_newline, prefix};

/// What a removed table leaves behind: the comments above its header, and where it was.
pub(super) struct Orphan {
    pub comments: String,
    pub position: Option<isize>,
}

/// Appends a table, indented like the one before it.
pub(super) fn push(backends: &mut ArrayOfTables, fields: Vec<(&'static str, Value)>) {
    let last = backends.iter().last();
    let header_indent = last.map(|last| after_last_newline(&prefix(last.decor())).to_owned());
    let key_indent = last
        .and_then(|last| last.key("name"))
        .map(|key| after_last_newline(&prefix(key.leaf_decor())).to_owned())
        .unwrap_or_default();
    let mut table = Table::new();
    for (key, value) in fields {
        table.insert(key, Item::Value(value));
        if let Some(mut key) = table.key_mut(key) {
            key.leaf_decor_mut().set_prefix(key_indent.as_str());
        }
    }
    table.decor_mut().set_prefix(format!("\n{}", header_indent.unwrap_or_default()));
    backends.push(table);
}

/// Removes a table. An index out of range changes nothing.
pub(super) fn remove(backends: &mut ArrayOfTables, index: usize) -> Orphan {
    if index >= backends.len() {
        return Orphan { comments: String::new(), position: None };
    }
    let removed = backends.remove(index);
    // The indentation of the header goes with the header.
    let before = prefix(removed.decor());
    let comments = before.rfind('\n').map(|newline| before[..=newline].to_owned()).unwrap_or_default();
    Orphan { comments, position: removed.position() }
}
