//! Requests, parsed: what reaches the engine is already well-formed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{
    AttachPoint, CallerGroup, ClientLease, CpuLimit, InterfaceMatch, OrderIntent, Owner, ProgramId,
    ProgramType, TenantRules,
};

/// When an image is fetched from its registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PullPolicy {
    /// On every load.
    Always,
    /// When the cache does not have it.
    IfNotPresent,
    /// Never: the cache has it, or the load fails.
    Never,
}

/// A registry's user and password. Never stored and never shown.
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

/// Where bytecode comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BytecodeSource {
    /// A file on this machine, by absolute path.
    File(PathBuf),
    /// An image in a registry.
    Image {
        /// Fully named reference.
        url: String,
        /// When to fetch it.
        pull_policy: PullPolicy,
        /// For registries that ask.
        credentials: Option<Credentials>,
    },
}

/// One program of a load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramRequest {
    /// Function name in the object file.
    pub name: String,
    /// Type as declared; a declared entry probe turns out to be a return probe if its section says so.
    pub program_type: ProgramType,
    /// Function or hook for the types that need one at load.
    pub target: Option<String>,
}

/// A load of one or more programs of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadRequest {
    /// Where the bytecode is.
    pub source: BytecodeSource,
    /// At least one.
    pub programs: Vec<ProgramRequest>,
    /// Free pairs of the user.
    pub metadata: BTreeMap<String, String>,
    /// Bytes of global variables by name.
    pub global_data: BTreeMap<String, Vec<u8>>,
    /// What is set of the object besides.
    pub values: LoadValues,
    /// Share the maps of this program.
    pub map_owner: Option<ProgramId>,
    /// Return the verifier's whole log.
    pub verifier_log: bool,
    /// User id of the caller.
    pub caller_uid: u32,
    /// Whose the programs are.
    pub owner: Owner,
    /// How much it may take, besides what the daemon allows each.
    pub limits: LoadLimits,
    /// How much of a CPU each of the programs may take.
    pub cpu: Option<CpuLimit>,
    /// The owner's programs together are limited, so that what each takes has to be known.
    pub measured: bool,
    /// Seconds after which they are unloaded.
    pub ttl: Option<u64>,
    /// The lease that they end with.
    pub lease: Option<ClientLease>,
    /// What tenants' programs are held to. Those of applications of a namespace are, whatever stands here.
    pub tenant: Option<TenantRules>,
}

/// What a load sets of its object, as a user wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadValues {
    /// Global variables by name, each as text of its type: what that says is known when the object is read.
    pub globals: BTreeMap<String, String>,
    /// Read no text as the bytes of a variable, where its type has other texts: digits are a number.
    pub by_type_only: bool,
    /// Entries of maps by name (`max_entries`); of a ring buffer its bytes.
    pub map_sizes: BTreeMap<String, u32>,
}

/// How much one load may take, if it has limits of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadLimits {
    /// Bytes of kernel memory of its maps.
    pub map_bytes: Option<u64>,
    /// Instructions that the verifier walks through for all its programs together (Linux 5.16 and later count), and
    /// instructions of their text.
    pub verified_instructions: Option<u64>,
}

/// How a member shares its chain with the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sharing {
    /// A program of its own behind a tail call: it shares no stack, maps or budgets with its neighbours.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub isolated: bool,
    /// Its user says that REDIRECT in its proceed-on set is meant: nobody needs to be warned that the target is
    /// forgotten when the chain goes on. It changes nothing about the chain.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redirect_may_proceed: bool,
    /// It runs and is counted, and its verdicts do not count: the chain goes on as if it were not there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
}

impl Sharing {
    /// True if nothing special is wanted.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        !self.isolated && !self.redirect_may_proceed && !self.shadow
    }
}

/// An attachment of a loaded program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachRequest {
    /// Which program.
    pub program: ProgramId,
    /// Where.
    pub point: AttachPoint,
    /// Where among the others of its hook, besides its priority. Only for XDP, tc and tcx.
    pub order: OrderIntent,
    /// How it shares its chain. Only for XDP and tc.
    pub sharing: Sharing,
    /// Free pairs of the user.
    pub metadata: BTreeMap<String, String>,
    /// Seconds after which it is detached.
    pub ttl: Option<u64>,
    /// Whose the link is.
    pub owner: Owner,
    /// The cgroup of version 2 that the caller's tasks are in; none where it is not known.
    pub group: Option<CallerGroup>,
}

/// An attachment to every interface that matches, now and later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchRequest {
    /// What to attach, and how. The interface and namespace that its point names mean nothing.
    pub attach: AttachRequest,
    /// Which interfaces.
    pub interfaces: InterfaceMatch,
}

/// Which programs a list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// The kernel's `enum bpf_prog_type`.
    pub kernel_type: Option<u32>,
    /// An exact type; leaves out programs of others.
    pub program_type: Option<ProgramType>,
    /// Leave out programs of others.
    pub managed_only: bool,
    /// All of these must be in the program's metadata; any pair leaves out programs of others.
    pub metadata: BTreeMap<String, String>,
}
