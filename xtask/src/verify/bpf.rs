//! Walks the instructions that a packet can reach.
//!
//! Role: pure; functions of an object in, a report out. Imports `object` (the sibling).
//! Always holds: every call is followed or reported; an instruction that cannot be decoded is an error.
//! Source: RFC 9669 (BPF instruction set).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Result, bail, ensure};

use super::object::{Function, FunctionId, Object};

/// Functions that loop over bytes: a copy that the compiler did not turn into loads and stores.
const BYTE_LOOPS: [&str; 5] = ["memcpy", "memmove", "memset", "memcmp", "bcmp"];

/// Functions that are not on the hot path, by a part of their name: a byte loop below them is allowed. They must be
/// reached only under a condition that is false in normal work, such as a log level.
pub const COLD_FUNCTIONS: &[&str] = &["cold_"];

/// Bytes of an instruction.
const INSN_BYTES: usize = 8;

/// `BPF_LD | BPF_IMM | BPF_DW`: an instruction of two slots.
const OP_LD_IMM64: u8 = 0x18;
/// `BPF_JMP | BPF_CALL`.
const OP_CALL: u8 = 0x85;
/// `BPF_ALU64 | BPF_MOV | BPF_X`.
const OP_MOV64_REG: u8 = 0xbf;
/// `BPF_ALU64 | BPF_ADD | BPF_K`.
const OP_ADD64_IMM: u8 = 0x07;
/// Source register of a call to a function of the program.
const PSEUDO_CALL: u8 = 1;
/// Source register of a load of a function's address.
const PSEUDO_FUNC: u8 = 4;
/// `BPF_ST | BPF_MEM | BPF_B` and `BPF_STX | BPF_MEM | BPF_B`.
const OP_STORE_BYTE: [u8; 2] = [0x72, 0x73];
/// Slots that the loop of an inlined memcpy or memset may have. A loop over headers does more in a round.
const MAX_BYTE_LOOP_SLOTS: usize = 16;
/// The frame pointer.
const FRAME_POINTER: u8 = 10;

/// One decoded instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    /// Operation.
    pub op: u8,
    /// Destination register.
    pub dst: u8,
    /// Source register.
    pub src: u8,
    /// Signed offset.
    pub off: i16,
    /// Immediate.
    pub imm: i32,
}

impl Insn {
    /// Decodes one slot, little endian.
    fn decode(slot: [u8; INSN_BYTES]) -> Self {
        let [op, regs, off0, off1, imm @ ..] = slot;
        Self {
            op,
            dst: regs & 0xf,
            src: regs >> 4,
            off: i16::from_le_bytes([off0, off1]),
            imm: i32::from_le_bytes(imm),
        }
    }

    /// The register through which memory is loaded or stored, if it is.
    fn memory_base(self) -> Option<u8> {
        match self.op & 0x7 {
            // BPF_LDX loads through the source register; BPF_ST and BPF_STX store through the destination.
            0x1 => Some(self.src),
            0x2 | 0x3 => Some(self.dst),
            _ => None,
        }
    }

    /// How far back the instruction jumps, in slots counted from the one behind it; none if it does not.
    fn jumps_back(self) -> Option<usize> {
        // BPF_JMP and BPF_JMP32; calls and returns have no offset.
        let is_jump = matches!(self.op & 0x7, 0x5 | 0x6) && self.op != OP_CALL;
        (is_jump && self.off < 0).then(|| usize::from(self.off.unsigned_abs()))
    }
}

/// What one program of the object does on the hot path.
#[derive(Debug)]
pub struct Report {
    /// The program.
    pub program: String,
    /// Functions that a packet can reach, with their instructions (slots of 8 bytes).
    pub functions: BTreeMap<String, usize>,
    /// Cold functions that it calls, which are not followed.
    pub cold: BTreeSet<String>,
    /// Calls to helpers in these functions, as written in the code.
    pub helpers: BTreeMap<i32, usize>,
    /// Deepest use of the stack along a chain of calls, in bytes, as far as offsets are constant.
    pub stack_bytes: u32,
    /// Byte loops that can be reached: caller and callee.
    pub byte_loops: BTreeSet<(String, String)>,
    /// Tight loops that store a byte a round, as an inlined byte loop leaves them: function and instruction.
    pub inlined_loops: BTreeSet<(String, usize)>,
    /// Functions that lie where the loader looks for others: their name and section.
    pub misplaced: BTreeSet<(String, String)>,
    /// Calls that go nowhere in the object: caller and symbol.
    pub unresolved: BTreeSet<(String, String)>,
}

impl Report {
    /// What breaks the rule.
    pub fn findings(&self) -> Vec<String> {
        let loops = self.byte_loops.iter().map(|(caller, callee)| {
            format!(
                "{}: {caller} calls {callee}, which loops over bytes: copy field by field, or move the call into \
                 a function named cold_… that normal packets do not reach",
                self.program
            )
        });
        let inlined = self.inlined_loops.iter().map(|(function, index)| {
            format!(
                "{}: {function} stores byte by byte in a loop at instruction {index}: an array copy or fill that \
                 was inlined; copy field by field",
                self.program
            )
        });
        let unresolved = self.unresolved.iter().map(|(caller, symbol)| {
            format!("{}: {caller} calls {symbol}, which the object does not have", self.program)
        });
        let misplaced = self.misplaced.iter().map(|(function, section)| {
            format!(
                "{}: {function} lies in the section {section}; the loader knows functions by their place in .text, and \
                 would call another one: leave out #[cold]",
                self.program
            )
        });
        loops.chain(inlined).chain(misplaced).chain(unresolved).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: usize = self.functions.values().sum();
        writeln!(f, "{}: {total} instructions, stack {} bytes", self.program, self.stack_bytes)?;
        for (name, instructions) in &self.functions {
            writeln!(f, "  {instructions:>6} {name}")?;
        }
        for name in &self.cold {
            writeln!(f, "    cold {name} (not followed)")?;
        }
        let helpers: Vec<String> =
            self.helpers.iter().map(|(id, count)| format!("{} {count}", helper_name(*id))).collect();
        write!(
            f,
            "  helper calls: {}",
            if helpers.is_empty() { "none".to_owned() } else { helpers.join(", ") }
        )
    }
}

/// What one function does itself.
#[derive(Debug, Default)]
struct Body {
    instructions: usize,
    helpers: BTreeMap<i32, usize>,
    stack_bytes: u32,
    callees: BTreeSet<FunctionId>,
    inlined_loops: BTreeSet<usize>,
    unresolved: BTreeSet<String>,
}

/// The section of functions that are called.
const CALLEES: &str = ".text";

/// Examines every XDP program of the object; `cold` names functions that are not followed.
///
/// # Errors
/// When there is no XDP program, or an instruction cannot be decoded.
pub fn examine(object: &Object, cold: &[&str]) -> Result<Vec<Report>> {
    let programs: Vec<FunctionId> = object.programs("xdp").collect();
    ensure!(!programs.is_empty(), "the object has no XDP program");
    programs.into_iter().map(|program| examine_program(object, program, cold)).collect()
}

fn examine_program(object: &Object, program: FunctionId, cold: &[&str]) -> Result<Report> {
    let mut bodies: BTreeMap<FunctionId, Body> = BTreeMap::new();
    let mut waiting = vec![program];
    while let Some(id) = waiting.pop() {
        let function = object.function(id)?;
        if bodies.contains_key(&id) || is_one_of(&function.name, cold) {
            continue;
        }
        let body = read_body(object, function)?;
        waiting.extend(&body.callees);
        bodies.insert(id, body);
    }
    let mut report = Report {
        program: object.function(program)?.name.clone(),
        functions: BTreeMap::new(),
        cold: BTreeSet::new(),
        helpers: BTreeMap::new(),
        stack_bytes: deepest(program, &bodies, &mut Vec::new())?,
        byte_loops: BTreeSet::new(),
        inlined_loops: BTreeSet::new(),
        misplaced: BTreeSet::new(),
        unresolved: BTreeSet::new(),
    };
    for (id, body) in &bodies {
        let name = &object.function(*id)?.name;
        report.functions.insert(name.clone(), body.instructions);
        for (helper, count) in &body.helpers {
            *report.helpers.entry(*helper).or_default() += count;
        }
        for callee in &body.callees {
            let section = object.sections.get(&callee.section).map_or("", String::as_str);
            let callee = &object.function(*callee)?.name;
            if section != CALLEES {
                report.misplaced.insert((callee.clone(), section.to_owned()));
            }
            if is_one_of(callee, cold) {
                report.cold.insert(callee.clone());
            }
            if BYTE_LOOPS.contains(&callee.as_str()) {
                report.byte_loops.insert((name.clone(), callee.clone()));
            }
        }
        // The loop of a memcpy that is called is that function's own, and reported by the call.
        if !BYTE_LOOPS.contains(&name.as_str()) {
            report.inlined_loops.extend(body.inlined_loops.iter().map(|index| (name.clone(), *index)));
        }
        report.unresolved.extend(body.unresolved.iter().map(|symbol| (name.clone(), symbol.clone())));
    }
    Ok(report)
}

fn is_one_of(name: &str, parts: &[&str]) -> bool {
    parts.iter().any(|part| name.contains(part))
}

/// Stack bytes of the deepest chain of calls that starts here.
fn deepest(id: FunctionId, bodies: &BTreeMap<FunctionId, Body>, chain: &mut Vec<FunctionId>) -> Result<u32> {
    let Some(body) = bodies.get(&id) else { return Ok(0) };
    ensure!(!chain.contains(&id), "a function calls itself, which the verifier refuses");
    chain.push(id);
    let mut below = 0;
    for callee in &body.callees {
        below = below.max(deepest(*callee, bodies, chain)?);
    }
    chain.pop();
    Ok(body.stack_bytes + below)
}

fn read_body(object: &Object, function: &Function) -> Result<Body> {
    let (slots, rest) = function.code.as_chunks::<INSN_BYTES>();
    ensure!(rest.is_empty(), "{}: {} bytes are no whole instructions", function.name, function.code.len());
    let mut body = Body { instructions: slots.len(), ..Body::default() };
    // Register that holds the frame pointer since the instruction before.
    let mut frame_copy = None;
    let mut index = 0;
    while let Some(slot) = slots.get(index) {
        let insn = Insn::decode(*slot);
        note_stack(&mut body, insn, frame_copy);
        if is_byte_loop(slots, index, insn) {
            body.inlined_loops.insert(index);
        }
        frame_copy = (insn.op == OP_MOV64_REG && insn.src == FRAME_POINTER).then_some(insn.dst);
        match insn.op {
            OP_CALL => note_call(&mut body, object, function, index, insn)?,
            OP_LD_IMM64 => {
                if slots.get(index + 1).is_none() {
                    bail!("{}: instruction {index} is cut off", function.name);
                }
                note_address(&mut body, object, function, index, insn);
                index += 1;
            }
            _ => {}
        }
        index += 1;
    }
    Ok(body)
}

/// Widens the known use of the stack: accesses at `r10 - N`, and addresses `r10 - N` put into a register.
fn note_stack(body: &mut Body, insn: Insn, frame_copy: Option<u8>) {
    let offset = if insn.memory_base() == Some(FRAME_POINTER) {
        i32::from(insn.off)
    } else if insn.op == OP_ADD64_IMM && frame_copy == Some(insn.dst) {
        insn.imm
    } else {
        0
    };
    if offset < 0 {
        body.stack_bytes = body.stack_bytes.max(offset.unsigned_abs());
    }
}

/// Whether the instruction at `index` closes a tight loop that stores single bytes.
fn is_byte_loop(slots: &[[u8; INSN_BYTES]], index: usize, insn: Insn) -> bool {
    let Some(back) = insn.jumps_back() else { return false };
    let round = slots.get((index + 1).saturating_sub(back)..index).unwrap_or_default();
    round.len() < MAX_BYTE_LOOP_SLOTS && round.iter().any(|[op, ..]| OP_STORE_BYTE.contains(op))
}

fn note_call(body: &mut Body, object: &Object, function: &Function, index: usize, insn: Insn) -> Result<()> {
    match insn.src {
        0 => *body.helpers.entry(insn.imm).or_default() += 1,
        PSEUDO_CALL => match object.callee(function, index, insn.imm) {
            Ok(callee) => {
                body.callees.insert(callee);
            }
            Err(symbol) => {
                body.unresolved.insert(symbol);
            }
        },
        // Kernel functions, named by BTF: none is a byte loop of ours.
        2 => {}
        other => bail!("{}: instruction {index} is a call of the unknown kind {other}", function.name),
    }
    Ok(())
}

/// An address of a function handed to a helper that calls it, as `bpf_loop` does.
fn note_address(body: &mut Body, object: &Object, function: &Function, index: usize, insn: Insn) {
    if let Some(callee) = object.address_of_function(function, index, insn.src == PSEUDO_FUNC, insn.imm) {
        body.callees.insert(callee);
    }
}

/// Names of the helpers that a datapath may use (`enum bpf_func_id` of the kernel's bpf.h).
fn helper_name(id: i32) -> String {
    let name = match id {
        1 => "map_lookup_elem",
        2 => "map_update_elem",
        3 => "map_delete_elem",
        5 => "ktime_get_ns",
        6 => "trace_printk",
        7 => "get_prandom_u32",
        8 => "get_smp_processor_id",
        12 => "tail_call",
        23 => "redirect",
        25 => "perf_event_output",
        28 => "csum_diff",
        44 => "xdp_adjust_head",
        51 => "redirect_map",
        54 => "xdp_adjust_meta",
        65 => "xdp_adjust_tail",
        69 => "fib_lookup",
        125 => "ktime_get_boot_ns",
        130 => "ringbuf_output",
        131 => "ringbuf_reserve",
        132 => "ringbuf_submit",
        133 => "ringbuf_discard",
        134 => "ringbuf_query",
        188 => "xdp_get_buff_len",
        160 => "ktime_get_coarse_ns",
        181 => "loop",
        189 => "xdp_load_bytes",
        190 => "xdp_store_bytes",
        195 => "map_lookup_percpu_elem",
        _ => return format!("helper #{id}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests;
