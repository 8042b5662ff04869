//! From records as older daemons wrote them to those of this one.

use bpfmand_store::{Migration, MigrationError};

/// Version of the records. It grows when a daemon that does not know the change would read them wrongly: it refuses
/// records of a version above its own, and a field that it does not know it would drop.
///
/// | version | since then |
/// | --- | --- |
/// | 1 | the first one; whose a program is, its rank and its guard came as fields that a daemon may not know |
/// | 2 | a daemon knows those: one that does not would attach a tenant's probe again without its guard |
/// | 3 | types and points of control groups, network namespaces and others; sizes of maps, which one that does not know them would drop; leases, whose programs would stay |
/// | 4 | groups of maps by user and by grant: one that does not know them cannot read the records of their programs |
pub const SCHEMA: u32 = 4;

/// The steps from older versions, one behind the other.
pub const MIGRATIONS: &[Migration] = &[
    // Fields that are not there have a meaning: root's, without a guard.
    Migration { from: 1, run: |_, _| Ok::<(), MigrationError>(()) },
    // Records without sizes of maps have those of their objects.
    Migration { from: 2, run: |_, _| Ok::<(), MigrationError>(()) },
    // Maps of users and grants stay in the machine's group until their programs are unloaded.
    Migration { from: 3, run: |_, _| Ok::<(), MigrationError>(()) },
];
