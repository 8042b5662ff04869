//! Values of global variables by type: the program reads the given value, or the load is refused.

use std::path::Path;

use bpfman_model::{LoadValues, MapId, ProgramId, Reason};
use bpfmand_engine::{EngineError, MapPolicy, ReplaceLoadRequest, ReplaceRequest};
use bpfmand_kernel::Kernel;
use bpfmand_object::ObjectFile;

use crate::bench::{Ask as _, Bench, Testable, pins};
use crate::objects::object;
use crate::on_both_kernels;
use crate::replacements::replacement;

pub fn globals(values: &[(&str, &str)]) -> LoadValues {
    let globals = values.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    LoadValues { globals, ..LoadValues::default() }
}

fn bytes<K: Kernel>(bench: &Bench<K>, program: ProgramId, variable: &str) -> Vec<u8> {
    let object = ObjectFile::parse(object("settings")).unwrap();
    let global = object.globals().iter().find(|global| global.name == variable).unwrap();
    let section = object.maps()[global.map].name.clone();
    let is_its = |id: &&MapId| bench.kernel.map(**id).unwrap().unwrap().name.ends_with(&section);
    let maps = bench.kernel.program(program).unwrap().unwrap().map_ids;
    let map = bench.kernel.open_map(*maps.iter().find(is_its).unwrap()).unwrap();
    let value = bench.kernel.map_entries(&map, 1).unwrap().remove(0).value;
    value[global.offset..global.offset + global.size].to_vec()
}

fn written<K: Kernel>(bench: &Bench<K>, variable: &str, text: &str, by_type_only: bool) -> Vec<u8> {
    let engine = bench.engine();
    let mut request = bench.request("settings", &["reads"]);
    request.values = LoadValues { by_type_only, ..globals(&[(variable, text)]) };
    let [program] = engine.loads(&request)[..] else { panic!("one program") };
    let bytes = bytes(bench, program, variable);
    engine.unload(program).unwrap();
    bytes
}

fn a_value_of_each_type_is_what_the_program_reads<K: Testable>(bench: &Bench<K>) {
    let cases: [(&str, &str, &[u8]); 32] = [
        ("tiny", "200", &[200]),
        ("tiny", "0b101", &[5]),
        ("small", "-128", &(-128_i8).to_ne_bytes()),
        ("port", "65535", &[0xff, 0xff]),
        ("port", "+8080", &8080_u16.to_ne_bytes()),
        ("offset", "-70000", &(-70_000_i32).to_ne_bytes()),
        ("offset", "+16", &16_i32.to_ne_bytes()),
        ("wide", "18446744073709551615", &[0xff; 8]),
        ("wide", "0x1f", &31_u64.to_ne_bytes()),
        ("deep", "-1", &[0xff; 8]),
        ("huge", "-2", &(-2_i128).to_ne_bytes()),
        ("on", "true", &[1]),
        ("letter", "z", b"z"),
        ("letter", "-1", &[0xff]),
        ("color", "LOST", &(-1_i32).to_ne_bytes()),
        ("color", "3", &3_i32.to_ne_bytes()),
        ("name", "eth0", b"eth0\0\0\0\0"),
        ("name", "", &[0; 8]),
        ("mac", "[255, \"0x10\"]", &[255, 16, 3, 4, 5, 6]),
        ("mac", "\u{e9}", &[0xc3, 0xa9, 0, 0, 0, 0]),
        ("part", "1.5", &1.5_f32.to_ne_bytes()),
        ("ratio", "-0.125", &(-0.125_f64).to_ne_bytes()),
        ("zeroed", "9", &9_u32.to_ne_bytes()),
        // Bytes in hexadecimal, as in earlier versions.
        ("list", "000000000100000002000000", &[0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]),
        ("port", "0x1234", &[0x12, 0x34]),
        ("port", "8080", &[0x80, 0x80]),
        ("tiny", "10", &[0x10]),
        ("zeroed", "10000000", &[0x10, 0, 0, 0]),
        ("zeroed", "+10000000", &10_000_000_u32.to_ne_bytes()),
        ("pointer", "0102030405060708", &[1, 2, 3, 4, 5, 6, 7, 8]),
        ("name", "6162630000000000", b"abc\0\0\0\0\0"),
        ("letter", "7a", b"z"),
    ];
    for (variable, text, expected) in cases {
        assert_eq!(written(bench, variable, text, false), expected, "{variable}={text}");
    }
    let words = [[70_u32, 8, 9].map(u32::to_ne_bytes).concat(), [1_u32, 2, 3].map(u32::to_ne_bytes).concat()];
    assert_eq!(written(bench, "list", "[70]", false), words[0]);
    assert_eq!(written(bench, "list", "[1, 2, 3]", false), words[1]);
    let text = r#"{"rate": 500, "ports": [{"high": -3}, {"low": 9}], "word": "ab", "color": "GREEN"}"#;
    let mut limits = 500_u32.to_ne_bytes().to_vec();
    limits.extend([1_i16, -3, 9, 4].map(i16::to_ne_bytes).concat());
    limits.extend(b"ab\0\0");
    limits.extend(7_u32.to_ne_bytes());
    assert_eq!(written(bench, "limits", text, false)[..limits.len()], limits);
}

fn digits_are_a_number_where_bytes_are_not_asked_for<K: Testable>(bench: &Bench<K>) {
    assert_eq!(written(bench, "tiny", "10", true), [10]);
    assert_eq!(written(bench, "port", "8080", true), 8080_u16.to_ne_bytes());
    assert_eq!(written(bench, "port", "0x1234", true), 0x1234_u16.to_ne_bytes());
    assert_eq!(written(bench, "zeroed", "10000000", true), 10_000_000_u32.to_ne_bytes());
    assert_eq!(written(bench, "name", "616263", true), b"616263\0\0");
    assert_eq!(written(bench, "mac", "abcdef", true), b"abcdef");
    assert_eq!(written(bench, "pointer", "0102030405060708", true), [1, 2, 3, 4, 5, 6, 7, 8]);
}

fn a_run_sees_the_value<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let mut request = bench.request("settings", &["reads", "shares"]);
    request.values = globals(&[("verdict", "1")]);
    request.global_data.insert("verdict".to_owned(), 3_u32.to_ne_bytes().to_vec());
    for program in engine.loads(&request) {
        assert_eq!(bench.kernel.verdict(program), 1);
        let record = engine.describe_program(program).unwrap().managed.unwrap().record;
        assert_eq!(record.global_data["verdict"], 1_u32.to_ne_bytes());
    }
}

fn a_new_version_has_the_values_that_it_is_given<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let mut request = bench.request("settings", &["reads"]);
    request.values = globals(&[("port", "443"), ("name", "eth0")]);
    let first = engine.loads(&request)[0];
    let by = ReplaceRequest {
        values: globals(&[("port", "444")]),
        maps: MapPolicy::Keep,
        ..replacement(bench, first, "settings")
    };
    let second = engine.replace_program(&by).unwrap().programs[0].id;
    assert_eq!(bytes(bench, second, "port"), 444_u16.to_ne_bytes());
    assert_eq!(bytes(bench, second, "name"), b"before\0\0");
    let back = engine.rollback_program(second, None).unwrap().programs[0].id;
    assert_eq!(bytes(bench, back, "name"), b"eth0\0\0\0\0");

    let mut load = bench.request("settings", &["reads"]);
    load.values = globals(&[("port", "445")]);
    let by = ReplaceLoadRequest { programs: vec![back], load, maps: MapPolicy::Keep, places: None };
    let third = engine.replace_load(&by).unwrap().programs[0].id;
    assert_eq!(bytes(bench, third, "port"), 445_u16.to_ne_bytes());
    let wrong = ReplaceRequest { values: globals(&[("port", "x")]), ..replacement(bench, third, "settings") };
    assert_eq!(engine.replace_program(&wrong).unwrap_err().kind(), Reason::Invalid);
    assert_eq!(bytes(bench, third, "port"), 445_u16.to_ne_bytes());
}

fn values_stay_over_a_restart<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let mut request = bench.request("settings", &["reads"]);
    request.values = globals(&[("port", "443"), ("limits", r#"{"rate": 5}"#)]);
    let program = engine.loads(&request)[0];
    let before = engine.describe_program(program).unwrap().managed.unwrap().record.global_data.clone();
    drop(engine);
    let engine = bench.engine();
    let record = engine.describe_program(program).unwrap().managed.unwrap().record;
    assert_eq!(record.global_data, before);
    assert_eq!(before["limits"][..8], [5, 0, 0, 0, 1, 0, 2, 0]);
    assert_eq!(bytes(bench, program, "port"), 443_u16.to_ne_bytes());
}

pub fn refused<K: Testable>(bench: &Bench<K>, values: LoadValues) -> EngineError {
    let engine = bench.engine();
    let before = pins(&*bench.kernel, Path::new(""));
    let request = bpfman_model::LoadRequest { values, ..bench.request("settings", &["reads"]) };
    let ids = engine.ids();
    let error = engine.load(&request).map(drop).unwrap_err();
    assert_eq!(pins(&*bench.kernel, Path::new("")), before);
    assert_eq!(bench.kernel.list_folder(Path::new("pending")).unwrap(), Vec::<String>::new());
    assert_eq!(engine.ids(), ids);
    error
}

fn invalid_value_is_refused_and_leaves_nothing<K: Testable>(bench: &Bench<K>) {
    for (variable, text, says) in [
        ("speed", "1", "no global variable named speed; the object has color, deep, "),
        ("port", "ten", "global variable port (__u16): \"ten\" is no number of 0 or more"),
        ("port", "65536", "65536 does not fit 2 byte(s): 0 to 65535"),
        ("port", "-1", "-1 does not fit 2 byte(s): 0 to 65535"),
        ("small", "128", "128 does not fit 1 byte(s): -128 to 127"),
        ("on", "yes", "\"yes\" is no true or false"),
        ("color", "BLUE", "\"BLUE\" is no number or one of RED, GREEN, LOST"),
        ("letter", "ab.", "\"ab.\" is no character or number"),
        ("part", "1e39", "\"1e39\" does not fit 4 byte(s)"),
        ("name", "ethernet", "\"ethernet\" has 8 bytes, and there is room for 7"),
        ("mac", "[1,2,3,4,5,6,7]", "7 elements, and it has 6"),
        ("list", "[1, 2, 3, 4]", "4 elements, and it has 3"),
        ("list", "[1, \"x\"]", "[1]: \"x\" is no number of 0 or more"),
        ("list", "7", "\"7\" is no JSON array of up to 3 elements"),
        ("limits", r#"{"speed": 1}"#, "no field \"speed\"; there are: rate, ports, mark, word, color"),
        ("limits", r#"{"bitz": 1}"#, "no field \"bitz\""),
        ("limits", r#"{"rate": 1, "rate": 2}"#, "\"rate\" is there twice"),
        ("limits", r#"{"ports": [{"low": 65536}]}"#, "ports[0].low: 65536 does not fit"),
        ("limits", "{", "is no JSON object, like {\"rate\": …}"),
        ("pointer", "1", "give its 8 byte(s) as 16 hexadecimal digits"),
    ] {
        let error = refused(bench, globals(&[(variable, text)]));
        assert_eq!(error.kind(), Reason::Invalid);
        let message = error.to_string();
        assert!(message.contains("settings.o") && message.contains(says), "{variable}={text}: {message}");
        assert!(error.hint().is_some(), "{message}");
    }
    // A short text may expand to more than a record can hold, and a long one is refused before it is parsed.
    let error = refused(bench, globals(&[("large", "x")]));
    assert_eq!((error.kind(), error.to_string().contains("the global data")), (Reason::TooLarge, true));
    let error = refused(bench, globals(&[("list", &"[".repeat(30_000))]));
    assert_eq!(error.kind(), Reason::TooLarge);
    let error = refused(bench, globals(&[("list", &"[".repeat(20_000))]));
    assert!(error.to_string().contains("recursion limit") && error.to_string().len() < 500, "{error}");
}

on_both_kernels!(
    a_value_of_each_type_is_what_the_program_reads,
    digits_are_a_number_where_bytes_are_not_asked_for,
    a_run_sees_the_value,
    a_new_version_has_the_values_that_it_is_given,
    values_stay_over_a_restart,
    invalid_value_is_refused_and_leaves_nothing,
);
