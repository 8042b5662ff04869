//! The client: exit codes, output formats, generated documentation.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use bpfman_tests::network::INTERFACE;
use bpfman_tests::wait::within;
use bpfman_tests::{Daemon, Network, compile};
use serde_json::Value;

#[test]
fn every_failure_has_its_exit_code_and_its_hint() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let chain = compile::object("chain").display().to_string();
    let broken = compile::object("broken").display().to_string();
    let far = network.far.path().display().to_string();
    let id = daemon.bpfman(&format!("load file -p {chain} --programs xdp:xdp_member -q")).success();
    let id = id.trim();
    network.far.ip(&["link", "add", "held", "type", "veth", "peer", "name", "other"]);
    let stranger = compile::object("stranger").display().to_string();
    let script = format!("ip link set dev held xdpgeneric obj {stranger} sec xdp");
    crate::strangers::with_bpffs(&network.far, &script);
    for (line, code, says) in [
        ("list".to_owned(), 2, "Usage"),
        ("load file --programs xdp:f".to_owned(), 2, "--path"),
        (format!("load file -p {chain} --programs nothing:f"), 2, "nothing"),
        (format!("load file -p {chain} --programs xdp:f -g size"), 2, "size"),
        (format!("attach {id} xdp -i lo"), 2, "--priority"),
        ("unload 4000000000".to_owned(), 5, "hint: "),
        ("detach 4000000000".to_owned(), 5, "hint: "),
        ("get program 4000000000".to_owned(), 5, "4000000000"),
        ("get link 4000000000".to_owned(), 5, "4000000000"),
        (format!("chain show xdp:{INTERFACE}@{far}"), 5, INTERFACE),
        ("load file -p /nonexistent.o --programs xdp:f".to_owned(), 5, "/nonexistent.o"),
        (format!("load file -p {chain} --programs xdp:absent"), 6, "absent"),
        (format!("attach {id} xdp -i absent0 -p 1 -n {far}"), 6, "hint: "),
        (format!("attach {id} xdp -i {INTERFACE} -p -1 -n {far}"), 6, "-1"),
        (format!("attach {id} tracepoint -t syscalls/sys_enter_openat"), 6, "hint: "),
        (format!("attach {id} xdp -i held -p 1 -n {far}"), 7, "hint: "),
        (format!("load file -p {broken} --programs xdp:broken"), 8, "hint: "),
        ("load image -i 127.0.0.1:1/x:1 --programs xdp:f".to_owned(), 9, "127.0.0.1:1"),
    ] {
        let outcome = daemon.bpfman(&line);
        assert_eq!(outcome.code, code, "{line}: {outcome:?}");
        assert!(outcome.stderr.contains(says), "{line}: {outcome:?}");
        assert_eq!(outcome.stdout, "", "{line}");
    }
    let nobody = Daemon::prepare();
    nobody.bpfman("list programs").fails(3, &["sock", "hint: "]);
}

#[test]
fn several_ids_are_handled_in_order_and_a_failure_stops_none() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let chain = compile::object("chain").display().to_string();
    let far = network.far.path().display().to_string();
    let load = || {
        let line = format!("load file -p {chain} --programs xdp:xdp_member -q -g who=0x07000000");
        daemon.bpfman(&line).success().trim().to_owned()
    };
    let [one, two, three] = [load(), load(), load()];
    let attach = |id: &str, flags: &str| {
        let line = format!("attach {id} xdp -i {INTERFACE} -n {far} {flags} -q");
        daemon.bpfman(&line).success().trim().to_owned()
    };
    let links = [attach(&one, "-p 1 --proceed-on pass,drop"), attach(&two, "-p 2")];
    let before = daemon.state();
    for line in [format!("unload {one} {two} x:y"), format!("detach {} {}", links[0], links[0])] {
        assert_eq!(daemon.bpfman(&line).code, 2, "{line}");
        assert_eq!(daemon.state(), before, "{line}");
    }
    let outcome = daemon.bpfman(&format!("detach {} 4000000000 {} -o json", links[0], links[1]));
    assert_eq!(outcome.code, 5, "{outcome:?}");
    assert!(outcome.stderr.contains("error: link 4000000000: "), "{outcome:?}");
    assert!(outcome.stderr.ends_with("error: 1 of 3 links could not be detached\n"), "{outcome:?}");
    let told: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let outcomes = told["links"].as_array().unwrap().iter().map(|link| link["outcome"].as_str().unwrap());
    assert_eq!(outcomes.collect::<Vec<_>>(), ["detached", "failed", "detached"]);
    let again = daemon.bpfman(&format!("detach {} {} --ignore-missing -o json", links[0], links[1])).json();
    assert_eq!(again["links"][1]["outcome"], "missing");
    let only = daemon.bpfman(&format!("unload {one} -o json")).json();
    assert_eq!(
        (&only["program_id"], &only["outcome"]),
        (&Value::from(one.parse::<u32>().unwrap()), &"unloaded".into())
    );
    let loaded =
        daemon.bpfman(&format!("load file -p {chain} --programs xdp:xdp_member,tc:tc_member -q")).success();
    assert_eq!(loaded.lines().count(), 2);
    assert_eq!(daemon.bpfman(&format!("unload {one} {two} {three} --ignore-missing")).success(), "");
    let all = daemon.bpfman("unload --all -o json").json();
    let unloaded: Vec<String> =
        all["programs"].as_array().unwrap().iter().map(|program| program["program_id"].to_string()).collect();
    assert_eq!(unloaded, loaded.lines().rev().collect::<Vec<_>>());
    assert_eq!(daemon.state().pins, [""; 0]);
    assert_eq!(daemon.bpfman("unload --all -o json").json(), serde_json::json!({ "programs": [] }));
}

#[test]
fn lists_are_filtered_by_state_label_program_and_kind() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let chain = compile::object("chain").display().to_string();
    let far = network.far.path().display().to_string();
    let load = |program: &str, metadata: &str| {
        let line = format!("load file -p {chain} --programs {program} -m {metadata} -q");
        daemon.bpfman(&line).success().trim().to_owned()
    };
    let [one, two] = [load("xdp:xdp_member", "app=shop,tier=front"), load("tc:tc_member", "app=bank")];
    let idle = load("xdp:xdp_member", "tier=back");
    let attach =
        |line: &str| daemon.bpfman(&format!("attach {line} -i {INTERFACE} -n {far} -p 1 -q")).success();
    let xdp = attach(&format!("{one} xdp")).trim().to_owned();
    let tc = attach(&format!("{two} tc -d ingress")).trim().to_owned();
    let list = |line: &str| -> Vec<String> {
        daemon.bpfman(&format!("list {line} -q")).success().lines().map(str::to_owned).collect()
    };
    assert_eq!(list("programs --attached"), [one.clone(), two.clone()]);
    assert_eq!(list("programs --unattached --all"), [idle.as_str()]);
    assert_eq!(list("programs -l app"), [one.clone(), two.clone()]);
    assert_eq!(list("programs -l app!=shop --all"), [two.clone(), idle.clone()]);
    assert_eq!(list("programs -l !app,tier=back"), [idle]);
    assert_eq!(list("programs -l app=shop --unattached"), [""; 0]);
    assert_eq!(list("links -l app=bank"), [tc.as_str()]);
    assert_eq!(list(&format!("links --program-id {one},{two}")), [xdp.clone(), tc.clone()]);
    assert_eq!(list("links --program-id 4000000000"), [""; 0]);
    assert_eq!(list("links --kind xdp,tcx"), [xdp]);
    assert_eq!(list(&format!("links --kind tc --program-id {two}")), [tc]);
}

#[test]
fn third_party_programs_are_listed_under_each_possible_type() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let object = compile::object("stranger").display().to_string();
    let tc = |line: &str| {
        let output = network.far.command("tc").args(line.split_whitespace()).output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
        output.stdout
    };
    tc(&format!("qdisc add dev {INTERFACE} clsact"));
    let add = format!("tc filter add dev {INTERFACE} ingress bpf da obj {object} sec tc");
    crate::strangers::with_bpffs(&network.far, &add);
    let shown: Value =
        serde_json::from_slice(&tc(&format!("-json filter show dev {INTERFACE} ingress"))).unwrap();
    let filters = shown.as_array().unwrap();
    let id = filters.iter().find_map(|filter| filter["options"]["prog"]["id"].as_u64()).unwrap().to_string();
    let finds = |filter: &str| {
        let listed = daemon.bpfman(&format!("list programs {filter} -q")).success();
        listed.lines().any(|line| line == id)
    };
    for filter in ["--all", "--all -p tc", "--all -p tcx"] {
        assert!(finds(filter), "{filter}");
    }
    for filter in ["-p tc", "--all -p xdp", "--all -p kprobe", "--all -p fentry", "--all -p tc -m a=b"] {
        assert!(!finds(filter), "{filter}");
    }
    // Programs of another daemon are third-party to this one.
    let other = Daemon::start();
    let load = |object: &str, program: &str| {
        let path = compile::object(object).display().to_string();
        other.bpfman(&format!("load file -p {path} --programs {program} -q")).success().trim().to_owned()
    };
    let probe = load("probes", "kprobe:on_kprobe");
    let tracing = load("points", "iter:processes");
    let lists = |id: &str, program_type: &str| {
        let listed = daemon.bpfman(&format!("list programs --all -p {program_type} -q")).success();
        listed.lines().any(|line| line == id)
    };
    for program_type in ["kprobe", "kretprobe", "uprobe", "uretprobe"] {
        assert!(lists(&probe, program_type) && !lists(&tracing, program_type), "{program_type}");
    }
    for program_type in ["fentry", "fexit", "fmod_ret", "tp_btf", "iter"] {
        assert!(lists(&tracing, program_type) && !lists(&probe, program_type), "{program_type}");
    }
}

#[test]
fn tables_have_the_known_headers_and_blocks() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let chain = compile::object("chain").display().to_string();
    let far = network.far.path().display().to_string();
    let loaded = daemon
        .bpfman(&format!(
            "load file -p {chain} --programs xdp:xdp_member -a shop -m owner=acme -g who=07000000"
        ))
        .success();
    for line in [
        " Bpfman State",
        " Kernel State",
        "Program ID:",
        "Metadata:",
        "Map Pin Path:",
        "Loaded At:",
        "Verified Instruction Count:",
    ] {
        assert!(loaded.contains(line), "{loaded}");
    }
    assert!(loaded.contains("who=7") && loaded.contains("bpfman_application=shop"), "{loaded}");
    let id =
        loaded.lines().find_map(|line| line.trim().strip_prefix("Program ID:")).unwrap().trim().to_owned();
    let attached = daemon.bpfman(&format!("attach {id} xdp -i {INTERFACE} -p 35 -n {far} -m a=b")).success();
    for line in ["Link ID:", "Interface:", "Priority:", "Position:", "Proceed On:", "Network Namespace:"] {
        assert!(attached.contains(line), "{attached}");
    }
    let link =
        attached.lines().find_map(|line| line.trim().strip_prefix("Link ID:")).unwrap().trim().to_owned();
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let programs = daemon.bpfman("list programs").success();
    let mut lines = programs.lines();
    assert_eq!(words(lines.next().unwrap()).join(" "), "Program ID Application Type Function Name Links");
    assert_eq!(words(lines.next().unwrap()), [&id, "shop", "xdp", "xdp_member", "(1)", &link]);
    let links = daemon.bpfman("list links").success();
    let mut lines = links.lines();
    assert_eq!(
        words(lines.next().unwrap()).join(" "),
        "Program ID Link ID Application Type Function Name Attachment Network Namespace"
    );
    assert_eq!(
        words(lines.next().unwrap()),
        [&id, &link, "shop", "xdp", "xdp_member", INTERFACE, "pos-0", &far]
    );
    assert!(
        daemon.bpfman(&format!("get link {link}")).success().contains("owner=acme")
            || attached.contains("a=b")
    );
    assert!(daemon.bpfman(&format!("chain show xdp:{INTERFACE}@{far}")).success().contains(&link));
    let version = daemon.bpfman("version").success();
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    for line in [format!("detach {link}"), format!("unload {id}")] {
        assert_eq!(daemon.bpfman(&line).success(), "");
    }
}

#[test]
fn every_answer_is_json_and_yaml_of_the_same_shape() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let chain = compile::object("chain").display().to_string();
    let far = network.far.path().display().to_string();
    let loaded = daemon.bpfman(&format!("load file -p {chain} --programs xdp:xdp_member -o json")).json();
    let id = loaded["programs"][0]["program_id"].as_u64().unwrap();
    let attached = daemon.bpfman(&format!("attach {id} xdp -i {INTERFACE} -p 35 -n {far} -o json")).json();
    let link = attached["link_id"].as_u64().unwrap();
    for line in [
        "list programs".to_owned(),
        "list programs --all -p xdp".to_owned(),
        "list links".to_owned(),
        format!("get program {id}"),
        format!("get link {link}"),
        format!("chain show xdp:{INTERFACE}@{far}"),
        "version".to_owned(),
    ] {
        // Third-party programs change while other tests run.
        let all = line.contains("--all");
        let json = daemon.bpfman(&format!("{line} -o json")).json();
        let yaml = daemon.bpfman(&format!("{line} -o yaml")).success();
        let yaml: Value = serde_norway::from_str(&yaml).unwrap();
        assert!(all || json == yaml, "{line}: {json:#}\n{yaml:#}");
    }
    let ids = |line: &str| daemon.bpfman(line).success();
    assert_eq!(ids("list programs -q"), format!("{id}\n"));
    assert_eq!(ids("list links -q"), format!("{link}\n"));
    assert_eq!(ids(&format!("detach {link} -q")), "");
    assert_eq!(ids("list links -q"), "");
}

#[test]
fn output_to_a_file_has_no_colours() {
    let daemon = Daemon::start();
    let object = compile::object("chain").display().to_string();
    for line in [format!("load file -p {object} --programs xdp:xdp_member"), "list programs".to_owned()] {
        assert!(!daemon.bpfman(&line).success().contains('\u{1b}'));
    }
    assert!(!daemon.bpfman("unload 4000000000").stderr.contains('\u{1b}'));
}

#[test]
fn completions_and_manual_pages_come_from_the_client() {
    let daemon = Daemon::prepare();
    let folder = daemon.path("generated");
    daemon.bpfman(&format!("completions {}", folder.display())).success();
    daemon.bpfman(&format!("man {}", folder.display())).success();
    let names: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    for name in ["bpfman.bash", "_bpfman", "bpfman.fish", "bpfman.1"] {
        assert!(names.iter().any(|found| found == name), "{names:?} lack {name}");
    }
    assert!(names.iter().filter(|name| name.ends_with(".1")).count() > 10, "{names:?}");
    bpfman_tests::command::run(&["bash", "-n", &folder.join("bpfman.bash").display().to_string()]);
}

/// Bash completes only on a terminal: the test calls the function with the variables that bash sets there.
#[test]
fn shells_complete_live_objects_at_the_first_key() {
    let daemon = Daemon::start();
    let line = format!("load file {} --programs xdp:xdp_member -q", compile::object("chain").display());
    let id = daemon.bpfman(&line).success().trim().to_owned();
    let folder = daemon.path("generated");
    daemon.bpfman(&format!("completions {}", folder.display())).success();
    let (begun, whole) = (format!("bpfman unload {}", &id[..id.len() - 1]), format!("bpfman unload {id}"));
    let bash = format!(
        "source {}/bpfman.bash; COMP_LINE='{begun}' COMP_POINT=${{#COMP_LINE}}; _bpfman_live bpfman; \
         echo \"bpfman unload $COMPREPLY\"",
        folder.display()
    );
    let fish = format!(
        "source {}/bpfman.fish; complete -C '{begun}' | string replace -r '^' 'bpfman unload '",
        folder.display()
    );
    // The folder is where packages put it: zsh reads the file when the first key is pressed.
    let zsh = format!(
        "zmodload zsh/zpty; zpty -b shell zsh -f -i; \
         zpty -w shell 'fpath=({folder} $fpath); autoload -U compinit; compinit -D -u; show() {{ print -r -- \"<$BUFFER>\"; zle kill-buffer; }}; \
         zle -N show; bindkey ^X show; echo \\<begun\\>'; zpty -r -m shell text $'*\n<begun>*'; \
         zpty -w -n shell $'{begun}\t\x18'; zpty -r -m shell text '*<*>*'; print -r -- \"$text\"",
        folder = folder.display()
    );
    let cli = daemon.cli_command();
    let path = std::path::Path::new(cli.get_program()).parent().unwrap().display().to_string();
    for (shell, arguments, script) in
        [("bash", vec!["-c"], bash), ("fish", vec!["-N", "-c"], fish), ("zsh", vec!["-f", "-c"], zsh)]
    {
        let mut command = Command::new(shell);
        command.args(arguments).arg(script).env("HOME", &folder).env("TERM", "dumb");
        command.env("PATH", format!("{path}:{}", std::env::var("PATH").unwrap()));
        command.envs(cli.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let shown = within(&format!("{shell} completes"), || command.output()).unwrap();
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(text.contains(&whole), "{shell}: {text} {}", String::from_utf8_lossy(&shown.stderr));
    }
}

#[test]
fn types_that_are_bound_at_load_name_their_target() {
    let daemon = Daemon::start();
    let object = compile::object("probes").display().to_string();
    daemon
        .bpfman(&format!("load file -p {object} --programs fentry:on_fentry"))
        .fails(2, &["fentry:FUNCTION"]);
    daemon
        .bpfman(&format!("load file -p {object} --programs fentry:on_fentry:no_such_function"))
        .fails(6, &["no_such_function"]);
}

#[test]
fn program_is_given_by_a_name_that_no_other_has() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let load = format!("load file -p {} --programs xdp:xdp_member -q", compile::object("chain").display());
    let first: u32 = daemon.bpfman(&load).success().trim().parse().unwrap();
    let hook = format!("xdp:{INTERFACE}@{}", network.far.path().display());
    let link = daemon.bpfman(&format!("attach xdp_member {hook} -o json")).json();
    assert_eq!((&link["program_id"], &link["attach"]["priority"]), (&first.into(), &50.into()), "{link}");
    assert_eq!(daemon.bpfman("get program xdp_member -o json").json()["program_id"], first);

    let second: u32 = daemon.bpfman(&load).success().trim().parse().unwrap();
    let ids = format!("2 programs have the name xdp_member: {first}, {second}");
    daemon.bpfman("unload xdp_member").fails(6, &[&ids, "`bpfman list programs`"]);
    daemon
        .bpfman(&format!("unload {second} xdp_gone"))
        .fails(5, &["no program of bpfman has the name xdp_gone"]);
    assert_eq!(daemon.bpfman("list programs -q").success().lines().count(), 2, "nothing is unloaded");
    daemon.bpfman(&format!("unload {second} xdp_gone --ignore-missing")).success();
    daemon.bpfman("unload xdp_member").success();
    assert_eq!(daemon.bpfman("list programs -q").success(), "");
}

#[test]
fn help_is_an_answer_where_nothing_is_asked() {
    let daemon = Daemon::prepare();
    let help = daemon.bpfman("").success();
    assert!(help.contains("Run programs:") && help.contains("Examples:"), "{help}");
    let completion = daemon.bpfman("completion bash").success();
    assert!(completion.contains("_bpfman()") && completion.contains("unload"), "{completion}");
    daemon.bpfman("program list").fails(2, &["bpfman list programs"]);
}

#[test]
fn watched_list_is_shown_again_when_it_changes() {
    let daemon = Daemon::start();
    let mut command = daemon.cli_command();
    command.args(["list", "programs", "-w", "-o", "json"]).stdout(Stdio::piped());
    let mut watching = command.spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut next = || -> Value {
        let line = within("the list is shown", || lines.next().unwrap().unwrap());
        serde_json::from_str(&line).unwrap()
    };
    assert_eq!(next()["programs"].as_array().unwrap().len(), 0);
    let line = format!("load file {} --programs xdp:xdp_member -q", compile::object("chain").display());
    let id = daemon.bpfman(&line).success();
    assert_eq!(next()["programs"][0]["program_id"].to_string(), id.trim());
    watching.kill().unwrap();
    let _killed = watching.wait().unwrap();
}

#[test]
fn watched_dump_is_shown_again_when_an_entry_changes() {
    let daemon = Daemon::start();
    let line = format!("load file {} --programs xdp:use_all -q", compile::object("typed_maps").display());
    let map = format!("{}:slots", daemon.bpfman(&line).success().trim());
    let mut command = daemon.cli_command();
    command.args(["map", "dump", &map, "-w", "-o", "json"]).stdout(Stdio::piped());
    let mut watching = command.spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut next = || -> Value {
        let line = within("the dump is shown", || lines.next().unwrap().unwrap());
        serde_json::from_str::<Value>(&line).unwrap()["entries"][0]["value"].take()
    };
    let before = next();
    daemon.bpfman(&format!("map set {map} 0 7")).success();
    let after = next();
    assert!(before != after && after.to_string().contains('7'), "{before} {after}");
    watching.kill().unwrap();
    let _killed = watching.wait().unwrap();
}
