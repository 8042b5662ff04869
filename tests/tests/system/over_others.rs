//! Ways to change, read or stop programs of other owners: each needs permission for them.

use std::fs;
use std::os::unix::fs::chown;

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::target::Target;
use bpfman_tests::traffic::Traffic;
use bpfman_tests::wait::until;
use bpfman_tests::{Daemon, Network, Outcome, compile, kernel};
use serde_json::Value;

use crate::equipment::Program;
use crate::grants::{daemon, load_as};

pub const EVE: u32 = 64_231;
pub const AGENT: u32 = 64_232;
const PACKET: &str =
    "0200000000020200000000010800450000220000000040110000000000000000000012341092000e000061626364656667";

pub struct Bench {
    pub daemon: Daemon,
    pub network: Network,
    pub roots: Program,
}

impl Bench {
    pub fn new(grant: &str) -> Self {
        let policy = format!(
            "[files]\nusers = [0, {EVE}, {AGENT}]\n[[grants]]\nname = \"eve\"\nusers = [{EVE}]\n{grant}"
        );
        let daemon = daemon(policy);
        let roots = Program::member(&daemon.wire(), "xdp_member", Type::Xdp, 1, 2);
        let bench = Self { daemon, network: Network::new(), roots };
        bench.attach_as(0, u64::from(bench.roots.id), 10, "").success();
        bench
    }

    pub fn attach_as(&self, user: u32, program: u64, priority: u32, flags: &str) -> Outcome {
        let far = self.network.far.path().display().to_string();
        let line = format!("attach {program} xdp -i {INTERFACE} -p {priority} -n {far} {flags} -o json");
        if user == 0 { self.daemon.bpfman(&line) } else { self.daemon.bpfman_as(user, &line) }
    }

    pub fn hook(&self) -> String {
        format!("xdp:{INTERFACE}@{}", self.network.far.path().display())
    }

    pub fn chain(&self) -> Value {
        self.daemon.bpfman(&format!("chain show {} -o json", self.hook())).json()
    }

    pub fn map_of(&self, program: u64, name: &str) -> u32 {
        let shown = self.daemon.bpfman(&format!("get program {program} -o json")).json();
        let maps = shown["maps"].as_array().unwrap();
        let map = maps.iter().find(|map| map["name"] == name).unwrap_or_else(|| panic!("{name}: {shown}"));
        u32::try_from(map["id"].as_u64().unwrap()).unwrap()
    }

    pub fn object(&self, name: &str) -> String {
        let path = self.daemon.path(format!("eves-{name}.o"));
        fs::copy(compile::object(name), &path).unwrap();
        chown(&path, Some(EVE), Some(EVE)).unwrap();
        path.display().to_string()
    }

    pub fn load(&self, object: &str, program: &str) -> Value {
        let path = self.object(object);
        self.daemon.bpfman_as(EVE, &format!("load file -p {path} --programs {program} -o json")).json()
    }
}

pub fn id(loaded: &Value) -> u64 {
    loaded["programs"][0]["program_id"].as_u64().unwrap()
}

#[test]
fn map_for_reading_is_written_by_no_map_of_maps() {
    let own =
        format!("allow = [\"read\", \"load\", \"attach\", \"maps-write\"]\nhooks = [\"xdp:{INTERFACE}\"]\n");
    let reads =
        format!("[[grants]]\nname = \"reads\"\nusers = [{EVE}]\nallow = [\"maps-read\"]\nover = \"all\"\n");
    let bench = Bench::new(&format!("{own}{reads}"));
    let program = bench.load("reach", "xdp:xdp_reach");
    bench.attach_as(EVE, id(&program), 20, "").success();
    let outer = bench.map_of(id(&program), "outer").to_string();
    let hits = kernel::map_named(&bench.roots.maps, "hits");
    let taker = bench.daemon.path("take_map");
    fs::copy(compile::executable("take_map"), &taker).unwrap();
    let insert = |user: u32| {
        let mut command = std::process::Command::new("setpriv");
        let user = user.to_string();
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--inh-caps=-all", "--"]);
        command.arg(&taker).arg(bench.daemon.socket()).arg(hits.to_string()).args(["insert", &outer]);
        Outcome::of(&mut command)
    };
    let refused = insert(EVE);
    assert!(refused.stdout.contains("took: ok\nnothing: "), "{refused:?}");
    assert!(
        refused.stdout.contains("to which entries of map") && refused.stdout.contains("over"),
        "{refused:?}"
    );
    let traffic = Traffic::new(&bench.network);
    assert_eq!(traffic.send(3), 3);
    assert_eq!(kernel::array_value(hits, 0), 3);
    // A caller with permission to write all maps gets root's map writable: the kernel checks nothing further.
    assert_eq!(insert(0).success(), "took: ok\ntook: ok\nupdate: ok\n");
    assert_eq!(traffic.send(1), 1);
    until("root's map is written through the other", || kernel::array_value(hits, 0) == 666);
}

#[test]
fn switches_of_a_hook_ask_for_all_its_members() {
    let grant = format!("allow = [\"load\", \"attach\", \"settings\"]\nhooks = [\"xdp:{INTERFACE}\"]\n");
    let bench = Bench::new(&grant);
    let own = load_as(&bench.daemon, EVE);
    bench.attach_as(EVE, own, 20, "").success();
    let (hook, before) = (bench.hook(), bench.chain());
    let why = format!("grant \"eve\" does not cover link {}", before["members"][0]["link_id"]);
    for line in [
        format!("debug freeze {hook}"),
        format!("debug subprograms {hook} on"),
        format!("chain counters {hook} off"),
        format!("chain keep {hook} on"),
    ] {
        bench.daemon.bpfman_as(EVE, &line).fails(4, &["may not change settings", &why, "\"over\""]);
    }
    bench
        .attach_as(EVE, own, 30, "--keep-attached --again")
        .fails(4, &["may not change settings", "\"over\""]);
    let after = bench.chain();
    for switch in ["held", "counters", "timing", "as_subprograms", "keep_attached"] {
        assert_eq!(after[switch], before[switch], "{switch}");
    }
    bench.daemon.bpfman_as(EVE, &format!("chain timing {hook} on")).success();
    assert_eq!(bench.chain()["timing"], true);
    bench.daemon.bpfman_as(EVE, &format!("chain timing {hook} off")).success();
    assert_eq!(bench.chain()["timing"], false);
    bench.daemon.bpfman(&format!("chain timing {hook} on")).success();
    bench
        .daemon
        .bpfman_as(EVE, &format!("chain timing {hook} off"))
        .fails(4, &["may not change settings", &why]);
    bench.daemon.bpfman(&format!("unload {}", bench.roots.id)).success();
}

#[test]
fn attach_that_keeps_the_hook_asks_for_settings() {
    let bench = Bench::new("allow = [\"load\", \"attach\"]\n");
    bench.daemon.bpfman(&format!("unload {}", bench.roots.id)).success();
    let own = load_as(&bench.daemon, EVE);
    bench.attach_as(EVE, own, 20, "--keep-attached").fails(4, &["\"eve\" does not allow \"settings\""]);
    bench.attach_as(EVE, own, 20, "").success();
}

#[test]
fn freeze_of_a_user_gives_way_to_root_and_ends() {
    let grant = "allow = [\"load\", \"attach\", \"settings\"]\n";
    let bench = Bench::new(grant);
    let hook = bench.hook();
    bench.daemon.bpfman(&format!("unload {}", bench.roots.id)).success();
    let own = load_as(&bench.daemon, EVE);
    bench.attach_as(EVE, own, 20, "").success();
    bench.daemon.bpfman_as(EVE, &format!("debug freeze {hook} --ttl 2d")).fails(6, &["1 s to 86400 s"]);
    bench.daemon.bpfman_as(EVE, &format!("debug freeze {hook}")).success();
    bench.attach_as(EVE, own, 30, "--again").fails(7, &["is frozen by user"]);
    assert!(bench.chain()["held_seconds_left"].as_u64().unwrap() > 3000);
    let roots = Program::member(&bench.daemon.wire(), "xdp_member", Type::Xdp, 1, 1);
    bench.attach_as(0, u64::from(roots.id), 5, "").success();
    assert_eq!(Traffic::new(&bench.network).send(2), 0, "root's program drops");
    bench.daemon.bpfman(&format!("unload {}", roots.id)).success();
    bench.daemon.bpfman_as(EVE, &format!("debug release {hook}")).success();
    bench.daemon.bpfman_as(EVE, &format!("debug freeze {hook} --ttl 1s")).success();
    until("the freeze ends", || bench.attach_as(EVE, own, 30, "--again").code == 0);
    assert_eq!(bench.chain()["held"], false);
}

#[test]
fn freeze_of_root_is_released_by_root_and_stops_no_expiry() {
    let bench = Bench::new("allow = [\"load\", \"attach\", \"settings\"]\n");
    let hook = bench.hook();
    bench.daemon.bpfman(&format!("unload {}", bench.roots.id)).success();
    let own = load_as(&bench.daemon, EVE);
    let link = bench.attach_as(EVE, own, 20, "--ttl 3s").json()["link_id"].to_string();
    bench.daemon.bpfman(&format!("debug freeze {hook}")).success();
    let release = bench.daemon.bpfman_as(EVE, &format!("debug release {hook}"));
    release.fails(4, &["the freeze of", "of root", "\"over\""]);
    bench
        .daemon
        .bpfman(&format!(
            "attach {own} xdp -i {INTERFACE} -p 5 -n {} --again",
            bench.network.far.path().display()
        ))
        .fails(7, &["is frozen by user 0"]);
    until("it expires all the same", || bench.daemon.bpfman(&format!("get link {link}")).code == 5);
}

#[test]
fn agent_attaches_cluster_firewall_to_a_hook_that_a_user_froze() {
    let agent = format!(
        "[[grants]]\nname = \"agent\"\nusers = [{AGENT}]\nallow = [\"load\", \"attach\"]\napplications = [\"*\"]\n"
    );
    let bench = Bench::new(&format!("allow = [\"load\", \"attach\", \"settings\"]\n{agent}"));
    bench.daemon.bpfman(&format!("unload {}", bench.roots.id)).success();
    let own = load_as(&bench.daemon, EVE);
    bench.attach_as(EVE, own, 20, "").success();
    bench.daemon.bpfman_as(EVE, &format!("debug freeze {}", bench.hook())).success();
    let object = bench.daemon.path("agents.o");
    fs::copy(compile::object("chain"), &object).unwrap();
    chown(&object, Some(AGENT), Some(AGENT)).unwrap();
    let load = |metadata: &str| {
        let line = format!("load file -p {} --programs xdp:xdp_member {metadata} -o json", object.display());
        id(&bench.daemon.bpfman_as(AGENT, &line).json())
    };
    let firewall = load("-m bpfman.io/ProgramName=firewall -m bpfman.io/uuid=1-2 -g verdict=+1");
    bench.attach_as(AGENT, firewall, 5, "").success();
    assert_eq!(Traffic::new(&bench.network).send(2), 0, "the firewall drops");
    let tenant =
        load("-m bpfman.io/ProgramName=app -m bpfman.io/uuid=3-4 -m bpfman.io/ProgramNamespace=team");
    bench.attach_as(AGENT, tenant, 50, "").fails(7, &["is frozen by user"]);
    bench.daemon.bpfman_as(AGENT, &format!("unload {firewall}")).success();
}

#[test]
fn counters_that_a_budget_needs_are_switched_off_by_root_alone() {
    let bench = Bench::new("allow = [\"load\", \"attach\", \"settings\"]\nlimits = { cpu = \"5%\" }\n");
    let hook = bench.hook();
    bench.daemon.bpfman(&format!("unload {}", bench.roots.id)).success();
    let own = load_as(&bench.daemon, EVE);
    let link = bench.attach_as(EVE, own, 20, "--keep-attached").json()["link_id"].to_string();
    bench.daemon.bpfman_as(EVE, &format!("detach {link}")).success();
    bench.daemon.bpfman_as(EVE, &format!("chain counters {hook} off")).success();
    bench.attach_as(EVE, own, 20, "").success();
    bench.attach_as(EVE, own, 30, "--again").success();
    assert_eq!(bench.chain()["counters"], true);
    bench.daemon.bpfman_as(EVE, &format!("chain counters {hook} off")).success();
    assert_eq!(bench.chain()["counters"], true);
    bench.daemon.bpfman(&format!("chain counters {hook} off")).success();
    assert_eq!(bench.chain()["counters"], false);
}

#[test]
fn trace_runs_no_program_of_others_and_is_in_the_history() {
    let bench = Bench::new("allow = [\"trace\"]\nhooks = [\"tc:*\"]\n");
    let far = bench.network.far.path().display().to_string();
    let object = compile::object("clones");
    let loaded =
        bench.daemon.bpfman(&format!("load file -p {} --programs tc:tc_clones -o json", object.display()));
    let loaded = loaded.json();
    bench
        .daemon
        .bpfman(&format!("attach {} tc -d ingress -i {INTERFACE} -p 10 -n {far}", id(&loaded)))
        .success();
    let learned = bench.map_of(id(&loaded), "learned");
    let learned = || kernel::array_value(learned, 0);
    let sent = || -> u64 {
        let shown = bench.network.far.ip(&["-j", "-s", "link", "show", INTERFACE]);
        serde_json::from_str::<Value>(&shown).unwrap()[0]["stats64"]["tx"]["packets"].as_u64().unwrap()
    };
    let line = format!("chain trace tc:{INTERFACE}:ingress@{far} --packet {PACKET}");
    bench.daemon.bpfman_as(EVE, &format!("{line} --for-real")).fails(4, &["may not trace", "\"over\""]);
    let before = learned();
    bench.daemon.bpfman(&line).fails(6, &["may send packets", "bpf_clone_redirect", "--for-real"]);
    assert_eq!(learned(), before, "nothing ran");
    let (sent_before, shown) = (sent(), bench.daemon.bpfman(&format!("{line} --for-real")).success());
    assert!(shown.contains("were sent"), "{shown}");
    assert!(learned() >= before + 2 && sent() >= sent_before + 2);
    let history = bench.daemon.bpfman("history").success();
    assert!(history.lines().filter(|line| line.contains("trace chain")).count() >= 3, "{history}");
}

/// A trace runs programs on their maps, which belong to the caller here.
#[test]
fn trace_needs_the_right_to_write_maps() {
    let mut counts = Vec::new();
    for more in ["", ", \"maps-write\""] {
        let bench = Bench::new(&format!("allow = [\"load\", \"attach\", \"trace\"{more}]\n"));
        let far = bench.network.far.path().display().to_string();
        let loaded = bench.load("chain", "tc:tc_member");
        let line = format!("attach {} tc -d ingress -i {INTERFACE} -p 10 -n {far}", id(&loaded));
        bench.daemon.bpfman_as(EVE, &line).success();
        let hits = bench.map_of(id(&loaded), "hits");
        let line = format!("chain trace tc:{INTERFACE}:ingress@{far} --packet {PACKET}");
        let outcome = bench.daemon.bpfman_as(EVE, &line);
        assert_eq!(outcome.code == 0, !more.is_empty(), "{outcome:?}");
        assert!(outcome.code == 0 || outcome.stderr.contains("may not write maps"), "{outcome:?}");
        counts.push(kernel::array_value(hits, 0));
    }
    assert!(counts[0] == 0 && counts[1] > 0, "{counts:?}");
}

#[test]
fn replacement_asks_what_a_load_and_an_attach_ask() {
    let grant = |more: &str| format!("allow = [\"load\", \"replace\"]\nover = \"all\"\n{more}");
    for (more, why) in [
        ("types = [\"tc\"]\n", "\"types\""),
        ("hooks = [\"xdp:elsewhere\"]\n", "\"hooks\""),
        ("netns = [\"/run/netns/elsewhere\"]\n", "\"netns\""),
    ] {
        let bench = Bench::new(&grant(more));
        let (path, tag) = (bench.object("chain"), kernel::program(bench.roots.id)["tag"].clone());
        let line = format!("replace {} file -p {path}", bench.roots.id);
        bench.daemon.bpfman_as(EVE, &line).fails(4, &["may not replace", why]);
        bench.daemon.bpfman_as(EVE, &format!("replace {} --rollback", bench.roots.id)).fails(4, &[why]);
        assert_eq!(kernel::program(bench.roots.id)["tag"], tag);
        assert_eq!(Traffic::new(&bench.network).send(1), 1);
    }
}

#[test]
fn tenants_code_does_not_take_the_place_of_an_unguarded_program() {
    let grant = "allow = [\"load\", \"replace\"]\nover = \"all\"\nscope = \"cgroup\"\n";
    let bench = Bench::new(grant);
    let object = compile::object("probes").display().to_string();
    let loaded = bench
        .daemon
        .bpfman(&format!("load file -p {object} --programs tracepoint:on_tracepoint -o json"))
        .json();
    let (root, mut process) = (id(&loaded), Target::start());
    bench
        .daemon
        .bpfman(&format!("attach {root} tracepoint --tracepoint syscalls/sys_enter_getpriority"))
        .success();
    let fired = bench.map_of(root, "fired");
    let fired = || kernel::array_value(fired, 0);
    let path = bench.object("probes");
    for program in [root, u64::from(bench.roots.id)] {
        let line = format!("replace {program} file -p {path}");
        bench.daemon.bpfman_as(EVE, &line).fails(4, &["scope = \"cgroup\"", "runs for all tasks"]);
    }
    let before = fired();
    process.get_priority();
    assert!(fired() > before);
    assert!(kernel::has_program(u32::try_from(root).unwrap()));
}
