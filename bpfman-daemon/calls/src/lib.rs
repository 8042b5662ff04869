//! System calls that a program under `bpfman run-as` makes, as requests that hold no address and no descriptor number of
//! that program.
//!
//! The module `layout` has one entry for each command of bpf(2) that is served: which bytes of the attribute are understood, and
//! which of them are descriptors and pointers. The receiver replaces both by positions in a [`CallMessage`]; the side that
//! makes the call computes the same fields again from the same attribute, so that it fills in every pointer itself.

mod attr;
mod channel;
mod code;
mod errno;
mod layout;
mod link;
mod message;
mod object;
mod perf;
mod program_info;
mod request;
mod route;
mod session;

pub use attr::{CallAttr, MAX_ATTR};
pub use channel::Channel;
pub use code::{CodeReference, KernelCall, descriptor_count, kernel_calls, references};
pub use errno::Errno;
pub use layout::{AttrLayout, Field, FieldKind, MAX_BUFFER, Returned, command, layout};
pub use link::{is_of_interface, needs_namespace};
pub use message::{CallMessage, Head, HeadError, MAX_DESCRIPTORS, MAX_HEAD, MAX_MESSAGE, PREFIX};
pub use object::ObjectKind;
pub use perf::{PERF_ATTR, PerfCall, PerfProbe, PerfProcess};
pub use program_info::{INFO_PARTS, InfoPart, PROGRAM_INFO};
pub use request::{CallAnswer, CallRequest, FieldValue};
pub use route::{RouteKind, RouteRequest, route_requests};
pub use session::{
    ClientMessage, CommandFile, OrderAnswer, ReceiverMessage, SessionMessage, SessionOrder, StartCommand,
    StartVerdict, StarterOrder,
};
