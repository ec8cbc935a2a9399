//! Every program of the objects, loaded to see what the kernel's verifier says: for tests.

use super::{KernelDataplane, KernelError, probe};
use aya::Ebpf;
use aya::programs::{Program, ProgramError, Xdp};

/// What the kernel tells of a program that it accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Instructions that the verifier went through (Linux 5.16); the kernel's limit is a million.
    pub verified_instructions: Option<u32>,
    /// Size in bytes as the kernel interprets it; none if the kernel keeps it to itself.
    pub translated_bytes: Option<u32>,
    /// Size in bytes as the processor runs it; 0 without a JIT compiler.
    pub jited_bytes: u32,
}

impl KernelDataplane {
    /// Loads every program of the object that is not loaded yet, with the maps and globals of this dataplane, and says by
    /// name what the kernel made of it. Nothing is attached.
    pub fn load_every_program(&mut self) -> Vec<(String, Result<Accepted, KernelError>)> {
        let mut results = census(self.programs.ebpf(), "");
        if probe::has_fragments().unwrap_or(false) {
            match self.programs.pieces(&self.settings) {
                Ok(ebpf) => results.extend(census(ebpf, " (in pieces)")),
                Err(error) => results.push(("programs for packets in pieces".to_owned(), Err(error))),
            }
        }
        results
    }
}

fn census(ebpf: &mut Ebpf, note: &str) -> Vec<(String, Result<Accepted, KernelError>)> {
    let programs = ebpf.programs_mut();
    programs.map(|(name, program)| (format!("{name}{note}"), accepted(program))).collect()
}

fn accepted(program: &mut Program) -> Result<Accepted, KernelError> {
    let refused = |source: ProgramError| KernelError::Program { source: Box::new(source) };
    let program: &mut Xdp = program.try_into().map_err(refused)?;
    if program.fd().is_err() {
        program.load().map_err(refused)?;
    }
    let info = program.info().map_err(refused)?;
    Ok(Accepted {
        verified_instructions: info.verified_instruction_count(),
        translated_bytes: info.size_translated(),
        jited_bytes: info.size_jitted(),
    })
}
