//! Nodes: taints that keep pods away until the node's programs are back ([`taint`] decides, [`mark`] writes), and
//! cleanup after deleted nodes ([`reap`]).

pub mod mark;
pub mod reap;
pub mod taint;
