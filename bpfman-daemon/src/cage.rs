//! What this process gives up, in the order in which it can, and what is told of that.

use bpfman_proto::ext::v1::CagePart;
use bpfmand_cage::{CageMode, Capabilities, Landlock};

use crate::config::Config;

/// A process without rights that it has no use for.
pub struct Cage {
    capabilities: Capabilities,
    seccomp: CageMode,
    /// None: switched off.
    landlock: Option<Landlock>,
    /// The user of processes without rights; none: there are none.
    helpers: Option<u32>,
    /// The bpffs is in a mount namespace that ends with this process.
    pins_end: bool,
    /// Reason for which this process stays in a cgroup namespace of its own; none: it is in the node's.
    cgroups_hidden: Option<String>,
}

impl Cage {
    /// Gives up what later threads are not to have: to be called before there is a second one.
    pub fn begin(config: &Config) -> anyhow::Result<Self> {
        // Each thread has its own namespace, and later ones have this one's.
        let cgroups_hidden = bpfmand_kernel::linux::enter_cgroup_namespace_of_node().err();
        bpfmand_cage::limit_memory(config.memory)?;
        let capabilities = bpfmand_cage::drop_capabilities()?;
        capabilities.check()?;
        Ok(Self {
            capabilities,
            pins_end: false,
            seccomp: config.seccomp,
            landlock: None,
            helpers: None,
            cgroups_hidden: cgroups_hidden.map(|error| error.to_string()),
        })
    }

    /// Closes it: to be called once all is mounted, and before anything is read that others wrote.
    pub fn close(&self, config: &Config) -> anyhow::Result<()> {
        Ok(bpfmand_cage::filter_calls(self.seccomp, config.csi.is_some())?)
    }

    /// The threads of images are held so.
    pub fn holds_files(&mut self, landlock: Option<Landlock>) {
        self.landlock = landlock;
    }

    /// Processes of this user read images; none: threads of this process do.
    pub const fn has_helpers(&mut self, user: Option<u32>) {
        self.helpers = user;
    }

    /// Nothing outside of this process's mount namespace sees the bpffs, and root lets that pass.
    pub const fn pins_end_with_it(&mut self) {
        self.pins_end = true;
    }

    /// Tells the log.
    pub fn tell(&self) {
        for part in self.parts() {
            let (name, state) = (part.name, part.state);
            match part.weakness.as_str() {
                "" => tracing::info!("cage: {name}: {state}"),
                weakness => tracing::warn!("cage: {name}: {state}: {weakness}"),
            }
        }
    }

    /// What holds, and why it holds less than it could.
    pub fn parts(&self) -> Vec<CagePart> {
        let bounding = self.capabilities.bounding_stays.then(|| {
            "the bounding set stays: it takes CAP_SETPCAP, which the daemon was started without".to_owned()
        });
        let weak: Vec<String> = self.capabilities.weakness().into_iter().chain(bounding).collect();
        let mut parts = vec![
            part(
                "capabilities",
                self.capabilities.names.join(" "),
                (!weak.is_empty()).then(|| weak.join("; ")).as_deref(),
            ),
            part(
                "seccomp",
                self.seccomp.to_string(),
                match self.seccomp {
                    CageMode::On => None,
                    CageMode::Log => Some("system calls are logged and made: [cage] in bpfman.toml says so"),
                    CageMode::Off => Some("system calls are not filtered: [cage] in bpfman.toml says so"),
                },
            ),
            match self.landlock {
                Some(Landlock::There { version }) => part("landlock", format!("on, version {version}"), None),
                Some(Landlock::Absent(why)) => part("landlock", "absent".to_owned(), Some(why)),
                None => part(
                    "landlock",
                    "off".to_owned(),
                    Some("threads for images can write anywhere: [cage] in bpfman.toml says so"),
                ),
            },
            match self.helpers {
                None => part(
                    "helpers",
                    "off".to_owned(),
                    Some(
                        "the daemon itself reads what registries, images and object files say: [cage] in bpfman.toml says so",
                    ),
                ),
                Some(0) => part(
                    "helpers",
                    "on, as root without capabilities".to_owned(),
                    Some(
                        "processes for images and objects have no user of their own: the daemon was started without CAP_SETUID or CAP_SETGID",
                    ),
                ),
                Some(user) => part("helpers", format!("on, user {user}"), None),
            },
        ];
        if let Some(why) = &self.cgroups_hidden {
            parts.push(part(
                "cgroups",
                "private".to_owned(),
                Some(&format!(
                    "the daemon cannot enter the node's cgroup namespace ({why}): units and pods of callers are unknown, and \
                     grants for them cover no caller; start it with CAP_SYS_ADMIN, CAP_SYS_PTRACE and the node's processes (hostPID)"
                )),
            ));
        }
        if self.pins_end {
            parts.push(part(
                "mounts",
                "private".to_owned(),
                Some(
                    "only this process sees its bpffs: all programs are detached when it ends; --allow-private-mounts says so",
                ),
            ));
        }
        parts
    }
}

fn part(name: &str, state: String, weakness: Option<&str>) -> CagePart {
    CagePart { name: name.to_owned(), state, weakness: weakness.unwrap_or_default().to_owned() }
}
