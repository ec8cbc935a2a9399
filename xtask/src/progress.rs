//! Long steps: a line for each, with the seconds it took, and its output in a log.
//!
//! Role: used by set-up. Imports `workspace`.
//! Always holds: a step that fails shows the end of its log and says where the log is.

use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::workspace;

/// How often a running step is looked at.
const POLL: Duration = Duration::from_millis(200);

/// How often a running step says so where no terminal is.
const REMINDER: Duration = Duration::from_secs(30);

/// Lines of the log that a failed step shows.
const TAIL_LINES: usize = 30;

/// Runs a step; its output goes to `target/xtask/NAME.log`.
///
/// # Errors
/// When the command cannot be started or fails, with the end of its output.
pub fn step(title: &str, name: &str, command: &mut Command) -> Result<()> {
    let log_dir = workspace::target_dir().join("xtask");
    fs::create_dir_all(&log_dir).with_context(|| format!("cannot make {}", log_dir.display()))?;
    let log_path = log_dir.join(format!("{name}.log"));
    let log =
        File::create(&log_path).with_context(|| format!("cannot write the log {}", log_path.display()))?;
    let shown = workspace::shown(command);
    println!("  {title}: {shown}");
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("cannot share the log")?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot start `{shown}`"))?;
    let status = wait(&mut child, title, start)?;
    if !status.success() {
        bail!(
            "{title} failed after {} s: `{shown}` ended with {status}; the end of {}:\n{}",
            start.elapsed().as_secs(),
            log_path.display(),
            tail(&log_path)
        );
    }
    println!("  {title}: done in {} s", start.elapsed().as_secs());
    Ok(())
}

/// Waits for a child, showing that time passes.
fn wait(child: &mut Child, title: &str, start: Instant) -> Result<ExitStatus> {
    let on_terminal = io::stdout().is_terminal();
    let mut said = start;
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for the step")? {
            if on_terminal {
                print!("\r\x1b[K");
            }
            return Ok(status);
        }
        let interval = if on_terminal { Duration::from_secs(1) } else { REMINDER };
        if said.elapsed() >= interval {
            said = Instant::now();
            let seconds = start.elapsed().as_secs();
            if on_terminal {
                print!("\r\x1b[K  {title}: {seconds} s");
                io::stdout().flush().context("cannot write to the terminal")?;
            } else {
                println!("  {title}: still at it after {seconds} s");
            }
        }
        thread::sleep(POLL);
    }
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}
