//! The dataplane in the kernel: loads the XDP program, or adopts what an earlier agent pinned.
//!
//! Always holds: maps and links stay pinned when the agent ends, however it ends; a program is replaced through its
//! link in one step, so that packets always meet one program or the other.

mod attach;
mod census;
mod flows;
mod log_reader;
mod maps;
mod mmap;
mod pins;
mod places;
mod prefixes;
pub mod probe;
mod programs;
mod sizes;
mod sys;

pub use attach::{Attached, program_name};
pub use census::Accepted;
pub use pins::Pins;
pub use programs::Layout;

use super::{Capacity, DataplaneError};
use aya::maps::{Array, MapData};
use aya::programs::Xdp;
use lb_common::abi::{ABI_VERSION, ANSWER_KINDS, RecordRate, Settings, names};
use maps::{Maps, Raw};
use programs::Programs;
use std::path::{Path, PathBuf};

/// Level of the datapath's log, by aya-log's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum LogLevel {
    /// Nothing; the verifier removes the code.
    Off = 0,
    /// Drops.
    Warn = 2,
    /// And forwarded packets.
    Info = 3,
    /// And passed ones.
    Debug = 4,
}

/// What the dataplane is made from.
#[derive(Clone, Debug)]
pub struct KernelConfig {
    /// Directory on a bpffs (`node.bpffs`).
    pub bpffs: PathBuf,
    /// Sizes of the maps.
    pub capacity: Capacity,
    /// The datapath's log.
    pub log_level: LogLevel,
}

/// What went wrong with the program, its links or its pins.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// bpffs could not be mounted.
    #[error("cannot mount a bpffs on {path}: {source}; lbd needs root and a kernel with CONFIG_BPF_SYSCALL")]
    Mount {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A pin could not be made or removed.
    #[error("cannot use the pin directory {path}: {source}")]
    Pins {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Pinned maps were made for another limit.
    #[error(
        "node.limits.{limit} was {found} when the pinned maps were made and is {wanted} now; sizes are fixed when maps \
         are made: put the old number back, or run `lbd remove` (which stops forwarding) and start again"
    )]
    Resized {
        /// The limit's name.
        limit: &'static str,
        /// What it was.
        found: u32,
        /// What is configured.
        wanted: u32,
    },
    /// Pinned maps have a size that no limit explains.
    #[error(
        "the pinned map {map} has {found} entries and this lbd makes it with {wanted}: another version of lbd made it; start \
         that one, or run `lbd remove` (which stops forwarding) and start again"
    )]
    OtherSize {
        /// The map's name.
        map: &'static str,
        /// Its size.
        found: u32,
        /// The size that it should have.
        wanted: u32,
    },
    /// The pinned settings are of another ABI.
    #[error(
        "the maps under {path} are of ABI {found}, this lbd speaks {ABI_VERSION}; remove them with the lbd that made them"
    )]
    Abi {
        /// The pin directory's settings map.
        path: PathBuf,
        /// The ABI found.
        found: u32,
    },
    /// The object could not be loaded.
    #[error("cannot load the datapath: {source}; it needs root (or CAP_BPF and CAP_NET_ADMIN)")]
    Load {
        /// Why.
        source: Box<aya::EbpfError>,
    },
    /// The verifier, or the kernel's configuration, refused the program.
    #[error("the kernel refused the XDP program: {source}")]
    Program {
        /// Why.
        source: Box<aya::programs::ProgramError>,
    },
    /// The object lacks something: a build fault.
    #[error("the datapath's object has no {0}: rebuild with `cargo xtask build`")]
    Incomplete(&'static str),
    /// Native mode was asked for, and the driver has none.
    #[error(
        "the driver of {interface} refuses native XDP ({source}); set node.xdp_mode = \"auto\" or \"generic\""
    )]
    NoNativeMode {
        /// The interface.
        interface: String,
        /// What the kernel says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The kernel lacks what the datapath needs.
    #[error(
        "this kernel ({release}) lacks what the datapath needs: {missing}; run a newer one, or one built with it"
    )]
    Lacks {
        /// Its release.
        release: String,
        /// What is missing, and the version of Linux that brought each.
        missing: String,
    },
    /// The kernel did not answer a question.
    #[error(
        "cannot find out whether this kernel has {what}: {source}; it takes root, or CAP_BPF and CAP_NET_ADMIN"
    )]
    Probe {
        /// What was asked for.
        what: &'static str,
        /// Its answer.
        source: std::io::Error,
    },
    /// Another agent has these maps.
    #[error(
        "another lbd holds the maps under {path}; stop it first, or give this one a node.bpffs of its own"
    )]
    Busy {
        /// The pin directory.
        path: PathBuf,
    },
    /// Another XDP program is there.
    #[error(
        "{interface} already has an XDP program of another owner; see it with `bpftool net show dev {interface}`, \
         take it away with its own tool or `ip link set dev {interface} xdp off`"
    )]
    Foreign {
        /// The interface.
        interface: String,
    },
    /// The interface does not exist.
    #[error("there is no interface {interface}")]
    NoInterface {
        /// The interface.
        interface: String,
    },
    /// Attaching failed.
    #[error("cannot attach to {interface}: {source}")]
    Attach {
        /// The interface.
        interface: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A map could not be used.
    #[error(transparent)]
    Maps(#[from] DataplaneError),
    /// The program's log cannot be read.
    #[error("the datapath's log cannot be read: {source}")]
    Log {
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No random numbers for the hash key.
    #[error("the kernel gives no random numbers: {0}")]
    Random(getrandom::Error),
}

/// The program and its maps.
pub struct KernelDataplane {
    programs: Programs,
    settings: Settings,
    maps: Maps,
    pins: Pins,
    log_level: LogLevel,
    _lock: std::fs::File,
    /// Where a bpffs had to be mounted.
    pub mounted: Option<PathBuf>,
    /// Whether the maps were there already.
    pub adopted: bool,
}

impl KernelDataplane {
    /// Loads the program over pinned maps: those of an earlier agent, or new ones.
    ///
    /// # Errors
    /// See [`KernelError`]; what was pinned before stays as it was.
    pub fn open(config: &KernelConfig) -> Result<Self, KernelError> {
        let pins = Pins::new(&config.bpffs);
        probe::check()?;
        let mounted = pins.prepare()?;
        let lock = pins.lock()?;
        let former = pinned_settings(&pins)?;
        let is_new = former.is_none() && pins.linked_interfaces()?.is_empty();
        let opened = Self::open_over(pins, lock, config, mounted, former);
        if opened.is_err() {
            // What nobody uses would only be in the way of the next attempt. The error at hand is the one to show.
            let _ = if is_new { remove(&config.bpffs).map(drop) } else { retire_unused(&config.bpffs) };
        }
        opened
    }

    fn open_over(
        pins: Pins,
        lock: std::fs::File,
        config: &KernelConfig,
        mounted: Option<PathBuf>,
        former: Option<Settings>,
    ) -> Result<Self, KernelError> {
        sizes::check(&pins, config.capacity)?;
        let settings = match former {
            Some(settings) => settings,
            None => new_settings()?,
        };
        let mut programs = Programs::load(&pins, config, &settings)?;
        let mut maps = Maps::take(programs.ebpf(), config.capacity)?;
        let cpus = aya::util::nr_cpus().map_err(|(call, source)| DataplaneError::System { call, source })?;
        let record_rates = config.capacity.record_rates(u32::try_from(cpus).unwrap_or(u32::MAX));
        maps.write_settings(&Settings { record_rates, answer_rates: ANSWER_RATES, ..settings })?;
        Ok(Self {
            programs,
            settings,
            maps,
            pins,
            log_level: config.log_level,
            _lock: lock,
            mounted,
            adopted: former.is_some(),
        })
    }

    /// The loaded program, for attaching and for test runs. That for packets in pieces is loaded when it is first needed.
    ///
    /// # Errors
    /// [`KernelError::Incomplete`], which a sound build excludes; what the kernel says to packets in pieces.
    pub fn program(&mut self, layout: Layout) -> Result<&mut Xdp, KernelError> {
        self.programs.first(layout, &self.settings)
    }

    /// Lets go of what an earlier agent loaded. To be called once every interface has a program of this one.
    ///
    /// # Errors
    /// When a pin cannot be removed.
    pub fn retire_former(&self) -> Result<(), KernelError> {
        self.programs.retire_others()
    }

    /// Parts of the datapath that this kernel refused, with its reasons.
    pub fn refused(&self) -> &[(&'static str, String)] {
        &self.programs.refused
    }
}

/// Answers of the datapath's own that leave each CPU: echo replies and ICMP errors. Enough for people and path MTU
/// discovery, and no weapon.
const ANSWER_RATES: [RecordRate; ANSWER_KINDS] = [RecordRate { per_second: 1_000, burst: 200 }; ANSWER_KINDS];

/// The settings of an earlier agent.
fn pinned_settings(pins: &Pins) -> Result<Option<Settings>, KernelError> {
    let path = pins.map(names::SETTINGS);
    if !path.exists() {
        return Ok(None);
    }
    let failed = |source| DataplaneError::Map { action: "open", map: names::SETTINGS, source };
    let map = aya::maps::Map::Array(MapData::from_pin(&path).map_err(failed)?);
    let array: Array<MapData, Raw<Settings>> = map.try_into().map_err(failed)?;
    let Raw(settings) = array.get(&0, 0).map_err(failed)?;
    match settings.abi_version {
        // Pinned and never written: the agent before died in between.
        0 => Ok(None),
        ABI_VERSION => Ok(Some(settings)),
        found => Err(KernelError::Abi { path, found }),
    }
}

fn new_settings() -> Result<Settings, KernelError> {
    let key = || getrandom::u64().map_err(KernelError::Random);
    Ok(Settings { hash_key: [key()?, key()?], abi_version: ABI_VERSION, ..Settings::default() })
}

/// Lets go of programs that no interface uses: those of a start that failed. Maps and links stay.
///
/// # Errors
/// When another agent has them, or a pin cannot be removed.
pub fn retire_unused(bpffs: &Path) -> Result<(), KernelError> {
    let pins = Pins::new(bpffs);
    let _lock = pins.lock()?;
    programs::retire(&pins, None)
}

/// Takes links and maps of an earlier agent away: the node stops forwarding. Returns the interfaces freed.
///
/// # Errors
/// When a pin cannot be removed.
pub fn remove(bpffs: &Path) -> Result<Vec<String>, KernelError> {
    let pins = Pins::new(bpffs);
    let _lock = if pins.exist() { Some(pins.lock()?) } else { None };
    let interfaces = pins.linked_interfaces()?;
    for interface in &interfaces {
        Pins::remove_link(&pins.link(interface))?;
    }
    for name in names::PINNED {
        Pins::remove(&pins.map(name))?;
    }
    for (_, path) in pins.stages()? {
        Pins::remove(&path)?;
    }
    pins.remove_directory();
    Ok(interfaces)
}
