//! The document around an edit: line ends, the way to a pool, values with their layout.

use toml_edit::{Decor, DocumentMut, InlineTable, Item, Table, Value};

use super::EditError;
use super::tables::Orphan;
use crate::config::suggest::name_hint;

const BYTE_ORDER_MARK: char = '\u{feff}';

/// A text while it is edited.
pub(super) struct Document {
    tree: DocumentMut,
    /// `toml_edit` ends lines with LF only; a file with CRLF gets its line ends back.
    has_crlf: bool,
    has_byte_order_mark: bool,
}

impl Document {
    pub fn open(text: &str) -> Result<Self, EditError> {
        let (crlf, all) = (text.matches("\r\n").count(), text.matches('\n').count());
        let unmarked = text.strip_prefix(BYTE_ORDER_MARK);
        let tree = unmarked
            .unwrap_or(text)
            .replace("\r\n", "\n")
            .parse::<DocumentMut>()
            .map_err(|error| EditError::Syntax { message: error.message().to_owned() })?;
        Ok(Self { tree, has_crlf: crlf * 2 > all, has_byte_order_mark: unmarked.is_some() })
    }

    pub fn close(self) -> String {
        let mut text = self.tree.to_string();
        if self.has_crlf {
            text = text.replace('\n', "\r\n");
        }
        if self.has_byte_order_mark {
            text.insert(0, BYTE_ORDER_MARK);
        }
        text
    }

    /// The table of a pool.
    pub fn pool(&mut self, name: &str) -> Result<PoolTable<'_>, EditError> {
        if let Some(pools) = self.tree.get("pools")
            && pools.as_table_like().is_none()
        {
            return Err(EditError::Malformed { key: "pools".to_owned(), expected: "a table" });
        }
        if self.tree.get("pools").and_then(|pools| pools.get(name)).is_none() {
            return Err(self.unknown_pool(name));
        }
        let pools = self.tree.get_mut("pools").and_then(PoolTable::of);
        let pool = pools.and_then(|pools| pools.into_item(name)).and_then(PoolTable::of);
        pool.ok_or_else(|| EditError::Malformed { key: format!("pools.{name}"), expected: "a table" })
    }

    /// Gives comments that stood before a removed table to what follows it in the file.
    pub fn adopt_comments(&mut self, orphan: Orphan) {
        let Orphan { comments, position } = orphan;
        if !comments.contains('#') {
            return;
        }
        let mut next: Option<isize> = None;
        for_each_table(self.tree.as_table_mut(), &mut |table| {
            let after = table.position().filter(|at| position.is_some_and(|removed| *at > removed));
            next = next.into_iter().chain(after).min();
        });
        let Some(next) = next else {
            let trailing = self.tree.trailing().as_str().unwrap_or_default().to_owned();
            self.tree.set_trailing(comments + &trailing);
            return;
        };
        for_each_table(self.tree.as_table_mut(), &mut |table| {
            if table.position() == Some(next) {
                let prefix = format!("{comments}{}", prefix(table.decor()));
                table.decor_mut().set_prefix(prefix);
            }
        });
    }

    fn unknown_pool(&self, name: &str) -> EditError {
        let pools = self.tree.get("pools").and_then(Item::as_table_like);
        let names: Vec<&str> =
            pools.into_iter().flat_map(|pools| pools.iter().map(|(name, _)| name)).collect();
        let hint = name_hint(name, names.iter().copied(), "the file has no pools");
        EditError::UnknownPool { pool: name.to_owned(), hint }
    }
}

/// Visits every table that has a header, in no particular order. As deep as the parser lets tables nest.
fn for_each_table(table: &mut Table, visit: &mut dyn FnMut(&mut Table)) {
    visit(table);
    for (_, item) in table.iter_mut() {
        match item {
            Item::Table(inner) => for_each_table(inner, visit),
            Item::ArrayOfTables(inner) => inner.iter_mut().for_each(|table| for_each_table(table, visit)),
            Item::None | Item::Value(_) => {}
        }
    }
}

/// A table in either of its forms: under a header (or dotted keys), or in braces.
pub(super) enum PoolTable<'d> {
    Standard(&'d mut Table),
    Inline(&'d mut InlineTable),
}

impl<'d> PoolTable<'d> {
    fn of(item: &'d mut Item) -> Option<Self> {
        match item {
            Item::Table(table) => Some(Self::Standard(table)),
            Item::Value(Value::InlineTable(table)) => Some(Self::Inline(table)),
            Item::None | Item::Value(_) | Item::ArrayOfTables(_) => None,
        }
    }

    fn into_item(self, key: &str) -> Option<&'d mut Item> {
        match self {
            Self::Standard(table) => table.get_mut(key),
            Self::Inline(table) => table.get_key_value_mut(key).map(|(_, item)| item),
        }
    }

    pub fn get(&self, key: &str) -> Option<&Item> {
        match self {
            Self::Standard(table) => table.get(key),
            Self::Inline(table) => table.get_key_value(key).map(|(_, item)| item),
        }
    }

    /// The text of `key`; an absent state counts as the default that it stands for.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.get(key) {
            Some(item) => item.as_str(),
            None => (key == "state").then_some("active"),
        }
    }

    pub fn backends(&mut self) -> Option<&mut Item> {
        match self {
            Self::Standard(table) => table.get_mut("backends"),
            Self::Inline(table) => table.get_key_value_mut("backends").map(|(_, item)| item),
        }
    }

    pub fn remove(&mut self, key: &str) {
        match self {
            Self::Standard(table) => drop(table.remove(key)),
            Self::Inline(table) => drop(table.remove(key)),
        }
    }

    /// Sets a value: an old one keeps its place and its comments, a new one comes last.
    pub fn put(&mut self, key: &str, value: Value) {
        let old = match self {
            Self::Standard(table) => table.get_mut(key).and_then(Item::as_value_mut),
            Self::Inline(table) => table.get_mut(key),
        };
        if let Some(old) = old {
            let decor = old.decor().clone();
            *old = value;
            *old.decor_mut() = decor;
            return;
        }
        match self {
            Self::Standard(table) => append_to_table(table, key, value),
            Self::Inline(table) => append_to_inline(table, key, value),
        }
    }
}

fn append_to_table(table: &mut Table, key: &str, value: Value) {
    let sibling = table.iter().next().map(|(sibling, _)| sibling.to_owned());
    let indent = sibling
        .and_then(|sibling| table.key(&sibling))
        .map(|sibling| after_last_newline(&prefix(sibling.leaf_decor())).to_owned());
    table.insert(key, Item::Value(value));
    if let (Some(indent), Some(mut key)) = (indent, table.key_mut(key)) {
        key.leaf_decor_mut().set_prefix(indent);
    }
}

/// Appends inside braces. What stood between the last value and the brace or its comma stays at the end.
fn append_to_inline(table: &mut InlineTable, key: &str, mut value: Value) {
    let mut ending = " ".to_owned();
    if let Some((_, last)) = table.iter_mut().last() {
        ending = suffix(last.decor());
        last.decor_mut().set_suffix("");
    }
    value.decor_mut().set_prefix(" ");
    value.decor_mut().set_suffix(ending);
    table.insert(key, value);
    if let Some(mut key) = table.key_mut(key) {
        key.leaf_decor_mut().set_prefix(" ");
        key.leaf_decor_mut().set_suffix(" ");
    }
}

pub(super) fn prefix(decor: &Decor) -> String {
    decor.prefix().and_then(|prefix| prefix.as_str()).unwrap_or_default().to_owned()
}

pub(super) fn suffix(decor: &Decor) -> String {
    decor.suffix().and_then(|suffix| suffix.as_str()).unwrap_or_default().to_owned()
}

pub(super) fn after_last_newline(text: &str) -> &str {
    text.rsplit('\n').next().unwrap_or(text)
}
