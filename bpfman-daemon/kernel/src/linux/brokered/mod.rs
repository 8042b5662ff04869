//! Calls that the daemon makes for programs under `bpfman run-as`: the attribute is the program's, each pointer and
//! descriptor in it is this process's own.

mod call;
mod facts;
pub(super) mod filled;
pub(super) mod perf;
mod program_info;
mod route;

pub use self::call::{CallResult, CallValue, call_by_layout};
pub use self::facts::{
    KernelObject, ProgramBrief, btf_is_of_kernel, id_of, interface_name, map_memory, next_id, object_id,
    open_object, possible_cpus, program_brief, program_type_of, programs_of, tracepoint_name,
};
pub use self::perf::{ProbeEvents, open_perf_event};
pub use self::program_info::{DescribedProgram, program_info};
pub use self::route::{
    detach_unlinked, interface_index, is_route_socket, open_route_socket, programs_at, send_route_message,
    socket_namespace,
};
