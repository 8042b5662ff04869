//! Programs of an object, and their linked text.

use std::process::Command;

use crate::compile;
use anyhow::{Context, Result, ensure};
use bpfman_model::{Insn, JumpTable, ProgramText, ProgramType, op};
use bpfmand_object::{BtfFeatures, KernelBtf, ObjectError, ObjectFile, SectionFamily, TextOptions};

fn text(object: &ObjectFile, program: &str) -> Result<ProgramText, ObjectError> {
    object.text(program, &TextOptions::default())
}

fn callee(text: &ProgramText, number: usize) -> Option<&str> {
    let entry = text.functions.first()?;
    let at = (0..entry.len).filter(|at| text.insns[*at].is_local_call()).nth(number)?;
    let target = at + 1 + usize::try_from(text.insns[at].imm).ok()?;
    Some(text.functions.iter().find(|function| function.start == target)?.name.as_str())
}

#[test]
fn programs_are_listed_with_what_their_sections_say() -> Result<()> {
    let object = compile::object("basic.c")?;
    let names: Vec<&str> = object.programs().iter().map(|program| program.name.as_str()).collect();
    for name in
        ["pass", "filter", "frags", "tc_plain", "tcx_in", "tcx_out", "classify", "on_exec", "probe", "user"]
    {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    assert!(!names.contains(&"judge") && !names.contains(&"count"), "functions are no programs: {names:?}");
    assert!(object.program("frags")?.frags);
    assert!(!object.program("pass")?.frags);
    assert_eq!(object.program("filter")?.family, SectionFamily::Type(bpfman_model::ProgramType::Xdp));
    assert_eq!(object.program("on_exec")?.attach_target.as_deref(), Some("syscalls/sys_enter_execve"));
    assert_eq!(object.program("probe")?.attach_target.as_deref(), Some("vfs_unlink"));
    assert_eq!(object.program("user")?.attach_target, None);
    assert_eq!(object.license(), "GPL");
    Ok(())
}

#[test]
fn uncalled_static_functions_are_programs() -> Result<()> {
    let object = compile::object("statics.c")?;
    let names: Vec<&str> = object.programs().iter().map(|program| program.name.as_str()).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["judged", "loops", "on_call", "on_kill", "on_return", "on_unlink", "unjudged"]);
    assert_eq!(object.program("on_unlink")?.attach_target.as_deref(), Some("vfs_unlink"));
    assert!(object.program("on_unlink")?.is_static && !object.program("judged")?.is_static);
    assert_eq!(object.resolve_type("on_return", ProgramType::Uretprobe)?, ProgramType::Uretprobe);
    assert_eq!(callee(&text(&object, "on_kill")?, 0), Some("hit"));
    assert_eq!(callee(&text(&object, "judged")?, 0), Some("judge"));
    assert_eq!(text(&object, "unjudged")?.insns.len(), 2);
    Ok(())
}

#[test]
fn static_programs_of_one_name_are_distinct_or_refused() -> Result<()> {
    let linked = |other: &str| -> Result<ObjectFile> {
        let (folder, first) =
            compile::object_path("same_name.c", &["-DSECTION=\"xdp\"", "-DLINKAGE=static"])?;
        let (_other, second) =
            compile::object_path("same_name.c", &["-DSECTION=\"tc\"", &format!("-DLINKAGE={other}")])?;
        let joined = folder.path().join("joined.o");
        let done =
            Command::new("bpftool").args(["gen", "object"]).args([&joined, &first, &second]).output()?;
        ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Ok(ObjectFile::parse(std::fs::read(joined)?)?)
    };
    assert_eq!(linked("")?.program("twin")?.section, "tc", "the global one has the name");
    let error = linked("static")?.program("twin").err().context("found")?.to_string();
    assert!(error.contains("several static functions named twin (in sections xdp and tc)"), "{error}");
    Ok(())
}

#[test]
fn an_unknown_program_is_refused_with_the_names_there_are() -> Result<()> {
    let error = text(&compile::object("text_sections.c")?, "nobody").err().context("linked")?;
    assert_eq!(error.to_string(), "no program named nobody; the object has both");
    Ok(())
}

#[test]
fn the_declared_type_must_agree_with_the_section() -> Result<()> {
    let object = compile::object("basic.c")?;
    assert_eq!(object.resolve_type("tc_plain", ProgramType::Tcx)?, ProgramType::Tcx);
    assert_eq!(object.resolve_type("tcx_in", ProgramType::Tc)?, ProgramType::Tc);
    assert_eq!(object.resolve_type("retprobe", ProgramType::Kprobe)?, ProgramType::Kretprobe);
    assert_eq!(object.resolve_type("probe", ProgramType::Kprobe)?, ProgramType::Kprobe);
    assert_eq!(object.resolve_type("probe", ProgramType::Kretprobe)?, ProgramType::Kretprobe);
    assert_eq!(object.resolve_type("user", ProgramType::Uretprobe)?, ProgramType::Uretprobe);
    assert!(object.resolve_type("user", ProgramType::Kretprobe).is_err());
    let error = object.resolve_type("pass", ProgramType::Tracepoint).err().context("admitted")?;
    assert_eq!(error.to_string(), "program pass is declared as tracepoint but its section xdp is for xdp");
    let siblings = compile::object("siblings.c")?;
    let error = siblings.resolve_type("many", ProgramType::Kprobe).err().context("admitted")?;
    assert_eq!(
        error.to_string(),
        "program many is declared as kprobe but its section kprobe.multi/do_* is for kprobe_multi"
    );
    assert_eq!(siblings.resolve_type("unknown_section", ProgramType::Kprobe)?, ProgramType::Kprobe);
    let error = siblings.resolve_type("unknown_section", ProgramType::Fentry).err().context("admitted")?;
    let message = error.to_string();
    for words in [
        "declared as fentry",
        "something_else/entirely",
        "may be declared as xdp, tc,",
        "supported are xdp, xdp.frags",
    ] {
        assert!(message.contains(words), "{message}");
    }
    Ok(())
}

#[test]
fn a_broken_sibling_does_not_stop_a_good_program() -> Result<()> {
    let object = compile::object("siblings.c")?;
    assert_eq!(text(&object, "good")?.insns.len(), 2);
    assert_eq!(text(&object, "unknown_section")?.insns.len(), 2);
    let error = text(&object, "undefined").err().context("linked")?.to_string();
    assert!(
        error.contains("program undefined: function undefined, instruction 1: it calls nowhere_to_be_found"),
        "{error}"
    );
    for program in ["kernel_call", "core"] {
        let error = text(&object, program).err().context("linked")?;
        assert!(matches!(error, ObjectError::NeedsKernelBtf { .. }), "{error}");
        assert!(object.needs_kernel_btf(program));
    }
    assert!(!object.needs_kernel_btf("good"));
    Ok(())
}

#[test]
fn functions_at_equal_offsets_of_sections_are_distinct() -> Result<()> {
    let text = text(&compile::object("text_sections.c")?, "both")?;
    let names: Vec<&str> = text.functions.iter().map(|function| function.name.as_str()).collect();
    assert_eq!(names, ["both", "first", "second", "third"]);
    assert_eq!(
        [callee(&text, 0), callee(&text, 1), callee(&text, 2)],
        [Some("first"), Some("second"), Some("third")]
    );
    Ok(())
}

#[test]
fn each_function_is_appended_once_with_its_information() -> Result<()> {
    let object = compile::object("callbacks.c")?;
    let loops = text(&object, "loops")?;
    let mut names: Vec<&str> = loops.functions.iter().map(|function| function.name.as_str()).collect();
    assert_eq!(names.remove(0), "loops");
    names.sort_unstable();
    assert_eq!(names, ["concealed", "leaf", "middle", "outside", "step"]);

    let mut end = 0;
    for function in &loops.functions {
        assert_eq!(function.start, end, "functions follow one another without gaps");
        end += function.len;
    }
    assert_eq!(end, loops.insns.len());

    let starts: Vec<u32> = loops.functions.iter().map(|function| function.start as u32).collect();
    let described: Vec<u32> = loops.func_info.iter().map(|info| info.insn_off).collect();
    assert_eq!(described, starts);
    assert!(loops.line_info.windows(2).all(|pair| pair[0].insn_off < pair[1].insn_off));
    assert!(starts.iter().all(|start| loops.line_info.iter().any(|line| line.insn_off == *start)));

    let pointers: Vec<&Insn> = loops.insns.iter().filter(|insn| insn.is_function_pointer()).collect();
    assert_eq!(pointers.len(), 1);
    assert_eq!(text(&object, "other")?.functions.len(), 2, "only what a program reaches");
    Ok(())
}

#[test]
fn an_exception_callback_comes_along_though_nothing_calls_it() -> Result<()> {
    let object = compile::object("exceptions.c")?;
    let kernel = KernelBtf::parse(std::fs::read("/sys/kernel/btf/vmlinux")?)?;
    if kernel.function_id("bpf_throw").is_none() {
        println!("skipped: Linux before 6.7 has no exceptions");
        return Ok(());
    }
    let options = TextOptions { kernel_btf: Some(&kernel), ..TextOptions::default() };
    let functions = |program: &str| -> Result<Vec<String>> {
        let text = object.text(program, &options)?;
        assert_eq!(text.func_info.len(), text.functions.len(), "{program}");
        Ok(text.functions.into_iter().map(|function| function.name).collect())
    };
    assert_eq!(functions("catches")?, ["catches", "thrower", "catcher", "noted"]);
    assert_eq!(functions("catches_nothing")?, ["catches_nothing", "thrower"]);
    for (program, why) in [
        ("catches_twice", "two exception callbacks"),
        ("catches_by_static", "hidden is static"),
        ("catches_by_nobody", "nobody is not in the object"),
    ] {
        let error = functions(program).err().context("linked")?.to_string();
        assert!(error.contains(why), "{program}: {error}");
    }
    Ok(())
}

#[test]
fn map_references_are_indexes_and_offsets() -> Result<()> {
    let object = compile::object("basic.c")?;
    let index = |name: &str| object.maps().iter().position(|map| map.name == name).context(name.to_owned());
    let (counters, events, rodata) = (index("counters")?, index("events")?, index(".rodata")?);
    assert_eq!(text(&object, "on_exec")?.map_indexes(), {
        let mut both = [events, rodata];
        both.sort_unstable();
        both
    });
    assert_eq!(text(&object, "frags")?.map_indexes(), [counters]);
    assert!(text(&object, "pass")?.map_indexes().is_empty());

    let limit = object.globals().iter().find(|global| global.name == "limit").context("limit")?;
    let program = text(&object, "on_exec")?;
    let at = program
        .insns
        .iter()
        .position(|insn| insn.is_ld_imm64() && insn.src() == op::PSEUDO_MAP_VALUE)
        .context("no reference")?;
    assert_eq!(program.insns[at].imm as usize, rodata);
    assert_eq!(program.insns[at + 1].imm as usize, limit.offset);
    Ok(())
}

#[test]
fn needs_are_those_of_the_functions_reached() -> Result<()> {
    let object = compile::object("core.c")?;
    assert!(object.needs_kernel_btf("in_function"), "the function that it calls asks");
    assert!(object.needs_kernel_btf("fields"));
    assert!(!object.needs_kernel_btf("plain"));
    assert!(!object.needs_kernel_btf("local_only"), "an id of its own type is no question to the kernel");
    assert!(object.uses_local_type_ids("local_only") && object.uses_local_type_ids("types"));
    assert!(!object.uses_local_type_ids("fields"));
    text(&object, "local_only")?;
    Ok(())
}

#[test]
fn ids_of_the_objects_own_types_are_found_in_the_instructions() -> Result<()> {
    let object = compile::object("core.c")?;
    let options = TextOptions { kernel_btf: None, features: BtfFeatures::ALL };
    let at = object.local_type_ids("local_only", &options)?;
    assert!(!at.is_empty());
    let program = text(&object, "local_only")?;
    for at in at {
        assert!(program.insns[at].imm > 0, "a type id is at {at}: {:?}", program.insns[at]);
    }
    assert_eq!(object.local_type_ids("plain", &options)?, [0_usize; 0]);
    Ok(())
}

#[test]
fn a_map_number_from_another_machine_is_never_taken_for_ours() -> Result<()> {
    // `r1 = map_fd 3` without a relocation, written by a tool that had opened a map.
    let mut bytes = compile::bytes("number.c")?;
    let before = [0x18, 0x01, 0, 0, 0x44, 0x33, 0x22, 0x11];
    let at = bytes.windows(8).position(|bytes| bytes == before).context("no load")?;
    bytes[at + 1] |= 1 << 4;
    let error = text(&ObjectFile::parse(bytes)?, "number").err().context("linked")?.to_string();
    assert!(error.contains("has no relocation"), "{error}");
    Ok(())
}

#[test]
fn jump_tables_are_places_of_the_whole_text() -> Result<()> {
    let object = compile::object("jump_table.c")?;
    let linked = object.link("jumps", &TextOptions::default())?;
    assert_eq!(linked.text.jump_tables, [JumpTable { loads: vec![3], entries: vec![8, 10] }]);
    linked.check(0).map_err(anyhow::Error::msg)?;
    let wants = object.wants("jumps")?;
    assert!(wants.instructions.contains(&bpfmand_object::NewerInstruction::IndirectJump), "{wants:?}");

    let check = |change: fn(&mut JumpTable)| {
        let mut other = object.link("jumps", &TextOptions::default()).unwrap();
        change(&mut other.text.jump_tables[0]);
        other.check(0).is_err()
    };
    assert!(check(|table| table.loads = vec![4]), "the second half of a load");
    assert!(check(|table| table.loads = vec![5]), "no load");
    assert!(check(|table| table.loads.clear()));
    assert!(check(|table| table.entries[1] = 12), "behind the end");
    assert!(check(|table| table.entries[0] = 4), "the second half of a load");
    assert!(check(|table| table.entries.clear()));
    Ok(())
}
