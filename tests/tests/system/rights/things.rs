//! Objects of calls, all of one owner.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;
use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::network::Namespace;
use bpfman_tests::requests::{attach, load, pairs, xdp};
use bpfman_tests::{Daemon, compile, kernel};

use super::bench::Bench;
use super::digest::Digest;
use super::principals::Principal;
use super::requests::{Called, called};
use super::table::Foreign;

/// Interface of a hook with programs of all owners, which grants cover.
pub const SHARED: &str = "shared0";
pub const UNCOVERED: &str = "other0";
const UNCOVERED_PRIORITY: i32 = 950;

#[derive(Clone, Debug)]
pub struct Things {
    /// Path of a pin in the daemon's bpffs that does not exist.
    pub pin: PathBuf,
    pub netns: PathBuf,
    pub program: u32,
    pub extended: Option<u32>,
    pub map_owner: Option<u32>,
    pub link: u32,
    pub matching: u32,
    pub map: u32,
    pub hook: String,
    pub keeps_hook: bool,
    pub interface: String,
    pub priority: i32,
    pub program_type: Type,
    pub elsewhere: u32,
    pub link_elsewhere: u32,
    pub file: PathBuf,
    pub image: String,
    pub application: Option<(String, String)>,
}

impl Things {
    pub fn of(bench: &Bench, principal: Principal, application: Option<(&str, &str)>) -> Self {
        let (daemon, netns, user) = (&bench.daemon, &bench.netns, principal.user());
        let file = daemon.path(format!("{user}.o"));
        if !file.exists() {
            fs::copy(compile::object("chain"), &file).unwrap();
            chown(&file, Some(user), Some(user)).unwrap();
        }
        let socket = daemon.socket();
        let interface = own_interface(user);
        if !has_interface(netns, &interface) {
            add_interface(netns, &interface);
        }
        let claim = application.map(|(namespace, name)| (namespace.to_owned(), name.to_owned()));
        let loaded = |socket: &Path| {
            let answer = called(socket, |call: Called| call.load(one_program(&file, claim.as_ref())));
            answer.unwrap().programs.remove(0).kernel_info.unwrap()
        };
        let path = netns.path();
        let at = |program: u32, interface: &str| {
            let request = attach(program, xdp(&path, interface, 200, &[]));
            called(&socket, |call: Called| call.attach(request)).unwrap().link_id
        };
        let (program, elsewhere, link, matching) = bench.callers.act(principal, || {
            let (program, elsewhere) = (loaded(&socket), loaded(&socket));
            let link = at(program.id, SHARED);
            at(program.id, &interface);
            let matching = ext::AttachMatchingRequest {
                program_id: program.id,
                attach: attach(program.id, xdp(Path::new(""), "", 300, &[])).attach,
                r#match: Some(ext::InterfaceMatch { names: vec![interface.clone()], ..Default::default() }),
                ..Default::default()
            };
            let matching = called(&socket, |call: Called| call.attach_matching(matching)).unwrap().id;
            (program, elsewhere, link, matching)
        });
        let link_elsewhere = at(elsewhere.id, UNCOVERED);
        Self {
            pin: daemon.fs().join("links/4000000000"),
            netns: path,
            map: kernel::map_named(&program.map_ids, "hits"),
            program: program.id,
            extended: None,
            map_owner: None,
            link,
            matching,
            hook: interface.clone(),
            keeps_hook: false,
            interface,
            priority: 200,
            program_type: Type::Xdp,
            elsewhere: elsewhere.id,
            link_elsewhere,
            file,
            image: "127.0.0.1:1/own/program:v1".to_owned(),
            application: claim,
        }
    }

    pub fn with(&self, foreign: Foreign, theirs: &Self) -> Self {
        let mut things = self.clone();
        match foreign {
            Foreign::Program => {
                (things.program, things.extended) = (theirs.program, Some(theirs.program));
            }
            Foreign::Link => (things.link, things.matching) = (theirs.link, theirs.matching),
            Foreign::Map => (things.map, things.map_owner) = (theirs.map, Some(theirs.program)),
            Foreign::Hook => (things.hook, things.keeps_hook) = (SHARED.to_owned(), true),
            Foreign::Bytecode => {
                things.file.clone_from(&theirs.file);
                things.image = "127.0.0.1:1/others/program:v1".to_owned();
            }
            Foreign::Interface => {
                things.interface = UNCOVERED.to_owned();
                things.hook.clone_from(&things.interface);
                (things.program, things.link) = (things.elsewhere, things.link_elsewhere);
            }
            Foreign::Priority => things.priority = UNCOVERED_PRIORITY,
            Foreign::Type => things.program_type = Type::Tracepoint,
            Foreign::Application => things.application = Some(("bank".to_owned(), "filter".to_owned())),
        }
        things
    }

    /// Returns all objects of another owner, with its program at the shared hook.
    pub fn shown(&self, foreign: Foreign) -> Self {
        let mut things = self.clone();
        things.hook = SHARED.to_owned();
        if foreign == Foreign::Interface { things.with(Foreign::Interface, self) } else { things }
    }

    pub fn end(&self, daemon: &Daemon) {
        for id in [self.program, self.elsewhere] {
            let _may_be_gone = called(&daemon.socket(), |call: Called| call.unload(v1::UnloadRequest { id }));
        }
    }

    pub fn are_there(&self, now: &Digest) -> bool {
        [self.program, self.elsewhere].iter().all(|id| now.programs.contains(id))
            && [self.link, self.link_elsewhere].iter().all(|id| now.links.contains(id))
            && now.matchings.contains(&self.matching)
    }
}

pub fn own_interface(user: u32) -> String {
    format!("own{user}")
}

pub fn add_interface(netns: &Namespace, name: &str) {
    netns.ip(&["link", "add", name, "type", "veth", "peer", "name", &format!("p{name}")]);
}

fn has_interface(netns: &Namespace, name: &str) -> bool {
    netns.ip(&["-br", "link"]).lines().any(|line| line.starts_with(&format!("{name}@")))
}

pub fn one_program(file: &Path, application: Option<&(String, String)>) -> v1::LoadRequest {
    let mut request = load(file, &[("xdp_member", Type::Xdp)]);
    if let Some((namespace, name)) = application {
        request.metadata = pairs(&[("bpfman.io/ProgramName", name), ("bpfman.io/uuid", "1-2")]);
        if !namespace.is_empty() {
            request.metadata.insert("bpfman.io/ProgramNamespace".to_owned(), namespace.clone());
        }
    }
    request
}
