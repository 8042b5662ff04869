//! Tests of requests of commands, and of shown answers.

use crate::fake::{self, FakeDaemon, Script, link, program};
use bpfman_proto::ext::v1 as ext;

fn two_programs() -> FakeDaemon {
    FakeDaemon::start(Script {
        programs: vec![program(7, "pass"), program(8, "count")],
        links: vec![link(1007, 7), link(1008, 8)],
        ..Script::default()
    })
}

fn one_program() -> FakeDaemon {
    FakeDaemon::start(Script {
        programs: vec![program(7, "pass")],
        links: vec![link(1007, 7)],
        log: "0: (b7) r0 = 2\n".into(),
        ..Script::default()
    })
}

#[test]
fn lists_take_every_form() {
    let daemon = two_programs();
    assert_eq!(
        daemon.run("list programs").stdout,
        " Program ID  Application  Type  Function Name  Links
 7           shop         xdp   pass           (1) 1007
 8           shop         xdp   count          (1) 1008

"
    );
    assert_eq!(daemon.run("list programs -q").stdout, "7\n8\n");
    assert_eq!(daemon.run("list links --quiet").stdout, "1007\n1008\n");
    let json: serde_json::Value = serde_json::from_str(&daemon.run("list programs -o json").stdout).unwrap();
    assert_eq!(json["programs"][1]["program_id"], 8);
    assert_eq!(json["programs"][1]["link_ids"], serde_json::json!([1008]));
    assert!(json["programs"][1]["links"].is_null() && json["programs"][1]["maps"].is_null());
    let one: serde_json::Value = serde_json::from_str(&daemon.run("get program 8 -o json").stdout).unwrap();
    assert_eq!(one["links"][0]["attach"]["proceed_on"][0], "pass");
    assert_eq!(one["maps"], serde_json::json!([]));
    let yaml: serde_json::Value =
        serde_norway::from_str(&daemon.run("list programs -o yaml").stdout).unwrap();
    assert_eq!(yaml, json);
}

#[test]
fn the_application_is_selected_by_the_client() {
    let daemon = two_programs();
    assert_eq!(daemon.run("list programs --application shop -q").stdout, "7\n8\n");
    assert_eq!(daemon.run("list programs --application bank -q").stdout, "");
    assert_eq!(daemon.run("list links --application bank -q").stdout, "");
    assert_eq!(daemon.run("list links -p xdp -q").stdout, "1007\n1008\n");
    assert_eq!(daemon.run("list links -p tracing -q").stdout, "");
}

#[test]
fn loading_sends_an_absolute_path_and_shows_both_blocks() {
    let daemon = one_program();
    let outcome = daemon.run("load file -p sub/x.o --programs xdp:pass -g size=0a -m owner=acme -a shop");
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    let starts = outcome.stdout.lines().filter(|line| line.ends_with(" State")).collect::<Vec<_>>();
    assert_eq!(starts, [" Bpfman State", " Kernel State"]);
    assert!(outcome.stdout.contains(" Program ID:                       7\n"), "{outcome:?}");
    assert!(outcome.stdout.ends_with("\n\n"), "{outcome:?}");
    let path = daemon.folder.path().canonicalize().unwrap().join("sub/x.o");
    assert!(daemon.asked().contains(&format!("File(\"{}\")", path.display())), "{}", daemon.asked());
    assert!(daemon.asked().contains("\"bpfman_application\": \"shop\""), "{}", daemon.asked());
}

#[test]
fn values_and_sizes_are_sent_as_they_are_written() {
    let daemon = one_program();
    let values = "-g rate=100 name=eth0 ports=[80,443] limits={\"rate\":5} old=0x0a -g empty= \
                  --map-size events=1048576 flows=7";
    for line in [
        format!("load file -p x.o --programs xdp:pass {values}"),
        format!("load image -i quay.io/a/b:v1 --programs xdp:pass {values}"),
    ] {
        let outcome = daemon.run(&line);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{line}");
        let asked = daemon.asked();
        for part in [
            "\"rate\": \"100\"",
            "\"name\": \"eth0\"",
            "\"ports\": \"[80,443]\"",
            r#""limits": "{\"rate\":5}""#,
            "\"old\": \"0x0a\"",
            "\"empty\": \"\"",
            "\"events\": 1048576",
            "\"flows\": 7",
            "by_type_only: false",
            "global_data: {}",
        ] {
            assert!(asked.contains(part), "{part}: {asked}");
        }
    }
    // Without values, the call is that of v0.6.0.
    let daemon = one_program();
    assert_eq!(daemon.run("load file -p x.o --programs xdp:pass").code, 0);
    assert!(!daemon.asked().contains("ExtLoadRequest"), "{}", daemon.asked());
}

#[test]
fn impossible_values_are_refused_before_any_action() {
    let daemon = one_program();
    for (flags, says) in [
        ("-g rate", "\"rate\" has no `=`: write NAME=VALUE"),
        ("-g =5", "the variable's name is missing in \"=5\""),
        ("--map-size events", "\"events\" has no `=`: write MAP=ENTRIES"),
        ("--map-size =5", "the map's name is missing"),
        ("--map-size events=0", "map events cannot have \"0\" entries: write a number from 1 to 4294967295"),
        ("--map-size events=4294967296", "map events cannot have \"4294967296\" entries"),
        ("--map-size events=1k", "map events cannot have \"1k\" entries"),
        ("-g a=1 -g b=2 a=3", "global variable a is named twice: give it one value"),
        ("--map-size m=1 m=2", "map m is named twice: give it one value"),
    ] {
        for from in ["load file -p x.o --programs xdp:pass", "load image -i quay.io/a/b --programs xdp:pass"]
        {
            let outcome = daemon.run(&format!("{from} {flags}"));
            assert_eq!(outcome.code, 2, "{flags}: {outcome:?}");
            assert!(outcome.stderr.contains(says), "{flags}: {outcome:?}");
        }
    }
    let twice = daemon.run("replace 7 file -p x.o -g a=1 a=2");
    assert!(twice.code == 2 && twice.stderr.contains("named twice"), "{twice:?}");
    assert_eq!(daemon.asked(), "");
}

#[test]
fn digits_read_as_bytes_are_reported() {
    let mut port = program(7, "pass");
    port.info.as_mut().unwrap().global_data = [("port".to_owned(), vec![0x80, 0x80])].into();
    let daemon = FakeDaemon::start(Script { programs: vec![port], ..Script::default() });
    let outcome = daemon.run("load file -p x.o --programs xdp:pass -g port=8080 -q");
    let says =
        "warning: port=8080 is the bytes of the variable, as in v0.6.0; for the number write port=+8080\n";
    assert_eq!((outcome.code, outcome.stdout.as_str(), outcome.stderr.as_str()), (0, "7\n", says));
    let outcome = daemon.run("load file -p x.o --programs xdp:pass -g port=0x8080 -q");
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
}

#[test]
fn parts_left_out_by_a_load_are_reported() {
    let mut pass = program(7, "pass");
    pass.warnings = vec!["it is loaded without its source lines, which the kernel refuses: no".to_owned()];
    let daemon = FakeDaemon::start(Script { programs: vec![pass], ..Script::default() });
    for line in ["load file -p x.o --programs xdp:pass -q", "load file -p x.o --programs xdp:pass -o json"] {
        let outcome = daemon.run(line);
        let told = "warning: program \"pass\": it is loaded without its source lines, which the kernel refuses: no\n";
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, told));
    }
}

#[test]
fn warnings_of_shown_links_are_reported() {
    let mut late = link(1008, 8);
    late.warnings = vec!["it was to run after third-party program \"x\"".to_owned()];
    let daemon = FakeDaemon::start(Script { links: vec![link(1007, 7), late], ..Script::default() });
    let told = "warning: link 1008: it was to run after third-party program \"x\"\n";
    assert_eq!(daemon.run("list links").stderr, told);
    assert_eq!(daemon.run("list links --program-id 7").stderr, "");
}

#[test]
fn load_without_values_at_an_older_daemon_is_undone() {
    let daemon =
        FakeDaemon::start(Script { programs: vec![program(7, "pass")], is_older: true, ..Script::default() });
    let outcome = daemon.run("load file -p x.o --programs xdp:pass --map-size events=8");
    assert_eq!(outcome.code, 6, "{outcome:?}");
    let says = "this daemon knows neither values of --global by type nor --map-size; nothing is loaded";
    assert!(outcome.stderr.contains(says), "{outcome:?}");
    assert!(daemon.asked().contains("UnloadRequest { id: 7 }"), "{}", daemon.asked());
    let outcome = daemon.run("replace 7 file -p x.o -g rate=1");
    assert_eq!(outcome.code, 6, "{outcome:?}");
    assert!(outcome.stderr.contains("program 7 was replaced without"), "{outcome:?}");
    assert!(outcome.stderr.contains("--rollback"), "{outcome:?}");
}

#[test]
fn loading_several_is_a_table_and_quiet_loading_is_ids() {
    let daemon = two_programs();
    let outcome = daemon.run("load file -p x.o --programs xdp:pass xdp:count");
    assert!(outcome.stdout.starts_with(" Program ID  Application  Type"), "{outcome:?}");
    assert_eq!(daemon.run("load file -p x.o --programs xdp:pass xdp:count -q").stdout, "7\n8\n");
}

#[test]
fn a_successful_load_prints_the_verifier_log_only_on_request() {
    let daemon = one_program();
    let asked = daemon.run("load file -p x.o --programs xdp:pass --verifier-log");
    assert!(asked.stdout.ends_with(" Verifier Log of pass\n0: (b7) r0 = 2\n\n"), "{asked:?}");
    let json = daemon.run("load file -p x.o --programs xdp:pass --verifier-log -o json").stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["programs"][0]["verifier_log"], "0: (b7) r0 = 2\n");
    assert!(!daemon.run("load file -p x.o --programs xdp:pass").stdout.contains("Verifier Log"));
}

#[test]
fn attaching_shows_the_link_or_its_id() {
    let daemon = one_program();
    let outcome = daemon.run("attach 7 xdp -i eth0 -p 50 --proceed-on drop -n netns");
    assert!(outcome.stdout.starts_with(" Bpfman State\n BPF Function:       pass\n"), "{outcome:?}");
    assert_eq!(outcome.stdout, daemon.run("get link 1007").stdout);
    assert_eq!(daemon.run("attach 7 xdp -i eth0 -p 50 -q").stdout, "1007\n");
    let netns = daemon.folder.path().canonicalize().unwrap().join("netns");
    assert!(daemon.asked().contains(&format!("netns: Some(\"{}\")", netns.display())), "{}", daemon.asked());
    assert!(daemon.asked().contains("proceed_on: [1]"), "{}", daemon.asked());
}

#[test]
fn removal_prints_nothing_except_json() {
    let daemon = two_programs();
    for line in ["unload 7", "detach 1007", "unload 7 -q"] {
        let outcome = daemon.run(line);
        assert_eq!((outcome.code, outcome.stdout.as_str(), outcome.stderr.as_str()), (0, "", ""), "{line}");
    }
    let json: serde_json::Value = serde_json::from_str(&daemon.run("unload 7 -o json").stdout).unwrap();
    assert_eq!(json, serde_json::json!({"program_id": 7, "outcome": "unloaded"}));
}

#[test]
fn a_pull_is_silent_and_can_tell_the_digest() {
    let daemon = FakeDaemon::start(Script {
        pull: vec![
            ext::PullEvent { bytes: 10, total: 20, ..Default::default() },
            ext::PullEvent {
                bytes: 20,
                total: 20,
                digest: "sha256:ab".into(),
                verified_by: "rule 1".into(),
                ..Default::default()
            },
        ],
        ..Script::default()
    });
    let outcome = daemon.run("image pull -i r.io/x:1 -r YW5uYTpzZWNyZXQ= -p Always");
    assert_eq!((outcome.code, outcome.stdout.as_str(), outcome.stderr.as_str()), (0, "", ""));
    assert!(
        daemon.asked().contains("username: Some(\"anna\"), password: Some(\"secret\")"),
        "{}",
        daemon.asked()
    );
    assert_eq!(daemon.run("image pull -i r.io/x:1 -q").stdout, "sha256:ab\n");
    let json: serde_json::Value =
        serde_json::from_str(&daemon.run("image pull -i r.io/x:1 -o json").stdout).unwrap();
    assert_eq!((&json["verified_by"], &json["bytes"]), (&"rule 1".into(), &20.into()));
}

#[test]
fn features_are_summed_up_or_listed() {
    let daemon = FakeDaemon::start(Script::default());
    let whole = daemon.run("features").stdout;
    for part in ["6.1.0\n", "no arena\n", "xdp\n"] {
        assert!(whole.contains(part), "{part:?}: {whole}");
    }
    assert!(whole.contains("tcx (type tcx is refused)"), "{whole}");
    let helpers = daemon.run("features helpers").stdout;
    assert_eq!(
        helpers,
        " Part    Name          There  Remark\n helper  bpf_redirect  yes    xdp, sched_cls\n\n"
    );
    assert_eq!(daemon.run("features --missing -q").stdout, "tcx\narena\n");
    assert_eq!(daemon.run("features types --missing -q").stdout, "");
}

#[test]
fn versions_of_both_sides() {
    let daemon = FakeDaemon::start(Script::default());
    let outcome = daemon.run("version");
    assert!(outcome.stdout.contains("\nbpfmand 9.9.9\n"), "{outcome:?}");
    let own = format!("bpfman {}", env!("CARGO_PKG_VERSION"));
    for flag in ["-V", "--version"] {
        assert!(daemon.run(flag).stdout.starts_with(&own));
    }
}

#[test]
fn a_credential_is_read_from_standard_input() {
    let daemon = FakeDaemon::start(Script::default());
    let script = format!(
        "echo YW5uYTpzOmVjcmV0 | {} --socket-path {} image pull -i r.io/x:1 -r -",
        env!("CARGO_BIN_EXE_bpfman"),
        daemon.socket.display()
    );
    fake::run(std::process::Command::new("bash").args(["-c", &script]));
    assert!(daemon.asked().contains("anna"), "{}", daemon.asked());
    let bad = script.replace("YW5uYTpzOmVjcmV0", "s3cret");
    let outcome = fake::run(std::process::Command::new("bash").args(["-c", &bad]));
    assert_eq!(outcome.code, 2, "{outcome:?}");
    assert!(
        outcome.stderr.contains("read from standard input") && !outcome.stderr.contains("s3cret"),
        "{outcome:?}"
    );
}
