//! Objects of the C compiler: read, linked, refused, and loaded on the kernel that is there.

mod compile;
mod damage;
mod kernel_types;
mod maps_and_globals;
mod modules;
mod moved_types;
mod programs;
mod real_kernel;
mod refused;
mod same_as_libbpf;
