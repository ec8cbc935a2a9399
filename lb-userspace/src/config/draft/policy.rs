//! What a pool does when few or none of its backends are healthy, and when its primary changes.

use crate::config::bounds::{MIN_HEALTHY, PANIC_THRESHOLD};
use crate::config::field::Field;
use crate::config::problem::{Problems, quoted};
use crate::config::source::At;
use crate::config::table::TableReader;
use crate::model::{OnAllDown, OnRoleChange, Policy};

const ROLE_CHANGE_CHOICES: [(&str, OnRoleChange); 2] =
    [("keep", OnRoleChange::Keep), ("reset", OnRoleChange::Reset)];

/// A policy and where its parts are written. `None` is a default, or what could not be read.
pub(in crate::config) struct PolicyDraft {
    pub on_all_down: Option<At<OnAllDown>>,
    pub min_healthy: Option<At<u32>>,
    pub panic_threshold: Option<At<u32>>,
    pub on_role_change: Option<At<OnRoleChange>>,
}

impl PolicyDraft {
    pub fn read(reader: &mut TableReader<'_>, problems: &mut Problems) -> Self {
        Self {
            on_all_down: reader.optional("on_all_down").and_then(|field| read_on_all_down(field, problems)),
            min_healthy: reader
                .optional("min_healthy")
                .and_then(|field| field.integer(&MIN_HEALTHY, problems)),
            panic_threshold: reader
                .optional("panic_threshold")
                .and_then(|field| field.integer(&PANIC_THRESHOLD, problems)),
            on_role_change: reader
                .optional("on_role_change")
                .and_then(|field| field.choice(&ROLE_CHANGE_CHOICES, problems)),
        }
    }

    /// The pool that new connections go to when nobody is healthy, and where it is written.
    pub fn fallback(&self) -> Option<At<&str>> {
        let on_all_down = self.on_all_down.as_ref()?;
        on_all_down.value.fallback().map(|pool| At::new(pool, on_all_down.span.clone()))
    }

    pub fn into_policy(self) -> Policy {
        let defaults = Policy::default();
        Policy {
            on_all_down: self.on_all_down.map_or(defaults.on_all_down, |at| at.value),
            min_healthy: self.min_healthy.map_or(defaults.min_healthy, |at| at.value),
            panic_percent: self.panic_threshold.map_or(defaults.panic_percent, |at| at.value),
            on_role_change: self.on_role_change.map_or(defaults.on_role_change, |at| at.value),
        }
    }
}

/// One word, or a fallback and what to do if nobody is served there either.
fn read_on_all_down(field: Field<'_>, problems: &mut Problems) -> Option<At<OnAllDown>> {
    let word = |text: &str| match text.split_once(':') {
        None if text == "drop" => Some(OnAllDown::Drop),
        None if text == "fail-open" => Some(OnAllDown::FailOpen),
        Some(("fallback", pool)) if !pool.is_empty() => {
            Some(OnAllDown::Fallback { pool: pool.to_owned(), or_open: false })
        }
        _ => None,
    };
    let refuse = |field: Field<'_>, written: &str, problems: &mut Problems| {
        let message = format!("`on_all_down`: {} is not a choice", quoted(written));
        let hint = "the choices are \"drop\", \"fail-open\" and \"fallback:POOL\"; after a fallback may come what to do if \
                    nobody is served there either: [\"fallback:POOL\", \"fail-open\"]";
        field.refuse(message, hint, problems)
    };
    if !field.is_array() {
        let text = field.string(problems)?;
        return match word(text.value) {
            Some(value) => Some(At::new(value, text.span)),
            None => refuse(field, text.value, problems),
        };
    }
    let mut words = Vec::new();
    for element in field.elements(problems)? {
        let text = element.string(problems)?;
        match word(text.value) {
            Some(value) => words.push(At::new(value, text.span)),
            None => return refuse(element, text.value, problems),
        }
    }
    let mut words = words.into_iter();
    match (words.next(), words.next().map(|last| last.value), words.next()) {
        (Some(first), None, None) => Some(first),
        (Some(At { value: OnAllDown::Fallback { pool, .. }, span }), Some(last), None)
            if matches!(last, OnAllDown::Drop | OnAllDown::FailOpen) =>
        {
            Some(At::new(OnAllDown::Fallback { pool, or_open: last == OnAllDown::FailOpen }, span))
        }
        _ => {
            let message = "`on_all_down`: these do not go together";
            field.refuse(message, "write one of them, or [\"fallback:POOL\", \"fail-open\"]", problems)
        }
    }
}
