//! Calls of the system's tools `ip` and `ethtool`.

use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};

/// Runs `ip` with these arguments; returns what it printed.
pub(super) fn ip(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("ip");
    command.args(arguments);
    run(command, "")
}

/// Runs `lines`, each the arguments of one `ip` call, in the namespace, and stops at the first that fails.
pub(super) fn ip_batch(netns: &str, lines: &[String]) -> Result<String> {
    let mut command = Command::new("ip");
    command.args(["-n", netns, "-batch", "-"]);
    run(command, &lines.join("\n"))
        .with_context(|| format!("in namespace {netns}: ip {}", lines.join("; ip ")))
}

/// Runs a tool to its end; returns what it printed, or an error with what it complained about.
pub(super) fn run(mut command: Command, input: &str) -> Result<String> {
    let shown = shown(&command);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| explain_spawn(&shown, error))?;
    // The input of every caller is far smaller than a pipe's buffer, so this cannot block on a full one.
    if let Some(mut stdin) = child.stdin.take()
        && let Err(error) = stdin.write_all(input.as_bytes())
        && error.kind() != ErrorKind::BrokenPipe
    {
        return Err(error).with_context(|| format!("writing to `{shown}`"));
    }
    let output = child.wait_with_output().with_context(|| format!("waiting for `{shown}`"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("`{shown}`: {}: {}", output.status, complaint.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A failed start, with what to do about it.
pub(super) fn explain_spawn(shown: &str, error: std::io::Error) -> anyhow::Error {
    if error.kind() == ErrorKind::NotFound {
        return anyhow!(
            "`{shown}`: no such program: install it (`cargo xtask setup` installs what the lab needs)"
        );
    }
    anyhow!(error).context(format!("starting `{shown}`"))
}

/// A command as one would type it.
pub(super) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
