//! A daemon with a CSI plugin in a mount namespace of its own, and a folder of pods.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bpfman_proto::csi::v1::NodePublishVolumeRequest;
use bpfman_proto::v1::{BpfmanProgramType as Type, LoadResponse};
use bpfman_tests::csi::{Csi, publish};
use bpfman_tests::requests::{load, pairs};
use bpfman_tests::{Daemon, Launch, MountNamespace, Outcome, compile, kernel};
use tempfile::TempDir;
use tonic::Status;

use crate::equipment::Program;

/// The application that tests load.
pub const APPLICATION: &str = "counter";
/// Metadata that gives all maps to pods of every namespace.
pub const TO_ALL: (&str, &str) = ("bpfman.io/map-exports", "*=*:rw");
/// The group of pods that have one.
pub const GROUP: u32 = 4242;
/// The user of pods that are not root's.
pub const USER: u32 = 4711;

/// A node, as far as its volumes go.
pub struct Node {
    pub daemon: Daemon,
    pub launch: Launch,
    pub namespace: MountNamespace,
    pub pods: TempDir,
}

impl Node {
    pub fn new() -> Self {
        Self::with_flags(&[])
    }

    pub fn with_flags(flags: &[&str]) -> Self {
        Self::launched(flags, "")
    }

    pub fn with_config(config: &str) -> Self {
        Self::launched(&[], config)
    }

    fn launched(flags: &[&str], config: &str) -> Self {
        let namespace = MountNamespace::new();
        let pods = tempfile::Builder::new().prefix("bpfman-pods-").tempdir().unwrap();
        // Users of containers come by here.
        fs::set_permissions(pods.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // Its namespace is another than that of the machine, and ends with the test.
        let words = ["--csi-support", "--node-name", "node-a", "--allow-private-mounts"];
        let mut words = words.map(str::to_owned).to_vec();
        words.extend(flags.iter().map(|&flag| flag.to_owned()));
        let (config, wrapper) = (config.to_owned(), namespace.wrapper());
        let launch = Launch { flags: words, config, wrapper, ..Launch::default() };
        Self { daemon: Daemon::start_with(&launch), launch, namespace, pods }
    }

    pub fn csi(&self) -> Csi {
        Csi::new(&self.daemon.path("run/csi/csi.sock"))
    }

    /// Loads the programs of an application: `xdp_member` with the maps `hits` and `trail`.
    pub fn load(&self, application: &str) -> Program {
        self.load_with(&[("bpfman.io/ProgramName", application), TO_ALL])
    }

    /// Loads the same program with this metadata.
    pub fn load_with(&self, metadata: &[(&str, &str)]) -> Program {
        Program::of(&self.try_load_with(metadata).unwrap().programs[0])
    }

    /// The same, where it may be refused.
    pub fn try_load_with(&self, metadata: &[(&str, &str)]) -> Result<LoadResponse, Status> {
        let mut request = load(&compile::object("chain"), &[("xdp_member", Type::Xdp)]);
        request.metadata = pairs(metadata);
        self.daemon.wire().load(request)
    }

    /// Where the kubelet wants a pod's volume.
    pub fn target(&self, pod: &str) -> PathBuf {
        let volumes = self.pods.path().join(pod);
        fs::create_dir_all(&volumes).unwrap();
        volumes.join("mount")
    }

    /// A request for a pod's volume, which is named like the pod.
    pub fn request(&self, pod: &str, maps: &str) -> NodePublishVolumeRequest {
        publish(pod, &self.target(pod), APPLICATION, maps)
    }

    /// A path on this node, as it is reached from here.
    pub fn path(&self, path: &Path) -> PathBuf {
        self.namespace.path(path)
    }

    /// Names at a pod's volume; none if it is not there.
    pub fn published(&self, pod: &str) -> Vec<String> {
        let Ok(folder) = fs::read_dir(self.path(&self.target(pod))) else { return Vec::new() };
        let mut names: Vec<String> =
            folder.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Mounts of a volume: its own, and that at its target.
    pub fn mounts(&self, volume: &str) -> Vec<String> {
        self.namespace.mounts(&format!(" csi.bpfman.io/{volume} "))
    }

    /// All mounts below the daemon's folder and the pods'. What other tests mount is seen in the same namespace, until it
    /// goes.
    pub fn own_mounts(&self) -> Vec<String> {
        let folders = [self.daemon.path(""), self.pods.path().to_owned()];
        let is_below =
            |mount: &String| folders.iter().any(|folder| mount.contains(&*folder.to_string_lossy()));
        self.namespace.mounts("").into_iter().filter(is_below).collect()
    }

    /// Folders of volumes.
    pub fn folders(&self) -> Vec<String> {
        let folder = fs::read_dir(self.path(&self.daemon.path("run/csi/fs"))).unwrap();
        folder.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }

    /// Asserts that nothing of a pod's volume is there, and nothing was left of it.
    pub fn assert_absent(&self, pod: &str) {
        assert_eq!(self.mounts(pod), [""; 0]);
        assert!(!self.folders().contains(&pod.to_owned()), "{:?}", self.folders());
        assert!(!self.path(&self.target(pod)).exists(), "the target stays behind");
    }

    /// The id of a map that is pinned in a pod's volume.
    pub fn map_id(&self, pod: &str, map: &str) -> u32 {
        let pin = self.target(pod).join(map).display().to_string();
        let mut command = self.namespace.command("bpftool");
        let shown = Outcome::of(command.args(["-j", "map", "show", "pinned", &pin])).json();
        u32::try_from(shown["id"].as_u64().unwrap()).unwrap()
    }

    /// Does with a map of a volume what a process of a container does: `read`, or `write NUMBER`. The user's groups are
    /// `GROUP` alone, or none.
    pub fn access(&self, user: u32, groups: &str, pod: &str, map: &str, words: &[&str]) -> Outcome {
        let reader = self.pods.path().join("map_pin");
        if !reader.exists() {
            fs::copy(compile::executable("map_pin"), &reader).unwrap();
        }
        let user = user.to_string();
        let mut command = self.namespace.command("setpriv");
        command.args(["--reuid", &user, "--regid", &user]);
        match groups {
            "" => command.arg("--clear-groups"),
            groups => command.args(["--groups", groups]),
        };
        Outcome::of(command.arg(reader).arg(self.target(pod).join(map)).args(words))
    }

    /// Starts the daemon again, after it ended.
    pub fn again(&mut self) {
        self.daemon.again(&self.launch);
    }
}

/// The id of a program's map.
pub fn map_of(program: &Program, name: &str) -> u32 {
    kernel::map_named(&program.maps, name)
}
