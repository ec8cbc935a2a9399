//! Programs that run in a host.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

use super::{interrupt, lock, tool, wait};

/// Time that a program has to end after SIGTERM, before SIGKILL.
const TERM_GRACE: Duration = Duration::from_secs(3);

/// Time that the kernel has to end a program after SIGKILL.
const KILL_GRACE: Duration = Duration::from_secs(5);

/// Longest time between two looks at the interrupt flag while waiting for an end.
const WAIT_SLICE: Duration = Duration::from_millis(100);

/// Length of the end of a log that error messages quote, in bytes.
const TAIL_LEN: u64 = 2_000;

/// Length of the output that [`Output`] holds, in bytes; the rest stays in the file.
const OUTPUT_LEN: u64 = 16 << 20;

/// A program in a host; ended when dropped.
pub struct Process {
    running: Arc<Running>,
}

/// What a program that ended printed.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// The command, for messages.
    pub command: String,
}

/// The part of a process that the lab holds too, so that it can end it.
pub(super) struct Running {
    child: Mutex<Child>,
    pid: u32,
    host: String,
    command: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Output {
    /// Itself if the status is 0.
    ///
    /// # Errors
    /// With another status, naming it, the command and what it printed.
    pub fn success(self) -> Result<Self> {
        ensure!(self.status.success(), "`{}`: {}: {}{}", self.command, self.status, self.stdout, self.stderr);
        Ok(self)
    }
}

impl Process {
    pub(super) fn new(running: Arc<Running>) -> Self {
        Self { running }
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.running.pid
    }

    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        self.running.is_alive()
    }

    /// Waits for its end; `None` when it still runs after `timeout`.
    ///
    /// # Errors
    /// [`super::Interrupted`].
    pub fn wait(&self, timeout: Duration) -> Result<Option<ExitStatus>> {
        self.running.wait(timeout, interrupt::check)
    }

    /// Sends a signal. Nothing happens when it has ended already.
    ///
    /// # Errors
    /// When the signal can not be sent.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.running.signal(signal)
    }

    /// Ends it at once, as a crash would (SIGKILL), and waits until it is gone.
    ///
    /// # Errors
    /// When it can not be killed.
    pub fn kill(&self) -> Result<ExitStatus> {
        self.running.kill()
    }

    /// Ends it as a service manager would: SIGTERM, and SIGKILL when it has not ended in 3 s.
    ///
    /// # Errors
    /// When it can not be killed.
    pub fn terminate(&self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        match self.running.wait(TERM_GRACE, || Ok(()))? {
            Some(status) => Ok(status),
            None => self.kill(),
        }
    }

    /// File that its standard output goes to.
    pub fn stdout_path(&self) -> &Path {
        &self.running.stdout
    }

    /// File that its standard error goes to.
    pub fn stderr_path(&self) -> &Path {
        &self.running.stderr
    }

    /// Waits until it has printed `text` on standard output or standard error.
    ///
    /// # Errors
    /// When it ends without, or has not after `timeout`; the message quotes the end of its log.
    pub fn wait_for_output(&self, text: &str, timeout: Duration) -> Result<()> {
        let running = &self.running;
        let printed = || -> Result<bool> {
            Ok(read_bounded(&running.stdout)?.contains(text) || read_bounded(&running.stderr)?.contains(text))
        };
        let what = format!("waiting for {text:?} from `{}`", running.command);
        wait::wait_until(&what, timeout, || {
            // Looked at before the output: what is printed just before the end counts.
            let alive = running.is_alive();
            if printed()? {
                return Ok(Some(()));
            }
            ensure!(alive, "{what}: it ended");
            Ok(None)
        })
        .with_context(|| running.log_tail())
    }

    /// The end of what it printed, with host and command, for messages.
    pub fn log_tail(&self) -> String {
        self.running.log_tail()
    }

    /// Removes an ended program's traces.
    pub(super) fn forget(self, processes: &Mutex<Vec<Arc<Running>>>) -> Result<()> {
        lock(processes).retain(|process| !Arc::ptr_eq(process, &self.running));
        fs::remove_file(&self.running.stdout)?;
        Ok(fs::remove_file(&self.running.stderr)?)
    }

    pub(super) fn output(&self, status: ExitStatus) -> Result<Output> {
        let running = &self.running;
        Ok(Output {
            status,
            stdout: read_bounded(&running.stdout)?,
            stderr: read_bounded(&running.stderr)?,
            command: running.command.clone(),
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        end_all(std::slice::from_ref(&self.running));
    }
}

impl Running {
    pub(super) fn start(mut command: Command, host: &str, dir: &Path, log_count: u32) -> Result<Arc<Self>> {
        let shown = tool::shown(&command);
        let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy();
        let log = |stream: &str| -> Result<(PathBuf, File)> {
            let path = dir.join(format!("{host}-{log_count}-{program}.{stream}"));
            let file = File::create_new(&path).with_context(|| format!("making {}", path.display()))?;
            Ok((path, file))
        };
        let (stdout, stdout_file) = log("out")?;
        let (stderr, stderr_file) = log("err")?;
        command.stdin(Stdio::null()).stdout(stdout_file).stderr(stderr_file);
        let child = command.spawn().map_err(|error| tool::explain_spawn(&shown, error))?;
        let pid = child.id();
        let child = Mutex::new(child);
        Ok(Arc::new(Self { child, pid, host: host.to_owned(), command: shown, stdout, stderr }))
    }

    /// Status if it ended. Reaps it then.
    fn ended(&self) -> Result<Option<ExitStatus>> {
        Ok(lock(&self.child).try_wait()?)
    }

    pub(super) fn is_alive(&self) -> bool {
        matches!(self.ended(), Ok(None))
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        // The lock keeps another thread from reaping the child, so that the id is the child's as long as we use it.
        let mut child = lock(&self.child);
        if child.try_wait()?.is_some() {
            return Ok(());
        }
        Ok(rustix::process::kill_process(Pid::from_child(&child), signal)?)
    }

    fn kill(&self) -> Result<ExitStatus> {
        self.signal(Signal::KILL)?;
        self.wait(KILL_GRACE, || Ok(()))?
            .with_context(|| format!("{} does not end, {KILL_GRACE:?} after SIGKILL", self.log_tail()))
    }

    /// Waits for the end by an event, not by looking; `check` runs at least every [`WAIT_SLICE`].
    fn wait(&self, timeout: Duration, check: impl Fn() -> Result<()>) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + timeout;
        let pidfd = {
            let mut child = lock(&self.child);
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?
        };
        loop {
            if let Some(status) = self.ended()? {
                return Ok(Some(status));
            }
            check()?;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let slice = Timespec::try_from(left.min(WAIT_SLICE))?;
            match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&slice)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(super) fn log_tail(&self) -> String {
        let ended = match self.ended() {
            Ok(Some(status)) => match status.signal() {
                Some(signal) => format!("ended by signal {signal}"),
                None => format!("ended, {status}"),
            },
            Ok(None) => "running".to_owned(),
            Err(error) => format!("state unknown: {error:#}"),
        };
        let mut tail = format!("[{}] `{}` (pid {}, {ended})", self.host, self.command, self.pid);
        for path in [&self.stdout, &self.stderr] {
            let text = read_tail(path).unwrap_or_default();
            for line in text.lines() {
                tail.push_str("\n  | ");
                tail.push_str(line);
            }
        }
        tail
    }
}

/// Ends programs together: SIGTERM to all, a bounded wait, then SIGKILL to those that remain.
pub(super) fn end_all(processes: &[Arc<Running>]) {
    for process in processes {
        if let Err(error) = process.signal(Signal::TERM) {
            eprintln!("{}: SIGTERM: {error:#}", process.log_tail());
        }
    }
    let deadline = Instant::now() + TERM_GRACE;
    for process in processes {
        let left = deadline.saturating_duration_since(Instant::now());
        if matches!(process.wait(left, || Ok(())), Ok(Some(_))) {
            continue;
        }
        if let Err(error) = process.kill() {
            eprintln!("{error:#}");
        }
    }
}

fn read_bounded(path: &Path) -> Result<String> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut bytes = Vec::new();
    file.take(OUTPUT_LEN).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn read_tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let len = fs::metadata(path)?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(TAIL_LEN)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_LEN).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
