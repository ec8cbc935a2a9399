//! One function a command: ask the agent, render its answer.
//!
//! Role: from a parsed command to text. Imports `api` only.
//! Always holds: prints nothing itself, so that tests see what a user sees.

use serde::Serialize;

use super::args::{AddArgs, BackendCommand, Command, MaintenanceArgs, Output, ServiceCommand};
use super::drain;
use super::exit::CliError;
use super::progress::Progress;
use super::render::look::Look;
use super::render::text::plain;
use super::render::{backend, backends, events, services, status};
use crate::api::client::Client;
use crate::api::edit::{AddBackend, BackendId, EditResult, SetState};
use crate::api::types::AdminState;

/// What a command has to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// For stdout, with its newlines.
    pub stdout: String,
    /// For stderr, unless `stdout` carries them already.
    pub warnings: Vec<String>,
}

/// Carries out one command. One that waits shows `progress` meanwhile.
///
/// # Errors
/// When the agent refuses or cannot be reached.
pub async fn execute(
    client: &Client,
    command: &Command,
    output: Output,
    look: Look,
    progress: &mut dyn Progress,
) -> Result<Done, CliError> {
    match command {
        Command::Status => show(&client.status().await?, output, |value| status::render(value, look)),
        Command::Service(ServiceCommand::List) => {
            show(&client.services().await?, output, |value| services::render(value, look))
        }
        Command::Backend(command) => backend(client, command, output, look, progress).await,
        Command::Reload => {
            let result = client.reload().await?;
            let (done, same) = ("configuration reloaded", "configuration not changed");
            edited(&result, output, if result.changed { done } else { same }, "")
        }
        // Those that follow are for [`super::follow`]; without it these are the events of now.
        Command::Events { limit, .. } => {
            show(&client.events(*limit).await?, output, |value| events::render(value, look))
        }
    }
}

async fn backend(
    client: &Client,
    command: &BackendCommand,
    output: Output,
    look: Look,
    progress: &mut dyn Progress,
) -> Result<Done, CliError> {
    match command {
        BackendCommand::List { pool } => {
            show(&client.backends(pool.as_deref()).await?, output, |value| backends::render(value, look))
        }
        BackendCommand::Show { id } => {
            show(&client.backend(id).await?, output, |value| backend::render(value, look))
        }
        BackendCommand::Add(add) => add_backend(client, add, output).await,
        BackendCommand::Remove(backend) => {
            let result = client.remove_backend(&backend.id).await?;
            edited_backend(&backend.id, &result, output, "removed", "was not there")
        }
        BackendCommand::Weight { backend, weight } => {
            let result = client.set_weight(&backend.id, *weight).await?;
            let (done, same) = (format!("weight set to {weight}"), format!("has weight {weight} already"));
            edited_backend(&backend.id, &result, output, &done, &same)
        }
        BackendCommand::Drain(arguments) => drain::drain(client, arguments, output, progress).await,
        BackendCommand::Maintenance(arguments) => maintenance(client, arguments, output).await,
        BackendCommand::Undrain(backend) => {
            let request = SetState { state: AdminState::Active, force: false };
            let result = client.set_state(&backend.id, request).await?;
            edited_backend(&backend.id, &result, output, "takes new flows again", "takes new flows already")
        }
    }
}

async fn add_backend(client: &Client, add: &AddArgs, output: Output) -> Result<Done, CliError> {
    let id = &add.backend.id;
    let request = AddBackend {
        name: id.name.clone(),
        address: add.address,
        weight: add.weight,
        state: AdminState::Active,
    };
    let result = client.add_backend(&id.pool, &request).await?;
    edited_backend(id, &result, output, "added", "is there already")
}

async fn maintenance(client: &Client, arguments: &MaintenanceArgs, output: Output) -> Result<Done, CliError> {
    let id = &arguments.backend.id;
    let request = SetState { state: AdminState::Maintenance, force: arguments.force };
    let result = client.set_state(id, request).await?;
    let word = if result.changed { "takes no traffic" } else { "takes no traffic already" };
    edited(&result, output, &format!("{id} {word}"), "; its connections are given up")
}

fn show<T: Serialize>(
    value: &T,
    output: Output,
    render: impl FnOnce(&T) -> String,
) -> Result<Done, CliError> {
    let stdout = match output {
        Output::Table => render(value),
        Output::Json => json(value)?,
    };
    Ok(Done { stdout, warnings: Vec::new() })
}

fn edited_backend(
    id: &BackendId,
    result: &EditResult,
    output: Output,
    done: &str,
    same: &str,
) -> Result<Done, CliError> {
    edited(result, output, &format!("{id} {}", if result.changed { done } else { same }), "")
}

/// What an edit did, its generation, and what follows from it.
pub(super) fn edited(
    result: &EditResult,
    output: Output,
    sentence: &str,
    consequence: &str,
) -> Result<Done, CliError> {
    let stdout = match output {
        Output::Table => format!("{}, generation {}{consequence}\n", plain(sentence), result.generation),
        Output::Json => json(result)?,
    };
    Ok(Done { stdout, warnings: result.warnings.clone() })
}

pub(super) fn json(value: &impl Serialize) -> Result<String, CliError> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}
