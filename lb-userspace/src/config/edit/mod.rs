//! Edits of the text of a configuration that leave comments, order and layout alone.
//!
//! Role: `lbctl`'s edits of backends, made in the operator's own file with `toml_edit`. Imports model.
//! Always holds: an edit changes what it names and nothing else; the result is TOML, but whether it is a
//! valid configuration is for `parse` to say, which the caller must ask before using it.

mod array;
mod document;
mod tables;

use std::net::{IpAddr, SocketAddr};

use toml_edit::{Array, InlineTable, Item, Table, Value};

use super::address::parse_backend;
use super::problem::quoted;
use super::suggest::name_hint;
use crate::model::AdminState;
use document::{Document, PoolTable};

/// A backend to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendSpec {
    /// Name, unique in the pool.
    pub name: String,
    /// Address of the server.
    pub address: IpAddr,
    /// Port of the server; none means the service's own.
    pub port: Option<u16>,
    /// Weight; `None` leaves it out of the file, so that the default applies.
    pub weight: Option<u32>,
    /// State; `Active` is left out of the file, being the default.
    pub state: AdminState,
}

/// Why an edit was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The text is no TOML.
    #[error("the configuration file is not TOML: {message} (mend the file first)")]
    Syntax {
        /// What the TOML parser says.
        message: String,
    },
    /// There is no such pool.
    #[error("there is no pool {} ({hint})", quoted(pool))]
    UnknownPool {
        /// The name that was given.
        pool: String,
        /// The nearest name, or those that exist.
        hint: String,
    },
    /// There is no such backend in the pool.
    #[error("pool {} has no backend {} ({hint})", quoted(pool), quoted(backend))]
    UnknownBackend {
        /// The pool.
        pool: String,
        /// The name that was given.
        backend: String,
        /// The nearest name, or those that exist.
        hint: String,
    },
    /// The pool has a backend of that name.
    #[error("pool {} has a backend {} already (choose another name)", quoted(pool), quoted(backend))]
    NameTaken {
        /// The pool.
        pool: String,
        /// The name.
        backend: String,
    },
    /// The pool has a backend with that address and port.
    #[error(
        "pool {} has a backend with the address {address} already: {} (use its weight for a larger share)",
        quoted(pool),
        quoted(backend)
    )]
    AddressTaken {
        /// The pool.
        pool: String,
        /// The address, with the port if there is one.
        address: String,
        /// The backend that has it.
        backend: String,
    },
    /// `pools` or `backends` is not what it should be.
    #[error("`{key}` is not {expected} in the configuration file (mend the file first)")]
    Malformed {
        /// The key.
        key: String,
        /// What it should be.
        expected: &'static str,
    },
}

/// Adds a backend at the end of a pool.
///
/// # Errors
/// When the pool does not exist, or has a backend of that name or address.
pub fn add_backend(text: &str, pool: &str, backend: &BackendSpec) -> Result<String, EditError> {
    let mut document = Document::open(text)?;
    let mut table = document.pool(pool)?;
    refuse_duplicate(&listed(&table, pool)?, pool, backend)?;
    match table.backends() {
        None => table.put("backends", array::with_one(inline_table(backend)).into()),
        Some(Item::Value(Value::Array(backends))) => array::push(backends, inline_table(backend)),
        Some(Item::ArrayOfTables(backends)) => tables::push(backends, fields(backend)),
        Some(_) => return Err(malformed_backends(pool)),
    }
    Ok(document.close())
}

/// Removes a backend. Comments on its own line, or inside its own table, go with it; all others stay.
///
/// # Errors
/// When the pool or the backend does not exist.
pub fn remove_backend(text: &str, pool: &str, backend: &str) -> Result<String, EditError> {
    let mut document = Document::open(text)?;
    let mut table = document.pool(pool)?;
    let index = index_of(&table, pool, backend)?;
    let orphan = match table.backends() {
        Some(Item::Value(Value::Array(backends))) => {
            array::remove(backends, index);
            None
        }
        Some(Item::ArrayOfTables(backends)) => {
            let orphan = tables::remove(backends, index);
            if backends.is_empty() {
                table.remove("backends");
            }
            Some(orphan)
        }
        _ => return Err(malformed_backends(pool)),
    };
    if let Some(orphan) = orphan {
        document.adopt_comments(orphan);
    }
    Ok(document.close())
}

/// Sets the weight of a backend.
///
/// # Errors
/// When the pool or the backend does not exist.
pub fn set_weight(text: &str, pool: &str, backend: &str, weight: u32) -> Result<String, EditError> {
    set(text, pool, backend, "weight", i64::from(weight).into())
}

/// Sets the state of a backend. `Active` is not written where no state is.
///
/// # Errors
/// When the pool or the backend does not exist.
pub fn set_state(text: &str, pool: &str, backend: &str, state: AdminState) -> Result<String, EditError> {
    set(text, pool, backend, "state", state_word(state).into())
}

fn set(text: &str, pool: &str, backend: &str, key: &str, value: Value) -> Result<String, EditError> {
    let mut document = Document::open(text)?;
    let mut table = document.pool(pool)?;
    let index = index_of(&table, pool, backend)?;
    let mut backend = match table.backends() {
        Some(Item::Value(Value::Array(backends))) => {
            backends.get_mut(index).and_then(Value::as_inline_table_mut).map(PoolTable::Inline)
        }
        Some(Item::ArrayOfTables(backends)) => backends.get_mut(index).map(PoolTable::Standard),
        _ => None,
    }
    .ok_or_else(|| malformed_backends(pool))?;
    if backend.text(key) != value.as_str() || value.as_str().is_none() {
        backend.put(key, value);
    }
    Ok(document.close())
}

/// A backend as it is listed in the file.
struct Listed {
    name: Option<String>,
    address: Option<String>,
}

fn listed(table: &PoolTable<'_>, pool: &str) -> Result<Vec<Listed>, EditError> {
    let inline = |table: &InlineTable| {
        let text = |key| table.get(key).and_then(Value::as_str).map(str::to_owned);
        Listed { name: text("name"), address: text("address") }
    };
    let standard = |table: &Table| {
        let text = |key| table.get(key).and_then(Item::as_str).map(str::to_owned);
        Listed { name: text("name"), address: text("address") }
    };
    match table.get("backends") {
        None => Ok(Vec::new()),
        Some(Item::Value(Value::Array(array))) => inline_tables(array)
            .map(|tables| tables.into_iter().map(inline).collect())
            .ok_or_else(|| malformed_backends(pool)),
        Some(Item::ArrayOfTables(tables)) => Ok(tables.iter().map(standard).collect()),
        Some(_) => Err(malformed_backends(pool)),
    }
}

fn inline_tables(array: &Array) -> Option<Vec<&InlineTable>> {
    array.iter().map(Value::as_inline_table).collect()
}

fn index_of(table: &PoolTable<'_>, pool: &str, backend: &str) -> Result<usize, EditError> {
    let listed = listed(table, pool)?;
    let found = listed.iter().position(|listed| listed.name.as_deref() == Some(backend));
    found.ok_or_else(|| EditError::UnknownBackend {
        pool: pool.to_owned(),
        backend: backend.to_owned(),
        hint: name_hint(
            backend,
            listed.iter().filter_map(|listed| listed.name.as_deref()),
            "the pool is empty",
        ),
    })
}

fn refuse_duplicate(listed: &[Listed], pool: &str, backend: &BackendSpec) -> Result<(), EditError> {
    let pool = pool.to_owned();
    if listed.iter().any(|listed| listed.name.as_deref() == Some(backend.name.as_str())) {
        return Err(EditError::NameTaken { pool, backend: backend.name.clone() });
    }
    let same_address = |listed: &&Listed| {
        let written = listed.address.as_deref().and_then(|text| parse_backend(text).ok());
        written == Some((backend.address, backend.port))
    };
    match listed.iter().find(same_address) {
        None => Ok(()),
        Some(taken) => Err(EditError::AddressTaken {
            pool,
            address: address_text(backend),
            backend: taken.name.clone().unwrap_or_default(),
        }),
    }
}

fn malformed_backends(pool: &str) -> EditError {
    EditError::Malformed { key: format!("pools.{pool}.backends"), expected: "an array of tables" }
}

/// The keys of a new backend, in the order in which they are written.
fn fields(backend: &BackendSpec) -> Vec<(&'static str, Value)> {
    let mut fields = vec![("name", backend.name.as_str().into()), ("address", address_text(backend).into())];
    fields.extend(backend.weight.map(|weight| ("weight", i64::from(weight).into())));
    if backend.state != AdminState::Active {
        fields.push(("state", state_word(backend.state).into()));
    }
    fields
}

fn inline_table(backend: &BackendSpec) -> InlineTable {
    let mut table = InlineTable::new();
    for (key, value) in fields(backend) {
        table.insert(key, value);
    }
    table.fmt();
    table
}

fn address_text(backend: &BackendSpec) -> String {
    match backend.port {
        Some(port) => SocketAddr::new(backend.address, port).to_string(),
        None => backend.address.to_string(),
    }
}

fn state_word(state: AdminState) -> &'static str {
    match state {
        AdminState::Active => "active",
        AdminState::Drain => "drain",
        AdminState::Maintenance => "maintenance",
    }
}
