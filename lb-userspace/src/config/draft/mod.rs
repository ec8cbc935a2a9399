//! The file as it was read: every value typed and in range by itself, with its place.
//!
//! Role: one file per table of the configuration reads it; `rules` then compare the tables with each other.
//! Imports `field`, `table`, `address`, `bounds`, `problem`, model.
//! Always holds: what could not be read is missing from the draft and was reported.

mod check;
mod node;
mod policy;
mod pool;
mod service;

use std::collections::BTreeMap;

use toml::de::DeTable;

use super::bounds::NAME_CHARS;
use super::field::Field;
use super::problem::{Problem, Problems, quoted};
use super::source::Span;
use super::table::{TableReader, named_entries};
use crate::model::{Backend, Model, Pool, StandbyOf};

pub(super) use check::CheckDraft;
pub(super) use node::{LimitsDraft, NodeDraft};
pub(super) use pool::{BackendDraft, PoolDraft};
pub(super) use service::ServiceDraft;

/// The whole file.
pub(super) struct Draft {
    pub node: Option<NodeDraft>,
    pub checks: BTreeMap<String, CheckDraft>,
    pub pools: BTreeMap<String, PoolDraft>,
    pub services: BTreeMap<String, ServiceDraft>,
}

impl Draft {
    pub fn read(root: &DeTable<'_>, problems: &mut Problems) -> Self {
        let mut reader = TableReader::new("the file", 0..0, root);
        let node_example = "a table [node] with interfaces = [\"eth0\"]";
        let node = reader.required("node", node_example, problems);
        let node_span = reader.key_span("node").unwrap_or_default();
        let draft = Self {
            node: node.and_then(|field| NodeDraft::read(field, node_span, problems)),
            checks: read_named(reader.optional("checks"), "check", problems, CheckDraft::read),
            pools: read_named(reader.optional("pools"), "pool", problems, PoolDraft::read),
            services: read_named(reader.optional("services"), "service", problems, ServiceDraft::read),
        };
        reader.finish(problems);
        draft
    }

    /// The model. `None` only where something is missing, which was reported.
    pub fn into_model(self) -> Option<Model> {
        Some(Model {
            node: self.node?.node?,
            checks: build(self.checks, |check| check.check)?,
            pools: with_standbys(build(self.pools, PoolDraft::into_pool)?),
            services: build(self.services, ServiceDraft::into_service)?,
        })
    }
}

/// Gives every pool with a fallback the backends of that pool as standbys, unless it has them itself.
fn with_standbys(mut pools: BTreeMap<String, Pool>) -> BTreeMap<String, Pool> {
    let own: BTreeMap<String, Vec<Backend>> =
        pools.iter().map(|(name, pool)| (name.clone(), pool.backends.clone())).collect();
    for pool in pools.values_mut() {
        let Some(fallback) = pool.policy.on_all_down.fallback() else { continue };
        for backend in own.get(fallback).into_iter().flatten() {
            if pool
                .backends
                .iter()
                .any(|other| (other.address, other.port) == (backend.address, backend.port))
            {
                continue;
            }
            pool.backends.push(Backend {
                name: format!("{fallback}/{}", backend.name),
                standby_of: Some(StandbyOf { pool: fallback.to_owned(), name: backend.name.clone() }),
                ..backend.clone()
            });
        }
    }
    pools
}

/// A table that was found under a name, ready to be read.
pub(super) struct Named<'a> {
    /// "pool `web`".
    what: String,
    name_span: Span,
    table: &'a DeTable<'a>,
}

/// Reads every table under `field` whose name is well formed.
fn read_named<T>(
    field: Option<Field<'_>>,
    kind: &str,
    problems: &mut Problems,
    read: impl Fn(Named<'_>, &mut Problems) -> T,
) -> BTreeMap<String, T> {
    let mut drafts = BTreeMap::new();
    let Some(table) = field.and_then(|field| field.table(problems)) else { return drafts };
    for (name, name_span, entry) in named_entries(table) {
        check_name(name, kind, &name_span, problems);
        if let Some(table) = entry.table(problems) {
            let what = format!("{kind} {}", quoted(name));
            drafts.insert(name.to_owned(), read(Named { what, name_span, table }, problems));
        }
    }
    drafts
}

fn build<T, U>(drafts: BTreeMap<String, T>, make: impl Fn(T) -> Option<U>) -> Option<BTreeMap<String, U>> {
    drafts.into_iter().map(|(name, draft)| Some((name, make(draft)?))).collect()
}

/// Reports a name that metrics, commands and file names could not carry.
fn check_name(name: &str, kind: &str, span: &Span, problems: &mut Problems) -> bool {
    let fits = NAME_CHARS.contains(&name.chars().count());
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if fits && name.chars().all(allowed) {
        return true;
    }
    let message = format!("{} cannot be the name of a {kind}", quoted(name));
    let hint = format!(
        "use {} to {} of the letters a-z and A-Z, digits, `-`, `_` and `.`",
        NAME_CHARS.start(),
        NAME_CHARS.end()
    );
    problems.push(Problem::value(span.clone(), message, hint));
    false
}
