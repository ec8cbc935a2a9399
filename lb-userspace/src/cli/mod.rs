//! `lbctl`, the operator's command.
//!
//! Role: grammar, output and exit codes; everything else is asked of the agent. Imports `api` only.
//! Always holds: results go to stdout and everything else to stderr; with `-o json` both are JSON of the API's
//! types (a wait's result: [`drain::Drained`]); text that came from outside never reaches a terminal with its control characters.

pub mod args;
pub mod drain;
pub mod execute;
pub mod exit;
pub mod follow;
pub mod progress;
mod render;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use self::args::{Cli, Command, Output};
use self::exit::{CliError, Exit};
pub use self::render::look::Look;
use crate::api::client::Client;

/// Runs `lbctl` with the arguments of this process.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return exit::report_usage(&error, exit::wants_json(&arguments)).into(),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::report(&CliError::Runtime(error), cli.output).into(),
    };
    runtime.block_on(run(&cli)).into()
}

async fn run(cli: &Cli) -> Exit {
    let client = Client::new(&cli.socket);
    if let Command::Events { follow: true, limit } = cli.command {
        return follow(&client, limit, cli.output).await;
    }
    let mut progress = progress::on_stderr(cli.output);
    let look = Look::of_stdout();
    let result = execute::execute(&client, &cli.command, cli.output, look, progress.as_mut()).await;
    match result.and_then(|done| print(&done.stdout).map(|()| done.warnings)) {
        Ok(warnings) => {
            exit::report_warnings(&warnings, cli.output);
            Exit::Done
        }
        Err(error) => exit::report(&error, cli.output),
    }
}

/// Shows events until there is nobody to show them to: a reader that goes, or an interrupt, is how this ends.
async fn follow(client: &Client, limit: u32, output: Output) -> Exit {
    let mut terminal = follow::Terminal;
    let outcome = tokio::select! {
        outcome = follow::follow(client, limit, output, &mut terminal) => outcome,
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(CliError::Runtime),
    };
    outcome.map_or_else(|error| exit::report(&error, output), |()| Exit::Done)
}

/// Writes to stdout. A reader that has seen enough (`lbctl … | head`) is no error.
fn print(text: &str) -> Result<(), CliError> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(CliError::Output(error)),
        _ => Ok(()),
    }
}
