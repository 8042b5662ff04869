//! Nodes: which keep pods away until their programs are back ([`taint`]; [`mark`] writes it), and what is left of those
//! that are gone ([`reap`]).

pub mod mark;
pub mod reap;
pub mod taint;
