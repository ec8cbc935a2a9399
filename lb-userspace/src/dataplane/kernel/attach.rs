//! Attaching to interfaces, and adopting links that are pinned.

use super::{KernelDataplane, KernelError, Layout, Pins, probe};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, XdpMode, loaded_programs};
use std::path::Path;

/// How an interface got its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// A link was there, and its program was replaced in one step.
    Adopted,
    /// Attached in native mode.
    Native,
    /// Attached in generic mode.
    Generic,
}

impl KernelDataplane {
    /// Attaches to `interface`, or takes over the link that an earlier agent pinned there.
    ///
    /// `native` and `generic` say which modes may be tried, in that order.
    ///
    /// # Errors
    /// When another program is there, the interface is missing, or no mode that may be tried works.
    pub fn attach(&mut self, interface: &str, native: bool, generic: bool) -> Result<Attached, KernelError> {
        let path = self.pins.link(interface);
        if path.exists() {
            if self.adopt(interface, &path)? {
                return Ok(Attached::Adopted);
            }
            // The interface that the link was made for is gone; one of the same name may have come.
            Pins::remove(&path)?;
        }
        if native {
            match self.attach_native(interface, &path) {
                Ok(()) => return Ok(Attached::Native),
                Err(KernelError::NoNativeMode { source, .. }) if generic => {
                    tracing::warn!("{interface}: no native XDP ({source}), trying generic mode");
                }
                Err(error) => return Err(error),
            }
        }
        self.attach_new(interface, &path, XdpMode::Skb, Layout::Whole)?;
        Ok(Attached::Generic)
    }

    /// Packets in one piece are quicker and every driver has them; where one refuses, it may be for a large MTU, and take
    /// packets in several pieces.
    fn attach_native(&mut self, interface: &str, path: &Path) -> Result<(), KernelError> {
        let refusal = match self.attach_new(interface, path, XdpMode::Driver, Layout::Whole) {
            Err(KernelError::NoNativeMode { interface, source }) => {
                KernelError::NoNativeMode { interface, source }
            }
            result => return result,
        };
        if !probe::has_fragments()? {
            tracing::info!(
                "{interface}: if its MTU is what the driver minds, a kernel with multi-buffer XDP (Linux 5.18) helps"
            );
            return Err(refusal);
        }
        match self.attach_new(interface, path, XdpMode::Driver, Layout::Pieces) {
            Ok(()) => {
                tracing::info!("{interface}: packets may come in several pieces (a large MTU)");
                Ok(())
            }
            Err(error) => {
                tracing::debug!("{interface}: not with packets in several pieces, either: {error}");
                Err(refusal)
            }
        }
    }

    /// Replaces the program of a pinned link; false when its interface is gone.
    fn adopt(&mut self, interface: &str, path: &Path) -> Result<bool, KernelError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| KernelError::Attach {
            interface: interface.to_owned(),
            source,
        };
        let mut refusal = None;
        // Where packets in one piece are refused, the link was made for several.
        for layout in [Layout::Whole, Layout::Pieces] {
            if layout == Layout::Pieces && !probe::has_fragments()? {
                break;
            }
            let pinned = PinnedLink::from_pin(path).map_err(|error| failed(error.into()))?;
            let link = XdpLink::try_from(FdLink::from(pinned)).map_err(|error| failed(error.into()))?;
            let program = self.program(layout)?;
            match program.attach_to_link(link) {
                Ok(id) => {
                    // The pin keeps it attached; our descriptor would outlive a removal of the pin.
                    drop(program.take_link(id).map_err(|error| failed(error.into()))?);
                    return Ok(true);
                }
                Err(ProgramError::SyscallError(error))
                    if error.io_error.raw_os_error() == Some(libc::ENOLINK) =>
                {
                    return Ok(false);
                }
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        refusal.map_or(Ok(false), |error| Err(failed(error.into())))
    }

    fn attach_new(
        &mut self,
        interface: &str,
        path: &Path,
        mode: XdpMode,
        layout: Layout,
    ) -> Result<(), KernelError> {
        let program = self.program(layout)?;
        let link = program.attach(interface, mode).map_err(|error| attach_error(interface, mode, error))?;
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| KernelError::Attach {
            interface: interface.to_owned(),
            source,
        };
        let link = program.take_link(link).map_err(|error| failed(error.into()))?;
        let link = FdLink::try_from(link).map_err(|error| failed(error.into()))?;
        let pinned = link.pin(path).map_err(|error| failed(error.into()))?;
        // From here on the pin keeps the program attached; our descriptor is not needed.
        drop(pinned);
        Ok(())
    }

    /// Takes the program off an interface; whether it was there.
    ///
    /// # Errors
    /// When the pin cannot be removed.
    pub fn detach(&mut self, interface: &str) -> Result<bool, KernelError> {
        Pins::remove_link(&self.pins.link(interface))
    }

    /// Interfaces with a pinned link.
    ///
    /// # Errors
    /// When the pin directory cannot be read.
    pub fn linked_interfaces(&self) -> Result<Vec<String>, KernelError> {
        self.pins.linked_interfaces()
    }

    /// The kernel's ids of the programs that interfaces may have.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn program_ids(&mut self) -> Result<Vec<u32>, KernelError> {
        self.programs.ids()
    }
}

fn attach_error(interface: &str, mode: XdpMode, error: ProgramError) -> KernelError {
    let interface = interface.to_owned();
    let code = match &error {
        ProgramError::UnknownInterface { .. } => return KernelError::NoInterface { interface },
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    };
    match code {
        Some(libc::EBUSY | libc::EEXIST) => KernelError::Foreign { interface },
        Some(libc::EPERM | libc::EACCES | libc::ENODEV) => {
            KernelError::Attach { interface, source: cause(error) }
        }
        // Drivers say in many ways that they cannot: EOPNOTSUPP without native XDP, EINVAL, ERANGE or ENOSPC for the MTU
        // or the number of queues.
        _ if mode == XdpMode::Driver => KernelError::NoNativeMode { interface, source: cause(error) },
        _ => KernelError::Attach { interface, source: cause(error) },
    }
}

/// What the kernel said, where aya's own text says only which call failed.
fn cause(error: ProgramError) -> Box<dyn std::error::Error + Send + Sync> {
    match error {
        ProgramError::SyscallError(error) => error.io_error.into(),
        other => other.into(),
    }
}

/// Name of a loaded program, for messages about programs that are not ours.
pub fn program_name(id: u32) -> Option<String> {
    let info = loaded_programs().filter_map(Result::ok).find(|info| info.id() == id)?;
    info.name_as_str().map(str::to_owned)
}
