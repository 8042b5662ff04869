use crate::compile;
use anyhow::{Context, Result};
use bpfman_model::{Insn, ProgramText, op};
use bpfmand_object::{KernelBtf, ObjectFile, TextOptions};

const INT: u32 = 1;
const STRUCT: u32 = 4;
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;
/// A module's own ids follow.
const KERNEL_TYPES: u32 = 4;

const fn kind(kind: u32, parts: u32) -> u32 {
    kind << 24 | parts
}

fn blob(types: &[&[u32]], strings: &[u8]) -> Vec<u8> {
    let types: Vec<u32> = types.concat();
    let bytes = (types.len() * 4) as u32;
    let mut blob = 0xeb9f_u16.to_ne_bytes().to_vec();
    blob.extend([1, 0]);
    for word in [24, 0, bytes, bytes, strings.len() as u32].iter().chain(&types) {
        blob.extend(word.to_ne_bytes());
    }
    blob.extend(strings);
    blob
}

const KERNEL_STRINGS: &[u8] = b"\0int\0both\0late\0kernel_function\0";

fn kernel() -> Result<KernelBtf> {
    let (int, both, late, function) = (1, 5, 10, 15);
    let types: [&[u32]; KERNEL_TYPES as usize] = [
        &[int, kind(INT, 0), 4, 1 << 24 | 32],
        &[both, kind(STRUCT, 1), 12, late, 1, 64],
        &[0, kind(FUNC_PROTO, 1), 1, 0, 1],
        &[function, kind(FUNC, 1), 3],
    ];
    Ok(KernelBtf::parse(blob(&types, KERNEL_STRINGS))?)
}

fn module(function: &str) -> Vec<u8> {
    let strings = [b"\0only_in_module\0first\0second\0", function.as_bytes(), b"\0"].concat();
    // Offsets continue after the kernel's strings.
    let own = |offset: u32| KERNEL_STRINGS.len() as u32 + offset;
    let (name, first, second, function) = (own(1), own(16), own(22), own(29));
    let (both, late) = (5, 10);
    let types: [&[u32]; 4] = [
        &[name, kind(STRUCT, 2), 8, first, 1, 0, second, 1, 32],
        &[both, kind(STRUCT, 1), 4, late, 1, 0],
        &[0, kind(FUNC_PROTO, 1), 1, 0, 1],
        &[function, kind(FUNC, 1), KERNEL_TYPES + 3],
    ];
    blob(&types, &strings)
}

fn with_modules() -> Result<KernelBtf> {
    let mut types = kernel()?;
    types.add_module("other", module("other_function"))?;
    types.add_module("wanted", module("module_function"))?;
    Ok(types)
}

fn text(object: &ObjectFile, types: &KernelBtf, program: &str) -> Result<ProgramText> {
    let options = TextOptions { kernel_btf: Some(types), ..TextOptions::default() };
    Ok(object.text(program, &options)?)
}

#[test]
fn functions_are_the_kernels_or_else_a_modules() -> Result<()> {
    let types = with_modules()?;
    let found = types.function("module_function").context("not found")?;
    assert_eq!((found.id, found.module), (KERNEL_TYPES + 4, Some("wanted")));
    let found = types.function("kernel_function").context("not found")?;
    assert_eq!((found.id, found.module), (4, None));
    assert_eq!(types.function_of("other", "other_function").context("not found")?.module, Some("other"));
    assert_eq!(types.function_of("other", "module_function"), None);
    assert_eq!(types.function("only_in_module"), None, "a structure is no function");
    assert_eq!(types.function_id("module_function"), None);
    Ok(())
}

#[test]
fn calls_name_the_module_whose_function_they_are() -> Result<()> {
    let object = compile::object("module_user.c")?;
    let text = text(&object, &with_modules()?, "calls")?;
    assert_eq!(text.modules, ["wanted"]);
    let calls: Vec<Insn> = text.insns.into_iter().filter(|insn| insn.code == op::CALL).collect();
    let ids: Vec<(u8, i16, i32)> = calls.iter().map(|insn| (insn.src(), insn.off, insn.imm)).collect();
    let kernel = (op::PSEUDO_KFUNC_CALL, 0, 4);
    assert_eq!(ids, [kernel, (op::PSEUDO_KFUNC_CALL, 1, (KERNEL_TYPES + 4) as i32)]);
    Ok(())
}

#[test]
fn types_that_the_kernel_lacks_are_those_of_modules() -> Result<()> {
    let object = compile::object("module_user.c")?;
    let types = with_modules()?;
    assert_eq!(text(&object, &types, "reads")?.insns[0].off, 4);
    assert_eq!(text(&object, &types, "exists")?.insns[0].imm, 1);
    assert_eq!(text(&object, &types, "of_kernel")?.insns[0].off, 8, "the kernel's own goes first");
    assert_eq!(text(&object, &kernel()?, "exists")?.insns[0].imm, 0);
    Ok(())
}

#[test]
fn modules_are_asked_for_only_where_the_kernel_does_not_suffice() -> Result<()> {
    let object = compile::object("module_user.c")?;
    let kernel = kernel()?;
    for (program, needs_modules) in
        [("reads", true), ("exists", true), ("calls", true), ("of_kernel", false), ("plain", false)]
    {
        assert_eq!(object.needs_module_types(program, &kernel), needs_modules, "{program}");
    }
    assert!(!object.needs_module_types("reads", &with_modules()?));
    Ok(())
}

#[test]
fn missing_function_and_type_are_named() -> Result<()> {
    let object = compile::object("module_user.c")?;
    let error = text(&object, &kernel()?, "calls").err().context("linked")?.to_string();
    assert!(
        error.contains("neither this kernel nor its loaded modules have a function module_function"),
        "{error}"
    );
    let options = TextOptions { kernel_btf: Some(&kernel()?), ..TextOptions::default() };
    let unresolved = object.unresolved("reads", &options)?;
    assert_eq!(unresolved.len(), 1);
    assert_eq!((unresolved[0].at, &unresolved[0].function), (0, &("reads".to_owned(), 0)));
    assert_eq!(
        unresolved[0].what,
        "struct only_in_module.second (CO-RE byte_off, access path 0:0): neither this kernel nor its loaded modules \
         have a type struct only_in_module"
    );
    Ok(())
}

#[test]
fn split_types_of_another_kernel_are_refused_or_harmless() -> Result<()> {
    let mut types = kernel()?;
    assert!(types.add_module("damaged", b"\x9f\xeb".to_vec()).is_err());
    let far = blob(&[&[u32::MAX - 7, kind(STRUCT, 1), 4, 1 << 30, 1 << 30, 0]], b"\0");
    types.add_module("far", far)?;
    assert_eq!(types.function("module_function"), None);
    Ok(())
}

#[test]
fn modules_that_share_a_functions_name_are_told() -> Result<()> {
    let mut types = with_modules()?;
    assert_eq!(types.modules_with("module_function"), ["wanted"]);
    types.add_module("third", module("module_function"))?;
    assert_eq!(types.modules_with("module_function"), ["wanted", "third"]);
    assert_eq!(types.modules_with("nowhere"), [""; 0]);
    types.add_module("fourth", module("kernel_function"))?;
    assert_eq!(types.modules_with("kernel_function"), [""; 0], "the kernel's own is meant");
    Ok(())
}
