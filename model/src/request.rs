//! Parsed requests: the engine receives only well-formed ones.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{
    AttachPoint, CallerGroup, ClientLease, CpuLimit, InterfaceMatch, OrderIntent, Owner, ProgramId,
    ProgramType, PullPolicy, TenantRules,
};

/// User and password of a registry. Never stored and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Source of bytecode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BytecodeSource {
    /// File on this machine, by absolute path.
    File(PathBuf),
    /// Image in a registry.
    Image {
        /// Complete reference.
        url: String,
        /// Condition for fetching it.
        pull_policy: PullPolicy,
        /// Credentials, for registries that require them.
        credentials: Option<Credentials>,
    },
}

/// Program of a load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramRequest {
    /// Function name in the object file.
    pub name: String,
    /// Declared type; a declared entry probe becomes a return probe if its section is one.
    pub program_type: ProgramType,
    /// Function or hook, for types that need one at load.
    pub target: Option<String>,
}

/// Load of one or more programs of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadRequest {
    /// Source of the bytecode.
    pub source: BytecodeSource,
    /// Programs, at least one.
    pub programs: Vec<ProgramRequest>,
    /// Key-value pairs of the user.
    pub metadata: BTreeMap<String, String>,
    /// Bytes of global variables, by name.
    pub global_data: BTreeMap<String, Vec<u8>>,
    /// Other values that the load sets in the object.
    pub values: LoadValues,
    /// Program whose maps the load uses instead of its own.
    pub map_owner: Option<ProgramId>,
    /// True to return the complete verifier log.
    pub verifier_log: bool,
    /// User id of the caller.
    pub caller_uid: u32,
    /// Owner of the programs.
    pub owner: Owner,
    /// Limits of the load, in addition to those of the daemon.
    pub limits: LoadLimits,
    /// CPU limit of each program.
    pub cpu: Option<CpuLimit>,
    /// True if the owner's programs have a common CPU limit, so that the use of each has to be measured.
    pub measured: bool,
    /// Time after which the programs are unloaded, in seconds.
    pub ttl: Option<u64>,
    /// Lease that the programs end with.
    pub lease: Option<ClientLease>,
    /// Restrictions of a tenant's programs. Programs of namespaced applications are restricted in any case.
    pub tenant: Option<TenantRules>,
}

impl LoadRequest {
    /// Creates a load without options. Root is its caller and owner, unless access control sets others.
    #[must_use]
    pub fn new(source: BytecodeSource, programs: Vec<ProgramRequest>) -> Self {
        Self {
            source,
            programs,
            metadata: BTreeMap::new(),
            global_data: BTreeMap::new(),
            values: LoadValues::default(),
            map_owner: None,
            verifier_log: false,
            caller_uid: 0,
            owner: Owner::Root,
            limits: LoadLimits::default(),
            cpu: None,
            measured: false,
            ttl: None,
            lease: None,
            tenant: None,
        }
    }
}

/// Values that a load sets in its object, as written by a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadValues {
    /// Global variables by name, each as text: the type in the object determines its meaning.
    pub globals: BTreeMap<String, String>,
    /// True to read each text only in the text form of its type, never as hexadecimal bytes.
    pub by_type_only: bool,
    /// Numbers of entries of maps by name (`max_entries`); of a ring buffer, its size in bytes.
    pub map_sizes: BTreeMap<String, u32>,
}

/// Limits of one load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadLimits {
    /// Kernel memory of its maps, in bytes.
    pub map_bytes: Option<u64>,
    /// Instructions of all programs, both before loading and as processed by the verifier (since Linux 5.16).
    pub verified_instructions: Option<u64>,
    /// True to refuse a program that is requested as an entry probe but has the section of a return probe.
    pub no_returns_by_section: bool,
}

/// Isolation of a member from the others of its chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sharing {
    /// Separate program behind a tail call: it shares no stack, maps or budgets with its neighbours.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub isolated: bool,
    /// True if the user intends REDIRECT in the proceed-on set: no warning about lost targets. The chain is the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redirect_may_proceed: bool,
    /// True if the member runs and is counted, but its verdicts are ignored.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
}

impl Sharing {
    /// Returns whether all options have their defaults.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        !self.isolated && !self.redirect_may_proceed && !self.shadow
    }
}

/// Attachment of a loaded program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachRequest {
    /// Id of the program.
    pub program: ProgramId,
    /// Attach point.
    pub point: AttachPoint,
    /// Position among the others of its hook, besides its priority. Only for XDP, tc and tcx.
    pub order: OrderIntent,
    /// Isolation from the others of its chain. Only for XDP and tc.
    pub sharing: Sharing,
    /// Key-value pairs of the user.
    pub metadata: BTreeMap<String, String>,
    /// Time after which the program is detached, in seconds.
    pub ttl: Option<u64>,
    /// Owner of the link.
    pub owner: Owner,
    /// Cgroup (version 2) of the caller's tasks; `None` if it is not known.
    pub group: Option<CallerGroup>,
}

impl AttachRequest {
    /// Creates an attachment without options. Root is its owner, unless access control sets another.
    #[must_use]
    pub fn new(program: ProgramId, point: AttachPoint) -> Self {
        Self {
            program,
            point,
            order: OrderIntent::default(),
            sharing: Sharing::default(),
            metadata: BTreeMap::new(),
            ttl: None,
            owner: Owner::Root,
            group: None,
        }
    }
}

/// Attachment to every matching interface, present and future.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchRequest {
    /// Attachment. The interface and namespace of its point are ignored.
    pub attach: AttachRequest,
    /// Selection of the interfaces.
    pub interfaces: InterfaceMatch,
}

/// Filter of a list of programs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Number in the kernel's `enum bpf_prog_type`.
    pub kernel_type: Option<u32>,
    /// Exact type; excludes third-party programs.
    pub program_type: Option<ProgramType>,
    /// True to exclude third-party programs.
    pub managed_only: bool,
    /// Pairs that the program's metadata must contain; any pair excludes third-party programs.
    pub metadata: BTreeMap<String, String>,
}
