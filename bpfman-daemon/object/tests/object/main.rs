//! Objects of the C compiler: parsed, linked, refused, and loaded on the running kernel.

mod committed;
mod compile;
mod damage;
mod damaged_types;
mod kernel_types;
mod maps_and_globals;
mod modules;
mod moved_types;
mod programs;
mod real_kernel;
mod refused;
mod same_as_libbpf;
