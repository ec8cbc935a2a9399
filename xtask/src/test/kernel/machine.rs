//! The emulated machine.
//!
//! Role: starts the emulator, hands on the lines of the second serial port, ends it. Imports `console`'s stages,
//! `emulator`, `image`.
//! Always holds: when [`Machine::run`] returns or panics, and when this process dies in any way, the emulator is gone.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use super::console::Stage;
use super::emulator::Emulator;
use super::image::Image;

/// Time to boot; some seconds on an idle machine.
const BOOT_LIMIT: Duration = Duration::from_mins(2);

/// Time for all tests; minutes on an idle machine.
const TESTS_LIMIT: Duration = Duration::from_mins(45);

/// Time to switch itself off.
const OFF_LIMIT: Duration = Duration::from_secs(30);

/// Memory of the machine, in MiB. The tests fit their maps to it.
const MEMORY_MIB: u32 = 4_096;

/// Processors of the machine.
const CPUS: u32 = 2;

/// What the kernel is told: messages to the first port, an oops is a panic, and a panic ends the machine.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 loglevel=6 oops=panic panic=-1";

/// Lines that may wait for us; the machine waits when there are more.
const MAX_WAITING_LINES: usize = 1_024;

/// Longest line that is read, in bytes; more is taken for further lines.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// Lines of the kernel's messages that a failure shows.
const LAST_LINES: usize = 40;

/// A machine to be.
pub struct Machine<'a> {
    /// What emulates it.
    pub emulator: &'a Emulator,
    /// Its kernel.
    pub image: &'a Image,
    /// Its root file system.
    pub initrd: &'a Path,
}

/// An emulator, killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; either way nothing is left to do about an error.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Machine<'_> {
    /// Runs it until it switches itself off. `take` gets every line and says how far the machine has come.
    ///
    /// # Errors
    /// When it cannot be started or exceeds a time limit.
    pub fn run(&self, mut take: impl FnMut(&str) -> Stage) -> Result<()> {
        let mut running = Running(self.start()?);
        let output = running.0.stdout.take().context("the emulator's output is piped")?;
        let lines = lines_of(output);
        let mut stage = Stage::Booting;
        let mut deadline = Instant::now() + limit(stage);
        loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let now = take(&line);
                    if now != stage {
                        stage = now;
                        deadline = Instant::now() + limit(stage);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    println!("{}", self.last_words());
                    bail!("the machine was ended: {} s are over ({stage:?})", limit(stage).as_secs());
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let status = running.0.wait().context("cannot wait for the emulator")?;
        if !status.success() {
            println!("{}", self.last_words());
            bail!("the emulator ended with {status}");
        }
        Ok(())
    }

    fn start(&self) -> Result<Child> {
        let mut command = self.emulator.command();
        command.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-no-user-config", "-nodefaults"]);
        command.args(["-smp", &CPUS.to_string(), "-m", &format!("{MEMORY_MIB}M")]);
        command.args(["-display", "none", "-no-reboot", "-append", KERNEL_ARGUMENTS]);
        command.arg("-kernel").arg(self.image.vmlinuz()).arg("-initrd").arg(self.initrd);
        command.arg("-serial").arg(format!("file:{}", self.messages().display())).args(["-serial", "stdio"]);
        die_with_this_process(&mut command);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))
    }

    /// File of the kernel's messages.
    fn messages(&self) -> PathBuf {
        self.initrd.with_file_name("messages.log")
    }

    /// The end of the kernel's messages, for a failure.
    pub fn last_words(&self) -> String {
        let path = self.messages();
        let text = std::fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
        format!("The end of the kernel's messages ({}):\n{}", path.display(), last.join("\n"))
    }
}

fn limit(stage: Stage) -> Duration {
    match stage {
        Stage::Booting => BOOT_LIMIT,
        Stage::Testing => TESTS_LIMIT,
        Stage::Over => OFF_LIMIT,
    }
}

/// Has the kernel kill the child when the thread that starts it ends, so that no end of this process leaves it behind.
fn die_with_this_process(command: &mut Command) {
    let parent = rustix::process::getpid();
    let arrange = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // Should this process have died before the call, nobody would tell the child.
        if getppid() == Some(parent) { Ok(()) } else { Err(orphaned()) }
    };
    // SAFETY: the closure runs between fork and exec, where only async-signal-safe calls are allowed: it makes two plain
    // system calls and neither allocates nor locks.
    unsafe { command.pre_exec(arrange) };
}

fn orphaned() -> std::io::Error {
    rustix::io::Errno::SRCH.into()
}

/// The lines of the machine's output, read by a thread that ends with the output or with the receiver.
fn lines_of(output: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = sync_channel(MAX_WAITING_LINES);
    thread::spawn(move || hand_on(output, &sender));
    receiver
}

fn hand_on(output: ChildStdout, sender: &SyncSender<String>) {
    use std::io::Read as _;
    let mut reader = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line)).into_owned();
                if sender.send(text).is_err() {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;

    fn is_alive(pid: u32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    }

    #[test]
    fn a_panic_leaves_no_process_behind() {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = child.id();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _running = Running(child);
            panic!("as a test would");
        }));
        assert!(panicked.is_err());
        assert!(!is_alive(pid));
    }

    #[test]
    fn a_process_dies_with_the_thread_that_started_it() {
        let mut child = thread::spawn(|| {
            let mut command = Command::new("sleep");
            die_with_this_process(command.arg("1000"));
            command.spawn().unwrap()
        })
        .join()
        .unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));
    }

    #[test]
    fn output_comes_in_lines_of_limited_length() {
        let script = "printf 'a\\nb\\n'; head -c 70000 /dev/zero | tr '\\0' x; printf 'c\\n'";
        let mut child = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let lines: Vec<String> = lines_of(child.stdout.take().unwrap()).into_iter().collect();
        assert!(child.wait().unwrap().success());
        let lengths: Vec<usize> = lines.iter().map(String::len).collect();
        assert_eq!(lengths, [1, 1, 65_536, 70_000 - 65_536 + 1]);
    }
}
