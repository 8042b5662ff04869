//! Structs that changed between compiling and running: each access is moved, widened or made unreachable.

use crate::compile;
use anyhow::{Context, Result};
use bpfman_model::{Insn, op};
use bpfmand_object::{BtfFeatures, KernelBtf, ObjectError, ObjectFile, TextOptions};

const LOAD_4: u8 = 0x61;
const LOAD_8: u8 = 0x79;
const SIZE: i32 = 80;

struct Moved {
    object: ObjectFile,
    kernel: KernelBtf,
}

impl Moved {
    fn new() -> Result<Self> {
        let kernel = compile::object("moved_kernel.c")?.btf(BtfFeatures::ALL).context("no types")?;
        Ok(Self { object: compile::object("moved_program.c")?, kernel: KernelBtf::parse(kernel.to_vec())? })
    }

    fn insns(&self, program: &str) -> Result<Vec<Insn>, ObjectError> {
        let options = TextOptions { kernel_btf: Some(&self.kernel), ..TextOptions::default() };
        Ok(self.object.text(program, &options)?.insns)
    }

    fn first(&self, program: &str) -> Result<(u8, i16)> {
        let insns = self.insns(program)?;
        Ok((insns[0].code, insns[0].off))
    }
}

#[test]
fn accesses_follow_their_fields() -> Result<()> {
    let moved = Moved::new()?;
    assert_eq!(moved.first("lifted")?, (LOAD_4, 24), "out of an anonymous structure");
    assert_eq!(moved.first("sunk")?, (LOAD_4, 36), "into an anonymous structure of a union");
    assert_eq!(moved.first("list_first")?, (LOAD_4, 48 + 4));
    assert_eq!(moved.first("pointer")?, (LOAD_8, 56));
    assert_eq!(moved.first("second")?, (LOAD_4, (2 * SIZE + 36) as i16), "in the third of an array of them");
    assert_eq!(moved.first("same")?, (LOAD_4, 0));
    Ok(())
}

#[test]
fn unsigned_fields_are_read_in_their_new_width() -> Result<()> {
    assert_eq!(Moved::new()?.first("widened")?, (LOAD_8, 8));
    Ok(())
}

#[test]
fn unresolved_relocation_becomes_invalid_call() -> Result<()> {
    let moved = Moved::new()?;
    for program in ["widened_signed", "list_last", "became_pointer", "gone"] {
        let insns = moved.insns(program)?;
        assert_eq!(insns[0], Insn::new(op::CALL, 0, 0, 0, 0x0bad_2310), "{program}");
    }
    Ok(())
}

#[test]
fn unresolved_relocation_is_named_by_type_and_path() -> Result<()> {
    let moved = Moved::new()?;
    let options = TextOptions { kernel_btf: Some(&moved.kernel), ..TextOptions::default() };
    let what = |program: &str| -> Result<String> {
        let found = moved.object.unresolved(program, &options)?;
        Ok(found.into_iter().map(|unresolved| unresolved.what).collect::<Vec<_>>().join(" | "))
    };
    assert_eq!(
        what("gone")?,
        "struct sample.gone (CO-RE byte_off, access path 0:7): this kernel's struct sample has nothing of this name and \
         nature"
    );
    assert!(what("list_last")?.starts_with("struct sample.list[3] (CO-RE byte_off, access path 0:4:3)"));
    assert!(what("widened_signed")?.ends_with("its type is another here, and cannot be read in its place"));
    assert_eq!(what("same")?, "");
    assert_eq!(what("gone_exists")?, "", "a question is answered");
    Ok(())
}

#[test]
fn questions_are_answered_by_the_running_kernel() -> Result<()> {
    let moved = Moved::new()?;
    let answer = |program: &str| -> Result<i32> { Ok(moved.insns(program)?[0].imm) };
    assert_eq!(answer("gone_exists")?, 0);
    assert_eq!(answer("size")?, SIZE);
    assert_eq!(answer("high")?, 70);
    // Three bits above nine others: shifted to the top, then down.
    let shifts: Vec<i32> = moved
        .insns("bits")?
        .iter()
        .filter(|insn| matches!(insn.code, 0x67 | 0x77) && insn.imm > 32)
        .map(|insn| insn.imm)
        .collect();
    assert!(shifts.contains(&(64 - 12)) && shifts.contains(&(64 - 3)), "{shifts:?}");
    Ok(())
}

#[test]
fn a_field_in_two_places_is_refused() -> Result<()> {
    let error = Moved::new()?.insns("moved").err().context("linked")?.to_string();
    assert!(
        error.contains("struct twice.moved (CO-RE byte_off, access path 0:1): the kernel has several"),
        "{error}"
    );
    assert!(error.contains("several types twice that differ"), "{error}");
    Ok(())
}
