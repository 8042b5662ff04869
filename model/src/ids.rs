//! Newtypes of all identifiers, so that none can be used as another.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

identifier!(
    /// Kernel id of a program that is loaded by itself; clients name programs by it. Changes after a reboot.
    ProgramId(u32)
);
identifier!(
    /// This daemon's own key of a program: never reused, kept across reboots and replacements.
    ProgramUid(u64)
);
identifier!(
    /// This daemon's own id of an attachment: stable and never zero.
    LinkId(u32)
);
identifier!(
    /// This daemon's own id of an attachment to all matching interfaces: stable and never zero.
    MatchingId(u32)
);
identifier!(
    /// The kernel's id of a `bpf_link`.
    KernelLinkId(u32)
);
identifier!(
    /// The kernel's id of a map. Not reused while the map lives; changes after a reboot.
    MapId(u32)
);
identifier!(
    /// The kernel's id of a BTF object.
    BtfId(u32)
);
identifier!(
    /// Index of a network interface inside its network namespace.
    IfIndex(u32)
);
identifier!(
    /// Id of a lease, which a client holds while it is connected. Objects loaded under it end with it. Never reused.
    ClientLease(u64)
);
identifier!(
    /// Id of one change of state, from its first step to its record. Never reused.
    OperationId(u64)
);
