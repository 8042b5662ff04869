//! Test bench: an engine with a store of its own on a kernel, and shortcuts for its calls.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bpfman_model::{
    AttachPoint, AttachRequest, BytecodeSource, Direction, HookKind, Interface, LinkId, LoadRequest, NetnsId,
    ProceedOn, ProgramId, ProgramRequest, ProgramType, Selector, VerdictFamily,
};
use bpfmand_engine::{
    ChainDetails, Engine, EngineError, EngineOptions, LinkDetails, LoadOutcome, RecoveryReport, SCHEMA,
    StepObserver,
};
use bpfmand_kernel::Kernel;
use bpfmand_store::{Batch, Snapshot, Store, StoreOptions, Table};
use tempfile::TempDir;

use crate::objects::object;
use bpfmand_engine::Standing;

/// Generous, since machines may be busy or emulated; only a failing test reaches it.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(150);

pub struct Bench<K: Kernel> {
    pub kernel: Arc<K>,
    pub folder: TempDir,
    pub netns: PathBuf,
    pub tc_by_clsact: bool,
    pub leftover_bytes: Option<usize>,
    pub libxdp_pins: PathBuf,
    pub _machine: Box<dyn Send>,
}

pub trait Testable: Kernel + Sized {
    /// Value of the constant `verdict` of a program of the object `programs`.
    fn verdict(&self, program: ProgramId) -> u32;
    fn add_interface(&self, netns: &Path, name: &str);
    fn add_interfaces(&self, netns: &Path, many: usize) {
        (0..many).for_each(|number| self.add_interface(netns, &format!("pod{number}")));
    }
    fn remove_interface(&self, netns: &Path, name: &str);
    fn rename_interface(&self, netns: &Path, name: &str, new: &str);
    fn switch_interface(&self, netns: &Path, name: &str, up: bool);
    fn add_other_name(&self, netns: &Path, name: &str, other: &str);
}

/// In memory if possible: these tests do not prove durability.
pub fn quick_folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

impl<K: Kernel> Bench<K> {
    pub fn options(&self) -> EngineOptions {
        let store = Store::open(StoreOptions::new(self.folder.path().join("store"), SCHEMA)).unwrap();
        let mut options = EngineOptions::new(self.folder.path().join("bytecode"), store);
        options.tc_by_clsact = self.tc_by_clsact;
        options.libxdp_pins.clone_from(&self.libxdp_pins);
        options.leftover_bytes = self.leftover_bytes.unwrap_or(options.leftover_bytes);
        options
    }

    pub fn start(&self) -> (Engine<K>, RecoveryReport) {
        let engine = Engine::open(Arc::clone(&self.kernel), self.options()).unwrap();
        let report = engine.recover().unwrap();
        (engine, report)
    }

    pub fn engine(&self) -> Engine<K> {
        let (engine, report) = self.start();
        assert_eq!(report.problems, Vec::<String>::new());
        engine
    }

    /// Opens an engine whose recovery has finished before the observer is first called.
    pub fn watched(&self, observer: Arc<dyn StepObserver>) -> Engine<K> {
        let options = EngineOptions { observer, ..self.options() };
        let engine = Engine::open(Arc::clone(&self.kernel), options).unwrap();
        assert_eq!(engine.recover().unwrap().problems, Vec::<String>::new());
        engine
    }

    pub fn records(&self) -> Vec<(String, Vec<u8>)> {
        let store = Store::open(StoreOptions::new(self.folder.path().join("store"), SCHEMA)).unwrap();
        records(&store.load().unwrap())
    }

    pub fn home(&self) -> NetnsId {
        self.kernel.find_hook(&self.left(), HookKind::Xdp).unwrap().netns.into()
    }

    pub fn left(&self) -> Interface {
        Interface { name: "left".to_owned(), netns: Some(self.netns.clone()) }
    }

    pub fn interface(&self, name: &str) -> Interface {
        Interface { name: name.to_owned(), netns: Some(self.netns.clone()) }
    }

    pub fn xdp(&self, priority: i32) -> AttachPoint {
        AttachPoint::Xdp {
            interface: self.left(),
            priority,
            proceed_on: ProceedOn::default_for(VerdictFamily::Xdp),
        }
    }

    pub fn tc(&self, direction: Direction, priority: i32) -> AttachPoint {
        AttachPoint::Tc {
            interface: self.left(),
            direction,
            priority,
            proceed_on: ProceedOn::default_for(VerdictFamily::Tc),
        }
    }

    pub fn tcx(&self, priority: i32) -> AttachPoint {
        AttachPoint::Tcx { interface: self.left(), direction: Direction::Ingress, priority }
    }

    pub fn file(&self, name: &'static str) -> PathBuf {
        let path = self.folder.path().join(format!("{name}.o"));
        if !path.exists() {
            std::fs::write(&path, object(name)).unwrap();
        }
        path
    }

    pub fn request(&self, file: &'static str, programs: &[&str]) -> LoadRequest {
        let program = |name: &&str| ProgramRequest {
            name: (*name).to_owned(),
            program_type: type_of(name),
            target: None,
        };
        LoadRequest::new(BytecodeSource::File(self.file(file)), programs.iter().map(program).collect())
    }
}

pub fn tracepoint(name: &str) -> AttachPoint {
    AttachPoint::Tracepoint { category: "sched".to_owned(), name: name.to_owned() }
}

fn type_of(program: &str) -> ProgramType {
    match program {
        "tango" | "tulip" | "allocates" | "goes_on" | "redirects" | "tc_mixes" | "tc_shares" | "tc_jumps"
        | "tc_copies" => ProgramType::Tc,
        "xray" | "yankee" | "zulu" => ProgramType::Tcx,
        "trace" | "trace_missing" => ProgramType::Tracepoint,
        "probe" => ProgramType::Uprobe,
        "raw_switch" => ProgramType::RawTracepoint,
        "typed_switch" => ProgramType::BtfTracepoint,
        "keep_return" => ProgramType::FmodRet,
        "list_maps" | "list_for_ever" => ProgramType::Iter,
        "no_egress" => ProgramType::CgroupSkb,
        "no_socket" | "one" | "two" | "three" | "four" => ProgramType::CgroupSock,
        "no_connect" => ProgramType::CgroupSockAddr,
        "no_option" => ProgramType::CgroupSockopt,
        "no_parameter" => ProgramType::CgroupSysctl,
        "no_device" => ProgramType::CgroupDevice,
        "tcp_events" => ProgramType::SockOps,
        "no_socket_by_lsm" => ProgramType::LsmCgroup,
        "no_listener" => ProgramType::SkLookup,
        "dissect" => ProgramType::FlowDissector,
        "no_packet" => ProgramType::Netfilter,
        "many_entries" => ProgramType::KprobeMulti,
        "many_returns" => ProgramType::KretprobeMulti,
        "many_sessions" => ProgramType::KprobeSession,
        "many_functions" => ProgramType::UprobeMulti,
        "many_function_returns" => ProgramType::UretprobeMulti,
        "samples" => ProgramType::PerfEvent,
        "nothing_sent" => ProgramType::SkMsg,
        "no_packets" => ProgramType::SocketFilter,
        "no_socket_chosen" => ProgramType::SkReuseport,
        "sold" => ProgramType::Usdt,
        "no_primary" | "no_peer" => ProgramType::Netkit,
        "to_device" => ProgramType::XdpDevmap,
        "to_cpu" => ProgramType::XdpCpumap,
        "no_way_in" => ProgramType::LwtIn,
        "no_way_out" => ProgramType::LwtOut,
        "no_way_on" => ProgramType::LwtXmit,
        "no_segment" => ProgramType::LwtSeg6local,
        "no_action" => ProgramType::SchedAct,
        "called" => ProgramType::Syscall,
        "no_migration" => ProgramType::SkReuseportMigrate,
        "library_sessions" => ProgramType::UprobeSession,
        "call_begins" => ProgramType::Ksyscall,
        "call_ends" => ProgramType::Kretsyscall,
        "fails_test_runs" => ProgramType::RawTracepointWritable,
        "take" | "threshold" | "window" | "grow" | "enqueue" | "begin" => ProgramType::StructOps,
        "drops" | "aborts" | "anywhere" | "takes_less" | "passes_none" | "watches_more"
        | "judges_otherwise" | "instead_of_watch" | "reads_memory" => ProgramType::Freplace,
        "gate" => ProgramType::Tcx,
        "watch" => ProgramType::Tracepoint,
        "whole_stream" | "no_stream" | "no_data" => ProgramType::SkSkb,
        "unbounded_size" | "zero_size" | "license_1" => ProgramType::Kprobe,
        _ => ProgramType::Xdp,
    }
}

/// Returns the records without the operation counter, and without entries that the next commit removes.
pub fn records(snapshot: &Snapshot) -> Vec<(String, Vec<u8>)> {
    ["programs", "links", "hooks"]
        .into_iter()
        .flat_map(|table| {
            snapshot.table(Table(table)).map(move |(key, value)| {
                (format!("{table}/{}", String::from_utf8_lossy(key)), value.to_vec())
            })
        })
        .collect()
}

/// Edits all records of a table. No engine may be open.
pub fn edit_records<K: Kernel>(bench: &Bench<K>, name: &'static str, edit: impl Fn(&mut serde_json::Value)) {
    let store = Store::open(StoreOptions::new(bench.folder.path().join("store"), SCHEMA)).unwrap();
    let (snapshot, mut batch) = (store.load().unwrap(), Batch::new());
    for (key, record) in snapshot.table(Table(name)) {
        let mut record = serde_json::from_slice(record).unwrap();
        edit(&mut record);
        batch.put(Table(name), key, serde_json::to_vec(&record).unwrap());
    }
    store.commit(batch).unwrap();
}

pub trait Ask {
    fn loads(&self, request: &LoadRequest) -> Vec<ProgramId>;
    fn try_attach(&self, program: ProgramId, point: AttachPoint) -> Result<LinkDetails, EngineError>;
    fn attached(&self, program: ProgramId, point: AttachPoint) -> LinkId;
    fn chain(&self, interface: &Interface, kind: HookKind) -> Option<ChainDetails>;
    fn names(&self, interface: &Interface, kind: HookKind) -> Vec<String>;
    fn ids(&self) -> Vec<ProgramId>;
    fn all_links(&self) -> Vec<LinkDetails>;
    fn map_pins(&self, program: ProgramId) -> BTreeMap<String, u32>;
}

impl<K: Kernel> Ask for Engine<K> {
    fn loads(&self, request: &LoadRequest) -> Vec<ProgramId> {
        let LoadOutcome { programs, .. } = self.load(request).unwrap();
        programs.iter().map(|program| program.id).collect()
    }

    fn try_attach(&self, program: ProgramId, point: AttachPoint) -> Result<LinkDetails, EngineError> {
        self.attach(&AttachRequest::new(program, point))
    }

    fn attached(&self, program: ProgramId, point: AttachPoint) -> LinkId {
        let link = self.try_attach(program, point).unwrap();
        assert_eq!(link.standing, Standing::Running);
        link.record.id
    }

    fn chain(&self, interface: &Interface, kind: HookKind) -> Option<ChainDetails> {
        match self.show_chain(interface, kind) {
            Ok(chain) => Some(chain),
            Err(EngineError::NoChain { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn names(&self, interface: &Interface, kind: HookKind) -> Vec<String> {
        self.chain(interface, kind)
            .into_iter()
            .flat_map(|chain| chain.members)
            .map(|member| member.program.name.clone())
            .collect()
    }

    fn ids(&self) -> Vec<ProgramId> {
        let ours = Selector { managed_only: true, ..Selector::default() };
        self.list(&ours).unwrap().iter().map(|program| program.id).collect()
    }

    fn all_links(&self) -> Vec<LinkDetails> {
        self.list_links(None, None, &BTreeMap::new()).unwrap()
    }

    fn map_pins(&self, program: ProgramId) -> BTreeMap<String, u32> {
        let details = self.describe_program(program).unwrap();
        self.maps_of(&details).unwrap().into_iter().map(|map| (map.name, map.facts.id.0)).collect()
    }
}

pub fn pins<K: Kernel>(kernel: &K, folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for name in kernel.list_folder(folder).unwrap() {
        let path = folder.join(name);
        if kernel.open_pin(&path).is_ok_and(|pin| pin.is_some()) {
            found.push(path.display().to_string());
        } else {
            found.extend(pins(kernel, &path));
        }
    }
    found.sort();
    found
}
