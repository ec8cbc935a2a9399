//! The functions of an eBPF object and where their calls go.
//!
//! Role: reads ELF through the `object` crate into plain data; `bpf` walks it. Imports nothing of ours.
//! Always holds: a function is a symbol of type FUNC, and its code is the bytes that the symbol covers.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, anyhow, ensure};
use object::{
    Architecture, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SymbolKind,
    SymbolSection,
};

/// Bytes of an instruction.
const INSN_BYTES: u64 = 8;

/// Names a function: section and offset of its first byte there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FunctionId {
    /// Index of the section.
    pub section: usize,
    /// Offset in bytes.
    pub offset: u64,
}

/// One function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name, without the compiler's hash.
    pub name: String,
    /// Where it is.
    pub id: FunctionId,
    /// Its instructions.
    pub code: Vec<u8>,
}

/// What a relocation points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A place in a section of the object.
    Place(FunctionId),
    /// A symbol that is not in the object.
    Undefined(String),
}

/// An object: functions and relocations of their instructions.
#[derive(Clone, Debug, Default)]
pub struct Object {
    /// Section names by index.
    pub sections: BTreeMap<usize, String>,
    /// Functions by place.
    pub functions: BTreeMap<FunctionId, Function>,
    /// Targets of relocations, by the place of the instruction.
    pub relocations: BTreeMap<FunctionId, Target>,
}

impl Object {
    /// Reads an ELF object for BPF.
    ///
    /// # Errors
    /// When it is no such object, or is damaged.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let file = object::File::parse(bytes).context("not an object file")?;
        ensure!(
            file.architecture() == Architecture::Bpf && file.is_little_endian(),
            "not an object for bpfel"
        );
        let mut read = Self::default();
        for section in file.sections() {
            read.sections.insert(section.index().0, section.name()?.to_owned());
            for (offset, relocation) in section.relocations() {
                let RelocationTarget::Symbol(symbol) = relocation.target() else { continue };
                let symbol = file.symbol_by_index(symbol)?;
                let target = match symbol.section() {
                    SymbolSection::Section(index) => {
                        Target::Place(FunctionId { section: index.0, offset: symbol.address() })
                    }
                    _ => Target::Undefined(plain_name(symbol.name()?)),
                };
                read.relocations.insert(FunctionId { section: section.index().0, offset }, target);
            }
        }
        for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0) {
            let Some(index) = symbol.section_index() else { continue };
            let name = plain_name(symbol.name()?);
            let data = file.section_by_index(index)?.data()?;
            let range =
                usize::try_from(symbol.address())?..usize::try_from(symbol.address() + symbol.size())?;
            let code = data.get(range).with_context(|| format!("{name} ends behind its section"))?.to_vec();
            let id = FunctionId { section: index.0, offset: symbol.address() };
            read.functions.insert(id, Function { name, id, code });
        }
        Ok(read)
    }

    /// Functions in sections of this program type: `xdp`, `xdp.frags`, `xdp/name`.
    pub fn programs(&self, kind: &str) -> impl Iterator<Item = FunctionId> {
        let of_kind = move |name: &String| {
            name.strip_prefix(kind).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '.']))
        };
        self.functions.keys().copied().filter(move |id| self.sections.get(&id.section).is_some_and(of_kind))
    }

    /// A function by its place.
    ///
    /// # Errors
    /// When no function begins there.
    pub fn function(&self, id: FunctionId) -> Result<&Function> {
        self.functions.get(&id).ok_or_else(|| {
            anyhow!(
                "no function begins at byte {} of section {:?}",
                id.offset,
                self.sections.get(&id.section)
            )
        })
    }

    /// The function that the call at `index` of `function` goes to, or what to call it when it is not in the object.
    ///
    /// # Errors
    /// The name of the symbol, or the place, that is no function of the object.
    pub fn callee(&self, function: &Function, index: usize, imm: i32) -> Result<FunctionId, String> {
        let at = place(function, index);
        let next = i64::from(imm) + 1;
        let target = match self.relocations.get(&at) {
            Some(Target::Undefined(name)) => return Err(name.clone()),
            // The immediate counts instructions from the symbol, less one.
            Some(Target::Place(symbol)) => moved(*symbol, next),
            // Without a relocation it counts from the call itself.
            None => moved(at, next),
        };
        target.filter(|id| self.functions.contains_key(id)).ok_or_else(|| format!("a place ({target:?})"))
    }

    /// The function whose address the load at `index` of `function` puts into a register, if it is one.
    pub fn address_of_function(
        &self,
        function: &Function,
        index: usize,
        is_pseudo: bool,
        imm: i32,
    ) -> Option<FunctionId> {
        let at = place(function, index);
        let target = match self.relocations.get(&at) {
            // The immediate counts bytes from the symbol.
            Some(Target::Place(symbol)) => FunctionId {
                section: symbol.section,
                offset: symbol.offset.checked_add_signed(i64::from(imm))?,
            },
            None if is_pseudo => moved(at, i64::from(imm) + 1)?,
            Some(Target::Undefined(_)) | None => return None,
        };
        self.functions.contains_key(&target).then_some(target)
    }
}

/// The place of an instruction of a function.
fn place(function: &Function, index: usize) -> FunctionId {
    FunctionId { offset: function.id.offset + index as u64 * INSN_BYTES, ..function.id }
}

/// A place so many instructions away.
fn moved(from: FunctionId, instructions: i64) -> Option<FunctionId> {
    let offset = from.offset.checked_add_signed(instructions.checked_mul(INSN_BYTES.cast_signed())?)?;
    Some(FunctionId { offset, ..from })
}

/// A symbol's name as the source has it, without the compiler's hash.
fn plain_name(symbol: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(symbol))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mangled_path_is_read_without_its_hash() {
        assert_eq!(plain_name("_ZN7lb_ebpf3log9cold_drop17h0123456789abcdefE"), "lb_ebpf::log::cold_drop");
        assert_eq!(plain_name("memcpy"), "memcpy");
    }

    #[test]
    fn what_is_no_bpf_object_is_refused() {
        assert!(Object::parse(b"no ELF").is_err());
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(Object::parse(&own).is_err());
    }
}
