//! User-space sides of the example programs: each has `bpfmand` hand over the maps of a loaded program, or opens their pins,
//! and reads or fills them. None of them loads anything, or needs privileges.

pub mod address;
pub mod control_group;
pub mod count;
pub mod exec_event;
pub mod failure;
pub mod follow;
pub mod generation;
pub mod kept;
pub mod mode;
pub mod pinned;
pub mod prefix;
pub mod protocol;
pub mod rule_file;
pub mod service;
pub mod source;
pub mod turn;
