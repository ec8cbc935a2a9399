//! Ctrl-C: a flag that waits check, so that callers return and drops clean up.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;

/// Signals after which the process ends at once, without cleaning up (the next lab's sweep does).
const IMPATIENT: u32 = 3;

/// Exit status of an impatient end: that of a shell for SIGINT.
const IMPATIENT_STATUS: i32 = 130;

static SIGNALS: AtomicU32 = AtomicU32::new(0);

/// A wait ended because the user asked the program to end.
#[derive(Debug)]
pub struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted by a signal")
    }
}

impl std::error::Error for Interrupted {}

/// Whether a signal asked this program to end since [`super::Lab::handle_interrupts`].
pub fn interrupted() -> bool {
    SIGNALS.load(Ordering::Relaxed) > 0
}

/// Fails with [`Interrupted`] when the program was asked to end.
pub(super) fn check() -> Result<()> {
    if interrupted() { Err(Interrupted.into()) } else { Ok(()) }
}

extern "C" fn on_signal(_: libc::c_int) {
    if SIGNALS.fetch_add(1, Ordering::Relaxed) + 1 >= IMPATIENT {
        // SAFETY: _exit is async-signal-safe and takes no pointers.
        unsafe { libc::_exit(IMPATIENT_STATUS) };
    }
}

pub(super) fn install() -> Result<()> {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: an all-zero sigaction is a valid value (no flags, empty mask); the handler is set below.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as libc::sighandler_t;
        // SAFETY: `action` is initialised and outlives the call; the handler only touches an atomic and calls _exit.
        if unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) } != 0 {
            return Err(std::io::Error::last_os_error().into());
        }
    }
    Ok(())
}
