//! The daemon's flags. Each can be given by an environment variable too.

use std::path::PathBuf;

use clap::Parser;
use clap::builder::FalseyValueParser;

/// Loads, attaches and chains eBPF programs for its clients: no other process needs the rights to do so.
#[derive(Debug, Parser)]
#[command(name = "bpfmand", version, about)]
pub struct DaemonArguments {
    /// "serve", the default; "check" asks the daemon on the socket whether it answers; "mount" mounts the
    /// bpffs, and ends.
    #[arg(value_parser = ["serve", "check", "mount"])]
    pub command: Option<String>,
    /// Configuration file; it must exist if it is named here.
    #[arg(long, env = "BPFMAN_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Signature policy file; it must exist if it is named here.
    #[arg(long, env = "BPFMAN_POLICY", value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Folder of pins [default: /run/bpfman]. A given one moves the state and image folders below it too.
    #[arg(long, env = "BPFMAN_RUNTIME_DIR", value_name = "DIR")]
    pub runtime_dir: Option<PathBuf>,
    /// Folder of records and bytecode [default: /var/lib/bpfman]
    #[arg(long, env = "BPFMAN_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Folder of images [default: images, in the state folder]
    #[arg(long, env = "BPFMAN_IMAGE_CACHE_DIR", value_name = "DIR")]
    pub image_cache_dir: Option<PathBuf>,
    /// Socket to listen on, unless systemd hands over one.
    #[arg(long, env = bpfman_proto::SOCKET_PATH_VARIABLE, value_name = "PATH", default_value = bpfman_proto::DEFAULT_SOCKET_PATH)]
    pub socket_path: PathBuf,
    /// Group that may use the socket, by name or number [default: the daemon's own]
    #[arg(long, env = "BPFMAN_SOCKET_GROUP", value_name = "NAME|GID")]
    pub socket_group: Option<String>,
    /// User of the node agent, which may speak for applications: it may do to their programs all that a grant can allow.
    #[arg(long, env = "BPFMAN_NODE_AGENT_USER", value_name = "UID")]
    pub node_agent_user: Option<u32>,
    /// Start also where only this process would see the bpffs that it mounts: all programs are detached when it ends.
    #[arg(long, env = "BPFMAN_ALLOW_PRIVATE_MOUNTS", value_parser = FalseyValueParser::new())]
    pub allow_private_mounts: bool,
    /// End after this many seconds without a request; 0 means never.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub timeout: u64,
    /// Serve the CSI node plugin csi.bpfman.io, on csi/csi.sock in the runtime folder.
    #[arg(long)]
    pub csi_support: bool,
    /// Name of this node in the cluster; required by the CSI plugin.
    #[arg(long, env = "KUBE_NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,
    /// The kubelet's folder plugins_registry, if the CSI plugin is to register itself there.
    #[arg(long, value_name = "DIR")]
    pub csi_registration_dir: Option<PathBuf>,
    /// Path of the CSI plugin's socket for the kubelet [default: the daemon's path]
    #[arg(long, value_name = "PATH")]
    pub csi_kubelet_socket: Option<PathBuf>,
    /// Detach all programs of bpfman, found by their pins, without records or daemon; a running daemon first stops its changes.
    /// Programs and maps stay loaded, and no daemon attaches anything until --end-break-glass. Root only.
    #[arg(long, conflicts_with_all = ["end_break_glass", "command"])]
    pub break_glass: bool,
    /// End break-glass: the running daemon, or the next one that starts, restores all attachments.
    #[arg(long, conflicts_with = "command")]
    pub end_break_glass: bool,
    /// Import from bpfman v0.6.0: print its programs with the commands of bpfman that take them over, keep its bytecode, and
    /// set its database aside, so that this daemon starts beside the running programs. Root only.
    #[arg(long = "import-v0.6", conflicts_with_all = ["break_glass", "end_break_glass", "command"])]
    pub import_v0_6: bool,
    /// With --import-v0.6: only print, and change nothing.
    #[arg(long, requires = "import_v0_6")]
    pub dry_run: bool,
    /// Log filter: a level, or a list such as "info,bpfmand_engine=debug" [default: info].
    #[arg(long, env = "BPFMAN_LOG", value_name = "FILTER")]
    pub log: Option<String>,
}
