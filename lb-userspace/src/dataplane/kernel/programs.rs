//! The programs: the one that is attached and the stages behind it, for packets in one piece and, where an interface asks for
//! it, for packets in several.
//!
//! Always holds: an attached program finds the stages that were loaded with it. Each load has a table of stages of its own,
//! pinned, because the kernel empties one that no process and no pin holds; the table before goes when no attached program
//! uses it any more ([`retire`]), those of loads that came to nothing at the next load at the latest.

use super::maps::wait_for_readers;
use super::sizes::sizes;
use super::{KernelConfig, KernelError, Pins, log_reader};
use aya::maps::{MapInfo, ProgramArray};
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::{Xdp, loaded_programs};
use aya::{Ebpf, EbpfLoader};
use lb_common::abi::{Settings, names, place};
use std::collections::BTreeSet;

/// The objects that the build made of lb-ebpf.
static WHOLE: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb-datapath.o"));
static PIECES: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb-datapath-frags.o"));

/// How packets lie in memory when a program gets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// In one piece: every driver, up to about a page.
    Whole,
    /// In several if they are large (multi-buffer XDP, Linux 5.18).
    Pieces,
}

/// A loaded object.
struct Set {
    ebpf: Ebpf,
    /// The tail calls of its programs.
    _stages: ProgramArray<aya::maps::MapData>,
}

/// The programs of this agent.
pub(super) struct Programs {
    config: KernelConfig,
    pins: Pins,
    /// Number of this load among those that are pinned.
    generation: u32,
    whole: Set,
    pieces: Option<Set>,
    /// Whether their logs are handed on.
    reads_log: bool,
    /// Stages that the kernel refused, with its reasons.
    pub(super) refused: Vec<(&'static str, String)>,
}

impl Programs {
    /// Loads the programs for packets in one piece. Their maps are still to be taken from [`Programs::ebpf`].
    pub(super) fn load(pins: &Pins, config: &KernelConfig, settings: &Settings) -> Result<Self, KernelError> {
        if let Err(error) = retire(pins, None) {
            tracing::warn!("programs of earlier starts stay in memory: {error}");
        }
        let generation = pins.stages()?.iter().map(|(number, _)| *number).max().unwrap_or(0) + 1;
        let mut refused = Vec::new();
        let whole = load_set(pins, config, settings, generation, Layout::Whole, &mut refused)?;
        Ok(Self {
            config: config.clone(),
            pins: pins.clone(),
            generation,
            whole,
            pieces: None,
            reads_log: false,
            refused,
        })
    }

    /// The object for packets in one piece.
    pub(super) fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.whole.ebpf
    }

    /// The object for packets in several pieces, which is loaded when it is first asked for.
    pub(super) fn pieces(&mut self, settings: &Settings) -> Result<&mut Ebpf, KernelError> {
        let Self { pins, config, generation, pieces, refused, reads_log, .. } = self;
        if pieces.is_none() {
            let mut set = load_set(pins, config, settings, *generation, Layout::Pieces, refused)?;
            if *reads_log {
                log_reader::start(&mut set.ebpf)?;
            }
            *pieces = Some(set);
        }
        pieces.as_mut().map(|set| &mut set.ebpf).ok_or(KernelError::Incomplete(names::PROGRAM))
    }

    /// The program to attach.
    pub(super) fn first(&mut self, layout: Layout, settings: &Settings) -> Result<&mut Xdp, KernelError> {
        let ebpf = match layout {
            Layout::Whole => &mut self.whole.ebpf,
            Layout::Pieces => self.pieces(settings)?,
        };
        program(ebpf, names::PROGRAM)
    }

    /// Hands the programs' logs on. Needs a tokio runtime.
    pub(super) fn read_log(&mut self) -> Result<(), KernelError> {
        self.reads_log = true;
        let sets = [Some(&mut self.whole), self.pieces.as_mut()];
        sets.into_iter().flatten().try_for_each(|set| log_reader::start(&mut set.ebpf))
    }

    /// The kernel's ids of the programs that may be attached.
    pub(super) fn ids(&mut self) -> Result<Vec<u32>, KernelError> {
        let sets = [Some(&mut self.whole), self.pieces.as_mut()];
        sets.into_iter()
            .flatten()
            .map(|set| {
                let info = program(&mut set.ebpf, names::PROGRAM)?
                    .info()
                    .map_err(|source| KernelError::Program { source: Box::new(source) })?;
                Ok(info.id())
            })
            .collect()
    }

    /// Lets go of the stages of earlier loads that no attached program uses.
    pub(super) fn retire_others(&self) -> Result<(), KernelError> {
        retire(&self.pins, Some(self.generation))
    }
}

/// Lets go of tables of stages that no attached program uses, whoever left them, except those of the load `keep`.
pub(super) fn retire(pins: &Pins, keep: Option<u32>) -> Result<(), KernelError> {
    let others: Vec<_> = pins.stages()?.into_iter().filter(|(number, _)| Some(*number) != keep).collect();
    if others.is_empty() {
        return Ok(());
    }
    let used = maps_in_use(pins)?;
    // A program that was replaced just now may still be running.
    wait_for_readers();
    for (_, path) in others {
        let failed = |source| super::DataplaneError::Map { action: "inspect", map: names::STAGES, source };
        if !used.contains(&MapInfo::from_pin(&path).map_err(failed)?.id()) {
            Pins::remove(&path)?;
        }
    }
    Ok(())
}

/// The kernel's ids of the maps of all programs that pinned links attach.
fn maps_in_use(pins: &Pins) -> Result<BTreeSet<u32>, KernelError> {
    let mut programs = BTreeSet::new();
    for interface in pins.linked_interfaces()? {
        let path = pins.link(&interface);
        let failed = |error| KernelError::Pins {
            path: path.clone(),
            source: std::io::Error::other::<LinkError>(error),
        };
        let link = FdLink::from(PinnedLink::from_pin(&path).map_err(failed)?);
        programs.insert(link.info().map_err(failed)?.program_id());
    }
    let failed = |source| KernelError::Program { source: Box::new(source) };
    let mut maps = BTreeSet::new();
    // Programs of others may go while the list is read.
    for info in loaded_programs().filter_map(Result::ok) {
        if programs.remove(&info.id()) {
            maps.extend(info.map_ids().map_err(failed)?.unwrap_or_default());
        }
    }
    let unread = || std::io::Error::other("a program that is attached could not be read");
    if programs.is_empty() {
        Ok(maps)
    } else {
        Err(KernelError::Pins { path: pins.map(""), source: unread() })
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Xdp, KernelError> {
    let program = ebpf.program_mut(name).ok_or(KernelError::Incomplete(name))?;
    program.try_into().map_err(|_| KernelError::Incomplete(name))
}

fn load_set(
    pins: &Pins,
    config: &KernelConfig,
    settings: &Settings,
    generation: u32,
    layout: Layout,
    refused: &mut Vec<(&'static str, String)>,
) -> Result<Set, KernelError> {
    let mut ebpf = load_object(pins, config, settings, generation, layout)?;
    program(&mut ebpf, names::PROGRAM)?
        .load()
        .map_err(|source| KernelError::Program { source: Box::new(source) })?;
    let map = ebpf.take_map(names::STAGES).ok_or(KernelError::Incomplete(names::STAGES))?;
    let failed = |source| super::DataplaneError::Map { action: "use", map: names::STAGES, source };
    let mut stages = ProgramArray::try_from(map).map_err(failed)?;
    for (number, name) in (0_u32..).zip(names::STAGE_PROGRAMS) {
        let stage = program(&mut ebpf, name)?;
        let loaded = stage.load().and_then(|()| stage.fd().and_then(|fd| fd.try_clone().map_err(Into::into)));
        match loaded {
            Ok(fd) => stages.set(number, &fd, 0).map_err(failed)?,
            Err(error) => {
                // What needs it goes to the stack, and is counted; everything else works.
                tracing::error!("the kernel refused the program {name}: {error}");
                refused.push((name, error.to_string()));
            }
        }
    }
    Ok(Set { ebpf, _stages: stages })
}

fn load_object(
    pins: &Pins,
    config: &KernelConfig,
    settings: &Settings,
    generation: u32,
    layout: Layout,
) -> Result<Ebpf, KernelError> {
    let [key_0, key_1] = settings.hash_key;
    let level = config.log_level as u8;
    let service_mask = place::places(config.capacity.service_keys()) - 1;
    let reverse_mask = place::places(config.capacity.reverse()) - 1;
    let mut loader = EbpfLoader::new();
    loader
        .override_global(names::HASH_KEY_0, &key_0, true)
        .override_global(names::HASH_KEY_1, &key_1, true)
        .override_global(names::SERVICE_MASK, &service_mask, true)
        .override_global(names::REVERSE_MASK, &reverse_mask, true)
        .override_global(aya_log::LEVEL, &level, false);
    for name in names::PINNED {
        loader.map_pin_path(name, pins.map(name));
    }
    loader.map_pin_path(names::STAGES, pins.stage(generation, layout));
    for size in sizes(config.capacity) {
        loader.map_max_entries(size.map, size.entries);
    }
    let object = match layout {
        Layout::Whole => WHOLE,
        Layout::Pieces => PIECES,
    };
    loader.load(object).map_err(|source| KernelError::Load { source: Box::new(source) })
}
