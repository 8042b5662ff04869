//! Functions under construction, and the program that they become.

use bpfman_model::{BoundText, FunctionSpan, Insn, MapId, ProgramText};

use super::random::Random;
use super::{COUNTERS, NOTES, SETTINGS};
use crate::little_btf;

pub struct Function {
    pub name: String,
    pub insns: Vec<Insn>,
    pub references: Vec<(usize, usize)>,
}

impl Function {
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), insns: Vec::new(), references: Vec::new() }
    }

    pub fn push(&mut self, code: u8, dst: u8, src: u8, off: i16, imm: i32) {
        self.insns.push(Insn::new(code, dst, src, off, imm));
    }

    pub fn mov(&mut self, dst: u8, imm: i32) {
        self.push(0xb7, dst, 0, 0, imm);
    }

    pub fn copy(&mut self, dst: u8, src: u8) {
        self.push(0xbf, dst, src, 0, 0);
    }

    pub fn map(&mut self, dst: u8, place: u32) {
        self.push(0x18, dst, 1, 0, place.cast_signed());
        self.push(0, 0, 0, 0, 0);
    }

    pub fn value(&mut self, dst: u8, place: u32, at: i32) {
        self.push(0x18, dst, 2, 0, place.cast_signed());
        self.push(0, 0, 0, 0, at);
    }

    pub fn call(&mut self, helper: i32) {
        self.push(0x85, 0, 0, 0, helper);
    }

    pub fn exit(&mut self) {
        self.push(0x95, 0, 0, 0, 0);
    }

    pub fn call_function(&mut self, number: usize) {
        self.references.push((self.insns.len(), number));
        self.push(0x85, 0, 1, 0, 0);
    }

    pub fn address_of(&mut self, dst: u8, number: usize) {
        self.references.push((self.insns.len(), number));
        self.push(0x18, dst, 4, 0, 0);
        self.push(0, 0, 0, 0, 0);
    }

    pub fn open(&mut self, code: u8, dst: u8, src: u8, imm: i32) -> usize {
        self.push(code, dst, src, 0, imm);
        self.insns.len() - 1
    }

    pub fn close(&mut self, jump: usize) {
        self.insns[jump].off = i16::try_from(self.insns.len() - jump - 1).unwrap();
    }
}

pub fn link(functions: &[Function], random: &mut Random, number: usize) -> BoundText {
    let mut order = vec![0];
    let mut at = 0;
    while at < order.len() {
        for (_, callee) in &functions[order[at]].references {
            if !order.contains(callee) {
                order.push(*callee);
            }
        }
        at += 1;
    }
    let mut insns = Vec::new();
    let mut spans: Vec<FunctionSpan> = Vec::new();
    for f in order.iter().map(|function| &functions[*function]) {
        spans.push(FunctionSpan { name: f.name.clone(), start: insns.len(), len: f.insns.len() });
        insns.extend_from_slice(&f.insns);
    }
    for (place, function) in order.iter().enumerate() {
        for (at, callee) in &functions[*function].references {
            let at = spans[place].start + at;
            let to = spans[order.iter().position(|other| other == callee).unwrap()].start;
            insns[at].imm = to as i32 - at as i32 - 1;
        }
    }
    let callbacks = spans.iter().any(|f| f.name.starts_with("callback"));
    let described = callbacks || random.one_in(3);
    let (btf, func_info, line_info) = if described {
        let (raw, func_info, line_info) = little_btf::describe(&spans, random.one_in(2));
        (Some(raw.into()), func_info, line_info)
    } else {
        (None, Vec::new(), Vec::new())
    };
    let text = ProgramText {
        name: format!("member_{number}"),
        license: "GPL".to_owned(),
        insns,
        functions: spans,
        btf,
        func_info,
        line_info,
        frags: false,
        sleepable: false,
        modules: Vec::new(),
        jump_tables: Vec::new(),
    };
    text.bind(&[MapId(COUNTERS), MapId(NOTES), MapId(SETTINGS)]).unwrap()
}
