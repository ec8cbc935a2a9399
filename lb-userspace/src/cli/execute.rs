//! One function a command: ask the agent, render its answer.
//!
//! Role: from a parsed command to text. Imports `api` only.
//! Always holds: prints nothing itself, so that tests see what a user sees.

use serde::Serialize;

use super::args::{AddArgs, BackendCommand, Command, Output, ServiceCommand};
use super::exit::CliError;
use super::render::look::Look;
use super::render::text::plain;
use super::render::{backends, events, services, status};
use crate::api::client::Client;
use crate::api::edit::{AddBackend, BackendId, EditResult};
use crate::api::types::AdminState;

/// What a command has to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// For stdout, with its newlines.
    pub stdout: String,
    /// For stderr, unless `stdout` carries them already.
    pub warnings: Vec<String>,
}

/// Carries out one command.
///
/// # Errors
/// When the agent refuses or cannot be reached.
pub async fn execute(
    client: &Client,
    command: &Command,
    output: Output,
    look: Look,
) -> Result<Done, CliError> {
    match command {
        Command::Status => show(&client.status().await?, output, |value| status::render(value, look)),
        Command::Service(ServiceCommand::List) => {
            show(&client.services().await?, output, |value| services::render(value, look))
        }
        Command::Backend(command) => backend(client, command, output, look).await,
        Command::Reload => {
            let result = client.reload().await?;
            let (done, same) = ("configuration reloaded", "configuration not changed");
            edited(&result, output, if result.changed { done } else { same })
        }
        Command::Events { limit } => {
            show(&client.events(*limit).await?, output, |value| events::render(value, look))
        }
    }
}

async fn backend(
    client: &Client,
    command: &BackendCommand,
    output: Output,
    look: Look,
) -> Result<Done, CliError> {
    match command {
        BackendCommand::List { pool } => {
            show(&client.backends(pool.as_deref()).await?, output, |value| backends::render(value, look))
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
        BackendCommand::Drain(backend) => {
            let result = client.set_state(&backend.id, AdminState::Drain).await?;
            edited_backend(&backend.id, &result, output, "drained", "is drained already")
        }
        BackendCommand::Undrain(backend) => {
            let result = client.set_state(&backend.id, AdminState::Active).await?;
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
    edited(result, output, &format!("{id} {}", if result.changed { done } else { same }))
}

fn edited(result: &EditResult, output: Output, sentence: &str) -> Result<Done, CliError> {
    let stdout = match output {
        Output::Table => format!("{}, generation {}\n", plain(sentence), result.generation),
        Output::Json => json(result)?,
    };
    Ok(Done { stdout, warnings: result.warnings.clone() })
}

fn json(value: &impl Serialize) -> Result<String, CliError> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}
