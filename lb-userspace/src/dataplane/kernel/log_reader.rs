//! The datapath's log: from the program's ring to the process's log.

use super::{KernelDataplane, KernelError, LogLevel};
use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

impl KernelDataplane {
    /// Hands the programs' log on to the `log` crate, now and for those that are loaded later, unless the log is off. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the ring cannot be opened.
    pub fn read_log(&mut self) -> Result<(), KernelError> {
        if self.log_level == LogLevel::Off {
            return Ok(());
        }
        self.programs.read_log()
    }
}

/// Starts a task that hands an object's log on. Needs a tokio runtime.
///
/// # Errors
/// When the ring cannot be opened.
pub(super) fn start(ebpf: &mut Ebpf) -> Result<(), KernelError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| KernelError::Log { source };
    let logger = EbpfLogger::init(ebpf).map_err(|error| failed(error.into()))?;
    // SAFETY: the logger owns its ring's descriptor, returns the same one each time, and moves into the AsyncFd,
    // so the descriptor stays open until it is deregistered.
    let reader = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) };
    tokio::spawn(read(reader.map_err(|error| failed(error.into()))?));
    Ok(())
}

async fn read<T: log::Log + 'static>(mut reader: AsyncFd<EbpfLogger<T>>) {
    loop {
        match reader.readable_mut().await {
            Ok(mut guard) => {
                guard.get_inner_mut().flush();
                guard.clear_ready();
            }
            Err(error) => {
                tracing::warn!("the datapath's log ended: {error}");
                return;
            }
        }
    }
}
