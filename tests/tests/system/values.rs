//! Values of global variables by type, and sizes of maps, by the command line and the client crate.

use bpfman_client::{Client, Error, NewLoad, ProgramType, Reason};
use bpfman_tests::{Daemon, Launch, compile, kernel};
use serde_json::{Value, json};

fn load_line(flags: &str) -> String {
    format!("load file -p {} --programs xdp:reads {flags}", compile::object("settings").display())
}

pub fn entries(program: &Value, name: &str) -> u64 {
    let map = program["maps"].as_array().unwrap().iter().find(|map| map["name"] == name).unwrap();
    let id = u32::try_from(map["id"].as_u64().unwrap()).unwrap();
    assert_eq!(kernel::map(id)["max_entries"], map["max_entries"]);
    map["max_entries"].as_u64().unwrap()
}

fn data(program: &Value) -> Vec<u8> {
    let maps = program["kernel"]["map_ids"].as_array().unwrap();
    let mut maps = maps.iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap());
    let data = maps.find(|id| kernel::map(*id)["name"].as_str().unwrap().ends_with(".data")).unwrap();
    kernel::array_bytes(data, 0)
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn values_survive_restart_and_reboot() {
    let mut daemon = Daemon::start();
    let page = rustix::param::page_size() as u64;
    let flags = "-g port=443 offset=-70000 name=eth0 limits={\"ports\":[7]} --map-size flows=1000 events=9000 -o json";
    let loaded = daemon.bpfman(&load_line(flags)).json();
    let check = |program: &Value| {
        let globals = &program["global_data"];
        assert_eq!(globals["port"], "bb01");
        assert_eq!(globals["offset"], "90eefeff");
        assert_eq!(globals["name"], "6574683000000000");
        assert_eq!(globals["limits"], "0100000007000300", "what is not named stays");
        assert_eq!(program["globals"], json!({ "port": "443", "offset": "-70000" }));
        assert_eq!((entries(program, "flows"), entries(program, "events")), (1000, 16_384.max(page)));
        let data = data(program);
        for part in [&b"eth0\0\0\0\0"[..], &443_u16.to_ne_bytes(), &(-70_000_i32).to_ne_bytes()] {
            assert!(has(&data, part), "{part:?}: {data:?}");
        }
    };
    let id = loaded["programs"][0]["program_id"].clone();
    let text = daemon.bpfman(&format!("get program {id}")).success();
    assert!(
        text.contains("port=443") && text.contains("offset=-70000") && text.contains("name=0x"),
        "{text}"
    );
    check(&loaded["programs"][0]);
    daemon.kill();
    daemon.again(&Launch::default());
    let get = |daemon: &Daemon, id: &Value| daemon.bpfman(&format!("get program {id} -o json")).json();
    check(&get(&daemon, &id));
    // State after a reboot: records without kernel objects.
    daemon.terminate();
    rustix::mount::unmount(daemon.fs(), rustix::mount::UnmountFlags::DETACH).unwrap();
    daemon.again(&Launch::default());
    let back = daemon.state().programs[0]["program_id"].clone();
    assert_ne!(back, id);
    check(&get(&daemon, &back));

    let object = compile::object("settings").display().to_string();
    let line = format!("replace {back} file -p {object} -g port=+8080 --map-size flows=2000 -o json");
    let outcome = daemon.bpfman(&line).json();
    let program = &outcome["program"];
    assert_eq!(
        (&program["global_data"]["port"], &program["global_data"]["name"]),
        (&json!("901f"), &Value::Null)
    );
    let program = get(&daemon, &program["program_id"]);
    assert_eq!((entries(&program, "flows"), entries(&program, "events")), (2000, 16_384.max(page)));
    assert!(has(&data(&program), b"before"));
}

#[test]
fn impossible_value_is_refused_with_reason_and_leaves_nothing() {
    let daemon = Daemon::start();
    let before = daemon.state();
    for (flags, code, says) in [
        ("-g speed=1", 6, "no global variable named speed; the object has "),
        ("-g port=65536", 6, "global variable port (__u16): 65536 does not fit 2 byte(s): 0 to 65535"),
        ("-g limits={\"burst\":1}", 6, "no field \"burst\"; there are: rate, ports"),
        ("-g name=ethernet", 6, "\"ethernet\" has 8 bytes, and there is room for 7"),
        ("--map-size flow=1", 6, "no map named flow; the object has events, flows"),
        ("--map-size flows=4294967295", 6, "map \"flows\" with 4294967295 entries"),
        ("--map-size .data=1", 6, "map .data: it holds global variables"),
    ] {
        for dry in ["", "--dry-run"] {
            daemon.bpfman(&load_line(&format!("{flags} {dry}"))).fails(code, &[says]);
            assert_eq!(daemon.state(), before, "{flags}");
        }
    }
    let outcome = daemon.bpfman(&load_line("-g port=8080 -q"));
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(outcome.stderr.contains("warning: port=8080 is the bytes of the variable"), "{outcome:?}");
}

#[test]
fn the_client_crate_writes_numbers_as_numbers() {
    let daemon = Daemon::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let client = Client::connect_to(daemon.socket()).await.unwrap();
        let load = || NewLoad::file(compile::object("settings")).program("reads", ProgramType::Xdp);
        let sized = load().global_value("port", 8080).global_value("name", "eth0").map_size("flows", 77);
        let program = client.load(sized).await.unwrap().remove(0);
        let shown = daemon.bpfman(&format!("get program {} -o json", program.id())).json();
        assert_eq!(shown["global_data"]["port"], "901f");
        assert_eq!(shown["global_data"]["name"], "6574683000000000");
        assert_eq!(entries(&shown, "flows"), 77);
        let error = client.load(load().global_value("port", -1)).await.unwrap_err();
        assert!(matches!(error, Error::Refused(_)) && error.reason() == Some(Reason::Invalid), "{error}");
        assert!(error.to_string().contains("-1 does not fit 2 byte(s)") && error.hint().is_some(), "{error}");
    });
}

/// Without types of their records, `bpfman run` and `map watch` would show bytes.
#[test]
fn ring_buffers_of_the_examples_have_types_of_values() {
    let mut rings = 0;
    let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
                continue;
            }
            if !path.extension().is_some_and(|extension| extension == "c" || extension == "h") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for (at, _) in text.match_indices("BPF_MAP_TYPE_RINGBUF") {
                let declared = text[at..].split("SEC(\".maps\")").next().unwrap();
                assert!(declared.contains("__type(value, "), "{}: {declared}", path.display());
                rings += 1;
            }
        }
    }
    assert!(rings >= 7, "{rings} ring buffers were found");
}
