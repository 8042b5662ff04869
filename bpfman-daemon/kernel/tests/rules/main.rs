//! Rules of the kernel traits, run on the simulated kernel and on this machine's. Changes by other tools are calls of
//! the simulation; on this machine, the tests use `ip`, `tc` and bpf(2) for them.

#![expect(clippy::unwrap_used, reason = "in tests a failure is to panic where it happens")]

mod anchors;
mod bench;
mod containers;
mod damaged_types;
mod extensions;
mod filters;
mod held_namespaces;
mod holders;
mod hooks;
mod interfaces;
mod jump_tables;
mod linux;
mod load_rights;
mod map_walks;
mod maps;
mod namespaces;
mod programs;
mod readers;
mod simulated;
mod strangers;
mod test_runs;

macro_rules! on_both_kernels {
    ($($name:ident),+ $(,)?) => {
        mod simulated {
            $(#[test] fn $name() { super::$name(&crate::simulated::bench()); })+
        }
        mod linux {
            $(#[test] fn $name() { super::$name(&crate::linux::bench(stringify!($name))); })+
        }
    };
}
pub(crate) use on_both_kernels;

macro_rules! on_linux {
    ($($name:ident),+ $(,)?) => {
        mod linux_alone {
            $(#[test] fn $name() { super::$name(&crate::linux::bench(stringify!($name))); })+
        }
    };
}
pub(crate) use on_linux;
