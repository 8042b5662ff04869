//! Programs of a few instructions, and maps.

use bpfman_model::map_type::LPM_TRIE;
use bpfman_model::{BoundText, FuncInfo, Insn, MapId, MapSpec, ProgramType, op};
use bpfmand_kernel::{Extends, Kernel, KernelError, ProgramKind, ProgramLoad};

pub const PASS: i32 = 2;

pub fn map_reference(register: u8, map: MapId) -> [Insn; 2] {
    [Insn::new(op::LD_IMM64, register, op::PSEUDO_MAP_FD, 0, map.0.cast_signed()), Insn::default()]
}

pub fn set(register: u8, value: i32) -> Insn {
    Insn::new(0xb7, register, 0, 0, value)
}

pub fn exit() -> Insn {
    Insn::new(op::EXIT, 0, 0, 0, 0)
}

pub fn text(name: &str, insns: Vec<Insn>) -> BoundText {
    BoundText::of_one_function(name, "GPL", insns)
}

pub fn load_as<'a>(text: &'a BoundText, kind: ProgramKind) -> ProgramLoad<'a> {
    ProgramLoad::new(&text.0.name, text, kind)
}

pub fn load<K: Kernel>(kernel: &K, kind: ProgramType, name: &str, insns: Vec<Insn>) -> K::Handle {
    kernel.load_program(&load_as(&text(name, insns), kind.into())).unwrap().program
}

pub fn answering<K: Kernel>(kernel: &K, kind: ProgramType, verdict: i32) -> K::Handle {
    load(kernel, kind, "answer", vec![set(0, verdict), exit()])
}

pub fn map_spec(map_type: u32, key_size: u32, value_size: u32, max_entries: u32) -> MapSpec {
    // An LPM trie and some other types cannot preallocate entries.
    const NO_PREALLOC: u32 = 1;
    MapSpec {
        flags: if map_type == LPM_TRIE { NO_PREALLOC } else { 0 },
        ..MapSpec::sized("numbers", map_type, key_size, value_size, max_entries)
    }
}

pub fn map<K: Kernel>(kernel: &K, map_type: u32, key_size: u32, value_size: u32, most: u32) -> K::Handle {
    kernel.create_map(&map_spec(map_type, key_size, value_size, most), None).unwrap()
}

pub const FUNCTION: u32 = 5;

pub fn typed(name: &str, verdict: i32) -> BoundText {
    let mut typed = text(name, vec![set(0, verdict), exit()]);
    let strings = [b"\0int\0xdp_md\0ctx\0".as_slice(), name.as_bytes(), b"\0"].concat();
    let kind = |kind: u32, vlen: u32| kind << 24 | vlen;
    let types: Vec<u32> = [
        vec![1, kind(1, 0), 4, 1 << 24 | 32], // 1: int
        vec![5, kind(4, 0), 4],               // 2: struct xdp_md
        vec![0, kind(2, 0), 2],               // 3: a pointer to it
        vec![0, kind(13, 1), 1, 12, 3],       // 4: a function of it
        vec![16, kind(12, 1), 4],             // 5: the function, global
    ]
    .concat();
    let bytes = (types.len() * 4) as u32;
    let mut btf = vec![0x9f, 0xeb, 1, 0];
    for word in [24, 0, bytes, bytes, strings.len() as u32].iter().chain(&types) {
        btf.extend(word.to_ne_bytes());
    }
    btf.extend(strings);
    typed.0.btf = Some(btf.into());
    typed.0.func_info = vec![FuncInfo { insn_off: 0, type_id: FUNCTION }];
    typed
}

pub fn function_of<K: Kernel>(kernel: &K, program: &K::Handle) -> Extends {
    Extends { program: kernel.program_of(program).unwrap().id, function: FUNCTION }
}

pub fn number(error: &KernelError) -> Option<i32> {
    match error {
        KernelError::Call { source, .. } | KernelError::Refused { source, .. } => source.raw_os_error(),
        _ => None,
    }
}
