use bpfman_model::{BoundText, FuncInfo, FunctionSpan, LineInfo};

use super::*;
use crate::layout::MAX_PARTS;
use crate::{
    FieldLayout, GlobalVariable, InitialSlot, MapTypes, ProgramEntry, StructOpsMap, StructOpsMember,
    StructOpsValue, ValueLayout, WantedAddress,
};

const EXIT: Insn = Insn { code: op::EXIT, regs: 0, off: 0, imm: 0 };

fn variables(name: &str) -> MapSpec {
    MapSpec { role: MapRole::Data, initial: vec![0; 8], ..MapSpec::sized(name, map_type::ARRAY, 4, 8, 1) }
}

fn facts() -> ObjectFacts {
    ObjectFacts {
        programs: vec![ProgramEntry::of_section("pass".to_owned(), "xdp".to_owned(), false)],
        maps: vec![MapSpec::sized("counts", map_type::HASH, 4, 8, 16), variables(".data")],
        types: vec![MapTypes::default(); 2],
        slots: Vec::new(),
        globals: vec![GlobalVariable {
            name: "level".to_owned(),
            map: 1,
            offset: 4,
            size: 4,
            type_name: "int".to_owned(),
            layout: ValueLayout::Integer { bytes: 4, signed: true },
            read_only: false,
        }],
        license: "GPL".to_owned(),
        kconfig: None,
        struct_ops: Vec::new(),
        warnings: Vec::new(),
    }
}

#[test]
fn facts_that_no_object_has_are_refused() {
    assert_eq!(facts().check(), Ok(()));
    type Lie = fn(&mut ObjectFacts);
    let lies: [(&str, Lie); 20] = [
        ("a name with a zero", |facts| facts.programs[0].name.push('\0')),
        ("a map named as a file elsewhere", |facts| facts.maps[0].name = "../counts".to_owned()),
        ("a map without a name", |facts| facts.maps[0].name.clear()),
        ("a map of variables that is pinned by name", |facts| facts.maps[1].pin_by_name = true),
        ("less contents than a value", |facts| facts.maps[1].initial.truncate(4)),
        ("variables in a hash", |facts| facts.maps[1].map_type = map_type::HASH),
        ("contents of a declared map", |facts| facts.maps[0].initial = vec![1]),
        ("types of one map too few", |facts| facts.types.truncate(1)),
        ("a map twice", |facts| facts.maps[1] = facts.maps[0].clone()),
        ("a variable beyond its map", |facts| facts.globals[0].offset = 5),
        ("a variable whose end overflows", |facts| facts.globals[0].offset = usize::MAX),
        ("a variable of another size than its type", |facts| facts.globals[0].layout = ValueLayout::Bool),
        ("a number of a size that none has", |facts| {
            facts.globals[0].size = 3;
            facts.globals[0].layout = ValueLayout::Integer { bytes: 3, signed: true };
        }),
        ("a field outside of its struct", |facts| {
            let layout = ValueLayout::Integer { bytes: 4, signed: true };
            let fields = vec![FieldLayout { name: "rate".to_owned(), offset: usize::MAX, layout }];
            facts.globals[0].layout = ValueLayout::Struct { bytes: 4, fields };
        }),
        ("a type without end", |facts| {
            for _ in 0..9 {
                let element = Box::new(facts.globals[0].layout.clone());
                facts.globals[0].layout = ValueLayout::Array { element, count: 1 };
            }
        }),
        ("more names than are read", |facts| {
            let names = vec![("RED".to_owned(), 0); MAX_PARTS];
            facts.globals[0].layout = ValueLayout::Enumeration { bytes: 4, names };
        }),
        ("a variable of no map", |facts| facts.globals[0].map = 2),
        ("a slot of no map", |facts| {
            facts.slots = vec![InitialSlot { map: 2, key: 0, target: SlotTarget::Map(0) }];
        }),
        ("a slot that no map goes into", |facts| {
            facts.slots = vec![InitialSlot { map: 0, key: 0, target: SlotTarget::Map(2) }];
        }),
        ("a map in a map in a map", |facts| {
            let mut inner = MapSpec::sized("inner", map_type::ARRAY, 4, 4, 1);
            inner.inner = Some(Box::new(inner.clone()));
            facts.maps[0].inner = Some(Box::new(inner));
        }),
    ];
    for (what, lie) in lies {
        let mut facts = facts();
        lie(&mut facts);
        assert!(facts.check().is_err(), "{what}");
    }
}

#[test]
fn slots_that_are_no_maps_or_too_many_are_refused() {
    let slot = |map, key| InitialSlot { map, key, target: SlotTarget::Map(0) };
    let jump = |key| InitialSlot { map: 2, key, target: SlotTarget::Program("pass".to_owned()) };
    let check = |slots: Vec<InitialSlot>| {
        let mut facts = facts();
        facts.maps.push(MapSpec::sized("jumps", map_type::PROG_ARRAY, 4, 4, 4096));
        facts.maps.push(MapSpec::sized("outer", map_type::ARRAY_OF_MAPS, 4, 4, 8192));
        facts.maps.push(MapSpec::sized("by_key", map_type::HASH_OF_MAPS, 4, 4, 1));
        facts.maps.push(MapSpec::sized("by_name", map_type::HASH_OF_MAPS, 8, 4, 1));
        facts.types.resize(facts.maps.len(), MapTypes::default());
        facts.slots = slots;
        facts.check().err().unwrap_or_default()
    };
    assert_eq!(check((0..4096).map(jump).collect()), "");
    assert_eq!(check(vec![slot(3, 8191), slot(3, 0), slot(4, u32::MAX)]), "");
    for (slots, why) in [
        ((0..4097).map(|key| slot(3, key)).collect(), "fills 4097 slots"),
        (vec![jump(7), slot(3, 7), jump(7)], "twice"),
        (vec![jump(4096)], "no such slot"),
        (vec![slot(3, 8192)], "no such slot"),
        (vec![slot(5, 0)], "no such slot"),
        (vec![slot(2, 0)], "cannot hold"),
        (vec![slot(0, 0)], "cannot hold"),
        (vec![InitialSlot { map: 3, ..jump(0) }], "cannot hold"),
        (vec![slot(6, 0)], "not there"),
    ] {
        let said = check(slots);
        assert!(said.contains(why), "{said}, not {why}");
    }
}

#[test]
fn struct_ops_in_wrong_maps_or_too_many_are_refused() {
    let structure = |map, members| StructOpsMap { map, structure: "ops".to_owned(), members };
    let set = |value| StructOpsMember { name: "init".to_owned(), value };
    let program = || set(StructOpsValue::Program("pass".to_owned()));
    let data = |bytes| set(StructOpsValue::Data(vec![1; bytes]));
    let check = |all: Vec<StructOpsMap>| {
        let mut facts = facts();
        facts.maps.push(MapSpec::sized("ops", map_type::STRUCT_OPS, 4, 64, 1));
        facts.types.resize(facts.maps.len(), MapTypes::default());
        facts.struct_ops = all;
        facts.check().err().unwrap_or_default()
    };
    assert_eq!(check(vec![structure(2, vec![program(), data(64 << 10)])]), "");
    let mut unnamed = program();
    unnamed.name.push('\0');
    for (all, why) in [
        (vec![structure(0, vec![program()])], "is no struct_ops map"),
        (vec![structure(1, vec![program()])], "is no struct_ops map"),
        (vec![structure(3, vec![program()])], "is no struct_ops map"),
        (vec![structure(2, vec![]), structure(2, vec![])], "is no struct_ops map"),
        (vec![structure(2, vec![data((64 << 10) + 1)])], "too many"),
        (vec![structure(2, vec![program(); 4097])], "too many"),
        (vec![structure(2, vec![unnamed])], "name that none can be"),
    ] {
        let said = check(all);
        assert!(said.contains(why), "{said}, not {why}");
    }
}

fn linked(insns: Vec<Insn>) -> LinkedProgram {
    let BoundText(text) = BoundText::of_one_function("pass", "GPL", insns);
    LinkedProgram { text, local_type_ids: Vec::new(), unresolved: Vec::new(), addresses: Vec::new() }
}

fn wide(source: u8, first: i32, second: i32) -> Vec<Insn> {
    let first = Insn::new(op::LD_IMM64, 1, source, 0, first);
    vec![first, Insn { imm: second, ..Insn::default() }, EXIT]
}

#[test]
fn references_to_what_is_not_there_are_refused() {
    let call = |source, off, imm| vec![Insn::new(op::CALL, 0, source, off, imm), EXIT];
    for (insns, is_fine) in [
        (vec![EXIT], true),
        (wide(0, -1, -1), true),
        (wide(op::PSEUDO_MAP_FD, 1, 0), true),
        (wide(op::PSEUDO_MAP_FD, 2, 0), false),
        (wide(op::PSEUDO_MAP_VALUE, -1, 0), false),
        // Index of the table of a tenant's guard.
        (wide(op::PSEUDO_MAP_VALUE, 1 << 20, 0), false),
        (wide(op::PSEUDO_BTF_ID, 7, 1), true),
        (wide(op::PSEUDO_BTF_ID, 7, 2), false),
        (wide(op::PSEUDO_FUNC, -1, 0), true),
        (wide(op::PSEUDO_FUNC, 0, 0), false),
        // Index into a list of descriptors.
        (wide(5, 0, 0), false),
        (wide(6, 0, 0), false),
        (call(0, 0, 5), true),
        (call(op::PSEUDO_CALL, 0, -1), true),
        (call(op::PSEUDO_CALL, 0, 0), false),
        (call(op::PSEUDO_CALL, 0, i32::MAX), false),
        (call(op::PSEUDO_KFUNC_CALL, 1, 5), true),
        (call(op::PSEUDO_KFUNC_CALL, 2, 5), false),
        (call(op::PSEUDO_KFUNC_CALL, -1, 5), false),
        (call(3, 0, 5), false),
        (vec![Insn::new(op::LD_IMM64, 1, 0, 0, 0)], false),
        (Vec::new(), false),
    ] {
        let mut program = linked(insns);
        program.text.modules = vec!["nf_nat".to_owned()];
        assert_eq!(program.check(2).is_ok(), is_fine, "{:?}: {:?}", program.text.insns, program.check(2));
    }
}

#[test]
fn functions_lines_and_modules_that_are_not_there_are_refused() {
    type Lie = fn(&mut LinkedProgram);
    let span = |start, len| FunctionSpan { name: "inner".to_owned(), start, len };
    let sound = || {
        let mut program = linked(vec![EXIT; 4]);
        program.text.functions[0].len = 2;
        program.text.functions.push(span(2, 2));
        program.text.btf = Some([0; 24].into());
        program.text.func_info =
            vec![FuncInfo { insn_off: 0, type_id: 1 }, FuncInfo { insn_off: 2, type_id: 2 }];
        let line = |insn_off| LineInfo { insn_off, file_name_off: 0, line_off: 0, line_col: 0 };
        program.text.line_info = vec![line(0), line(3)];
        program
    };
    assert_eq!(sound().check(0), Ok(()));
    let lies: [(&str, Lie); 11] = [
        ("a gap", |program| program.text.functions[1].start = 3),
        ("an overlap", |program| program.text.functions[0].len = 3),
        ("a function without instructions", |program| program.text.functions[1].len = 0),
        ("a length that overflows", |program| program.text.functions[1].len = usize::MAX),
        ("instructions of no function", |program| program.text.insns.push(EXIT)),
        ("a function that is not described", |program| program.text.func_info.truncate(1)),
        ("a description of another place", |program| program.text.func_info[1].insn_off = 3),
        ("a description without types", |program| program.text.btf = None),
        ("a line behind the end", |program| program.text.line_info[1].insn_off = 4),
        ("a line twice", |program| program.text.line_info[1].insn_off = 0),
        ("a module that is a path", |program| program.text.modules = vec!["../vmlinux".to_owned()]),
    ];
    for (what, lie) in lies {
        let mut program = sound();
        lie(&mut program);
        assert!(program.check(0).is_err(), "{what}");
    }
    let mut program = sound();
    program.local_type_ids = vec![4];
    assert!(program.check(0).is_err(), "a type's number behind the end");
}

#[test]
fn a_types_number_is_one_and_neither_a_map_nor_a_call() {
    let number = Insn::new(0xb7, 1, 0, 0, 8);
    for (insns, at, is_fine) in [
        (vec![number, EXIT], 0, true),
        (wide(0, 7, 0), 0, true),
        (wide(0, 7, 0), 1, false),
        (wide(op::PSEUDO_MAP_FD, 0, 0), 0, false),
        (wide(op::PSEUDO_MAP_VALUE, 0, 0), 0, false),
        (vec![Insn::new(op::CALL, 0, 0, 0, 5), EXIT], 0, false),
        (vec![Insn::new(op::CALL, 0, op::PSEUDO_KFUNC_CALL, 0, 5), EXIT], 0, false),
        (vec![Insn { code: 0xbf, ..number }, EXIT], 0, false),
        (vec![number, EXIT], 2, false),
        (vec![number, EXIT], usize::MAX, false),
    ] {
        let mut program = linked(insns);
        program.local_type_ids = vec![at];
        assert_eq!(program.check(1).is_ok(), is_fine, "{:?} at {at}", program.text.insns);
    }
}

#[test]
fn as_many_functions_as_the_kernel_takes_and_no_more() {
    let of = |count: usize| {
        let mut program = linked(vec![EXIT; count]);
        let span = |start| FunctionSpan { name: "f".to_owned(), start, len: 1 };
        program.text.functions = (0..count).map(span).collect();
        program.check(0)
    };
    assert_eq!(of(256), Ok(()));
    assert!(of(257).is_err());
}

#[test]
fn addresses_are_put_only_where_a_number_is_loaded() {
    let insns = [wide(0, 0, 0), wide(op::PSEUDO_MAP_FD, 0, 0)].concat();
    let mut linked = linked(insns);
    linked.text.insns.remove(2);
    linked.text.functions[0].len = linked.text.insns.len();
    let mut check = |at, symbol: &str| {
        linked.addresses = vec![WantedAddress { at, symbol: symbol.to_owned(), weak: false }];
        linked.check(1).err().unwrap_or_default()
    };
    assert_eq!(check(0, "bpf_prog_put"), "");
    for at in [1, 2, 3, 4, 5, usize::MAX] {
        assert!(check(at, "bpf_prog_put").contains("which loads none"), "{at}");
    }
    assert!(check(0, "a\0b").contains("a name that none can be"));
    linked.set_address(0, 0xffff_ffff_8123_4567);
    linked.set_address(usize::MAX, 1);
    let halves = [linked.text.insns[0].imm, linked.text.insns[1].imm];
    assert_eq!(halves.map(i32::cast_unsigned), [0x8123_4567, 0xffff_ffff]);
    assert_eq!(linked.text.insns[2].imm, 0);
}
