//! Cells of the access table, tested with each kind of caller.

use std::fs;

use bpfman_tests::network::Namespace;

use bpfman_tests::{Daemon, Launch, State};
use tonic::{Code, Status};

use super::as_user::as_user;
use super::requests::make;
use super::table::{Class, Row, rows};
use super::things::{SHARED, Things, UNCOVERED, add_interface};

/// User ids without accounts: one with a grant, one with a scoped grant, one without a grant, and the agent.
const USER: u32 = 64_241;
const SCOPED: u32 = 64_242;
const STRANGER: u32 = 64_243;
const AGENT: u32 = 64_244;

/// Verbs that a grant with hooks can allow: not `adopt`, nor the radar's, which has no owners.
const VERBS: &str =
    r#"["read", "load", "attach", "replace", "trace", "settings", "maps-read", "maps-write"]"#;

fn policy(folder: &str) -> String {
    let grant = |name: &str, user: u32, more: &str| {
        format!(
            "[[grants]]\nname = \"{name}\"\nusers = [{user}]\nallow = {VERBS}\ntypes = [\"xdp\", \"freplace\"]\n\
             hooks = [\"xdp:{SHARED}\", \"xdp:own*\"]\ntargets = [\"freplace:*\"]\npriorities = \"0-900\"\n\
             files = [\"{folder}{user}.o\"]\nimages = [\"127.0.0.1:1/own/*\"]\napplications = [\"shop/*\"]\n{more}\
             [[grants]]\nname = \"{name}-adopts\"\nusers = [{user}]\nallow = [\"adopt\"]\npriorities = \"0-900\"\n\
             applications = [\"shop/*\"]\n{more}"
        )
    };
    format!(
        "{IMAGES}[files]\nusers = [0, {USER}, {SCOPED}, {STRANGER}, {AGENT}]\n{}{}",
        grant("user", USER, ""),
        grant("scoped", SCOPED, "scope = \"cgroup\"\n")
    )
}

/// Rule for a registry that does not exist, so that permitted pulls fail.
const IMAGES: &str = "[[images]]\npattern = \"127.0.0.1:1/*\"\nunsigned = true\n";

struct Bench {
    daemon: Daemon,
    netns: Namespace,
    rows: Vec<Row>,
}

impl Bench {
    fn new() -> Self {
        let flags = vec![format!("--node-agent-user={AGENT}")];
        let daemon = Daemon::start_with(&Launch { flags, ..Launch::default() });
        fs::write(daemon.path("policy.toml"), policy(&daemon.path("").display().to_string())).unwrap();
        daemon.open_to_users();
        let netns = Namespace::new("rights");
        for name in [SHARED, UNCOVERED] {
            add_interface(&netns, name);
        }
        Self { daemon, netns, rows: rows() }
    }

    fn things(&self, user: u32, application: Option<(&str, &str)>) -> Things {
        Things::of(&self.daemon, &self.netns, user, application)
    }

    fn records(&self) -> State {
        State { held: Vec::new(), ..self.daemon.state() }
    }

    fn make(&self, user: u32, row: &Row, on: &Things) -> Result<(), Status> {
        let answer = as_user(user, || make(&self.daemon.socket(), &row.call, on));
        // Message for a call that checks a permission missing in its row.
        let lacks_right = answer.as_ref().is_err_and(|status| status.message().contains("has no rule for"));
        assert!(!lacks_right, "user {user}, {}: {answer:?}", row.call);
        answer
    }

    fn assert_refused(&self, user: u32, own: &Things, theirs: &Things, classes: &[Class]) {
        let before = self.records();
        let agents = self.agents_verbs();
        for row in self.rows.iter().filter(|row| user != AGENT || is_allowed(row, &agents)) {
            for class in row.covered().filter(|class| classes.contains(class)) {
                let refused = self.make(user, row, &own.with(class, theirs));
                assert_denied(&format!("user {user}, {}, {class:?}", row.call), refused, obstacles(class));
            }
        }
        assert_eq!(self.records(), before);
    }
}

const fn obstacles(class: Class) -> &'static [&'static str] {
    match class {
        Class::Program | Class::Link | Class::Map | Class::Hook => &["by its \"over\""],
        Class::Bytecode => &["by its \"files\"", "by its \"images\""],
        Class::Place => &["by its \"types\"", "by its \"hooks\"", "by its \"priorities\""],
        Class::Application => &["by its \"applications\""],
    }
}

fn assert_denied(cell: &str, answer: Result<(), Status>, why: &[&str]) {
    let denial = answer.expect_err(cell);
    assert_eq!(denial.code(), Code::PermissionDenied, "{cell}: {denial}");
    assert!(why.iter().any(|why| denial.message().contains(why)), "{cell}: {denial}");
}

#[test]
fn users_have_no_right_over_things_of_others() {
    let bench = Bench::new();
    let (roots, others) = (bench.things(0, None), bench.things(USER, None));
    let applications = bench.things(AGENT, Some(("bank", "filter")));
    for (user, more) in [(USER, bench.things(SCOPED, None)), (SCOPED, others)] {
        let own = bench.things(user, None);
        for theirs in [&roots, &applications, &more] {
            bench.assert_refused(user, &own, theirs, &Class::ALL);
        }
    }
    let own = bench.things(AGENT, Some(("shop", "web")));
    let owned = [Class::Program, Class::Link, Class::Map, Class::Hook];
    bench.assert_refused(AGENT, &own, &roots, &owned);
}

#[test]
fn users_have_each_right_over_their_own() {
    let bench = Bench::new();
    let needs_more = |row: &Row| row.needs("administer") || row.needs("radar");
    for user in [USER, SCOPED] {
        let mut own = bench.things(user, None);
        for row in &bench.rows {
            let answer = bench.make(user, row, &own);
            let is_denied = answer.as_ref().is_err_and(|status| status.code() == Code::PermissionDenied);
            assert_eq!(is_denied, needs_more(row), "user {user}, {}: {answer:?}", row.call);
            if !own.are_there(&bench.daemon) {
                own = bench.things(user, None);
            }
        }
    }
}

impl Bench {
    fn agents_verbs(&self) -> Vec<String> {
        let shown = self.daemon.bpfman_as(AGENT, "whoami -o json").json();
        let verbs = shown["grants"][0]["allow"].as_array().unwrap_or_else(|| panic!("{shown}"));
        verbs.iter().map(|verb| verb.as_str().unwrap().to_owned()).collect()
    }
}

fn is_allowed(row: &Row, verbs: &[String]) -> bool {
    let needed = if row.call.ends_with("/TraceChain") { row.verbs.len() } else { 1 };
    row.verbs.iter().take(needed).all(|verb| verbs.contains(verb))
}

/// The page has the verbs of the calls of `operator/src/agent` and `operator/apply`.
#[test]
fn verbs_of_the_agent_are_those_that_the_page_names() {
    let bench = Bench::new();
    let page = include_str!("../../../../docs/access.md");
    let (_, named) = page.split_once("Its verbs\nare ").unwrap();
    let (named, _) = named.split_once(':').unwrap();
    let mut named: Vec<&str> = named.split('`').skip(1).step_by(2).collect();
    let mut verbs = bench.agents_verbs();
    named.sort_unstable();
    verbs.sort_unstable();
    assert_eq!(verbs, named);
}

#[test]
fn agent_has_the_rights_of_the_calls_that_it_makes_alone() {
    let bench = Bench::new();
    let mut own = bench.things(AGENT, Some(("shop", "web")));
    let verbs = bench.agents_verbs();
    for row in &bench.rows {
        let answer = bench.make(AGENT, row, &own);
        let is_denied = answer.as_ref().is_err_and(|status| status.code() == Code::PermissionDenied);
        assert_eq!(is_denied, !is_allowed(row, &verbs), "{}: {answer:?}", row.call);
        if !own.are_there(&bench.daemon) {
            own = bench.things(AGENT, Some(("shop", "web")));
        }
    }
}

#[test]
fn applications_share_nothing_through_the_agent() {
    let bench = Bench::new();
    let theirs = bench.things(AGENT, Some(("bank", "filter")));
    let own = bench.things(AGENT, Some(("shop", "web")));
    let before = bench.records();
    let mut tried = 0;
    for row in bench.rows.iter().filter(|row| row.covered().any(|class| class == Class::Application)) {
        for class in row.covered().filter(|class| [Class::Program, Class::Map].contains(class)) {
            let mut on = own.with(class, &theirs);
            if row.call.ends_with("/ReplaceLoad") {
                on.program = own.program;
                if class == Class::Program {
                    continue;
                }
            }
            let cell = format!("{}, {class:?}", row.call);
            assert_denied(
                &cell,
                bench.make(AGENT, row, &on),
                &["may not use the maps", "may not take the place"],
            );
            tried += 1;
        }
    }
    assert!(tried >= 7, "{tried}");
    assert_eq!(bench.records(), before);
}

#[test]
fn callers_without_a_grant_read_and_root_may_everything() {
    let bench = Bench::new();
    let mut roots = bench.things(0, None);
    let before = bench.records();
    for row in &bench.rows {
        let answer = bench.make(STRANGER, row, &roots);
        let is_denied = answer.as_ref().is_err_and(|status| status.code() == Code::PermissionDenied);
        assert_eq!(is_denied, !(row.verbs.is_empty() || row.needs("read")), "{}: {answer:?}", row.call);
    }
    let closed = format!("{IMAGES}[access]\nsocket_group = \"nothing\"\n");
    fs::write(bench.daemon.path("policy.toml"), closed).unwrap();
    for row in bench.rows.iter().filter(|row| !row.verbs.is_empty()) {
        assert_denied(&row.call, bench.make(STRANGER, row, &roots), &["may not"]);
    }
    assert_eq!(bench.records(), before);
    for row in &bench.rows {
        let answer = bench.make(0, row, &roots);
        let is_denied = answer.as_ref().is_err_and(|status| status.code() == Code::PermissionDenied);
        assert!(!is_denied, "{}: {answer:?}", row.call);
        if !roots.are_there(&bench.daemon) {
            roots = bench.things(0, None);
        }
    }
}
