//! Explanations of programs that the verifier rejects: cause, source line and advice, on each kernel.

use bpfman_model::Reason;

use bpfmand_engine::EngineError;
use bpfmand_kernel::KernelFacts as _;
use bpfmand_rejection::Rejection;

use crate::bench::{Bench, Testable, pins};
use crate::objects::object;

fn rejected<K: Testable>(bench: &Bench<K>, name: &'static str) -> Vec<(String, EngineError)> {
    let engine = bench.engine();
    let functions = bpfmand_object::ObjectFile::parse(object(name)).unwrap();
    let functions = functions.programs().iter().map(|program| program.name.clone());
    let result = functions.map(|function| {
        let loaded = engine.load(&bench.request(name, &[&function]));
        let Err(error) = loaded else { panic!("{function} is taken") };
        (function, error)
    });
    result.collect()
}

fn rejection(error: &EngineError) -> &Rejection {
    match error {
        EngineError::Kernel(error) => error.rejection().unwrap_or_else(|| panic!("no log: {error}")),
        other => panic!("{other}"),
    }
}

fn word(function: &str) -> String {
    function.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_').replace('_', "-")
}

#[test]
fn linux_rejection_has_cause_line_and_advice() {
    let bench = crate::linux::bench("rejections");
    let release = &bench.kernel.features().release;
    let programs = rejected(&bench, "rejected");
    assert!(programs.len() > 20);
    let mut wrong = Vec::new();
    for (function, error) in &programs {
        let rejection = rejection(error);
        let cause = rejection.cause.as_ref().map_or("none", |cause| cause.word);
        println!("{function}: {error}");
        if cause != word(function) {
            wrong.push(format!(
                "{function} is told {cause}: {}\n{}",
                rejection.message,
                error.verifier_log().unwrap()
            ));
            continue;
        }
        assert_eq!(error.kind(), Reason::KernelRefused);
        let advice = rejection.cause.as_ref().unwrap().advice;
        let hint = error.hint().unwrap().to_string();
        assert!(hint.lines().any(|line| line == advice) && hint.contains("--verifier-log"), "{hint}");
        // Every kernel reports the line if the verifier was at an instruction.
        if rejection.instruction.is_some() {
            let source = rejection.source.as_ref().unwrap_or_else(|| panic!("{function} without a line"));
            assert!(source.file.ends_with("rejected.c") && source.line > 40, "{function}: {source}");
        }
    }
    assert!(wrong.is_empty(), "on Linux {release}:\n{}", wrong.join("\n"));
    assert_eq!(pins(&*bench.kernel, std::path::Path::new("")), Vec::<String>::new());
}

#[test]
fn linux_source_line_is_that_of_the_rejected_instruction() {
    let bench = crate::linux::bench("source-lines");
    let engine = bench.engine();
    let error = engine.load(&bench.request("rejected", &["packet_bounds"])).map(drop).unwrap_err();
    let rejection = rejection(&error);
    assert_eq!(rejection.source.as_ref().unwrap().text, "return *(char *)(long)ctx->data;");
    assert_eq!(rejection.register.as_ref().unwrap().number, 1);
    let text = error.to_string();
    for part in
        ["byte(s) of the packet", "rejected.c:", "return *(char *)(long)ctx->data;", "instruction 1: r"]
    {
        assert!(text.contains(part), "no {part}: {text}");
    }
}

#[test]
fn linux_gpl_only_function_is_reported() {
    let bench = crate::linux::bench("license");
    let programs = rejected(&bench, "proprietary");
    assert_eq!(rejection(&programs[0].1).cause.as_ref().unwrap().word, "license");
}
