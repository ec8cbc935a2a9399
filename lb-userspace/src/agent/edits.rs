//! Edits of the configuration file that come in by the control socket.

use super::state::State;
use super::{Agent, AgentError, apply};
use crate::api::edit::EditResult;
use crate::api::error::{ApiError, ErrorCode, ErrorDetail};
use crate::config::edit::EditError;
use crate::config::{self, ConfigErrors, LoadError};
use crate::dataplane::DataplaneError;
use crate::reconcile::ReconcileError;
use crate::telemetry::events::EventKind;

impl Agent {
    /// Edits the file by `edit`, if the result is valid and takes effect.
    pub(super) async fn edit(
        &self,
        edit: impl FnOnce(&str) -> Result<String, EditError> + Send,
    ) -> Result<EditResult, ApiError> {
        let mut state = self.state.lock().await;
        edit_in(&mut state, edit).await
    }

    /// Reads the file again and applies it.
    pub(super) async fn reload_file(&self) -> Result<EditResult, ApiError> {
        let mut state = self.state.lock().await;
        let (parsed, text) = config::load(&state.path).map_err(|error| {
            state.event(EventKind::ConfigRefused, "config", &error.to_string());
            load_error(&error)
        })?;
        if text == state.loaded.text {
            return Ok(unchanged(&state));
        }
        if parsed.model.serves_nothing() && !state.loaded.model.serves_nothing() {
            let error = AgentError::ServesNothing { path: state.path.clone() };
            return Err(refused(&state, &error));
        }
        let warnings =
            apply::apply(&mut state, parsed, text).await.map_err(|error| refused(&state, &error))?;
        Ok(EditResult { generation: state.loaded.generation, changed: true, warnings })
    }
}

/// Edits the file by `edit`, if the result is valid and takes effect. For one who holds the lock and has looked at what
/// is in force.
pub(super) async fn edit_in(
    state: &mut State,
    edit: impl FnOnce(&str) -> Result<String, EditError> + Send,
) -> Result<EditResult, ApiError> {
    let (former, on_disk) = config::load(&state.path).map_err(|error| load_error(&error))?;
    if on_disk != state.loaded.text {
        let message = format!("{} was changed by somebody else since it was loaded", state.path.display());
        return Err(ApiError::new(ErrorCode::Conflict, message)
            .with_hint("apply that change with `lbctl reload`, then edit again"));
    }
    let text = edit(&on_disk).map_err(|error| edit_error(&error))?;
    if text == on_disk {
        return Ok(unchanged(state));
    }
    let parsed = config::parse(&text, &state.path).map_err(|errors| config_errors(&errors))?;
    let generation = state.loaded.generation;
    let warnings = apply::apply(state, parsed, text.clone()).await.map_err(|error| refused(state, &error))?;
    let written = match config::load(&state.path) {
        Ok((_, now)) if now == on_disk => {
            config::write_atomically(&state.path, &text).map_err(|error| error.to_string())
        }
        _ => Err(format!("{} was changed by somebody else meanwhile", state.path.display())),
    };
    if let Err(error) = written {
        // The file is the truth: what it does not say must not be in force.
        let undone = apply::apply(state, former, on_disk).await;
        state.loaded.generation = generation;
        let mut message = error;
        if let Err(undo) = undone {
            message = format!("{message}; and going back failed: {undo}");
        }
        return Err(ApiError::new(ErrorCode::Internal, message).with_hint("nothing was changed"));
    }
    Ok(EditResult { generation: state.loaded.generation, changed: true, warnings })
}

fn unchanged(state: &State) -> EditResult {
    EditResult { generation: state.loaded.generation, changed: false, warnings: Vec::new() }
}

fn refused(state: &State, error: &AgentError) -> ApiError {
    state.event(EventKind::ConfigRefused, "config", &error.to_string());
    let code = match error {
        AgentError::Reconcile(
            ReconcileError::TooManyBackends { .. }
            | ReconcileError::TooMany { .. }
            | ReconcileError::NoRoom { .. },
        )
        | AgentError::Dataplane(DataplaneError::Full { .. } | DataplaneError::Crowded { .. }) => {
            ErrorCode::LimitReached
        }
        AgentError::NoInterface { .. } | AgentError::Foreign { .. } | AgentError::ServesNothing { .. } => {
            ErrorCode::InvalidConfig
        }
        _ => ErrorCode::Internal,
    };
    ApiError::new(code, error.to_string())
        .with_hint("nothing was changed; the former configuration is in force")
}

fn edit_error(error: &EditError) -> ApiError {
    let code = match error {
        EditError::UnknownPool { .. } | EditError::UnknownBackend { .. } => ErrorCode::NotFound,
        EditError::NameTaken { .. } | EditError::AddressTaken { .. } => ErrorCode::Conflict,
        _ => ErrorCode::InvalidConfig,
    };
    ApiError::new(code, error.to_string())
}

fn load_error(error: &LoadError) -> ApiError {
    match error {
        LoadError::Invalid(errors) => config_errors(errors),
        other => ApiError::new(ErrorCode::InvalidConfig, other.to_string()),
    }
}

fn config_errors(errors: &ConfigErrors) -> ApiError {
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    let details = errors.entries().map(|entry| ErrorDetail {
        line: number(entry.line),
        column: number(entry.column),
        message: entry.message,
        hint: Some(entry.hint).filter(|hint| !hint.is_empty()),
    });
    let count = errors.len();
    let message =
        format!("{count} error{} in {}", if count == 1 { "" } else { "s" }, errors.origin().display());
    ApiError::new(ErrorCode::InvalidConfig, message)
        .with_hint("nothing was changed; the former configuration is in force")
        .with_details(details.collect())
}
