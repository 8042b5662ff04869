//! Requests of the receiver, and answers of the daemon.

use serde::{Deserialize, Serialize};

use crate::{Errno, PerfCall};

/// Call that a program made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CallRequest {
    /// bpf(2). The first buffer is the attribute; the other buffers follow in the order of its fields.
    Bpf {
        command: u32,
        fields: Vec<FieldValue>,
        /// Index of the calling thread's network namespace, if the command acts in it.
        netns: Option<usize>,
    },
    /// Description of a program, which is the first descriptor. The first buffer is the structure.
    ProgramInfo {
        /// True for each part for which the caller has a buffer.
        parts: Vec<bool>,
    },
    /// perf_event_open(2). The first buffer is the attribute.
    PerfEvent(PerfCall),
    /// socket(2) for routes (netlink), in the network namespace that is the first descriptor.
    RouteSocket { socket_type: i32 },
    /// A message to the kernel on the socket that is the first descriptor. The first buffer is the message, in which an
    /// index stands for each descriptor.
    RouteMessage,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FieldValue {
    /// Null pointer.
    Absent,
    /// Descriptor, by its index in the message.
    Descriptor(usize),
    /// Buffer that the kernel reads, by its index in the message. Within code, an index stands for each descriptor.
    Buffer(usize),
    /// Buffer that the kernel writes. Its length follows from the attribute.
    Room,
    /// Array of descriptors; `None` for an entry that is no descriptor.
    Descriptors(Vec<Option<usize>>),
    /// Buffer with one descriptor in it.
    BufferWith {
        buffer: usize,
        descriptor: usize,
        /// Offset in the buffer at which the descriptor stands, in bytes.
        at: usize,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallAnswer {
    /// Return value, or the error. A new descriptor is the first of the message.
    pub result: Result<i64, Errno>,
    /// For each buffer that the kernel may have written: true if the message returns it. The first one is the attribute
    /// or the structure.
    pub written: Vec<bool>,
    /// Reason of a refusal, for the client.
    pub reason: Option<String>,
    /// Line for the list of programs that the client records.
    #[serde(default)]
    pub loaded: Option<String>,
}

impl CallAnswer {
    /// Returns the answer for a call that returned a number.
    #[must_use]
    pub const fn number(value: i64) -> Self {
        Self { result: Ok(value), written: Vec::new(), reason: None, loaded: None }
    }

    /// Returns the answer for a call that was not made.
    #[must_use]
    pub const fn refused(error: Errno) -> Self {
        Self { result: Err(error), written: Vec::new(), reason: None, loaded: None }
    }
}
