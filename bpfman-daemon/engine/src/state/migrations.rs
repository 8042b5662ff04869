//! Migrations of records from older versions to the current one.

use bpfmand_store::{Migration, MigrationError};

/// Version of the record format: raised when an older daemon would misread the records. A daemon refuses versions above
/// its own, and drops fields that it does not know.
///
/// | version | since then |
/// | --- | --- |
/// | 1 | the first version; owner, rank and guard of a program were added as fields that older daemons drop |
/// | 2 | these fields are required: a daemon that drops them would attach a tenant's probe without its guard |
/// | 3 | program types and attach points for cgroups, network namespaces and others; map sizes, which an older daemon would drop; leases, whose programs it would keep |
/// | 4 | map groups by user and by grant: an older daemon cannot read the records of their programs |
pub const SCHEMA: u32 = 4;

/// Migration steps from older versions, in order.
pub const MIGRATIONS: &[Migration] = &[
    // Missing fields have a meaning: root is the owner, and there is no guard.
    Migration { from: 1, run: |_, _| Ok::<(), MigrationError>(()) },
    // Records without sizes of maps use the sizes that their objects declare.
    Migration { from: 2, run: |_, _| Ok::<(), MigrationError>(()) },
    // Maps of users and grants stay in the machine's group until their programs are unloaded.
    Migration { from: 3, run: |_, _| Ok::<(), MigrationError>(()) },
];
