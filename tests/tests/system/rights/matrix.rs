//! Each caller, each call and each class of objects of each other owner: allowed or refused as the table has it. What is
//! refused changes nothing, and what is allowed on a caller's own objects changes nothing of others.

use std::collections::HashMap;

use tonic::{Code, Status};

use super::bench::Bench;
use super::principals::Principal;
use super::table::Class;
use super::things::Things;

struct Everything {
    bench: Bench,
    things: HashMap<u32, Things>,
}

impl Everything {
    fn new() -> Self {
        let bench = Bench::new();
        let things = Principal::ALL.into_iter().filter(|one| one.owner().is_some());
        let things = things.map(|one| (one.user(), bench.things(one))).collect();
        Self { bench, things }
    }

    fn of(&self, principal: Principal) -> &Things {
        &self.things[&principal.user()]
    }

    fn restore(&mut self, principal: Principal) -> bool {
        let is_needed = !self.of(principal).are_there(&self.bench.daemon);
        if is_needed {
            self.of(principal).end(&self.bench.daemon);
            self.things.insert(principal.user(), self.bench.things(principal));
        }
        is_needed
    }

    fn own(&self, caller: Principal, other: Principal) -> &Things {
        self.things.get(&caller.user()).unwrap_or_else(|| self.of(other))
    }

    fn assert_others(&mut self, caller: Principal, other: Principal, allowed: bool) -> usize {
        let rows = std::mem::take(&mut self.bench.rows);
        let before = self.bench.digest();
        let (mut cells, mut are_reads) = (0, true);
        for row in &rows {
            for class in row.named() {
                let is_read = row.rule(class) == "shown";
                let of_any_owner = class.is_owned() && !is_read;
                let may = caller.may_on_others(row, class, other, &self.bench.agents_verbs);
                if may != allowed || !of_any_owner && other != caller.first_other() {
                    continue;
                }
                let on = self.own(caller, other).with(class, self.of(other));
                let cell = format!("{caller:?}, {}, {class:?} of {other:?}", row.call);
                let answer = self.bench.make(caller.user(), row, &on);
                assert_decided(&cell, &answer, allowed);
                if let (Err(denial), false, true) =
                    (&answer, allowed, caller.may(row, &self.bench.agents_verbs))
                {
                    let is_for_it = obstacles(class).iter().any(|why| denial.message().contains(why));
                    assert!(is_for_it, "{cell}: {denial}");
                }
                if allowed && row.changes() {
                    self.restore(other);
                }
                are_reads &= is_read;
                cells += 1;
            }
        }
        if !allowed || are_reads {
            assert_eq!(self.bench.digest(), before, "{caller:?} on objects of {other:?}");
        }
        self.bench.rows = rows;
        cells
    }

    fn assert_own(&mut self, caller: Principal, owner: &str) {
        let rows = std::mem::take(&mut self.bench.rows);
        let mut before = self.bench.digest();
        for row in &rows {
            let answer = self.bench.make(caller.user(), row, self.of(caller));
            let cell = format!("{caller:?}, {}, its own", row.call);
            assert_decided(&cell, &answer, caller.may(row, &self.bench.agents_verbs));
            let after = self.bench.digest();
            assert_eq!(after.of_others(owner), before.of_others(owner), "{cell}");
            before = after;
            // Root attaches a program of each caller where the caller may not.
            if row.changes() && self.restore(caller) {
                before = self.bench.digest();
            }
        }
        self.bench.rows = rows;
    }
}

const fn obstacles(class: Class) -> &'static [&'static str] {
    match class {
        Class::Program | Class::Link | Class::Map | Class::Hook => {
            &["by its \"over\"", "may not use the maps", "may not take the place"]
        }
        Class::Bytecode => {
            &["by its \"files\"", "by its \"images\"", "no regular file that belongs to this user"]
        }
        Class::Place => &["by its \"types\"", "by its \"hooks\"", "by its \"priorities\"", "by its \"over\""],
        Class::Application => &["by its \"applications\""],
    }
}

fn assert_decided(cell: &str, answer: &Result<(), Status>, may: bool) {
    let is_denied = answer.as_ref().is_err_and(|status| status.code() == Code::PermissionDenied);
    assert_eq!(is_denied, !may, "{cell}: {answer:?}");
}

fn try_all(allowed: bool) -> usize {
    let mut everything = Everything::new();
    let pairs = Principal::pairs().map(|(caller, other)| everything.assert_others(caller, other, allowed));
    pairs.sum()
}

#[test]
fn calls_on_objects_of_others_are_refused_by_the_table() {
    let cells = try_all(false);
    assert!(cells > 1_000, "{cells}");
}

#[test]
fn calls_on_objects_of_others_are_allowed_by_the_table() {
    let cells = try_all(true);
    assert!(cells > 500, "{cells}");
}

#[test]
fn calls_on_own_objects_change_nothing_of_others() {
    let mut everything = Everything::new();
    for caller in Principal::ALL {
        if let Some(owner) = caller.owner() {
            everything.assert_own(caller, owner);
        }
    }
}
