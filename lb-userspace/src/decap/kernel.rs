//! The programs and maps in the kernel.
//!
//! Always holds: the maps are filled before a program is attached; a link lives as long as the [`Decapsulator`].

use super::counters::Counters;
use super::error::Cause;
use super::{DecapError, Prefix};
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use lb_common::abi::Address;
use lb_common::decap::abi::{self, ACCEPTED, MAX_ENDS, OTHER_FAMILY};
use lb_common::decap::{DecapReason, PrefixKey};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The object that the build made of lb-ebpf.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb-decap.o"));

/// What the programs are made from.
#[derive(Clone, Debug)]
pub struct DecapConfig<'a> {
    /// The VIPs.
    pub vips: &'a [Prefix],
    /// Where tunnels may start; empty: anywhere.
    pub sources: &'a [Prefix],
    /// UDP port of GUE.
    pub gue_port: u16,
}

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// In the driver, for frames in one piece.
    Native,
    /// In the driver, for frames that may come in pieces.
    NativeFrags,
    /// Generic.
    Generic,
}

impl Attached {
    /// The name that people and programs read.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::NativeFrags => "native-frags",
            Self::Generic => "generic",
        }
    }

    const fn program(self) -> &'static str {
        match self {
            Self::Native | Self::Generic => abi::PROGRAM,
            Self::NativeFrags => abi::PROGRAM_FRAGS,
        }
    }

    const fn xdp_mode(self) -> XdpMode {
        match self {
            Self::Native | Self::NativeFrags => XdpMode::Driver,
            Self::Generic => XdpMode::Skb,
        }
    }
}

/// The loaded programs, their maps, and the link to the interface.
pub struct Decapsulator {
    // Before the programs, so that it is dropped, and the interface free, first.
    link: Option<XdpLink>,
    ends: HashMap<MapData, Address, u32>,
    counters: PerCpuArray<MapData, u64>,
    // The programs keep what they need of these; held so that `bpftool` shows their names with a process.
    _tries: [LpmTrie<MapData, Address, u32>; 2],
    ebpf: Ebpf,
}

impl Decapsulator {
    /// Loads the program for frames in one piece and fills the maps, but for the tunnel addresses.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn load(config: &DecapConfig<'_>) -> Result<Self, DecapError> {
        let gue_port = u32::from(config.gue_port.to_be());
        let any_source = u32::from(config.sources.is_empty());
        let mut loader = EbpfLoader::new();
        loader.override_global(abi::GUE_PORT, &gue_port, true).override_global(
            abi::ANY_SOURCE,
            &any_source,
            true,
        );
        let mut ebpf = loader.load(OBJECT).map_err(|error| DecapError::Load { cause: error.into() })?;
        let vips = filled(take(&mut ebpf, abi::VIPS)?, abi::VIPS, config.vips)?;
        let sources = filled(take(&mut ebpf, abi::SOURCES)?, abi::SOURCES, config.sources)?;
        let mut decapsulator = Self {
            link: None,
            ends: take(&mut ebpf, abi::ENDS)?,
            counters: take(&mut ebpf, abi::COUNTERS)?,
            _tries: [vips, sources],
            ebpf,
        };
        decapsulator.load_program(Attached::Native).map_err(|cause| DecapError::Load { cause })?;
        Ok(decapsulator)
    }

    /// The program, for test runs; `frags` chooses the one for frames in pieces, which is loaded at the first call.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn program(&mut self, frags: bool) -> Result<&mut Xdp, DecapError> {
        let attached = if frags { Attached::NativeFrags } else { Attached::Native };
        self.load_program(attached).map_err(|cause| DecapError::Load { cause })?;
        self.loaded(attached)
    }

    fn loaded(&mut self, attached: Attached) -> Result<&mut Xdp, DecapError> {
        let name = attached.program();
        let program = self.ebpf.program_mut(name).ok_or(DecapError::Incomplete(name))?;
        program.try_into().map_err(|_| DecapError::Incomplete(name))
    }

    fn load_program(&mut self, attached: Attached) -> Result<(), Cause> {
        match self.loaded(attached)?.load() {
            Ok(()) | Err(ProgramError::AlreadyLoaded) => Ok(()),
            Err(ProgramError::LoadError { io_error, verifier_log }) => {
                tracing::debug!("{}: the verifier says: {verifier_log}", attached.program());
                Err(io_error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Sets the addresses that tunnels end at; whether anything changed. Those that stay are never missing.
    ///
    /// # Errors
    /// When there are too many, or the kernel refuses.
    pub fn set_ends(&mut self, addresses: &BTreeSet<IpAddr>) -> Result<bool, DecapError> {
        if u32::try_from(addresses.len()).is_ok_and(|count| count > MAX_ENDS) {
            let count = addresses.len();
            return Err(DecapError::TooMany { option: "--tunnel-address", count, most: MAX_ENDS });
        }
        let wanted: BTreeSet<Address> = addresses.iter().map(|ip| lb_common::abi::address(*ip)).collect();
        let present: Result<BTreeSet<Address>, MapError> = self.ends.keys().collect();
        let present = present.map_err(refused("read", abi::ENDS))?;
        // Old ones may have to make room first.
        for address in present.difference(&wanted) {
            self.ends.remove(address).map_err(refused("write to", abi::ENDS))?;
        }
        for address in wanted.difference(&present) {
            self.ends.insert(address, ACCEPTED, 0).map_err(refused("write to", abi::ENDS))?;
        }
        Ok(present != wanted)
    }

    /// Attaches to the interface of that index, in place of a link that was there before; its name is for messages.
    /// `native` and `generic` say which modes may be tried, in that order. Where the driver refuses the program for frames
    /// in one piece (the MTU is larger than a piece), the one for frames in pieces is tried.
    ///
    /// # Errors
    /// When another program is there, the interface is gone, or no mode that may be tried works.
    pub fn attach(
        &mut self,
        interface: &str,
        ifindex: u32,
        native: bool,
        generic: bool,
    ) -> Result<Attached, DecapError> {
        self.detach();
        if native {
            let refusal = match self.attach_as(interface, ifindex, Attached::Native) {
                Err(DecapError::NoNativeMode { cause, .. }) => cause,
                result => return result,
            };
            tracing::debug!("{interface}: no native XDP for frames in one piece ({refusal})");
            match self.attach_in_pieces(interface, ifindex) {
                Err(DecapError::NoNativeMode { .. }) if generic => {
                    tracing::warn!(
                        "{interface}: no native XDP ({refusal}), taking generic mode, which is slow"
                    );
                }
                Err(DecapError::NoNativeMode { interface, .. }) => {
                    return Err(DecapError::NoNativeMode { interface, cause: refusal });
                }
                result => return result,
            }
        }
        self.attach_as(interface, ifindex, Attached::Generic)
    }

    fn attach_in_pieces(&mut self, interface: &str, ifindex: u32) -> Result<Attached, DecapError> {
        // A kernel that knows no frames in pieces refuses the program itself.
        self.load_program(Attached::NativeFrags)
            .map_err(|cause| DecapError::NoNativeMode { interface: interface.to_owned(), cause })?;
        self.attach_as(interface, ifindex, Attached::NativeFrags)
    }

    fn attach_as(
        &mut self,
        interface: &str,
        ifindex: u32,
        attached: Attached,
    ) -> Result<Attached, DecapError> {
        let program = self.loaded(attached)?;
        let link = program
            .attach_to_if_index(ifindex, attached.xdp_mode())
            .map_err(|error| attach_error(interface, attached, error))?;
        let link = program
            .take_link(link)
            .map_err(|error| DecapError::Attach { interface: interface.to_owned(), cause: error.into() })?;
        self.link = Some(link);
        Ok(attached)
    }

    /// Takes the program off the interface.
    pub fn detach(&mut self) {
        self.link = None;
    }

    /// The kernel's id of the program that is attached in that mode.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn program_id(&mut self, attached: Attached) -> Result<u32, DecapError> {
        let info = self.loaded(attached)?.info();
        info.map(|info| info.id()).map_err(|error| DecapError::Load { cause: error.into() })
    }

    /// Frames by reason, summed over CPUs.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn counters(&self) -> Result<Counters, DecapError> {
        let mut counters = Counters::default();
        for reason in DecapReason::ALL {
            let index = u32::from(reason.number());
            let values = self.counters.get(&index, 0).map_err(refused("read", abi::COUNTERS))?;
            counters.add(*reason, values.iter().sum());
        }
        Ok(counters)
    }
}

fn take<T: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, DecapError> {
    let map = ebpf.take_map(name).ok_or(DecapError::Incomplete(name))?;
    T::try_from(map).map_err(refused("use", name))
}

fn refused(action: &'static str, map: &'static str) -> impl FnOnce(MapError) -> DecapError {
    move |error| DecapError::Map { action, map, cause: error.into() }
}

/// The trie with the prefixes, and with the entry that keeps a short IPv6 prefix from covering IPv4 addresses.
fn filled(
    mut trie: LpmTrie<MapData, Address, u32>,
    name: &'static str,
    prefixes: &[Prefix],
) -> Result<LpmTrie<MapData, Address, u32>, DecapError> {
    let family = (PrefixKey::ALL_IPV4, OTHER_FAMILY);
    let entries = prefixes.iter().map(|prefix| (prefix.key(), ACCEPTED));
    for (PrefixKey { bits, address }, value) in std::iter::once(family).chain(entries) {
        trie.insert(&Key::new(bits, address), value, 0).map_err(refused("write to", name))?;
    }
    Ok(trie)
}

fn attach_error(interface: &str, attached: Attached, error: ProgramError) -> DecapError {
    let interface = interface.to_owned();
    let code = match &error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    };
    let cause: Cause = match error {
        ProgramError::SyscallError(error) => error.io_error.into(),
        other => other.into(),
    };
    let is_refusal = !matches!(
        code,
        Some(libc::EBUSY | libc::EEXIST | libc::EPERM | libc::EACCES | libc::ENODEV | libc::ENETDOWN)
    );
    // Drivers say in many ways that they cannot: EOPNOTSUPP without native XDP, EINVAL, ERANGE or ENOSPC for the MTU or
    // the number of queues.
    if is_refusal && attached != Attached::Generic {
        DecapError::NoNativeMode { interface, cause }
    } else {
        DecapError::Attach { interface, cause }
    }
}
