//! Each caller makes each call, with each part of the request belonging to each other owner: the table decides. A
//! refused call changes nothing, and an allowed one has the effect, or the error, that `effects.rs` has for it.

use std::collections::{BTreeSet, HashMap};

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::ext::v1::bpfman_chains_client::BpfmanChainsClient;
use bpfman_proto::v1;
use tonic::Code;

use super::bench::Bench;
use super::digest::Digest;
use super::effects::{Effect, effect, shown};
use super::principals::Principal;
use super::requests::{Called, called};
use super::table::{Foreign, Row};
use super::things::{SHARED, Things, UNCOVERED, own_interface};

struct Everything {
    bench: Bench,
    things: HashMap<u32, Things>,
    state: Digest,
    /// Callers and owners of the calls that are tested now: only settings of their hooks are compared.
    pair: Vec<Principal>,
}

impl Everything {
    fn new() -> Self {
        let bench = Bench::new();
        let things = Principal::ALL.into_iter().filter(|one| one.owner().is_some());
        let things = things.map(|one| (one.user(), bench.things(one))).collect();
        Self { bench, things, state: Digest::default(), pair: Vec::new() }
    }

    fn interfaces(&self) -> Vec<String> {
        let own = self.pair.iter().filter(|one| one.owner().is_some()).map(|one| own_interface(one.user()));
        [SHARED, UNCOVERED].into_iter().map(str::to_owned).chain(own).collect()
    }

    fn now(&self) -> Digest {
        self.bench.digest(self.interfaces(), self.things.values().map(|things| things.map).collect())
    }

    fn compare(&mut self, pair: Vec<Principal>) {
        self.pair = pair;
        self.state = self.now();
    }

    fn of(&self, principal: Principal) -> &Things {
        &self.things[&principal.user()]
    }

    fn own(&self, caller: Principal, other: Principal) -> &Things {
        self.things.get(&caller.user()).unwrap_or_else(|| self.of(other))
    }

    /// Removes objects that a call made, and makes again those that it removed.
    fn restore(&mut self, now: &Digest, row: &Row) {
        let socket = self.bench.daemon.socket();
        for id in now.matchings.difference(&self.state.matchings).copied() {
            let request = ext::DetachMatchingRequest { id };
            called(&socket, |Called(channel)| async {
                BpfmanChainsClient::new(channel).detach_matching(request).await
            })
            .unwrap();
        }
        for link_id in now.links.difference(&self.state.links).copied() {
            called(&socket, |Called(channel)| async move {
                v1::bpfman_client::BpfmanClient::new(channel).detach(v1::DetachRequest { link_id }).await
            })
            .unwrap();
        }
        for id in now.programs.difference(&self.state.programs).copied() {
            called(&socket, |call: Called| call.unload(v1::UnloadRequest { id })).unwrap();
        }
        if row.call.ends_with("/SetHook") {
            self.bench.reset_hooks(self.interfaces());
        }
        for principal in Principal::ALL.into_iter().filter(|one| one.owner().is_some()) {
            if !self.of(principal).are_there(now) {
                self.of(principal).end(&self.bench.daemon);
                self.things.insert(principal.user(), self.bench.things(principal));
            }
        }
        self.state = self.now();
    }

    fn assert_cell(
        &mut self,
        cell: &str,
        (caller, row): (Principal, &Row),
        on: &Things,
        (foreign, other): (Option<Foreign>, Principal),
    ) {
        let answer = self.bench.make(caller, row, on);
        let expected = match foreign {
            Some(one) if row.rule(one.class()) == "shown" => shown(row, one, self.of(other)),
            _ => effect(row, foreign, caller, other, on),
        };
        let has_changes = matches!(expected, Effect::Changes(_));
        let now = has_changes.then(|| self.now());
        let changes = now.as_ref().map_or(String::new(), |now| now.changes_since(&self.state));
        expected.assert(cell, (caller, foreign.map(|_| other)), &answer, &changes);
        if let Some(now) = now {
            self.restore(&now, row);
        }
    }

    fn assert_others(&mut self, caller: Principal, other: Principal, allowed: bool) -> usize {
        let rows = std::mem::take(&mut self.bench.rows);
        let mut cells = 0;
        for row in &rows {
            for foreign in row.foreign() {
                if caller.may_on_others(row, foreign, other, &self.bench.agents_verbs) != allowed {
                    continue;
                }
                let is_shown = row.rule(foreign.class()) == "shown";
                let on = match is_shown {
                    true => self.of(other).shown(foreign),
                    false => self.own(caller, other).with(foreign, self.of(other)),
                };
                let cell = format!("{caller:?}, {}, {foreign:?} of {other:?}", row.call);
                cells += 1;
                if allowed {
                    self.assert_cell(&cell, (caller, row), &on, (Some(foreign), other));
                    continue;
                }
                let denial = self.bench.make(caller, row, &on).expect_err(&cell);
                assert_eq!(denial.code(), Code::PermissionDenied, "{cell}: {denial}");
                if caller.may(row, &self.bench.agents_verbs) {
                    let is_for_it = obstacles(foreign).iter().any(|why| denial.message().contains(why));
                    assert!(is_for_it, "{cell}: {denial}");
                }
            }
        }
        self.bench.rows = rows;
        let now = self.now();
        assert_eq!(now.changes_since(&self.state), "", "{caller:?} on objects of {other:?}");
        cells
    }

    fn assert_own(&mut self, caller: Principal) {
        let rows = std::mem::take(&mut self.bench.rows);
        for row in &rows {
            let on = self.of(caller).clone();
            let cell = format!("{caller:?}, {}, its own", row.call);
            if caller.may(row, &self.bench.agents_verbs) {
                self.assert_cell(&cell, (caller, row), &on, (None, caller));
                continue;
            }
            let denial = self.bench.make(caller, row, &on).expect_err(&cell);
            assert_eq!(denial.code(), Code::PermissionDenied, "{cell}: {denial}");
        }
        self.bench.rows = rows;
        assert_eq!(self.now().changes_since(&self.state), "", "{caller:?} on its own objects");
    }
}

/// Reasons of a refusal that are about this part of the request.
const fn obstacles(foreign: Foreign) -> &'static [&'static str] {
    match foreign {
        Foreign::Program | Foreign::Link | Foreign::Map | Foreign::Hook => {
            &["by its \"over\"", "may not use the maps", "may not take the place"]
        }
        Foreign::Bytecode => {
            &["by its \"files\"", "by its \"images\"", "no regular file that belongs to this user"]
        }
        Foreign::Interface => &["by its \"hooks\"", "by its \"over\""],
        Foreign::Priority => &["by its \"priorities\""],
        Foreign::Type => &["by its \"types\""],
        Foreign::Application => &["by its \"applications\""],
    }
}

fn try_all(callers: &[Principal], allowed: bool) -> usize {
    let mut everything = Everything::new();
    everything.compare(Principal::ALL.to_vec());
    let mut cells = 0;
    for (caller, other) in Principal::pairs().filter(|(caller, _)| callers.contains(caller)) {
        if allowed {
            everything.compare(vec![caller, other]);
        }
        cells += everything.assert_others(caller, other, allowed);
    }
    cells
}

#[test]
fn calls_on_objects_of_others_are_refused_by_the_table() {
    let cells = try_all(&Principal::ALL, false);
    assert!(cells > 1_500, "{cells}");
}

#[test]
fn calls_of_root_on_objects_of_others_have_their_effect() {
    let cells = try_all(&[Principal::Root], true);
    assert!(cells > 400, "{cells}");
}

#[test]
fn calls_of_others_that_the_table_allows_have_their_effect() {
    let cells = try_all(&Principal::ALL[1..], true);
    assert!(cells > 1_000, "{cells}");
}

#[test]
fn calls_on_own_objects_change_nothing_of_others() {
    let mut everything = Everything::new();
    for caller in Principal::ALL {
        if caller.owner().is_some() {
            everything.compare(vec![caller]);
            everything.assert_own(caller);
        }
    }
}

#[test]
fn callers_in_pods_are_known_by_their_pods() {
    let bench = Bench::new();
    let socket = bench.daemon.socket();
    let who = |principal| {
        let seen = bench.callers.act(principal, || {
            called(&socket, |Called(channel)| async {
                let mut client = ext::bpfman_access_client::BpfmanAccessClient::new(channel);
                client.who_am_i(ext::WhoAmIRequest {}).await
            })
        });
        let seen = seen.unwrap().into_inner();
        (seen.pod, seen.grants.into_iter().map(|grant| grant.name).collect::<BTreeSet<_>>())
    };
    let granted = ["pod", "pod-adopts"].map(str::to_owned);
    for (principal, grants) in [(Principal::Pod, BTreeSet::new()), (Principal::GrantedPod, granted.into())] {
        assert_eq!(who(principal), (principal.pod().unwrap(), grants));
    }
}
