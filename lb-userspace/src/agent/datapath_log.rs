//! The datapath's log: from the program's ring to the agent's log.

use crate::dataplane::kernel::{KernelDataplane, LogLevel};
use crate::model::DatapathLog;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The program's level for a setting.
pub const fn level(setting: DatapathLog) -> LogLevel {
    match setting {
        DatapathLog::Off => LogLevel::Off,
        DatapathLog::Warn => LogLevel::Warn,
        DatapathLog::Info => LogLevel::Info,
        DatapathLog::Debug => LogLevel::Debug,
    }
}

/// Starts to read the program's log, unless it is off.
pub fn start(dataplane: &mut KernelDataplane, setting: DatapathLog) {
    if setting == DatapathLog::Off {
        return;
    }
    let logger = aya_log::EbpfLogger::init(dataplane.ebpf());
    let reader = logger.map_err(anyhow::Error::from).and_then(|logger| {
        // SAFETY: the logger owns its ring's descriptor, returns the same one each time, and moves into the AsyncFd,
        // so the descriptor stays open until it is deregistered.
        Ok(unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) }?)
    });
    match reader {
        Ok(reader) => {
            tokio::spawn(read(reader));
        }
        Err(error) => tracing::warn!("the datapath's log cannot be read: {error}"),
    }
}

async fn read<T: log::Log + 'static>(mut reader: AsyncFd<aya_log::EbpfLogger<T>>) {
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
