//! Rights that depend on more than the table: those of the agent, of applications, and of a closed socket.

use std::fs;

use tonic::{Code, Status};

use super::bench::Bench;
use super::digest::Digest;
use super::principals::{IMAGES, Principal};
use super::table::{Class, Foreign};
use super::things::{SHARED, Things, UNCOVERED};

fn assert_denied(cell: &str, answer: Result<String, Status>, why: &[&str]) {
    let denial = answer.expect_err(cell);
    assert_eq!(denial.code(), Code::PermissionDenied, "{cell}: {denial}");
    assert!(why.iter().any(|why| denial.message().contains(why)), "{cell}: {denial}");
}

fn of_application(bench: &Bench, namespace: &str, name: &str) -> Things {
    Things::of(bench, Principal::Agent, Some((namespace, name)))
}

fn state(bench: &Bench) -> Digest {
    let interfaces = [SHARED, UNCOVERED].into_iter().map(str::to_owned);
    bench.digest(interfaces.collect(), Vec::new())
}

/// The page names the verbs of the calls of `operator/src/agent` and `operator/apply`.
#[test]
fn verbs_of_the_agent_are_those_that_the_page_names() {
    let bench = Bench::new();
    let page = include_str!("../../../../docs/access.md");
    let (_, named) = page.split_once("Its verbs\nare ").unwrap();
    let (named, _) = named.split_once(':').unwrap();
    let mut named: Vec<&str> = named.split('`').skip(1).step_by(2).collect();
    let mut verbs = bench.agents_verbs.clone();
    named.sort_unstable();
    verbs.sort_unstable();
    assert_eq!(verbs, named);
}

#[test]
fn agent_has_the_rights_of_the_calls_that_it_makes_alone() {
    let bench = Bench::new();
    let mut own = of_application(&bench, "shop", "web");
    for row in &bench.rows {
        let answer = bench.make(Principal::Agent, row, &own);
        let is_denied = answer.as_ref().is_err_and(|status| status.code() == Code::PermissionDenied);
        assert_eq!(is_denied, !row.is_allowed_by(&bench.agents_verbs), "{}: {answer:?}", row.call);
        if !own.are_there(&bench.digest(Vec::new(), Vec::new())) {
            own = of_application(&bench, "shop", "web");
        }
    }
}

#[test]
fn applications_share_nothing_through_the_agent() {
    let bench = Bench::new();
    let theirs = of_application(&bench, "bank", "filter");
    let own = of_application(&bench, "shop", "web");
    let before = state(&bench);
    let mut tried = 0;
    for row in bench.rows.iter().filter(|row| row.covered().any(|class| class == Class::Application)) {
        for foreign in [Foreign::Program, Foreign::Map] {
            if row.rule(foreign.class()) != "covered" {
                continue;
            }
            let mut on = own.with(foreign, &theirs);
            if row.call.ends_with("/ReplaceLoad") {
                on.program = own.program;
                if foreign == Foreign::Program {
                    continue;
                }
            }
            let cell = format!("{}, {foreign:?}", row.call);
            assert_denied(
                &cell,
                bench.make(Principal::Agent, row, &on),
                &["may not use the maps", "may not take the place"],
            );
            tried += 1;
        }
    }
    assert!(tried >= 7, "{tried}");
    assert_eq!(state(&bench), before);
}

#[test]
fn closed_socket_is_closed_to_callers_without_a_grant() {
    let bench = Bench::new();
    let roots = bench.things(Principal::Root);
    let before = state(&bench);
    let closed = format!("{IMAGES}[access]\nsocket_group = \"nothing\"\n");
    fs::write(bench.daemon.path("policy.toml"), closed).unwrap();
    for row in bench.rows.iter().filter(|row| !row.verbs.is_empty()) {
        assert_denied(&row.call, bench.make(Principal::Stranger, row, &roots), &["may not"]);
    }
    assert_eq!(state(&bench), before);
}
