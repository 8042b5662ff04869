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

use super::as_user::as_user;
use super::requests::{Called, called};
use super::table::Class;

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
    /// Program of the same owner, attached outside of the grants.
    pub elsewhere: u32,
    pub file: PathBuf,
    pub image: String,
    pub application: Option<(String, String)>,
}

impl Things {
    pub fn of(daemon: &Daemon, netns: &Namespace, user: u32, application: Option<(&str, &str)>) -> Self {
        let file = daemon.path(format!("{user}.o"));
        if !file.exists() {
            fs::copy(compile::object("chain"), &file).unwrap();
            chown(&file, Some(user), Some(user)).unwrap();
        }
        let socket = daemon.socket();
        let interface = format!("own{user}");
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
        let (program, elsewhere, link, matching) = as_user(user, || {
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
        at(elsewhere.id, UNCOVERED);
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
            file,
            image: "127.0.0.1:1/own/program:v1".to_owned(),
            application: claim,
        }
    }

    pub fn with(&self, class: Class, theirs: &Self) -> Self {
        let mut things = self.clone();
        match class {
            Class::Program => {
                (things.program, things.extended) = (theirs.program, Some(theirs.program));
            }
            Class::Link => (things.link, things.matching) = (theirs.link, theirs.matching),
            Class::Map => (things.map, things.map_owner) = (theirs.map, Some(theirs.program)),
            Class::Hook => (things.hook, things.keeps_hook) = (SHARED.to_owned(), true),
            Class::Bytecode => {
                things.file.clone_from(&theirs.file);
                things.image = "127.0.0.1:1/others/program:v1".to_owned();
            }
            Class::Place => {
                things.interface = UNCOVERED.to_owned();
                things.hook.clone_from(&things.interface);
                things.priority = UNCOVERED_PRIORITY;
                things.program_type = Type::Tracepoint;
                things.program = things.elsewhere;
            }
            Class::Application => things.application = Some(("bank".to_owned(), "filter".to_owned())),
        }
        things
    }

    pub fn end(&self, daemon: &Daemon) {
        for id in [self.program, self.elsewhere] {
            let _may_be_gone = called(&daemon.socket(), |call: Called| call.unload(v1::UnloadRequest { id }));
        }
    }

    pub fn are_there(&self, daemon: &Daemon) -> bool {
        let socket = daemon.socket();
        let has_program = |id| called(&socket, |call: Called| call.get(v1::GetRequest { id })).is_ok();
        has_program(self.program)
            && has_program(self.elsewhere)
            && called(&socket, |call: Called| call.get_link(self.link)).is_ok()
            && called(&socket, |call: Called| call.matchings()).unwrap().contains(&self.matching)
    }
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
