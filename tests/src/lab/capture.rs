//! Captures: the frames that pass an interface.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::packet_socket::PacketSocket;
use super::{interrupt, lock};

/// Frames that one capture holds; later ones are counted only.
const MAX_FRAMES: usize = 65_536;

/// Bytes that one capture holds; frames beyond are counted only.
const MAX_BYTES: usize = 64 << 20;

/// Longest time until the capturing thread sees that it should end, and until a wait sees an interrupt.
const SLICE: Duration = Duration::from_millis(20);

/// Which way a frame went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Received by the interface.
    In,
    /// Sent by the host.
    Out,
}

/// A frame that passed an interface.
#[derive(Clone, Debug)]
pub struct Frame {
    /// When it was read, shortly after it passed.
    pub at: Instant,
    /// Which way it went.
    pub direction: Direction,
    /// From the Ethernet header on, without frame check sequence. A VLAN tag that the kernel took off is not shown.
    pub bytes: Vec<u8>,
}

/// A running capture; ended when dropped.
pub struct Capture {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Seen>,
    changed: Condvar,
    stop: AtomicBool,
}

#[derive(Default)]
struct Seen {
    frames: Vec<Frame>,
    bytes: usize,
    not_kept: u64,
    failure: Option<String>,
}

impl Capture {
    pub(super) fn start(
        socket: PacketSocket,
        filter: impl Fn(&[u8]) -> bool + Send + 'static,
    ) -> Result<Self> {
        socket.set_timeout(SLICE)?;
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("lab-capture".to_owned())
            .spawn(move || record(socket, &filter, &theirs))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The frames seen so far.
    pub fn frames(&self) -> Vec<Frame> {
        lock(&self.shared.seen).frames.clone()
    }

    /// Frames that were accepted but not kept, because the capture holds as much as it may.
    pub fn not_kept(&self) -> u64 {
        lock(&self.shared.seen).not_kept
    }

    /// Waits until `enough` holds of the frames seen, and returns them.
    ///
    /// # Errors
    /// When it does not hold after `timeout` (the message says how many frames were seen), when reading failed, or
    /// [`super::Interrupted`].
    pub fn wait_until(
        &self,
        timeout: Duration,
        mut enough: impl FnMut(&[Frame]) -> bool,
    ) -> Result<Vec<Frame>> {
        let deadline = Instant::now() + timeout;
        let mut seen = lock(&self.shared.seen);
        loop {
            if enough(&seen.frames) {
                return Ok(seen.frames.clone());
            }
            if let Some(failure) = &seen.failure {
                bail!("the capture ended: {failure}");
            }
            interrupt::check()?;
            if Instant::now() >= deadline {
                bail!(
                    "the capture does not have what was waited for after {timeout:?}: {} frames, {} not kept",
                    seen.frames.len(),
                    seen.not_kept
                );
            }
            let waited = self.shared.changed.wait_timeout(seen, SLICE);
            seen = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends the capture; returns what it saw.
    pub fn stop(mut self) -> Vec<Frame> {
        self.end();
        std::mem::take(&mut lock(&self.shared.seen).frames)
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("a capture's filter panicked");
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the capturing thread does until it is told to stop.
fn record(mut socket: PacketSocket, filter: &dyn Fn(&[u8]) -> bool, shared: &Shared) {
    while !shared.stop.load(Ordering::Relaxed) {
        match socket.receive() {
            Ok(Some(passed)) if filter(&passed.bytes) => {
                let direction = if passed.outgoing { Direction::Out } else { Direction::In };
                lock(&shared.seen).keep(Frame { at: Instant::now(), direction, bytes: passed.bytes });
                shared.changed.notify_all();
            }
            Ok(_) => {}
            // The interface went down: frames may come again.
            Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {}
            Err(error) => {
                lock(&shared.seen).failure = Some(error.to_string());
                shared.changed.notify_all();
                return;
            }
        }
    }
}

impl Seen {
    fn keep(&mut self, frame: Frame) {
        let bytes = self.bytes.saturating_add(frame.bytes.len());
        if self.frames.len() >= MAX_FRAMES || bytes > MAX_BYTES {
            self.not_kept += 1;
            return;
        }
        self.bytes = bytes;
        self.frames.push(frame);
    }
}
