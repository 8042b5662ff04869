//! `bpfman map`: contents of maps of the daemon's programs, formatted by type.

use bpfman_tests::command::run;
use bpfman_tests::wait::until;
use bpfman_tests::{Daemon, Launch, Outcome, compile};
use serde_json::{Value, json};

pub const READER: u32 = 4721;
pub const WRITER: u32 = 4722;
const NOBODY: u32 = 4723;

fn grants() -> String {
    format!(
        "[[grants]]\nname = \"readers\"\nusers = [{READER}]\nallow = [\"maps-read\"]\nover = \"all\"\n\
         [[grants]]\nname = \"writers\"\nusers = [{WRITER}]\nallow = [\"maps-read\", \"maps-write\"]\nover = \"all\"\n\
         [[grants]]\nname = \"own\"\nusers = [{NOBODY}]\nallow = [\"maps-read\", \"maps-write\"]\n"
    )
}

pub struct MapBench {
    pub daemon: Daemon,
    pub program: u64,
}

impl MapBench {
    pub fn new() -> Self {
        Self::start(&Launch { policy: grants(), ..Launch::default() })
    }

    pub fn start(launch: &Launch) -> Self {
        let daemon = Daemon::start_with(launch);
        daemon.open_to_users();
        let object = compile::object("typed_maps");
        let loaded = daemon
            .bpfman(&format!("load file -p {} --programs xdp:use_all -o json", object.display()))
            .json();
        Self { program: loaded["programs"][0]["program_id"].as_u64().unwrap(), daemon }
    }

    pub fn name(&self, map: &str) -> String {
        format!("{}:{map}", self.program)
    }

    pub fn map(&self, verb: &str, map: &str, words: &[&str]) -> Outcome {
        let name = self.name(map);
        self.daemon.cli(&[&["map", verb, &name], words].concat())
    }

    pub fn map_as(&self, user: u32, verb: &str, map: &str, words: &[&str]) -> Outcome {
        let name = self.name(map);
        self.daemon.cli_as(user, user, &[&["map", verb, &name], words].concat())
    }

    pub fn set(&self, map: &str, words: &[&str]) {
        assert_eq!(self.map("set", map, words).success(), "");
    }

    fn get(&self, map: &str, key: &str) -> String {
        self.map("get", map, &[key]).success().trim_end().to_owned()
    }

    fn dump(&self, map: &str) -> Value {
        self.map("dump", map, &["-o", "json"]).json()
    }

    pub fn listed(&self, map: &str) -> Value {
        let listed = self.daemon.bpfman("map list -o json").json();
        let maps = listed["maps"].as_array().unwrap();
        maps.iter().find(|found| found["name"] == map).unwrap_or_else(|| panic!("{map}: {listed}")).clone()
    }
}

#[test]
fn maps_are_listed_with_their_types_and_owners() {
    let bench = MapBench::new();
    let flows = bench.listed("flows");
    for (field, value) in [
        ("type", json!("hash")),
        ("key_type", json!("struct flow")),
        ("key_bytes", json!(12)),
        ("value_type", json!("struct counts")),
        ("value_bytes", json!(24)),
        ("max_entries", json!(4)),
        ("used_by", json!([bench.program])),
        ("owners", json!(["root"])),
        ("lies_in", json!([])),
        ("read_only_because", Value::Null),
    ] {
        assert_eq!(flows[field], value, "{field}: {flows}");
    }
    assert!(flows["memory_bytes"].as_u64() > Some(0) && flows["pin_path"].is_string(), "{flows}");
    assert_eq!(bench.listed("plain")["key_type"], Value::Null);
    assert_eq!(bench.listed("events")["value_type"], "struct event");
    assert!(bench.listed(".rodata")["read_only_because"].as_str().unwrap().contains("frozen"));
    let table = bench.daemon.bpfman(&format!("map list --program {}", bench.program)).success();
    assert!(table.contains("struct flow (12)") && table.contains("struct counts (24)"), "{table}");
    let ids = bench.daemon.bpfman("map list -q").success();
    assert!(ids.lines().any(|id| flows["id"] == json!(id.parse::<u32>().unwrap())), "{ids}");
    bench.daemon.bpfman("map list --program 4294967290").fails(5, &["4294967290 does not exist"]);
}

#[test]
fn entries_are_written_and_read_by_their_types() {
    let bench = MapBench::new();
    let key = "address=7,port=80,zone=-3,kind=KIND_LONG";
    bench.set("flows", &[key, r#"{"packets": 5, "bytes": 700, "name": "web"}"#]);
    assert_eq!(bench.get("flows", key), "{packets=5, bytes=700, name=web}");
    bench.set("flows", &["{address=7, port=80, zone=-3, kind=2}", "bytes=701"]);
    let json_key = r#"{"address": 7, "port": 80, "zone": -3, "kind": "KIND_LONG"}"#;
    let entry = bench.map("get", "flows", &[json_key, "-o", "json"]).json();
    assert_eq!(entry["value"], json!({"packets": 5, "bytes": 701, "name": "web"}));
    assert_eq!(entry["key"], json!({"address": 7, "port": 80, "zone": -3, "kind": "KIND_LONG"}));
    let dumped = bench.dump("flows");
    assert_eq!((&dumped["entries"], &dumped["cut_short"]), (&json!([entry]), &json!(false)));
    assert_eq!(dumped["map"]["name"], "flows");
    let line = "{address=7, port=80, zone=-3, kind=KIND_LONG} = {packets=5, bytes=701, name=web}\n";
    assert_eq!(bench.map("dump", "flows", &[]).success(), line);
    let id = bench.listed("flows")["id"].to_string();
    assert_eq!(bench.daemon.cli(&["map", "dump", &id]).success(), line);
    let program = bench.program.to_string();
    assert_eq!(bench.daemon.cli(&["map", "dump", &program, "flows"]).success(), line);

    bench.set("recent", &["-5", "0x10"]);
    assert_eq!(bench.get("recent", "-5"), "16");
    bench.set("slots", &["2", "-9"]);
    assert_eq!(bench.map("dump", "slots", &[]).success(), "0 = 0\n1 = 0\n2 = -9\n");
    bench.set("routes", &["length=8,address=[10,0,0,0]", "1"]);
    assert_eq!(bench.get("routes", "length=32,address=[10,1,2,3]"), "1");
    bench.set("routes", &["192.168.0.0/16", "2"]);
    assert_eq!(
        (bench.get("routes", "192.168.7.7"), bench.get("routes", "10.9.9.9/32")),
        ("2".into(), "1".into())
    );
    assert_eq!(bench.map("dump", "routes", &[]).success(), "10.0.0.0/8 = 1\n192.168.0.0/16 = 2\n");
    assert_eq!(bench.dump("routes")["entries"][0], json!({"key": "10.0.0.0/8", "value": 1}));
    bench.map("delete", "routes", &["192.168.0.0/16"]).success();
    bench.set("routes6", &["2001:db8::/32", "6"]);
    assert_eq!(bench.get("routes6", "2001:db8::7"), "6");
    assert_eq!(bench.map("dump", "routes6", &[]).success(), "2001:db8::/32 = 6\n");
    bench.set("headers", &["0", "length=5,flags=FLAG_SYN,last=true,step=-3"]);
    assert_eq!(bench.get("headers", "0"), "{length=5, flags=FLAG_SYN, last=true, step=-3, port=0}");
    bench.set("headers", &["0", "length=6,port=80"]);
    assert_eq!(bench.get("headers", "0"), "{length=6, flags=FLAG_SYN, last=true, step=-3, port=80}");
    bench.set("plain", &["0a0b0c0d", "0xff01"]);
    assert_eq!(bench.dump("plain")["entries"], json!([{"key": "0a0b0c0d", "value": "ff01"}]));
    bench.set(".data", &["0", "limit=9"]);
    assert_eq!(bench.get(".data", "0"), "{limit=9}");
}

#[test]
fn per_cpu_value_is_set_on_each_cpu_and_shown_as_a_sum() {
    let bench = MapBench::new();
    bench.set("each", &["1", "3"]);
    let entry = bench.map("get", "each", &["1", "-o", "json"]).json();
    let each: Vec<u64> =
        entry["per_cpu"].as_array().unwrap().iter().map(|one| one.as_u64().unwrap()).collect();
    assert!(!each.is_empty() && each.iter().all(|one| *one == 3), "{entry}");
    assert_eq!(entry["value"], each.iter().sum::<u64>());
    let shown = bench.map("dump", "each", &["--per-cpu"]).success();
    let all = vec!["3"; each.len()].join(", ");
    assert_eq!(shown, format!("1 = [{all}]\n"));
}

#[test]
fn an_entry_is_created_changed_and_deleted_by_what_is_asked() {
    let bench = MapBench::new();
    bench.map("set", "recent", &["--existing", "1", "5"]).fails(5, &["has no entry with this key"]);
    bench.set("recent", &["--create-only", "1", "5"]);
    bench
        .map("set", "recent", &["--create-only", "1", "6"])
        .fails(7, &["has an entry with this key", "hint: "]);
    bench.set("recent", &["--existing", "1", "6"]);
    assert_eq!(bench.get("recent", "1"), "6");
    let deleted = bench.map("delete", "recent", &["1", "2", "-o", "json"]);
    deleted.fails(5, &["has no entry 2"]);
    let told: Value = serde_json::from_str(&deleted.stdout).unwrap();
    assert_eq!(told["entries"], json!([{"key": 1, "outcome": "deleted"}, {"key": 2, "outcome": "missing"}]));
    bench.map("delete", "recent", &["--ignore-missing", "2"]).success();
    bench.map("get", "recent", &["1"]).fails(5, &["map ", "\"recent\" (lru_hash) has no entry 1"]);
    for number in 0..4 {
        bench.set("plain", &[&format!("0000000{number}"), "0000"]);
    }
    bench.map("set", "plain", &["00000004", "0000"]).fails(7, &["is full: 4 entries"]);
    bench.map("get", "line", &[]).fails(5, &["\"line\" (queue) is empty"]);
    bench.set("line", &["8"]);
    bench.set("line", &["9"]);
    assert_eq!(bench.map("get", "line", &[]).success(), "8\n");
    bench.map("set", "line", &["10"]).fails(7, &["is full: 2 entries"]);
    bench.map("dump", "line", &[]).fails(6, &["have entries that can be listed"]);
    bench.map("get", "line", &["1"]).fails(6, &["has no keys"]);
}

#[test]
fn invalid_value_is_refused_by_field_name_and_changes_nothing() {
    let bench = MapBench::new();
    let refused = |verb: &str, map: &str, words: &[&str], says: &[&str]| {
        bench.map(verb, map, words).fails(6, says);
    };
    let key = "address=7,port=70000,zone=0,kind=1";
    refused(
        "set",
        "flows",
        &[key, "packets=1"],
        &["key of map", "port: 70000 does not fit 2 byte(s): 0 to 65535"],
    );
    refused(
        "get",
        "flows",
        &["address=7"],
        &["field \"port\" is missing", "of type struct flow, of 12 bytes"],
    );
    refused(
        "get",
        "flows",
        &["address=7,port=1,zone=0,kind=KIND_NONE"],
        &["kind: ", "KIND_SHORT, KIND_LONG"],
    );
    let key = "address=7,port=1,zone=0,kind=1";
    refused(
        "set",
        "flows",
        &[key, "packages=1"],
        &["no field \"packages\"; there are: packets, bytes, name"],
    );
    refused("set", "flows", &[key, "name=abcdefgh"], &["name: \"abcdefgh\" has 8 bytes"]);
    refused("set", "flows", &[key, "packets=-1"], &["packets: -1 does not fit"]);
    refused("set", "routes", &["10.0.0.0/33", "1"], &["\"33\" is no length of a prefix", "like 10.0.0.0/8"]);
    refused("get", "routes", &["::1"], &["has an address of 16 bytes", "have 4"]);
    refused("set", "headers", &["0", "length=16"], &["length: \"16\" does not fit 4 bit(s): 0 to 15"]);
    refused("set", "slots", &["3", "1"], &["has no entry 3: it has 0 to 2"]);
    refused("get", "slots", &["3"], &["has no entry 3: it has 0 to 2"]);
    refused("delete", "slots", &["1"], &["the entries of an array are always there"]);
    refused("set", "plain", &["0a", "0000"], &["\"0a\" has 1 byte(s), not 4", "no type of the key is known"]);
    refused("set", "plain", &["00000000", "xyz"], &["give 2 byte(s) as 4 hexadecimal digits"]);
    refused("set", "recent", &["5"], &["a key is missing"]);
    refused("get", "events", &["1"], &["is a buffer of records", "bpfman map watch"]);
    refused("dump", "events", &[], &["is a buffer of records"]);
    for map in ["flows", "recent", "plain"] {
        assert_eq!(bench.dump(map)["entries"], json!([]), "{map}");
    }
    bench.map("get", "nothing", &["1"]).fails(5, &["has no map \"nothing\"", "flows"]);
    bench.daemon.cli(&["map", "get", "flows", "1"]).fails(2, &["is no map: write a map's id"]);
}

#[test]
fn constants_and_maps_of_maps_are_read_and_never_written() {
    let bench = MapBench::new();
    assert_eq!(bench.get(".rodata", "0"), "{step=7}");
    bench.map("set", ".rodata", &["0", "step=1"]).fails(6, &["\".rodata\"", "it is frozen"]);
    let inner = bench.dump("outer")["entries"][0]["value"].to_string();
    let first = bench.listed("first");
    assert_eq!(first["id"].to_string(), inner);
    assert_eq!(bench.dump("outer")["entries"][0]["key"], 1);
    bench.map("set", "outer", &["0", &inner]).fails(6, &["its entries are maps"]);
    bench.map("delete", "outer", &["1"]).fails(6, &["its entries are maps"]);
    assert_eq!(bench.get("outer", "1"), inner);
}

/// A map that no program uses directly is accessible with permission for the map that contains it.
#[test]
fn a_map_in_a_map_of_maps_is_used_by_its_id() {
    let bench = MapBench::new();
    let daemon = &bench.daemon;
    let pin = daemon.fs().join("lent");
    let (outer, pin) = (bench.listed("outer")["id"].to_string(), pin.to_str().unwrap().to_owned());
    run(&[
        "bpftool", "map", "create", &pin, "type", "hash", "key", "4", "value", "12", "entries", "4", "name",
        "lent",
    ]);
    run(&["bpftool", "map", "update", "id", &outer, "key", "0", "0", "0", "0", "value", "pinned", &pin]);
    let is_listed = || bench.daemon.bpfman("map list").success().contains("lent");
    until("the map is found", is_listed);
    let lent = bench.listed("lent");
    let id = lent["id"].to_string();
    assert_eq!(lent["lies_in"].to_string(), format!("[{outer}]"));
    assert_eq!(bench.get("outer", "0"), id);
    daemon.cli(&["map", "set", &id, "5", "number=3,name=x"]).success();
    assert_eq!(daemon.cli(&["map", "dump", &id]).success(), "5 = {number=3, name=x}\n");
    daemon.cli_as(READER, READER, &["map", "dump", &id]).success();
    daemon.cli_as(NOBODY, NOBODY, &["map", "dump", &id]).fails(4, &["may not"]);
    daemon.cli_as(READER, READER, &["map", "set", &id, "5", "number=4,name=x"]).fails(4, &["may not"]);
    // The owner is unknown while a third-party program uses the map directly.
    let borrower = daemon.fs().join("borrower");
    let (object, program) = (compile::object("borrower"), borrower.to_str().unwrap());
    let mut words = vec!["bpftool", "prog", "load", object.to_str().unwrap(), program];
    words.extend(["type", "xdp", "map", "name", "lent", "pinned", &pin]);
    run(&words);
    for words in [&["map", "dump", &id][..], &["map", "set", &id, "5", "number=1,name=y"]] {
        daemon.cli(words).fails(4, &["which is not bpfman's, uses it itself"]);
    }
    std::fs::remove_file(&borrower).unwrap();
    until("the kernel let go of the program", || daemon.cli(&["map", "dump", &id]).code == 0);
    run(&["bpftool", "map", "delete", "id", &outer, "key", "0", "0", "0", "0"]);
    daemon.cli(&["map", "dump", &id]).fails(5, &[&format!("no program of bpfman uses a map {id}")]);
}

#[test]
fn map_writes_need_permission_and_are_logged() {
    let bench = MapBench::new();
    bench.map_as(WRITER, "set", "recent", &["1", "5"]).success();
    assert_eq!(bench.map_as(READER, "get", "recent", &["1"]).success(), "5\n");
    bench.map_as(READER, "dump", "recent", &[]).success();
    for (verb, words) in [("set", &["1", "6"][..]), ("delete", &["1"])] {
        bench.map_as(READER, verb, "recent", words).fails(4, &["may not", "maps-write"]);
        bench.map_as(NOBODY, verb, "recent", words).fails(4, &["may not"]);
    }
    for verb in ["get", "dump"] {
        let words = if verb == "get" { &["1"][..] } else { &[] };
        bench.map_as(NOBODY, verb, "recent", words).fails(4, &["may not"]);
    }
    assert_eq!(bench.get("recent", "1"), "5");
    let history = bench.daemon.bpfman("history -o json").json();
    let entries = history["entries"].as_array().unwrap();
    let find = |uid: u32, verb: &str, result: &str| {
        let found = entries.iter().find(|entry| {
            (&entry["uid"], &entry["verb"], &entry["result"]) == (&json!(uid), &json!(verb), &json!(result))
        });
        found.unwrap_or_else(|| panic!("{uid} {verb} {result}: {history}")).clone()
    };
    let set = find(WRITER, "SetMapEntry", "done");
    assert_eq!(set["object"], format!("map recent of program {}", bench.program));
    assert_eq!((&set["made"], &set["grant"]), (&json!("entry 01000000"), &json!("writers")));
    find(READER, "SetMapEntry", "denied");
    find(NOBODY, "DumpMap", "denied");
}

#[test]
fn value_too_large_for_one_call_is_refused_with_a_workaround() {
    let bench = MapBench::new();
    bench.map("set", "pages", &["0", "number=9"]).fails(
        6,
        &[
            "pages",
            "has 300004 bytes",
            "more than the 256 KiB of one call",
            "hint: ",
            "bpfman map pin",
            "bpftool map update",
        ],
    );
    assert_eq!(
        bench.map("get", "pages", &["0", "-o", "json"]).json()["value"]["number"],
        0,
        "nothing is changed"
    );
}

#[test]
fn a_map_that_is_gone_is_not_found() {
    let bench = MapBench::new();
    let id = bench.listed("flows")["id"].to_string();
    bench.daemon.bpfman(&format!("unload {}", bench.program)).success();
    for words in [&["map", "dump", &id][..], &["map", "get", &id, "hex:00"], &["map", "watch", &id]] {
        bench.daemon.cli(words).fails(5, &[&format!("no program of bpfman uses a map {id}")]);
    }
    bench.map("dump", "flows", &[]).fails(5, &["does not exist"]);
}
