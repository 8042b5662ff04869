//! Properties of members that their instructions show: verdicts, stack, writes to packets.

pub(crate) mod frame;
pub(crate) mod narrow;
pub(crate) mod packet_write;
pub(crate) mod pointer;
pub(crate) mod sends;
pub(crate) mod stack;
pub(crate) mod survey;
pub(crate) mod unwritten;
pub(crate) mod values;
pub(crate) mod verdicts;
