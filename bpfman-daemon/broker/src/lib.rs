//! Sessions of `bpfman run-as`: the daemon's side.
//!
//! A session is one command and what it starts. Its receiver, a process without rights, sends each call as a
//! [`CallRequest`](bpfmand_calls::CallRequest); a thread for each of its channels decides by the session's caller and the grants
//! in force, makes the call, and answers. Descriptors go to the command: this side keeps ids alone, so that everything ends
//! with the command.

mod bpf;
mod bpf_call;
mod decide;
mod event_source;
mod ids;
mod large_calls;
mod lasting;
mod perf;
mod record;
mod route;
mod serve;
mod session;
mod sessions;
mod starter;
mod trivial;

pub use session::{SessionFacts, SessionObjects};
pub use sessions::{NewSession, SessionError, Sessions};
