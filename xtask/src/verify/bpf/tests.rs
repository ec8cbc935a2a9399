//! The walk, on hand-made instructions.

use super::super::object::Target;
use super::*;

const XDP: usize = 1;
const TEXT: usize = 2;

/// exit
const EXIT: [u8; 8] = insn(0x95, 0, 0, 0, 0);

/// Encodes one instruction.
const fn insn(op: u8, dst: u8, src: u8, off: i16, imm: i32) -> [u8; 8] {
    let [off0, off1] = off.to_le_bytes();
    let [imm0, imm1, imm2, imm3] = imm.to_le_bytes();
    [op, src << 4 | dst, off0, off1, imm0, imm1, imm2, imm3]
}

/// A call to a function of the program.
const fn call(imm: i32) -> [u8; 8] {
    insn(OP_CALL, 0, PSEUDO_CALL, 0, imm)
}

/// A call to a helper.
const fn helper(id: i32) -> [u8; 8] {
    insn(OP_CALL, 0, 0, 0, id)
}

/// An object of functions: name, section, instructions. They follow each other in their section.
fn object(functions: &[(&str, usize, &[[u8; 8]])]) -> Object {
    let mut object = Object::default();
    object.sections.insert(XDP, "xdp".to_owned());
    object.sections.insert(TEXT, ".text".to_owned());
    let mut ends: BTreeMap<usize, u64> = BTreeMap::new();
    for (name, section, code) in functions {
        let end = ends.entry(*section).or_default();
        let id = FunctionId { section: *section, offset: *end };
        *end += code.len() as u64 * 8;
        object.functions.insert(id, Function { name: (*name).to_owned(), id, code: code.concat() });
    }
    object
}

/// Adds a relocation of an instruction in section `xdp` to a place in section `.text`.
fn relocate(object: &mut Object, instruction: u64, to: u64) {
    let from = FunctionId { section: XDP, offset: instruction * 8 };
    object.relocations.insert(from, Target::Place(FunctionId { section: TEXT, offset: to * 8 }));
}

fn only_report(object: &Object) -> Report {
    let mut reports = examine(object, &["cold_"]).unwrap();
    assert_eq!(reports.len(), 1);
    reports.remove(0)
}

#[test]
fn a_decoded_instruction_has_its_fields_in_place() {
    let bytes = insn(0x7b, 10, 3, -8, -2);
    assert_eq!(Insn::decode(bytes), Insn { op: 0x7b, dst: 10, src: 3, off: -8, imm: -2 });
}

#[test]
fn a_program_without_calls_has_no_findings() {
    let report = only_report(&object(&[("main", XDP, &[helper(1), helper(1), helper(44), EXIT])]));
    assert_eq!(report.findings(), Vec::<String>::new());
    assert_eq!(report.helpers, BTreeMap::from([(1, 2), (44, 1)]));
    assert!(report.to_string().contains("map_lookup_elem 2"), "{report}");
}

#[test]
fn memcpy_called_through_a_function_symbol_is_found() {
    let mut object = object(&[
        ("main", XDP, &[helper(1), call(-1), EXIT]),
        ("other", TEXT, &[EXIT]),
        ("memcpy", TEXT, &[EXIT]),
    ]);
    relocate(&mut object, 1, 1);
    let report = only_report(&object);
    assert_eq!(report.byte_loops, BTreeSet::from([("main".to_owned(), "memcpy".to_owned())]));
    assert_eq!(report.findings().len(), 1);
}

#[test]
fn memset_called_through_a_section_symbol_is_found() {
    // The symbol is the section's start; the immediate counts on from there: 0 + 1 instruction.
    let mut object =
        object(&[("main", XDP, &[call(0), EXIT]), ("other", TEXT, &[EXIT]), ("memset", TEXT, &[EXIT])]);
    relocate(&mut object, 0, 0);
    assert_eq!(only_report(&object).byte_loops.len(), 1);
}

#[test]
fn a_function_that_nobody_calls_does_not_count() {
    let mut object =
        object(&[("main", XDP, &[call(-1), EXIT]), ("leaf", TEXT, &[EXIT]), ("memcpy", TEXT, &[EXIT])]);
    relocate(&mut object, 0, 0);
    let report = only_report(&object);
    assert!(report.byte_loops.is_empty());
    assert_eq!(report.functions.keys().collect::<Vec<_>>(), ["leaf", "main"]);
}

#[test]
fn memmove_behind_a_relative_call_of_a_callee_is_found() {
    // leaf calls what follows it: from instruction 0, two on.
    let mut object = object(&[
        ("main", XDP, &[call(-1), EXIT]),
        ("leaf", TEXT, &[call(1), EXIT]),
        ("memmove", TEXT, &[EXIT]),
    ]);
    relocate(&mut object, 0, 0);
    let report = only_report(&object);
    assert_eq!(report.byte_loops, BTreeSet::from([("leaf".to_owned(), "memmove".to_owned())]));
}

#[test]
fn a_callback_is_followed() {
    let load = insn(OP_LD_IMM64, 2, 0, 0, 0);
    let second = [0; 8];
    let mut object = object(&[
        ("main", XDP, &[load, second, helper(181), EXIT]),
        ("callback", TEXT, &[call(1), EXIT]),
        ("memcmp", TEXT, &[EXIT]),
    ]);
    relocate(&mut object, 0, 0);
    assert_eq!(only_report(&object).byte_loops.len(), 1);
}

#[test]
fn the_second_slot_of_a_wide_load_is_no_instruction() {
    let load = insn(OP_LD_IMM64, 1, 0, 0, 7);
    // Would be a call to nowhere if it were decoded.
    let second = call(1000);
    let report = only_report(&object(&[("main", XDP, &[load, second, EXIT])]));
    assert_eq!(report.findings(), Vec::<String>::new());
}

#[test]
fn a_byte_loop_below_a_cold_function_is_allowed_and_elsewhere_is_not() {
    let functions: [(&str, usize, &[[u8; 8]]); 3] = [
        ("main", XDP, &[call(-1), EXIT]),
        ("log::cold_drop", TEXT, &[call(1), EXIT]),
        ("memcpy", TEXT, &[EXIT]),
    ];
    let mut object = object(&functions);
    relocate(&mut object, 0, 0);
    let report = only_report(&object);
    assert!(report.findings().is_empty());
    assert!(report.to_string().contains("log::cold_drop (not followed)"), "{report}");
    assert_eq!(examine(&object, &[]).unwrap()[0].findings().len(), 1);
}

#[test]
fn an_inlined_byte_loop_is_found_and_a_loop_over_words_is_not() {
    // r1 += 1; store; if r1 != r2 goto the first.
    let count = insn(OP_ADD64_IMM, 1, 0, 0, 1);
    let back = insn(0x5d, 1, 2, -3, 0);
    let byte = insn(0x73, 1, 3, 0, 0);
    let word = insn(0x63, 1, 3, 0, 0);
    let report = only_report(&object(&[("main", XDP, &[count, byte, back, EXIT])]));
    assert_eq!(report.inlined_loops, BTreeSet::from([("main".to_owned(), 2)]));
    assert_eq!(report.findings().len(), 1);
    let report = only_report(&object(&[("main", XDP, &[count, word, back, EXIT])]));
    assert_eq!(report.findings(), Vec::<String>::new());
    // A byte stored before the loop is not in it, nor is one in a long round.
    let report = only_report(&object(&[("main", XDP, &[byte, count, count, insn(0x5d, 1, 2, -3, 0), EXIT])]));
    assert_eq!(report.findings(), Vec::<String>::new());
    let mut long = vec![byte];
    long.extend([count; MAX_BYTE_LOOP_SLOTS]);
    long.push(insn(0x05, 0, 0, -18, 0));
    assert_eq!(only_report(&object(&[("main", XDP, &long)])).findings(), Vec::<String>::new());
}

#[test]
fn a_call_out_of_the_object_is_found() {
    let mut object = object(&[("main", XDP, &[call(-1), EXIT])]);
    let from = FunctionId { section: XDP, offset: 0 };
    object.relocations.insert(from, Target::Undefined("memcpy".to_owned()));
    let report = only_report(&object);
    assert!(report.findings()[0].contains("memcpy"), "{:?}", report.findings());
}

#[test]
fn the_stack_of_a_chain_of_calls_adds_up() {
    let store = insn(0x7b, FRAME_POINTER, 1, -64, 0);
    let copy = insn(OP_MOV64_REG, 2, FRAME_POINTER, 0, 0);
    let address = insn(OP_ADD64_IMM, 2, 0, 0, -100);
    let unrelated = insn(OP_ADD64_IMM, 3, 0, 0, -400);
    let mut object =
        object(&[("main", XDP, &[store, unrelated, call(-1), EXIT]), ("leaf", TEXT, &[copy, address, EXIT])]);
    relocate(&mut object, 2, 0);
    assert_eq!(only_report(&object).stack_bytes, 164);
}

#[test]
fn an_object_without_programs_is_an_error() {
    let error = examine(&object(&[("memcpy", TEXT, &[EXIT])]), &[]).unwrap_err();
    assert!(error.to_string().contains("no XDP program"), "{error}");
}

#[test]
fn half_an_instruction_is_an_error() {
    let mut object = object(&[("main", XDP, &[EXIT])]);
    for function in object.functions.values_mut() {
        function.code.pop();
    }
    assert!(examine(&object, &[]).is_err());
}

#[test]
fn a_function_in_a_section_of_its_own_is_found() {
    let mut object = object(&[("lb_xdp", XDP, &[call(-1), EXIT]), ("rare", TEXT, &[EXIT])]);
    relocate(&mut object, 0, 0);
    assert!(only_report(&object).findings().is_empty());
    object.sections.insert(TEXT, ".text.unlikely.".to_owned());
    let findings = only_report(&object).findings();
    assert!(
        matches!(findings.as_slice(), [finding] if finding.contains("rare lies in the section .text.unlikely."))
    );
}
