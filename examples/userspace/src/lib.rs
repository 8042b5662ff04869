//! User-space library of the examples. They get maps from `bpfmand` or pins, load nothing, and need no rights.

pub mod address;
pub mod control_group;
pub mod count;
pub mod exec_event;
pub mod failure;
pub mod follow;
pub mod follow_file;
pub mod generation;
pub mod mode;
pub mod pinned;
pub mod prefix;
pub mod protocol;
pub mod rule_file;
pub mod service;
pub mod source;
pub mod turn;
