//! Nodes: taints until programs are back ([`taint`] decides, [`mark`] writes), and cleanup after deletion ([`reap`]).

pub mod mark;
pub mod reap;
pub mod taint;
