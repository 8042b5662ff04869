//! Order by intent and changes in place, from the command line.

use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, xdp};
use bpfman_tests::traffic::Traffic;
use bpfman_tests::{Daemon, Network, compile};
use serde_json::{Value, json};

struct Bench {
    daemon: Daemon,
    network: Network,
    program: String,
}

impl Bench {
    fn new() -> Self {
        let (daemon, network) = (Daemon::start(), Network::new());
        let path = compile::object("chain").display().to_string();
        let id = daemon.bpfman(&format!("load file -p {path} --programs xdp:xdp_member -q")).success();
        Self { daemon, network, program: id.trim().to_owned() }
    }

    fn far(&self) -> String {
        self.network.far.path().display().to_string()
    }

    fn attach(&self, flags: &str) -> String {
        let line = format!("attach {} xdp -i {INTERFACE} -n {} {flags} --again -q", self.program, self.far());
        self.daemon.bpfman(&line).success().trim().to_owned()
    }

    fn hook(&self) -> String {
        format!("xdp:{INTERFACE}@{}", self.far())
    }

    fn chain(&self) -> Value {
        self.daemon.bpfman(&format!("chain show {} -o json", self.hook())).json()
    }

    fn order(&self) -> Vec<String> {
        let links = self.daemon.bpfman(&format!("chain show {} -q", self.hook())).success();
        links.lines().map(str::to_owned).collect()
    }
}

#[test]
fn program_is_attached_twice_at_one_hook_only_if_asked() {
    let bench = Bench::new();
    let line = format!("attach {} xdp -i {INTERFACE} -n {} -p 10", bench.program, bench.far());
    bench.daemon.bpfman(&line).success();
    let first = bench.order();
    let named = format!("by link {}", first[0]);
    bench.daemon.bpfman(&line).fails(7, &["already attached at", &named, "hint: `--again`"]);
    assert_eq!(bench.order(), first);
    bench.attach("-p 10");
    assert_eq!(bench.order().len(), 2);
    let program = bench.program.parse().unwrap();
    let far = bench.network.far.path().to_owned();
    bench.daemon.wire().attach(attach(program, xdp(&far, INTERFACE, 10, &[]))).unwrap();
    assert_eq!(bench.order().len(), 3);
}

#[test]
fn intents_win_over_priorities_and_the_chain_says_why() {
    let bench = Bench::new();
    let last = bench.attach("-p 10 --role balancer");
    let first = bench.attach("-p 500 --before role=balancer --role wall");
    let between = bench.attach(&format!("-p 900 --after {first} --before {last}"));
    assert_eq!(bench.order(), [first.clone(), between, last]);
    let chain = bench.chain();
    assert_eq!(chain["members"][0]["role"], "wall");
    let reason = chain["members"][0]["order_reason"].as_str().unwrap();
    assert!(reason.contains("role=balancer"), "{chain:#}");
    let drawn = bench.daemon.bpfman(&format!("chain show {}", bench.hook())).success();
    assert!(drawn.contains(&format!("+- 0 xdp_member   link {first}, ")), "{drawn}");
    assert!(drawn.contains(reason), "{drawn}");
}

#[test]
fn a_link_is_changed_without_leaving_its_hook() {
    let bench = Bench::new();
    let (one, two) = (bench.attach("-p 10"), bench.attach("-p 20"));
    let traffic = Traffic::new(&bench.network);
    let update = |flags: &str| bench.daemon.bpfman(&format!("update link {two} {flags} -o json")).json();
    let updated = update("--priority 5");
    assert_eq!(
        (&updated["outcome"], &updated["link"]["position"]),
        (&json!("changed"), &json!(0)),
        "{updated:#}"
    );
    assert_eq!(update("--priority 5")["outcome"], "unchanged");
    assert_eq!(update("--position 1")["link"]["position"], 1);
    assert_eq!(update(&format!("--before {one}"))["link"]["position"], 0);
    assert_eq!(update("--no-order")["outcome"], "changed");
    let updated = update("--proceed-on drop tx");
    assert_eq!(updated["link"]["attach"]["proceed_on"], json!(["drop", "tx"]), "{updated:#}");
    assert_eq!(traffic.send(3), 3);
    assert_eq!(bench.daemon.bpfman(&format!("update link {two} -p 30 -q")).success(), format!("{two}\n"));
    assert_eq!(bench.order(), [one, two]);
}

#[test]
fn orders_that_cannot_be_are_refused_and_nothing_changes() {
    let bench = Bench::new();
    let one = bench.attach("-p 10 --role wall");
    let two = bench.attach("-p 20 --after role=wall");
    let state = bench.daemon.state();
    for (line, code, says) in [
        (format!("update link {one} --role wall --after {two}"), 7, "--after"),
        (format!("update link {one} --before {one}"), 5, "names nothing"),
        (format!("update link {one} --priority -1"), 6, "-1"),
        (format!("update link {one} --position 9"), 6, "9"),
        (format!("update link {one} --proceed-on pipe"), 6, "pipe"),
        (format!("update link {one} --before 4000000000"), 5, "4000000000"),
        (format!("update link {one}"), 2, "--priority"),
        (format!("update link {one} --proceed-on fly"), 2, "fly"),
        ("update link 4000000000 -p 1".to_owned(), 5, "4000000000"),
        (
            format!("attach {} xdp -i {INTERFACE} -n {} -p 1 --before nobody=x", bench.program, bench.far()),
            2,
            "role=NAME",
        ),
    ] {
        let outcome = bench.daemon.bpfman(&line);
        assert_eq!(outcome.code, code, "{line}: {outcome:?}");
        assert!(outcome.stderr.contains(says), "{line}: {outcome:?}");
        assert_eq!(outcome.stdout, "", "{line}");
    }
    assert_eq!(bench.daemon.state(), state);
}
