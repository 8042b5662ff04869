//! Sessions of `bpfman run-as`: the daemon's side.
//!
//! A session is one command and the processes that it starts. Its receiver, a process without rights, sends
//! each call as a [`CallRequest`](bpfmand_calls::CallRequest); a thread for each of its channels decides by
//! the session's caller and the grants in force, makes the call, and answers. Descriptors go to the command:
//! this side keeps only ids, so that everything ends with the command.

mod admission;
mod bpf;
mod bpf_call;
mod broad_effect;
mod channels;
mod decide;
mod details;
mod event_source;
mod held_place;
mod ids;
mod instructions;
mod lasting;
mod left;
mod map_maker;
mod perf;
mod record;
mod route;
mod serve;
mod session;
mod session_error;
mod sessions;
mod stand_in;
mod starter;
mod trivial;
mod usage;
mod user_calls;
mod waiting_entries;

pub use details::{SessionDetails, SessionOwners};
pub use left::RemovalError;
pub use session::SessionFacts;
pub use session_error::SessionError;
pub use sessions::{NewSession, Sessions};
