//! Linking. Functions are appended where they are first called, depth first, as in libbpf: the same kernel tag.

mod kernel;

use std::collections::{HashMap, HashSet};

use bpfman_model::{FuncInfo, FunctionSpan, Insn, JumpTable, LineInfo, op};

use crate::btf::Kind;
use crate::btf::ext::within;
use crate::core_relo::{self, Resolver};
use crate::exceptions;
use crate::functions::{Function, FunctionKey, Functions, INSN_BYTES};
use crate::jump_tables::TablePlace;
use crate::object_file::ObjectFile;
use crate::programs::ProgramEntry;
use crate::references::{Fault, Reference};
use crate::{KernelBtf, MAX_INSTRUCTIONS, ObjectError, RelocationError};

/// Reference of an instruction that this kernel lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// Index of the instruction in the whole text.
    pub at: usize,
    /// Function of the instruction, and the index in it.
    pub function: (String, usize),
    /// Missing target, such as "struct sock.freebind (CO-RE byte_off, access path 0:14): …".
    pub what: String,
}

/// Instruction that loads the address of a kernel symbol (`extern const void NAME __ksym`), zero in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedAddress {
    /// Index of the instruction's first half in the whole text.
    pub at: usize,
    pub symbol: String,
    /// The symbol may be missing; the address is then zero.
    pub weak: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Linked {
    pub insns: Vec<Insn>,
    pub functions: Vec<FunctionSpan>,
    pub func_info: Vec<FuncInfo>,
    pub line_info: Vec<LineInfo>,
    pub local_type_ids: Vec<usize>,
    /// Names of modules; instructions refer to them by index, from 1 on.
    pub modules: Vec<String>,
    pub unresolved: Vec<Unresolved>,
    pub addresses: Vec<WantedAddress>,
    pub jump_tables: Vec<JumpTable>,
}

struct Frame<'a> {
    references: std::vec::IntoIter<(usize, Reference<'a>)>,
    key: FunctionKey,
    start: usize,
    len: usize,
    name: &'a str,
}

pub(crate) struct Linker<'a> {
    object: &'a ObjectFile,
    entry: &'a ProgramEntry,
    kernel: Option<&'a KernelBtf>,
    types: Option<Resolver<'a>>,
    placed: HashMap<FunctionKey, usize>,
    jump_tables: HashMap<(FunctionKey, TablePlace<'a>), usize>,
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
            jump_tables: HashMap::new(),
            out: Linked::default(),
            whole_func_info: true,
            whole_line_info: true,
        }
    }

    /// Links the program. Uses an explicit stack: a chain of calls may exceed the thread's stack.
    pub(crate) fn link(mut self) -> Result<Linked, ObjectError> {
        let (object, entry) = (self.object, self.entry);
        let first = self.place(entry.key, &entry.name, 0)?;
        self.link_reached(first)?;
        // After everything else, as in libbpf.
        let callback =
            exceptions::callback(object, entry.key).map_err(|why| self.fault(&entry.name, (0, why)))?;
        if let Some(callback) = callback.filter(|callback| !self.placed.contains_key(callback)) {
            let callback = self.place(callback, &entry.name, 0)?;
            self.link_reached(callback)?;
        }
        self.finish()
    }

    fn link_reached(&mut self, first: Frame<'a>) -> Result<(), ObjectError> {
        let mut stack = vec![first];
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
                Reference::Address { name, weak } => {
                    self.set_wide(position, 0, 0, 0);
                    let symbol = name.to_owned();
                    self.out.addresses.push(WantedAddress { at: position, symbol, weak });
                }
                Reference::JumpTable(table) => {
                    let (key, len) = (frame.key, frame.len);
                    self.link_jump_table(table, key, (start, len), position)
                        .map_err(|why| self.fault(caller, (at, why)))?;
                }
                Reference::Kernel { name, weak, kind } => {
                    let place = (caller, at);
                    if let Some(what) = self.link_kernel(position, place, name, weak, kind)? {
                        let function = (caller.to_owned(), at);
                        self.out.unresolved.push(Unresolved { at: position, function, what });
                    }
                }
            }
        }
        Ok(())
    }

    /// `start` and `len`: position and length of the instruction's function in the text.
    fn link_jump_table(
        &mut self,
        table: TablePlace<'a>,
        key: FunctionKey,
        (start, len): (usize, usize),
        position: usize,
    ) -> Result<(), RelocationError> {
        self.set_wide(position, 0, 0, 0);
        if let Some(known) = self.jump_tables.get(&(key, table)) {
            self.out.jump_tables[*known].loads.push(position);
            return Ok(());
        }
        let entries = table.entries(&self.object.elf, key, len)?;
        let entries = entries.into_iter().map(|entry| entry + start as u32).collect();
        self.jump_tables.insert((key, table), self.out.jump_tables.len());
        self.out.jump_tables.push(JumpTable { loads: vec![position], entries });
        Ok(())
    }

    fn fault(&self, function: &str, (insn, why): Fault) -> ObjectError {
        ObjectError::Relocation { program: self.entry.name.clone(), function: function.to_owned(), insn, why }
    }

    fn set_wide(&mut self, at: usize, source: u8, first: i32, second: i32) {
        set_source(&mut self.out.insns[at], source);
        self.out.insns[at].imm = first;
        self.out.insns[at + 1].imm = second;
    }

    /// Appends a function to the text. `caller` and `at` are the location of its first call.
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
        let referring = references.iter().map(|(at, _)| *at).collect();
        self.relocate_types(key, function, &mut insns, &referring)?;
        self.placed.insert(key, start);
        self.out.functions.push(FunctionSpan { name: function.name.clone(), start, len: insns.len() });
        self.add_info(key, start, &insns);
        self.out.insns.append(&mut insns);
        Ok(Frame { references: references.into_iter(), key, start, len: function.len, name: &function.name })
    }

    fn relocate_types(
        &mut self,
        key: FunctionKey,
        function: &Function,
        insns: &mut [Insn],
        referring: &HashSet<usize>,
    ) -> Result<(), ObjectError> {
        let records = self
            .object
            .core_records(key, function.len)
            .map_err(|why| self.fault(&function.name, (0, why)))?;
        // Splicing rewrites local type ids: a map or function reference in the same place would be changed.
        let mut written = HashMap::new();
        let starts = core_relo::starts(insns);
        for record in records {
            let at = ((record.offset - key.offset) / INSN_BYTES) as usize;
            if !record.offset.is_multiple_of(INSN_BYTES) {
                let why = RelocationError::Misplaced("CO-RE relocation", record.offset);
                return Err(self.fault(&function.name, (at, why)));
            }
            let is_local = core_relo::is_local(record);
            let others_are_local = written.insert(at, is_local);
            if is_local && (referring.contains(&at) || others_are_local.is_some())
                || others_are_local == Some(true)
            {
                return Err(self.fault(&function.name, (at, RelocationError::Doubled)));
            }
            if is_local {
                core_relo::patch_local(record, insns, &starts, at)
                    .map_err(|why| self.fault(&function.name, (at, why.into())))?;
                self.out.local_type_ids.push(self.out.insns.len() + at);
                continue;
            }
            let Some(types) = self.types.as_mut() else {
                return Err(ObjectError::NeedsKernelBtf {
                    program: self.entry.name.clone(),
                    what: "the layout of kernel types (CO-RE)".to_owned(),
                });
            };
            match types.relocate(record, insns, at) {
                Ok(None) => {}
                Ok(Some(what)) => self.out.unresolved.push(Unresolved {
                    at: self.out.insns.len() + at,
                    function: (function.name.clone(), at),
                    what,
                }),
                Err(why) => return Err(self.fault(&function.name, (at, why.into()))),
            }
        }
        Ok(())
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
                let type_id = object.contexts.function_for(own.type_id, self.entry.family.program_type());
                self.out.func_info.push(FuncInfo { insn_off: start as u32, type_id });
            }
            None => self.whole_func_info = false,
        }
        let strings = btf.strings().len() as u32;
        let mut last = None;
        for line in within(&records.lines, |line| line.offset, key.offset, end) {
            let insn_off = place(line.offset);
            if last.is_none() && insn_off as usize != start
                || line.file_name_off >= strings
                || line.line_off >= strings
            {
                self.whole_line_info = false;
            }
            // The second half of a wide load is not an instruction, and the kernel accepts one line per instruction.
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
        // The kernel requires information about every function or none, and lines only together with functions.
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
