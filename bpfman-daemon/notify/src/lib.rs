//! System calls of a supervisor: a filter with a listener, notifications, and memory and descriptors of callers.
//!
//! With `bpfmand-kernel` the only crate with `unsafe` code. It links nothing but the C library: the processes that use it
//! read what hostile programs wrote.

mod caller;
mod filter;
mod listener;
mod map;
mod peer;
mod pending;
mod process;

pub use caller::{CallerDescriptors, CallerMemory};
pub use filter::{Assembler, Condition, Verdict, confine, install};
pub use listener::{Listener, Notification};
pub use map::create_map;
pub use peer::{peer_groups, peer_process};
pub use pending::PendingSlot;
pub use process::{
    ChildEnd, Rights, become_user, close_all_but, end_of_child, fork, fork_into, own_mounts,
    reap_children_by_kernel, set_child_subreaper, signal_group, start_session,
};
