//! The exec check: a command ends with status 0.
//!
//! Always holds: at most [`MAX_COMMANDS`] commands at once, those that are still dying included; a command has a process
//! group of its own, and none of it is left when its probe has ended, however that came about: the group is killed before
//! its leader is reaped, so that its number cannot be another's by then. (A process that left the group, with setsid(2),
//! is out of reach.) Programs start with the signal mask and dispositions of a fresh process: `std` sees to that, and the
//! agent ignores no signal but SIGPIPE, which `std` sets back.

use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, Interest};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::text::first_line;
use super::{ProbeError, Question, Stage};
use crate::health::finding::Answer;
use crate::model::ExecCheck;

/// Most commands at once in this process.
pub(super) const MAX_COMMANDS: usize = 64;

/// Most bytes of the first line of a command's output that are told.
const MAX_OUTPUT_BYTES: usize = 256;

/// Bytes of output that are read, and thrown away, at a time.
const READ_BYTES: usize = 4_096;

/// Where programs are looked for by what a command starts.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// One permit a command, from its start until it is reaped.
static COMMANDS: Semaphore = Semaphore::const_new(MAX_COMMANDS);

/// Good once the command has ended with status 0; the latency is the time that it took, with its start.
pub(super) async fn probe(question: &Question, check: &ExecCheck) -> Result<Answer, ProbeError> {
    let permit = permit(question).await?;
    let mut running = Running::start(question, check, permit)?;
    let cannot_wait = |error: io::Error| question.io_error(Stage::Answer, &error);
    let ended = running.watch().map_err(cannot_wait)?;
    let mut output = running.output();
    let waited = tokio::select! {
        biased;
        waited = tokio::time::timeout_at(question.end(), ended.readable()) => waited,
        never = output.follow() => match never {},
    };
    let Ok(has_ended) = waited else {
        let how = format!("did not end within {:?} and was killed", question.timeout);
        return Err(command_error(question, how, &output.told()));
    };
    has_ended.map_err(cannot_wait)?.retain_ready();
    let latency = question.elapsed();
    output.take_rest();
    match running.reap().map_err(cannot_wait)? {
        status if status.success() => Ok(latency.into()),
        status => Err(command_error(question, how_it_ended(status), &output.told())),
    }
}

/// Waits for its turn. That takes from the time of the check, and says nothing about the target.
async fn permit(question: &Question) -> Result<SemaphorePermit<'static>, ProbeError> {
    match tokio::time::timeout_at(question.end(), COMMANDS.acquire()).await {
        Ok(Ok(permit)) => Ok(permit),
        // The semaphore is never closed.
        Ok(Err(_)) | Err(_) => Err(question.not_asked(format!(
            "{MAX_COMMANDS} commands were running for all of {:?} (make them quicker, or check less often)",
            question.timeout
        ))),
    }
}

fn command_error(question: &Question, how: String, output: &str) -> ProbeError {
    let detail = if output.is_empty() { how } else { format!("{how}: {output}") };
    ProbeError::Command { address: question.address, detail }
}

fn how_it_ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => format!("ended in an unknown way ({status})"),
    }
}

/// The command without its output, which is followed.
fn command(question: &Question, check: &ExecCheck) -> Command {
    let (address, port) = (question.address.ip().to_string(), question.address.port().to_string());
    let mut words =
        check.command.iter().map(|word| word.replace("{address}", &address).replace("{port}", &port));
    let mut command = Command::new(words.next().unwrap_or_default());
    command
        .args(words)
        .env_clear()
        .envs([("PATH", PATH), ("LANG", "C"), ("LB_ADDRESS", &address), ("LB_PORT", &port)])
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Whatever keeps a command from starting lies with the node.
fn start_error(question: &Question, check: &ExecCheck, error: &io::Error) -> ProbeError {
    let program = check.command.first().map(String::as_str).unwrap_or_default();
    let advice = match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM) => return question.io_error(Stage::Answer, error),
        Some(libc::ENOENT) => "see that it is there, and the interpreter that its first line names",
        Some(libc::EACCES) => "see that it may be executed (chmod +x) by the user that lbd runs as",
        Some(libc::ENOEXEC) => "see that it is a program, or a script whose first line names its interpreter",
        Some(libc::EAGAIN) => "see the limits on processes (TasksMax, LimitNPROC) of lbd",
        _ => "see that it is a program that can be run",
    };
    question.not_asked(format!("cannot run {program}: {error} ({advice})"))
}

/// A command at work. Dropping it kills its group; its permit comes back once it is reaped.
struct Running {
    /// Its number and that of its group; another's once the command is reaped.
    group: Pid,
    /// None once it is reaped.
    living: Option<Living>,
}

struct Living {
    child: Child,
    _permit: SemaphorePermit<'static>,
}

impl Running {
    fn start(
        question: &Question,
        check: &ExecCheck,
        permit: SemaphorePermit<'static>,
    ) -> Result<Self, ProbeError> {
        let started = command(question, check).spawn();
        let child = started.map_err(|error| start_error(question, check, &error))?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        // A child that nobody has waited for has a number.
        let group = group.ok_or_else(|| question.not_asked("its command has no process number"))?;
        Ok(Self { group, living: Some(Living { child, _permit: permit }) })
    }

    /// Where it writes to.
    fn output(&mut self) -> Output {
        let child = self.living.as_mut().map(|living| &mut living.child);
        let (stdout, stderr) =
            child.map(|child| (child.stdout.take(), child.stderr.take())).unwrap_or_default();
        Output { stdout: Stream::new(stdout), stderr: Stream::new(stderr) }
    }

    /// What is readable once the command has ended, also while it is not reaped (`pidfd_open(2)`).
    fn watch(&self) -> io::Result<AsyncFd<OwnedFd>> {
        let pidfd = pidfd_open(self.group, PidfdFlags::empty())?;
        // SAFETY: an `OwnedFd` is the one owner of an open descriptor, and always names the same.
        Ok(unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }?)
    }

    /// Kills what the command has left behind, then reaps it. For one that has ended.
    fn reap(&mut self) -> io::Result<ExitStatus> {
        self.kill();
        let living = self.living.as_mut().map(|living| living.child.try_wait());
        let status = living.transpose()?.flatten().ok_or_else(|| io::Error::other("the command goes on"))?;
        self.living = None;
        Ok(status)
    }

    fn kill(&self) {
        // Not there any more is as good as killed.
        let _: Result<(), Errno> = kill_process_group(self.group, Signal::KILL);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(mut living) = self.living.take() else { return };
        self.kill();
        // It dies in a moment, or when the kernel lets it: until then it counts.
        if let (Ok(None), Ok(runtime)) = (living.child.try_wait(), Handle::try_current()) {
            runtime.spawn(async move {
                let _: io::Result<ExitStatus> = living.child.wait().await;
                drop(living);
            });
        }
    }
}

/// What a command writes, read for as long as it runs so that it never waits for a reader.
struct Output {
    stdout: Stream<ChildStdout>,
    stderr: Stream<ChildStderr>,
}

impl Output {
    /// Reads on and on. What it has read is kept when it is dropped.
    async fn follow(&mut self) -> Infallible {
        tokio::join!(self.stdout.follow(), self.stderr.follow());
        std::future::pending().await
    }

    /// Takes what is in the pipes now; others may still have them open.
    fn take_rest(&mut self) {
        self.stdout.take_rest();
        self.stderr.take_rest();
    }

    /// The first line, of stderr if stdout has none.
    fn told(&self) -> String {
        let lines = [&self.stdout.begin, &self.stderr.begin].map(|begin| first_line(begin, MAX_OUTPUT_BYTES));
        lines.into_iter().find(|line| !line.is_empty()).unwrap_or_default()
    }
}

/// One pipe and the first bytes that came out of it.
struct Stream<S> {
    source: Option<S>,
    begin: Vec<u8>,
}

impl<S: AsyncRead + AsFd + Unpin> Stream<S> {
    const fn new(source: Option<S>) -> Self {
        Self { source, begin: Vec::new() }
    }

    /// Reads to the end and throws away all but the beginning.
    async fn follow(&mut self) {
        let Some(source) = &mut self.source else { return };
        let mut part = Vec::with_capacity(READ_BYTES);
        while let Ok(1..) = source.read_buf(&mut part).await {
            let room = MAX_OUTPUT_BYTES.saturating_sub(self.begin.len());
            self.begin.extend(part.drain(..).take(room));
        }
    }

    /// The end of the command may be noticed before the last that it wrote.
    fn take_rest(&mut self) {
        let Some(source) = &self.source else { return };
        let mut rest = [0; MAX_OUTPUT_BYTES];
        // The pipe does not block. What cannot be read is only missing in a message.
        let bytes = rustix::io::read(source, &mut rest).unwrap_or(0);
        self.begin.extend_from_slice(&rest[..bytes]);
    }
}

#[cfg(test)]
mod tests;
