//! `lbctl backend drain`, with and without waiting for the connections that remain.
//!
//! Role: asks for the drain, then looks at the backend until nothing leads to it any more. Imports `api` only.
//! Always holds: however the wait ends, the backend goes on draining; the wait never outlives its deadline by more than
//! one call, nor an agent that is gone by more than [`UNREACHABLE_TIME`] and one call.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::args::{DrainArgs, Output};
use super::execute::{Done, edited, json};
use super::exit::CliError;
use super::progress::Progress;
use super::render::text::plain;
use super::render::units;
use crate::api::client::{Client, ClientError};
use crate::api::edit::{BackendId, EditResult, SetState};
use crate::api::error::{ApiError, ErrorCode};
use crate::api::types::{AdminState, BackendInfo};

/// Time between two looks at the backend.
pub const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Time without an answer after which the agent counts as gone; a restart takes less.
pub const UNREACHABLE_TIME: Duration = Duration::from_secs(10);

/// What a wait that came to its end prints with `-o json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// Generation of the configuration that drains the backend.
    pub generation: u64,
    /// Whether it was not drained before.
    pub changed: bool,
    /// Whether nothing leads to it any more.
    pub drained: bool,
    /// Its flows in the flow table.
    pub remaining_flows: u64,
    /// Time that the wait took, in milliseconds.
    pub waited_ms: u64,
    /// What the operator should know, a sentence each.
    pub warnings: Vec<String>,
}

/// Gives a backend no new flows and, if asked to, waits until its connections have ended.
pub(super) async fn drain(
    client: &Client,
    arguments: &DrainArgs,
    output: Output,
    progress: &mut dyn Progress,
) -> Result<Done, CliError> {
    let id = &arguments.backend.id;
    let request = SetState { state: AdminState::Drain, force: arguments.force };
    let result = client.set_state(id, request).await?;
    if !arguments.wait {
        let word = if result.changed { "takes no new flows" } else { "is being drained already" };
        let rest = "; its connections stay until they end (lbctl backend drain --wait shows them)";
        return edited(&result, output, &format!("{id} {word}"), rest);
    }
    // Now and not at the end, for one who breaks the wait off.
    if output == Output::Table {
        result.warnings.iter().for_each(|warning| progress.warn(warning));
    }
    let wait = Wait {
        client: client.clone().with_call_time(UNREACHABLE_TIME),
        id,
        started: Instant::now(),
        timeout: arguments.timeout,
    };
    let outcome = wait.until_drained(progress).await;
    progress.clear();
    let backend = outcome?;
    let stdout = match output {
        Output::Table => wait.sentence(),
        Output::Json => json(&wait.result(&backend, result))?,
    };
    Ok(Done { stdout, warnings: Vec::new() })
}

/// A wait for a backend that is being drained.
struct Wait<'a> {
    client: Client,
    id: &'a BackendId,
    started: Instant,
    timeout: Option<Duration>,
}

impl Wait<'_> {
    /// Looks until nothing leads to the backend any more; then what was seen last.
    async fn until_drained(&self, progress: &mut dyn Progress) -> Result<BackendInfo, CliError> {
        let mut answered = self.started;
        loop {
            match self.look().await {
                Ok(backend) if backend.drained => return Ok(backend),
                Ok(backend) if self.is_over() => return Err(self.deadline(&backend)),
                Ok(backend) => {
                    answered = Instant::now();
                    progress.show(self.started.elapsed(), &self.standing(&backend));
                }
                Err(error) if !may_pass(&error) => return Err(error),
                Err(error) if self.is_over() || answered.elapsed() >= UNREACHABLE_TIME => return Err(error),
                Err(_) => {
                    let text = format!("{}: lbd does not answer, {}", self.id, self.age());
                    progress.show(self.started.elapsed(), &text);
                }
            }
            tokio::time::sleep(self.pause()).await;
        }
    }

    /// The backend as it is now, if it is still there and still being drained.
    async fn look(&self) -> Result<BackendInfo, CliError> {
        let BackendId { pool, name } = self.id;
        let backends = match self.client.backends(Some(pool)).await {
            Err(ClientError::Refused(error)) if error.code == ErrorCode::NotFound => {
                return Err(self.removed());
            }
            answer => answer?,
        };
        let backend = backends.into_iter().find(|backend| backend.pool == *pool && backend.name == *name);
        let backend = backend.ok_or_else(|| self.removed())?;
        match backend.admin_state {
            AdminState::Active => Err(self.undrained()),
            AdminState::Drain | AdminState::Maintenance => Ok(backend),
        }
    }

    fn is_over(&self) -> bool {
        self.timeout.is_some_and(|timeout| self.started.elapsed() >= timeout)
    }

    /// Time until the next look; the last one is at the deadline.
    fn pause(&self) -> Duration {
        let left = self.timeout.map(|timeout| timeout.saturating_sub(self.started.elapsed()));
        left.map_or(LOOK_EVERY, |left| left.min(LOOK_EVERY))
    }

    fn age(&self) -> String {
        units::age(self.started.elapsed().as_secs())
    }

    /// `web/web1: 37 flows remain, 12s; idle connections may still show up for 4m 50s`.
    fn standing(&self, backend: &BackendInfo) -> String {
        let flows = units::flows_remain(backend.remembered_flows);
        let settles = backend
            .settles_in_seconds
            .map(|seconds| format!("; idle connections may still show up for {}", units::age(seconds)));
        format!("{}: {flows}, {}{}", self.id, self.age(), settles.unwrap_or_default())
    }

    fn sentence(&self) -> String {
        let id = self.id.to_string();
        format!("{} drained, nothing leads to it any more (took {})\n", plain(&id), self.age())
    }

    fn result(&self, backend: &BackendInfo, edit: EditResult) -> Drained {
        Drained {
            generation: edit.generation,
            changed: edit.changed,
            drained: backend.drained,
            remaining_flows: backend.remembered_flows,
            waited_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            warnings: edit.warnings,
        }
    }

    fn deadline(&self, backend: &BackendInfo) -> CliError {
        let id = self.id;
        let time = humantime::format_duration(self.timeout.unwrap_or_default());
        let flows = units::flows_remain(backend.remembered_flows);
        let settles = backend
            .settles_in_seconds
            .map(|seconds| format!(", and idle connections may still show up for {}", units::age(seconds)));
        let message = format!(
            "{id} is not drained after {time}: {flows}{}; it stays draining",
            settles.unwrap_or_default()
        );
        let hint = format!(
            "wait again with the same command, or give up the connections that remain: lbctl backend maintenance {id}"
        );
        CliError::Waited(ApiError::new(ErrorCode::Deadline, message).with_hint(hint))
    }

    fn removed(&self) -> CliError {
        let message = format!("{} was removed by somebody while it drained", self.id);
        let hint =
            "its connections stay with it until they end; lbctl status shows how many flows are remembered";
        CliError::Waited(ApiError::new(ErrorCode::NotFound, message).with_hint(hint))
    }

    fn undrained(&self) -> CliError {
        let message = format!("{} was given new flows again by somebody while it drained", self.id);
        let hint = format!("drain it again if that was a mistake: lbctl backend drain {}", self.id);
        CliError::Waited(ApiError::new(ErrorCode::Conflict, message).with_hint(hint))
    }
}

/// Whether a failure may be that of an agent which restarts or is busy.
pub(super) fn may_pass(error: &CliError) -> bool {
    match error {
        CliError::Client(ClientError::Refused(error)) => {
            matches!(error.code, ErrorCode::Unavailable | ErrorCode::Timeout)
        }
        CliError::Client(error) => !matches!(error, ClientError::Foreign { .. }),
        CliError::Waited(_) | CliError::Json(_) | CliError::Output(_) | CliError::Runtime(_) => false,
    }
}
