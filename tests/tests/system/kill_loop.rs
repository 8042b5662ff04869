//! The daemon is killed again and again while clients change everything, its starts too, and every second time the bpffs
//! is wiped as by a reboot: what was acknowledged is there, what was not is there whole or not at all, nothing is left
//! over, no packet passes a filter, and none is lost in a chain that lets it pass.
//!
//! A dozen rounds; `make kill-loop` makes 2,000. `KILL_ROUNDS` and `KILL_SEED` choose others. With `KILL_TC=clsact` TC chains
//! are in filters, which have no link of the kernel, and some members are isolated, so that pins alone keep a chain whole. With
//! `KILL_UNNAMED=yes` the guarded namespaces have names only while clients work: in each round a name goes or is given to
//! another namespace, and a process that was attached by ends.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;
use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_proto::v1::attach_info::Info;
use bpfman_tests::command::run;
use bpfman_tests::inside::Inside;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::random::{Random, setting};
use bpfman_tests::requests::{attach, load, number, pairs, tc, tcx, xdp};
use bpfman_tests::skip::has_tcx;
use bpfman_tests::traffic::Traffic;
use bpfman_tests::{Daemon, Launch, Network, Wire, compile, kernel};
use rustix::mount::{UnmountFlags, unmount};

const CLIENTS: usize = 4;
/// Most programs that a client has at a time.
const MOST_PROGRAMS: usize = 5;
const XDP_DROP: i32 = 1;
const XDP_PASS: i32 = 2;
const TC_SHOT: i32 = 2;
const TC_OK: i32 = 0;
/// What lets a packet go on to what is behind a tcx link: any other answer is the last word about it.
const TCX_NEXT: i32 = -1;
/// The metadata by which programs and links are told apart: ids of programs change with a reboot.
const NAME: &str = "unit";

/// Tells clients to stop when it goes, by a panic too.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Additional difficulties.
#[derive(Clone, Copy)]
struct Mode {
    /// TC chains are in filters, and some of their members are isolated.
    clsact: bool,
    /// The names of namespaces come and go.
    unnamed: bool,
}

impl Mode {
    fn of_environment() -> Self {
        let is = |name, value: &str| std::env::var(name).is_ok_and(|text| text == value);
        Self { clsact: is("KILL_TC", "clsact"), unnamed: is("KILL_UNNAMED", "yes") }
    }

    fn launch(self) -> Launch {
        let config = if self.clsact { "[tc]\nattach = \"clsact\"\n" } else { "" };
        Launch { config: config.to_owned(), ..Launch::default() }
    }
}

/// A network whose far end is guarded.
struct Guarded {
    network: Network,
    /// A process at the far end, where the name comes and goes.
    inside: Option<Inside>,
}

impl Guarded {
    fn new(mode: Mode) -> Self {
        let network = Network::new();
        let inside = mode.unnamed.then(|| Inside::new(&network.far.path()));
        Self { network, inside }
    }

    /// A path that leads to the far end now.
    fn path(&self, random: &mut Random) -> PathBuf {
        match &self.inside {
            Some(inside) if random.below(2) == 0 => inside.path(),
            _ => self.network.far.path(),
        }
    }

    /// Gives the far end its name, and another process.
    fn name(&mut self) {
        let Some(before) = self.inside.take() else { return };
        let (path, next) = (self.network.far.path(), Inside::new(&before.path()));
        if path.exists() {
            self.network.far.delete();
        }
        run(&["ip", "netns", "attach", path.file_name().unwrap().to_str().unwrap(), &next.pid().to_string()]);
        before.end();
        self.inside = Some(next);
    }

    /// Takes the name away, and gives it to another namespace or to none.
    fn lose_name(&self, random: &mut Random) {
        if self.inside.is_none() {
            return;
        }
        self.network.far.delete();
        if random.below(2) == 0 {
            let path = self.network.far.path();
            run(&["ip", "netns", "add", path.file_name().unwrap().to_str().unwrap()]);
            self.network.far.ip(&["link", "add", INTERFACE, "type", "veth", "peer", "name", "peer"]);
        }
    }

    /// Runs a command at the far end.
    fn run(&self, words: &[&str]) -> String {
        match &self.inside {
            Some(inside) => inside.run(words),
            None => Inside::new(&self.network.far.path()).run(words),
        }
    }

    fn filters(&self) -> usize {
        let shown = self.run(&["tc", "filter", "show", "dev", INTERFACE, "ingress"]);
        shown.lines().filter(|line| line.contains("handle")).count()
    }
}

/// Two networks: an XDP filter guards the one, a TC filter the other.
struct Place {
    xdp: Guarded,
    tc: Guarded,
    mode: Mode,
    has_tcx: bool,
}

impl Place {
    fn xdp_at(&self, priority: i32, random: &mut Random) -> Info {
        xdp(&self.xdp.path(random), INTERFACE, priority, &[])
    }

    fn tc_at(&self, priority: i32, random: &mut Random) -> Info {
        tc(&self.tc.path(random), INTERFACE, "ingress", priority, &[])
    }

    /// As with a reboot, which takes more with it than what is pinned.
    fn wipe(&self, daemon: &Daemon) {
        unmount(daemon.fs(), UnmountFlags::DETACH).unwrap();
        if self.mode.clsact {
            self.tc.run(&["tc", "qdisc", "del", "dev", INTERFACE, "clsact"]);
        }
    }
}

/// A client, and what it was told.
struct Client {
    wire: Wire,
    random: Random,
    index: usize,
    made: usize,
    calls: usize,
    /// Acknowledged: kernel ids of programs by name.
    programs: BTreeMap<String, u32>,
    /// Acknowledged: ids of links, and their program, by name.
    links: BTreeMap<String, (u32, String)>,
    /// Asked for and not answered: both outcomes are right.
    open: BTreeSet<String>,
}

impl Client {
    fn name(&mut self, kind: &str) -> String {
        self.made += 1;
        format!("{kind}-{}-{}", self.index, self.made)
    }

    fn any<V: Clone>(random: &mut Random, map: &BTreeMap<String, V>) -> Option<(String, V)> {
        let at = random.below(map.len().max(1));
        map.iter().nth(at).map(|(name, value)| (name.clone(), value.clone()))
    }

    /// Changes things until the daemon is gone or it is told to stop.
    fn work(&mut self, place: &Place, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let call = match self.random.below(8) {
                0 | 1 if self.programs.len() < MOST_PROGRAMS => self.load(),
                2..=4 => self.attach(place),
                5 | 6 => self.detach(),
                _ => self.unload(),
            };
            match call {
                Ok(()) => self.calls += 1,
                Err(status) if status.code() == tonic::Code::Unavailable => return,
                // The connection broke in the middle of a call.
                Err(status) if is_broken(&status) => return,
                Err(status) => panic!("client {}: {status:?}", self.index),
            }
        }
    }

    fn load(&mut self) -> Result<(), tonic::Status> {
        let (program, kind, verdict) = match self.random.below(3) {
            0 => ("tcx_member", Type::Tcx, TCX_NEXT),
            1 => ("tc_member", Type::Tc, TC_OK),
            _ => ("xdp_member", Type::Xdp, XDP_PASS),
        };
        let short = program.split('_').next().unwrap_or_default();
        let name = self.name(short);
        let mut request = member(program, kind, verdict);
        request.metadata = pairs(&[(NAME, &name)]);
        self.open.insert(name.clone());
        let loaded = self.wire.load(request)?;
        self.open.remove(&name);
        self.programs.insert(name, loaded.programs[0].kernel_info.as_ref().unwrap().id);
        Ok(())
    }

    fn attach(&mut self, place: &Place) -> Result<(), tonic::Status> {
        let Some((program, id)) = Self::any(&mut self.random, &self.programs) else { return Ok(()) };
        let priority = 10 + i32::try_from(self.random.below(900)).unwrap();
        let mut point = match program.split('-').next() {
            Some("xdp") => place.xdp_at(priority, &mut self.random),
            Some("tc") => place.tc_at(priority, &mut self.random),
            // The kernel takes a program once at each tcx hook.
            _ if !place.has_tcx || self.links.values().any(|(_, of)| *of == program) => return Ok(()),
            _ => tcx(&place.tc.path(&mut self.random), INTERFACE, "ingress", priority),
        };
        let isolated =
            place.mode.clsact && matches!(point, Info::TcAttachInfo(_)) && self.random.below(2) == 0;
        let name = self.name("link");
        let metadata = match &mut point {
            Info::XdpAttachInfo(info) => &mut info.metadata,
            Info::TcAttachInfo(info) => &mut info.metadata,
            Info::TcxAttachInfo(info) => &mut info.metadata,
            other => panic!("{other:?}"),
        };
        metadata.insert(NAME.to_owned(), name.clone());
        self.open.insert(name.clone());
        let attached = if isolated {
            let attach = Some(v1::AttachInfo { info: Some(point) });
            // It may be there already.
            let request = ext::ChainAttachRequest {
                program_id: id,
                attach,
                isolated,
                again: true,
                ..Default::default()
            };
            self.wire.attach_by_chains(request).map(|link| link.id)
        } else {
            self.wire.attach(attach(id, point)).map(|answer| answer.link_id)
        };
        match attached {
            Ok(link) => {
                self.open.remove(&name);
                self.links.insert(name, (link, program));
                Ok(())
            }
            // The chains of all clients are one: it may be full.
            Err(status)
                if status.code() == tonic::Code::FailedPrecondition && status.message().contains("most") =>
            {
                self.open.remove(&name);
                self.detach()
            }
            Err(status) => Err(status),
        }
    }

    fn detach(&mut self) -> Result<(), tonic::Status> {
        let Some((name, (link_id, _))) = Self::any(&mut self.random, &self.links) else { return Ok(()) };
        self.links.remove(&name);
        self.open.insert(name.clone());
        self.wire.detach(v1::DetachRequest { link_id })?;
        self.open.remove(&name);
        Ok(())
    }

    fn unload(&mut self) -> Result<(), tonic::Status> {
        let Some((name, id)) = Self::any(&mut self.random, &self.programs) else { return Ok(()) };
        let links: Vec<String> =
            self.links.iter().filter(|(_, (_, of))| *of == name).map(|(link, _)| link.clone()).collect();
        self.programs.remove(&name);
        links.iter().for_each(|link| drop(self.links.remove(link)));
        self.open.insert(name.clone());
        self.open.extend(links.iter().cloned());
        self.wire.unload(v1::UnloadRequest { id })?;
        self.open.remove(&name);
        self.open.retain(|name| !links.contains(name));
        Ok(())
    }

    /// Compares what it was told with what is there, and goes on with that.
    fn check(&mut self, there: &There) {
        let index = self.index.to_string();
        let mine = |name: &str| name.split('-').nth(1) == Some(&index);
        let found: BTreeSet<String> = there.names().filter(|name| mine(name)).cloned().collect();
        let sure: BTreeSet<String> = self.programs.keys().chain(self.links.keys()).cloned().collect();
        let lost: Vec<_> = sure.difference(&found).collect();
        assert!(lost.is_empty(), "acknowledged, and gone: {lost:?}");
        let leaked: Vec<_> = found.iter().filter(|n| !sure.contains(*n) && !self.open.contains(*n)).collect();
        assert!(leaked.is_empty(), "acknowledged to be gone, or never asked for: {leaked:?}");
        self.open.clear();
        self.programs =
            there.programs.iter().filter(|(n, _)| mine(n)).map(|(n, id)| (n.clone(), *id)).collect();
        let links = there.links.iter().filter(|(name, _)| mine(name));
        self.links = links.map(|(name, link)| (name.clone(), link.clone())).collect();
    }
}

fn is_broken(status: &tonic::Status) -> bool {
    use tonic::Code;
    matches!(status.code(), Code::Unknown | Code::Internal | Code::Cancelled)
        && ["transport", "h2 protocol", "connection", "broken pipe", "stream"]
            .iter()
            .any(|word| status.message().to_lowercase().contains(word))
}

/// A member of chains that answers with a verdict.
fn member(program: &str, kind: Type, verdict: i32) -> v1::LoadRequest {
    let mut request = load(&compile::object("chain"), &[(program, kind)]);
    request.global_data.insert("verdict".to_owned(), number(verdict));
    request
}

/// What the daemon lists.
struct There {
    programs: BTreeMap<String, u32>,
    links: BTreeMap<String, (u32, String)>,
}

impl There {
    fn of(wire: &Wire, mode: Mode) -> Self {
        let listed = wire.list_programs(ext::ListProgramsRequest::default()).unwrap().programs;
        let mut programs = BTreeMap::new();
        let mut by_id = BTreeMap::new();
        for program in listed {
            let (Some(info), Some(facts)) = (program.info, program.kernel_info) else { continue };
            let Some(name) = info.metadata.get(NAME) else { continue };
            assert_eq!(program.state, "ok", "{name}");
            programs.insert(name.clone(), facts.id);
            by_id.insert(facts.id, name.clone());
        }
        let listed = wire.list_links(ext::ListLinksRequest::default()).unwrap().links;
        let links = listed.into_iter().filter_map(|link| {
            let name = link.metadata.get(NAME)?.clone();
            // Its name leads to another namespace now.
            let is_elsewhere = mode.unnamed && link.state.starts_with("elsewhere: /run/netns/");
            assert!(link.state == "ok" || is_elsewhere, "{name}: {}", link.state);
            Some((name, (link.id, by_id[&link.program_id].clone())))
        });
        Self { links: links.collect(), programs }
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.programs.keys().chain(self.links.keys())
    }
}

/// Pins that stand for programs and links of their own are those that are listed; nothing is pending.
fn assert_nothing_is_left_over(daemon: &Daemon, there: &There) {
    let pins = kernel::pins(&daemon.fs());
    let starting = |prefix: &str| pins.iter().filter(|pin| pin.starts_with(prefix)).count();
    assert_eq!(starting("pending"), 0, "{pins:?}");
    // Two filters besides those of the clients.
    assert_eq!(starting("prog_"), there.programs.len() + 2, "{pins:?}");
    let own = there.links.values().filter(|(_, program)| program.starts_with("tcx")).count();
    assert_eq!(starting("links/"), own, "{pins:?}");
}

#[test]
fn kills_at_any_time_lose_nothing_leave_nothing_and_open_no_filter() {
    kill_and_start(Mode::of_environment());
}

#[test]
fn kills_lose_nothing_in_filters_of_unnamed_namespaces() {
    kill_and_start(Mode { clsact: true, unnamed: true });
}

fn kill_and_start(mode: Mode) {
    let rounds = setting("KILL_ROUNDS", 12);
    let seed = setting("KILL_SEED", u64::from(std::process::id()) | 1);
    println!("{rounds} rounds, KILL_SEED={seed}");
    let mut random = Random(seed);
    let mut place = Place { xdp: Guarded::new(mode), tc: Guarded::new(mode), mode, has_tcx: has_tcx() };
    let launch = mode.launch();
    let mut daemon = Daemon::start_with(&launch);
    let wire = daemon.wire();
    let filter = |request: v1::LoadRequest, point: Info| {
        let id = wire.load(request).unwrap().programs[0].kernel_info.as_ref().unwrap().id;
        wire.attach(attach(id, point)).unwrap();
    };
    filter(member("xdp_member", Type::Xdp, XDP_DROP), place.xdp_at(0, &mut random));
    filter(member("tc_member", Type::Tc, TC_SHOT), place.tc_at(0, &mut random));
    let traffic = [Traffic::new(&place.xdp.network), Traffic::new(&place.tc.network)];
    let mut sent = 0;
    let mut guarded = |what: &str| {
        for (traffic, filter) in traffic.iter().zip(["XDP", "TC"]) {
            assert_eq!(traffic.send(20), 0, "{what}: datagrams passed the {filter} filter");
            sent += 20;
        }
    };
    let mut clients: Vec<Client> = (0..CLIENTS)
        .map(|index| Client {
            wire: daemon.wire(),
            random: Random(seed ^ (index as u64 + 1) << 20),
            index,
            made: 0,
            calls: 0,
            programs: BTreeMap::new(),
            links: BTreeMap::new(),
            open: BTreeSet::new(),
        })
        .collect();
    let mut killed_starts = 0;
    for round in 0..rounds {
        place.xdp.name();
        place.tc.name();
        let lose_names = |random: &mut Random| {
            place.xdp.lose_name(random);
            place.tc.lose_name(random);
        };
        let is_quiet = mode.unnamed && random.below(3) == 0;
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // Also when a datagram passed: the clients are waited for.
            let _stops = StopAtEnd(&stop);
            let working: Vec<_> =
                clients.iter_mut().map(|client| scope.spawn(|| client.work(&place, &stop))).collect();
            for _ in 0..=random.below(6) {
                guarded("while clients change things");
            }
            if is_quiet {
                // While the daemon looks.
                stop.store(true, Ordering::Relaxed);
                working.into_iter().for_each(|client| client.join().unwrap());
                lose_names(&mut random);
                guarded("after the names went");
                daemon.kill();
            } else {
                daemon.kill();
                stop.store(true, Ordering::Relaxed);
                working.into_iter().for_each(|client| client.join().unwrap());
                lose_names(&mut random);
            }
        });
        guarded("after the kill");
        let wiped = round % 2 == 1;
        if wiped {
            place.wipe(&daemon);
        }
        // In every second round of each kind.
        for _ in 0..if round % 4 < 2 { 0 } else { 1 + random.below(2) } {
            let mut start = daemon.command(&launch).spawn().unwrap();
            for _ in 0..random.below(6) {
                for traffic in &traffic {
                    let _passed_or_not = traffic.send(1);
                }
            }
            start.kill().unwrap();
            start.wait().unwrap();
            killed_starts += 1;
            if !wiped {
                guarded("after a start was killed");
            }
        }
        let logged = daemon.log().len();
        daemon.again(&launch);
        // What came while the hooks were bare.
        for traffic in &traffic {
            let _while_bare = traffic.received();
        }
        guarded("after the start");
        let log = daemon.log();
        assert!(!log[logged..].contains("not mended"), "round {round}: {}", &log[logged..]);
        let there = There::of(&daemon.wire(), mode);
        clients.iter_mut().for_each(|client| client.check(&there));
        assert_nothing_is_left_over(&daemon, &there);
        assert!(!mode.clsact || place.tc.filters() == 1, "round {round}: one filter guards");
        if round % 50 == 49 {
            println!("{} rounds, {killed_starts} killed starts: nothing lost, left or passed", round + 1);
        }
    }
    let calls: usize = clients.iter().map(|client| client.calls).sum();
    println!(
        "{rounds} rounds, {killed_starts} killed starts, {calls} acknowledged calls, {sent} datagrams: 0 lost, 0 leaked, 0 passed"
    );
    assert!(calls as u64 > rounds, "{calls} calls");
}
