//! Daemon with the CSI plugin in its own mount namespace, and a folder of pods.

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

pub const APPLICATION: &str = "counter";
pub const TO_ALL: (&str, &str) = ("bpfman.io/map-exports", "*=*:rw");
pub const GROUP: u32 = 4242;
pub const USER: u32 = 4711;

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
        fs::set_permissions(pods.path(), fs::Permissions::from_mode(0o755)).unwrap();
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

    pub fn load(&self, application: &str) -> Program {
        self.load_with(&[("bpfman.io/ProgramName", application), TO_ALL])
    }

    pub fn load_with(&self, metadata: &[(&str, &str)]) -> Program {
        Program::of(&self.try_load_with(metadata).unwrap().programs[0])
    }

    pub fn try_load_with(&self, metadata: &[(&str, &str)]) -> Result<LoadResponse, Status> {
        let mut request = load(&compile::object("chain"), &[("xdp_member", Type::Xdp)]);
        request.metadata = pairs(metadata);
        self.daemon.wire().load(request)
    }

    pub fn target(&self, pod: &str) -> PathBuf {
        let volumes = self.pods.path().join(pod);
        fs::create_dir_all(&volumes).unwrap();
        volumes.join("mount")
    }

    pub fn request(&self, pod: &str, maps: &str) -> NodePublishVolumeRequest {
        publish(pod, &self.target(pod), APPLICATION, maps)
    }

    pub fn path(&self, path: &Path) -> PathBuf {
        self.namespace.path(path)
    }

    pub fn published(&self, pod: &str) -> Vec<String> {
        let Ok(folder) = fs::read_dir(self.path(&self.target(pod))) else { return Vec::new() };
        let mut names: Vec<String> =
            folder.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    pub fn mounts(&self, volume: &str) -> Vec<String> {
        self.namespace.mounts(&format!(" csi.bpfman.io/{volume} "))
    }

    pub fn own_mounts(&self) -> Vec<String> {
        let folders = [self.daemon.path(""), self.pods.path().to_owned()];
        let is_below =
            |mount: &String| folders.iter().any(|folder| mount.contains(&*folder.to_string_lossy()));
        self.namespace.mounts("").into_iter().filter(is_below).collect()
    }

    pub fn folders(&self) -> Vec<String> {
        let folder = fs::read_dir(self.path(&self.daemon.path("run/csi/fs"))).unwrap();
        folder.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }

    pub fn assert_absent(&self, pod: &str) {
        assert_eq!(self.mounts(pod), [""; 0]);
        assert!(!self.folders().contains(&pod.to_owned()), "{:?}", self.folders());
        assert!(!self.path(&self.target(pod)).exists(), "the target stays behind");
    }

    pub fn map_id(&self, pod: &str, map: &str) -> u32 {
        let pin = self.target(pod).join(map).display().to_string();
        let mut command = self.namespace.command("bpftool");
        let shown = Outcome::of(command.args(["-j", "map", "show", "pinned", &pin])).json();
        u32::try_from(shown["id"].as_u64().unwrap()).unwrap()
    }

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

    pub fn again(&mut self) {
        self.daemon.again(&self.launch);
    }
}

pub fn map_of(program: &Program, name: &str) -> u32 {
    kernel::map_named(&program.maps, name)
}
