//! Hints: the next steps beside errors and findings. A system test pastes the command of each variant that has one.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::printable::shell_word;
use crate::{Interface, KernelLinkId, LinkId, MapId, ProgramId, XdpRunsIn};

/// Next step for a user. Each variant with a command carries what the command needs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the texts below say what each is")]
pub enum Hint {
    /// Advice without a command.
    Advice(Cow<'static, str>),
    /// Several hints, one per line.
    Lines(Vec<Hint>),
    /// Adopts a third-party link.
    Adopt(KernelLinkId),
    /// Allows a call that was denied: the arguments of `bpfman policy allow`.
    AllowCall(Vec<String>),
    /// Allows an image that no rule covers.
    AllowImage {
        pattern: String,
        policy: Option<PathBuf>,
    },
    /// Applies manifests that differ from this machine.
    Apply(Vec<String>),
    /// Checks the policy; the default file without a path.
    CheckPolicy(Option<PathBuf>),
    /// Removes the order of a link that contradicts the new one.
    ClearOrder(LinkId),
    Detach(LinkId),
    Doctor,
    DumpMap(MapId),
    EnableJit,
    EndBreakGlass,
    /// Continues a list of events.
    Events {
        after: u64,
    },
    Explain {
        hook: String,
    },
    /// Shows who may use a file or folder.
    FileOwners(PathBuf),
    FreeSpace(PathBuf),
    GetLink(LinkId),
    GetProgram(ProgramId),
    History {
        id: u32,
    },
    /// Shows the third-party holder of a hook, by a command of another tool.
    Holder {
        command: String,
    },
    /// Detaches an XDP program that was attached without a link.
    DetachXdp {
        interface: Interface,
        mode: XdpRunsIn,
    },
    KernelLinks,
    /// Shows a map that the daemon does not read for users.
    KernelMap(MapId),
    KernelTypes,
    ListAllPrograms,
    ListApplications,
    ListImages,
    ListInterfaces {
        netns: Option<PathBuf>,
    },
    ListLinks,
    ListMaps,
    ListMatches,
    ListPrograms,
    ListSessions,
    ListStrays,
    MountBpffs,
    /// Mounts a bpffs for pins of users.
    MountPins {
        folder: PathBuf,
    },
    /// Imports an image by a name.
    NameImage {
        path: String,
    },
    NamespaceHolders {
        inode: u64,
    },
    NewestHistory,
    /// Repeats the call from a cgroup that belongs to one user.
    OwnScope,
    PinMap(MapId),
    ProcessOf {
        pid: u32,
    },
    PullImage(String),
    ReadLog,
    RelatedInterfaces,
    /// Releases a frozen hook.
    Release {
        hook: String,
    },
    RemoveStray {
        pin: String,
    },
    RestartDaemon,
    Rollback(ProgramId),
    /// Shows the chain of a hook.
    ShowChain {
        hook: String,
    },
    ShowClock,
    SignImage(String),
    StartDaemon,
    StartRadar,
    StartSessions,
    TimeChain {
        hook: String,
    },
    Unload(ProgramId),
    UnloadDispatcher(Interface),
    VerifyChain {
        hook: String,
    },
    Version,
    WatchMap(MapId),
    Whoami,
}

impl Hint {
    /// Returns the command to paste; none for advice.
    #[must_use]
    pub fn command(&self) -> Option<String> {
        let text = self.to_string();
        let (begin, end) = (text.find('`')?, text.rfind('`')?);
        text.get(begin + 1..end).map(str::to_owned)
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Advice(text) => f.write_str(text),
            Self::Lines(lines) => {
                let lines: Vec<String> = lines.iter().map(Self::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
            Self::Adopt(link) => write!(
                f,
                "`bpfman adopt {link} --priority 50` makes it a member of a chain of bpfman without a gap; attach yours \
                 before or after it"
            ),
            // Without backticks around the command: quoted arguments may contain some.
            Self::AllowCall(arguments) => {
                write!(f, "have root run: bpfman policy allow{}", words("", arguments))
            }
            Self::AllowImage { pattern, policy } => write!(
                f,
                "for any image of this name have root run: bpfman policy allow {} --unsigned{}; for signed ones give \
                 --key FILE or --identity ISSUER SUBJECT in place of --unsigned",
                word(pattern),
                words("--policy=", policy.iter().map(|file| file.display()))
            ),
            Self::Apply(files) => write!(f, "`bpfman apply{}` makes these changes", words("-f ", files)),
            Self::CheckPolicy(file) => {
                let file = words("", file.iter().map(|file| file.display()));
                write!(f, "`bpfman policy check{file}` shows the mistakes; no restart is needed")
            }
            Self::ClearOrder(link) => write!(
                f,
                "leave out one of these intents, or drop those of a link: `bpfman update link {link} --no-order`"
            ),
            Self::Detach(link) => write!(f, "`bpfman detach {link}` frees it"),
            Self::DetachXdp { interface, mode } => {
                let mode = match mode {
                    XdpRunsIn::Generic => "xdpgeneric",
                    XdpRunsIn::Native => "xdpdrv",
                    XdpRunsIn::Offload => "xdpoffload",
                };
                write!(
                    f,
                    "it is attached without a link, so it cannot be taken over without a gap: `{}ip link set dev {} {mode} \
                     off` removes it, and packets pass unfiltered until something is attached in its place",
                    inside(interface.netns.as_deref()),
                    word(&interface.name)
                )
            }
            Self::Doctor => f.write_str("`bpfman doctor` names what is wrong"),
            Self::DumpMap(map) => write!(f, "`bpfman map dump {map}` shows its entries"),
            Self::EnableJit => f.write_str("`sysctl -w net.core.bpf_jit_enable=1` switches it on"),
            Self::EndBreakGlass => f.write_str("`bpfmand --end-break-glass`, as root, puts everything back"),
            Self::Events { after } => {
                write!(f, "`bpfman events --after {after}` shows the rest once the daemon is back")
            }
            Self::Explain { hook } => write!(f, "`bpfman explain {}` explains the hook", word(hook)),
            Self::FileOwners(file) => write!(
                f,
                "run as root, or as a member of the group that `ls -l {}` shows",
                word(file.display())
            ),
            Self::FreeSpace(folder) => write!(f, "`df -h {}` shows the free space", word(folder.display())),
            Self::GetLink(link) => write!(f, "`bpfman get link {link}` shows the link"),
            Self::GetProgram(program) => {
                write!(f, "`bpfman get program {program}` shows its links and maps")
            }
            Self::History { id } => write!(f, "`bpfman history {id}` shows what became of it"),
            Self::Holder { command } => {
                write!(f, "`{command}` shows the holder; bpfman never replaces what others put there")
            }
            Self::KernelLinks => {
                f.write_str("`bpftool -f link` shows the kernel's links, and where they are pinned")
            }
            Self::KernelMap(map) => write!(f, "root can read it by `bpftool map dump id {map}`"),
            Self::KernelTypes => f.write_str("`zgrep DEBUG_INFO_BTF /proc/config.gz` shows the setting"),
            Self::ListAllPrograms => {
                f.write_str("`bpfman list programs --all` shows the programs of this machine")
            }
            Self::ListApplications => f.write_str("`bpfman list applications` shows their names"),
            Self::ListImages => f.write_str("`bpfman image list` shows the images in the cache"),
            Self::ListInterfaces { netns } => {
                write!(f, "`{}ip link` shows the interfaces", inside(netns.as_deref()))
            }
            Self::ListLinks => f.write_str("`bpfman list links` shows the links"),
            Self::ListMaps => f.write_str("`bpfman map list` shows the maps"),
            Self::ListMatches => {
                f.write_str("`bpfman list matches` shows the attachments to matching interfaces")
            }
            Self::ListPrograms => {
                f.write_str("`bpfman list programs` shows the programs that bpfman manages")
            }
            Self::ListSessions => f.write_str("`bpfman list sessions` shows the sessions"),
            Self::ListStrays => {
                f.write_str("`bpfman stray list` shows the objects without a record, with their pins")
            }
            Self::MountBpffs => f.write_str("`systemctl start run-bpfman-fs.mount` mounts it"),
            Self::MountPins { folder } => write!(
                f,
                "root mounts one: `mount -t bpf bpf {}`; /sys/fs/bpf mostly is one",
                word(folder.display())
            ),
            Self::NameImage { path } => {
                let name = Path::new(path).file_stem().and_then(|name| name.to_str()).unwrap_or("image");
                let name = word(format!("localhost/{}:latest", name.to_lowercase()));
                write!(f, "give it a name: `bpfman image load {} --name {name}`", word(path))
            }
            Self::NamespaceHolders { inode } => write!(
                f,
                "`find -L /proc/[0-9]*/fd -maxdepth 1 -inum {inode} 2>/dev/null` shows descriptors that keep it, below their \
                 processes; once a path leads there, or it has ended, try again"
            ),
            Self::NewestHistory => f.write_str("`bpfman history` shows the newest entries"),
            Self::OwnScope => {
                f.write_str("call from a cgroup of one user: run it by `systemd-run --user --scope`")
            }
            Self::PinMap(map) => write!(f, "`bpfman map pin {map} /sys/fs/bpf/map_{map}` gives you the map"),
            Self::ProcessOf { pid } => write!(f, "`ps -o pid,etime,stat,args -p {pid}` shows the process"),
            Self::PullImage(image) => write!(f, "`bpfman image pull -i {}` fetches it", word(image)),
            Self::ReadLog => f.write_str("`journalctl -u bpfmand -n 50` shows the daemon's log"),
            Self::RelatedInterfaces => f.write_str("`ip -d link` shows which interfaces belong together"),
            Self::Release { hook } => write!(
                f,
                "`bpfman debug release {}` releases it, for the caller who froze it and for root",
                word(hook)
            ),
            Self::RemoveStray { pin } => write!(f, "`bpfman stray remove {}` ends it", word(pin)),
            Self::RestartDaemon => f.write_str(
                "`systemctl restart bpfmand` puts back what the records say, or reports why it cannot",
            ),
            Self::Rollback(program) => {
                write!(f, "`bpfman replace {program} --rollback` puts the version before back")
            }
            Self::ShowChain { hook } => {
                write!(f, "`bpfman chain show {}` shows its programs, and who froze it", word(hook))
            }
            Self::ShowClock => f.write_str("`timedatectl` shows the clock"),
            Self::SignImage(image) => write!(
                f,
                "sign it with a key of the policy: `bpfman image sign {} --key cosign.key`",
                word(image)
            ),
            Self::StartDaemon => {
                f.write_str("start the daemon: `systemctl start bpfmand.socket`, or bpfmand as root")
            }
            Self::StartRadar => {
                f.write_str(
                    "`bpfman radar start --file /usr/lib/bpfman/gallery/radar.o`, or [radar] in bpfman.toml, switches \
                     it on",
                )
            }
            Self::StartSessions => f.write_str("start it: `systemctl start bpfman-session.socket`"),
            Self::TimeChain { hook } => {
                write!(f, "`bpfman chain timing {} on` samples one packet in 1,024", word(hook))
            }
            Self::Unload(program) => write!(f, "`bpfman unload {program}` removes it"),
            Self::UnloadDispatcher(interface) => write!(
                f,
                "`{}xdp-loader unload {} --all` removes the programs of libxdp; load them with bpfman to have them in one \
                 chain with yours",
                inside(interface.netns.as_deref()),
                word(&interface.name)
            ),
            Self::VerifyChain { hook } => write!(
                f,
                "`bpfman chain verify {}` compares the chain with what its programs make",
                word(hook)
            ),
            Self::Version => f.write_str("`bpfman version` shows the daemon's version"),
            Self::WatchMap(map) => write!(f, "`bpfman map watch {map}` shows records as they come"),
            Self::Whoami => f.write_str("`bpfman whoami` lists your grants"),
        }
    }
}

fn word(text: impl fmt::Display) -> String {
    shell_word(&text.to_string())
}

/// Returns the arguments quoted for a shell, each after a space and `flag`.
fn words(flag: &str, arguments: impl IntoIterator<Item = impl fmt::Display>) -> String {
    arguments.into_iter().map(|argument| format!(" {flag}{}", word(argument))).collect()
}

/// Returns the beginning of a command that runs in a network namespace.
fn inside(netns: Option<&Path>) -> String {
    netns.map(|netns| format!("nsenter --net={} ", word(netns.display()))).unwrap_or_default()
}

impl From<&'static str> for Hint {
    fn from(advice: &'static str) -> Self {
        Self::Advice(advice.into())
    }
}

impl From<String> for Hint {
    fn from(advice: String) -> Self {
        Self::Advice(advice.into())
    }
}
