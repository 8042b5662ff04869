//! Linking: one program and every function it reaches become one list of instructions.
//!
//! Functions are appended where they are first called, depth first, as libbpf does: the same object gives the
//! same instructions (and so the same kernel tag) as there.

use std::collections::HashMap;

use bpfmand_core::{FuncInfo, FunctionSpan, Insn, LineInfo, op};

use crate::btf::Kind;
use crate::btf::ext::{CoreRecord, SectionRecords, within};
use crate::core_relo::{self, Resolver};
use crate::elf::{Place, Reloc, Symbol};
use crate::externs::Extern;
use crate::functions::{Function, FunctionKey, Functions, INSN_BYTES};
use crate::object_file::ObjectFile;
use crate::programs::ProgramEntry;
use crate::{KernelBtf, MAX_INSTRUCTIONS, ObjectError};

/// `R_BPF_64_64`: a 64-bit immediate load.
const R_BPF_64_64: u32 = 1;
/// `R_BPF_64_32`: a call.
const R_BPF_64_32: u32 = 10;
/// Calls of kernel functions that may be missing and are: no such helper exists, so reaching one is refused.
const MISSING_FUNCTION: i32 = 2_002_000_000;

/// What an instruction refers to outside its function.
#[derive(Clone, Copy, Debug)]
enum Reference<'a> {
    /// A function, called or pointed to.
    Function(FunctionKey),
    /// A map.
    Map(usize),
    /// A byte in a map's value.
    MapValue { map: usize, offset: i32 },
    /// A kernel function or variable.
    Kernel { name: &'a str, weak: bool, kind: Kind },
    /// A kernel symbol that may be missing, and for us always is.
    Null,
}

/// What a program needs besides its object.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Needs {
    pub kernel_types: bool,
    pub kernel_symbols: bool,
    pub local_type_ids: bool,
}

/// The linked program.
#[derive(Debug, Default)]
pub(crate) struct Linked {
    pub insns: Vec<Insn>,
    pub functions: Vec<FunctionSpan>,
    pub func_info: Vec<FuncInfo>,
    pub line_info: Vec<LineInfo>,
}

/// Errors inside a function: instruction and reason.
type Fault = (usize, String);

impl ObjectFile {
    fn symbol(&self, reloc: Reloc) -> Result<&Symbol, String> {
        self.elf.symbols.get(reloc.symbol).ok_or_else(|| format!("its relocation names symbol {}, which does not exist", reloc.symbol))
    }

    /// Records of a function's section; an error if two code sections share the name, which is all records say.
    fn records(&self, key: FunctionKey) -> Result<Option<&SectionRecords>, String> {
        let Some(section) = self.elf.sections.get(key.section) else { return Ok(None) };
        let Some(records) = self.ext.section(&section.name) else { return Ok(None) };
        let alike = self.elf.sections.iter().filter(|other| other.is_code() && other.name == section.name).count();
        if alike > 1 {
            return Err(format!("{alike} code sections are named {}", section.name));
        }
        Ok(Some(records))
    }

    fn core_records(&self, key: FunctionKey, len: usize) -> Result<&[CoreRecord], String> {
        let end = key.offset + len as u64 * INSN_BYTES;
        Ok(self.records(key)?.map_or(&[][..], |records| within(&records.core, |record| record.offset, key.offset, end)))
    }

    /// What each instruction of a function refers to, by index.
    fn references(&self, key: FunctionKey, insns: &[Insn]) -> Result<Vec<(usize, Reference<'_>)>, Fault> {
        let end = key.offset + insns.len() as u64 * INSN_BYTES;
        let mut relocs = match self.elf.relocs.get(&key.section) {
            None => None,
            Some(Ok(table)) => Some(table.range(key.offset..end).peekable()),
            Some(Err(why)) => return Err((0, why.clone())),
        };
        let mut found = Vec::new();
        let mut at = 0;
        while at < insns.len() {
            let insn = insns[at];
            let fault = |why: String| (at, why);
            let wide = insn.is_ld_imm64();
            if wide && at + 1 >= insns.len() {
                return Err(fault("the second half of a 64-bit load is missing".to_owned()));
            }
            let next = key.offset + (at + if wide { 2 } else { 1 }) as u64 * INSN_BYTES;
            let here = key.offset + at as u64 * INSN_BYTES;
            let reloc = relocs.as_mut().and_then(|relocs| relocs.next_if(|(offset, _)| **offset < next));
            match reloc {
                Some((offset, _)) if *offset != here => {
                    return Err(fault(format!("a relocation at {offset:#x} is not at an instruction's start")));
                }
                Some((_, reloc)) => {
                    found.push((at, self.relocated(key, insn, *reloc).map_err(fault)?));
                }
                None => {
                    if let Some(reference) = unrelocated(key, at, insn).map_err(fault)? {
                        found.push((at, reference));
                    }
                }
            }
            if relocs.as_mut().and_then(|relocs| relocs.next_if(|(offset, _)| **offset < next)).is_some() {
                return Err(fault("it has two relocations".to_owned()));
            }
            at += if wide { 2 } else { 1 };
        }
        Ok(found)
    }

    fn relocated(&self, key: FunctionKey, insn: Insn, reloc: Reloc) -> Result<Reference<'_>, String> {
        let symbol = self.symbol(reloc)?;
        let name = if symbol.name.is_empty() { "a section" } else { symbol.name.as_str() };
        match (reloc.kind, symbol.place) {
            (R_BPF_64_32, Place::Section(section)) if insn.is_local_call() => {
                // The addend counts instructions from the one before the symbol.
                let offset = i64::try_from(symbol.value).ok().and_then(|value| value.checked_add((i64::from(insn.imm) + 1) * INSN_BYTES as i64));
                self.function_at(section, offset, name)
            }
            (R_BPF_64_32, Place::Undefined) if insn.code == op::CALL => match self.externs.get(&symbol.name) {
                Some(Extern::Function) => Ok(Reference::Kernel { name: &symbol.name, weak: symbol.is_weak, kind: Kind::Func }),
                _ => Err(format!(
                    "it calls {name}, which the object neither defines nor declares as a kernel function (__ksym)"
                )),
            },
            (R_BPF_64_64, Place::Section(section)) if insn.is_ld_imm64() => self.address(section, symbol, insn, name),
            (R_BPF_64_64, Place::Undefined) if insn.is_ld_imm64() => match self.externs.get(&symbol.name) {
                Some(Extern::Kconfig { offset }) => {
                    let map = self.maps.kconfig.ok_or("the object has no .kconfig map")?;
                    let offset = offset.cast_signed().wrapping_add(insn.imm);
                    Ok(Reference::MapValue { map, offset })
                }
                Some(Extern::Variable) => Ok(Reference::Kernel { name: &symbol.name, weak: symbol.is_weak, kind: Kind::Var }),
                Some(Extern::Function) => Ok(Reference::Kernel { name: &symbol.name, weak: symbol.is_weak, kind: Kind::Func }),
                Some(Extern::Address) if symbol.is_weak => Ok(Reference::Null),
                Some(Extern::Address) => Err(format!(
                    "it takes the address of kernel symbol {name}, declared without a type: declare its type"
                )),
                None => Err(format!("it refers to {name}, which the object does not define")),
            },
            (kind, place) => Err(format!(
                "relocation type {kind} against {name} ({place:?}) does not go with operation {:#04x} in section {}",
                insn.code, key.section
            )),
        }
    }

    fn function_at(&self, section: usize, offset: Option<i64>, name: &str) -> Result<Reference<'_>, String> {
        let offset = offset
            .and_then(|offset| u64::try_from(offset).ok())
            .ok_or_else(|| format!("it calls {name} at an impossible place"))?;
        Ok(Reference::Function(FunctionKey { section, offset }))
    }

    /// The address of something in a section: a map, a global variable or a function.
    fn address(&self, section: usize, symbol: &Symbol, insn: Insn, name: &str) -> Result<Reference<'_>, String> {
        let offset = i64::try_from(symbol.value).ok().and_then(|value| value.checked_add(i64::from(insn.imm)));
        if let Some(map) = self.maps.data_section(section) {
            let size = self.maps.specs[map].value_size;
            return offset
                .and_then(|offset| i32::try_from(offset).ok())
                .map(|offset| Reference::MapValue { map, offset })
                .ok_or_else(|| format!("it refers to {name}, far outside its section of {size} bytes"));
        }
        let place = offset.and_then(|offset| u64::try_from(offset).ok());
        if let Some(map) = place.and_then(|place| self.maps.declared(section, place)) {
            return Ok(Reference::Map(map));
        }
        match self.elf.sections.get(section) {
            Some(header) if header.is_code() => self.function_at(section, offset, name),
            Some(header) => Err(format!("it refers to {name} in section {}, which is neither a map nor a global variable", header.name)),
            None => Err(format!("it refers to {name} in a section that does not exist")),
        }
    }
}

/// What an instruction without a relocation refers to: only functions of its own section can be.
fn unrelocated(key: FunctionKey, at: usize, insn: Insn) -> Result<Option<Reference<'static>>, String> {
    let relative = || {
        let target = (at as i64 + i64::from(insn.imm) + 1) * INSN_BYTES as i64;
        i64::try_from(key.offset)
            .ok()
            .and_then(|offset| u64::try_from(offset.checked_add(target)?).ok())
            .map(|offset| Some(Reference::Function(FunctionKey { section: key.section, offset })))
            .ok_or_else(|| "its target lies before its section".to_owned())
    };
    if insn.is_local_call() || insn.is_function_pointer() {
        return relative();
    }
    // Numbers that mean something only on the machine that wrote them: never taken for ours.
    if insn.is_ld_imm64() && insn.src() != 0 {
        return Err(format!("a 64-bit load of kind {} has no relocation", insn.src()));
    }
    if insn.code == op::CALL && insn.src() != 0 {
        return Err(format!("a call of kind {} has no relocation", insn.src()));
    }
    Ok(None)
}

/// A function being linked: the walk over its references, and where to go on.
struct Frame<'a> {
    references: std::vec::IntoIter<(usize, Reference<'a>)>,
    start: usize,
    name: &'a str,
}

/// Links one program.
pub(crate) struct Linker<'a> {
    object: &'a ObjectFile,
    entry: &'a ProgramEntry,
    kernel: Option<&'a KernelBtf>,
    types: Option<Resolver<'a>>,
    placed: HashMap<FunctionKey, usize>,
    out: Linked,
    whole_func_info: bool,
    whole_line_info: bool,
}

impl<'a> Linker<'a> {
    pub(crate) fn new(
        object: &'a ObjectFile,
        entry: &'a ProgramEntry,
        kernel: Option<&'a KernelBtf>,
        types: Option<Resolver<'a>>,
    ) -> Self {
        Self {
            object,
            entry,
            kernel,
            types,
            placed: HashMap::new(),
            out: Linked::default(),
            whole_func_info: true,
            whole_line_info: true,
        }
    }

    /// Walks calls with a stack of its own: a chain of calls may be longer than a thread's stack is deep.
    pub(crate) fn link(mut self) -> Result<Linked, ObjectError> {
        let mut stack = vec![self.place(self.entry.key, &self.entry.name, 0)?];
        while let Some(frame) = stack.last_mut() {
            let Some((at, reference)) = frame.references.next() else {
                stack.pop();
                continue;
            };
            let (start, caller) = (frame.start, frame.name);
            let position = start + at;
            match reference {
                Reference::Function(key) => {
                    let target = match self.placed.get(&key) {
                        Some(target) => *target,
                        None => {
                            let callee = self.place(key, caller, at)?;
                            let target = callee.start;
                            stack.push(callee);
                            target
                        }
                    };
                    // Both lie below a million, so the distance fits.
                    self.out.insns[position].imm = (target as i64 - position as i64 - 1) as i32;
                    if self.out.insns[position].is_ld_imm64() {
                        set_source(&mut self.out.insns[position], op::PSEUDO_FUNC);
                        self.out.insns[position + 1].imm = 0;
                    }
                }
                Reference::Map(map) => self.set_wide(position, op::PSEUDO_MAP_FD, map as i32, 0),
                Reference::MapValue { map, offset } => {
                    self.set_wide(position, op::PSEUDO_MAP_VALUE, map as i32, offset);
                }
                Reference::Null => self.set_wide(position, 0, 0, 0),
                Reference::Kernel { name, weak, kind } => {
                    self.link_kernel(position, name, weak, kind).map_err(|why| self.fault(caller, (at, why)))??;
                }
            }
        }
        self.finish()
    }

    fn fault(&self, function: &str, (insn, why): Fault) -> ObjectError {
        ObjectError::Relocation { program: self.entry.name.clone(), function: function.to_owned(), insn, why }
    }

    fn set_wide(&mut self, at: usize, source: u8, first: i32, second: i32) {
        set_source(&mut self.out.insns[at], source);
        self.out.insns[at].imm = first;
        self.out.insns[at + 1].imm = second;
    }

    /// Appends a function's instructions and information; `caller` and `at` say where it was first called.
    fn place(&mut self, key: FunctionKey, caller: &str, at: usize) -> Result<Frame<'a>, ObjectError> {
        let object = self.object;
        let function = object.functions.get(key).map_err(|why| self.fault(caller, (at, why)))?;
        let start = self.out.insns.len();
        if function.len > MAX_INSTRUCTIONS - start {
            return Err(ObjectError::TooManyInstructions {
                program: self.entry.name.clone(),
                limit: MAX_INSTRUCTIONS,
            });
        }
        let mut insns: Vec<Insn> = Functions::instructions(&object.elf, key, function.len).collect();
        let references = object.references(key, &insns).map_err(|fault| self.fault(&function.name, fault))?;
        self.relocate_types(key, function, &mut insns)?;
        self.placed.insert(key, start);
        self.out.functions.push(FunctionSpan { name: function.name.clone(), start, len: insns.len() });
        self.add_info(key, start, &insns);
        self.out.insns.append(&mut insns);
        Ok(Frame { references: references.into_iter(), start, name: &function.name })
    }

    fn relocate_types(&mut self, key: FunctionKey, function: &Function, insns: &mut [Insn]) -> Result<(), ObjectError> {
        let records =
            self.object.core_records(key, function.len).map_err(|why| self.fault(&function.name, (0, why)))?;
        for record in records {
            let at = ((record.offset - key.offset) / INSN_BYTES) as usize;
            if core_relo::is_local(record) {
                core_relo::patch_local(record, insns, at).map_err(|why| self.fault(&function.name, (at, why)))?;
                continue;
            }
            let Some(types) = self.types.as_mut() else {
                return Err(ObjectError::NeedsKernelBtf {
                    program: self.entry.name.clone(),
                    what: "the layout of kernel types (CO-RE)".to_owned(),
                });
            };
            if let Err(why) = types.relocate(record, insns, at) {
                return Err(self.fault(&function.name, (at, why)));
            }
        }
        Ok(())
    }

    /// The outer error is a fault of the instruction, the inner one of the whole program.
    fn link_kernel(
        &mut self,
        at: usize,
        name: &str,
        weak: bool,
        kind: Kind,
    ) -> Result<Result<(), ObjectError>, String> {
        let what = if kind == Kind::Func { "function" } else { "variable" };
        let Some(kernel) = self.kernel else {
            return Ok(Err(ObjectError::NeedsKernelBtf {
                program: self.entry.name.clone(),
                what: format!("kernel {what} {name}"),
            }));
        };
        let id = match kind {
            Kind::Func => kernel.function_id(name),
            _ => kernel.variable_id(name),
        };
        let call = self.out.insns[at].code == op::CALL;
        match id {
            Some(id) if call => {
                let insn = &mut self.out.insns[at];
                set_source(insn, op::PSEUDO_KFUNC_CALL);
                // Zero says that the id is of the kernel itself, not of a module.
                insn.off = 0;
                insn.imm = id.cast_signed();
            }
            Some(id) => self.set_wide(at, op::PSEUDO_BTF_ID, id.cast_signed(), 0),
            None if !weak => return Err(format!("this kernel has no {what} {name}")),
            None if call => {
                let insn = &mut self.out.insns[at];
                set_source(insn, 0);
                insn.off = 0;
                insn.imm = MISSING_FUNCTION;
            }
            None => self.set_wide(at, 0, 0, 0),
        }
        Ok(Ok(()))
    }

    fn add_info(&mut self, key: FunctionKey, start: usize, insns: &[Insn]) {
        let object = self.object;
        let (Some(btf), Ok(Some(records))) = (&object.btf, object.records(key)) else {
            self.whole_func_info = false;
            self.whole_line_info = false;
            return;
        };
        let end = key.offset + insns.len() as u64 * INSN_BYTES;
        let place = |offset: u64| start as u32 + ((offset - key.offset) / INSN_BYTES) as u32;
        let own = records.functions.iter().find(|record| record.offset == key.offset);
        match own.filter(|own| btf.get(own.type_id).is_some_and(|ty| ty.kind == Kind::Func)) {
            Some(own) => {
                self.out.func_info.push(FuncInfo { insn_off: start as u32, type_id: own.type_id });
            }
            None => self.whole_func_info = false,
        }
        let strings = btf.strings().len() as u32;
        let mut last = None;
        for line in within(&records.lines, |line| line.offset, key.offset, end) {
            let insn_off = place(line.offset);
            if last.is_none() && insn_off as usize != start || line.file_name_off >= strings || line.line_off >= strings {
                self.whole_line_info = false;
            }
            // The second half of a wide load is no instruction, and the kernel takes one line for one.
            let inside = insns.get(insn_off as usize - start).is_some_and(|insn| insn.code != 0);
            if inside && last != Some(insn_off) {
                last = Some(insn_off);
                self.out.line_info.push(LineInfo {
                    insn_off,
                    file_name_off: line.file_name_off,
                    line_off: line.line_off,
                    line_col: line.line_col,
                });
            }
        }
        self.whole_line_info &= last.is_some();
    }

    fn finish(mut self) -> Result<Linked, ObjectError> {
        // The kernel wants information about every function or about none, and lines only beside functions.
        if !self.whole_func_info {
            self.out.func_info.clear();
        }
        if !self.whole_func_info || !self.whole_line_info {
            self.out.line_info.clear();
        }
        Ok(self.out)
    }
}

fn set_source(insn: &mut Insn, source: u8) {
    insn.regs = source << 4 | insn.dst();
}

/// What a program and the functions that it reaches need.
pub(crate) fn needs(object: &ObjectFile, entry: &ProgramEntry) -> Result<Needs, String> {
    let mut needs = Needs::default();
    let mut seen = HashMap::from([(entry.key, ())]);
    let mut queue = vec![entry.key];
    while let Some(key) = queue.pop() {
        let function = object.functions.get(key)?;
        for record in object.core_records(key, function.len)? {
            if core_relo::is_local(record) {
                needs.local_type_ids = true;
            } else {
                needs.kernel_types = true;
            }
        }
        let insns: Vec<Insn> = Functions::instructions(&object.elf, key, function.len).collect();
        for (_, reference) in object.references(key, &insns).map_err(|(_, why)| why)? {
            match reference {
                Reference::Function(callee) if seen.insert(callee, ()).is_none() => queue.push(callee),
                Reference::Kernel { .. } => needs.kernel_symbols = true,
                _ => {}
            }
        }
    }
    Ok(needs)
}
