//! User-space sides of the example programs: each opens the maps that `bpfmand` pinned for a loaded program and
//! reads or fills them. None of them loads anything, and the daemon need not run.

pub mod count;
pub mod exec_event;
pub mod pinned;
pub mod prefix;
pub mod protocol;
