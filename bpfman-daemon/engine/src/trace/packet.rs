//! Packet between two test runs, with the context that the kernel keeps of it.

use bpfmand_kernel::TestContext;

use super::MIN_PACKET;
use crate::EngineError;
use crate::trace::changes::changes;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PacketInFlight {
    pub(super) bytes: Vec<u8>,
    pub(super) context: TestContext,
}

impl PacketInFlight {
    fn metadata(&self) -> usize {
        match self.context {
            TestContext::Xdp { metadata, .. } => (metadata as usize).min(self.bytes.len()),
            _ => 0,
        }
    }

    pub(super) fn packet(&self) -> &[u8] {
        &self.bytes[self.metadata()..]
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum TestRunContext {
    Xdp { ifindex: u32 },
    Tc { ifindex: u32 },
    Nothing,
}

impl TestRunContext {
    pub(super) const fn context(self, mark: u32) -> TestContext {
        match self {
            Self::Xdp { ifindex } => TestContext::Xdp { metadata: 0, ingress_ifindex: ifindex, rx_queue: 0 },
            Self::Tc { ifindex } => TestContext::Tc { mark, priority: 0, cb: [0; 5], ifindex },
            Self::Nothing => TestContext::Plain,
        }
    }
}

pub(super) fn long_enough<'a>(
    packet: &'a PacketInFlight,
    member: &str,
) -> Result<&'a PacketInFlight, EngineError> {
    let length = packet.packet().len();
    if length >= MIN_PACKET {
        return Ok(packet);
    }
    Err(EngineError::Invalid(format!(
        "\"{member}\" cannot be traced: the packet that reaches it has {length} bytes, and the kernel runs programs on \
         nothing shorter than {MIN_PACKET}"
    )))
}

pub(super) fn differences(before: &PacketInFlight, behind: &PacketInFlight) -> Vec<String> {
    let mut all = changes(before.packet(), behind.packet());
    let (old, new) = (&before.bytes[..before.metadata()], &behind.bytes[..behind.metadata()]);
    if old != new {
        all.push(format!("metadata of {} -> {} bytes", old.len(), new.len()));
    }
    if let (
        TestContext::Tc { mark: old_mark, priority: old_priority, cb: old_cb, .. },
        TestContext::Tc { mark, priority, cb, .. },
    ) = (before.context, behind.context)
    {
        let mut number = |name: &str, old: u32, new: u32| {
            if old != new {
                all.push(format!("{name} {old:#x} -> {new:#x}"));
            }
        };
        number("mark", old_mark, mark);
        number("priority", old_priority, priority);
        for (place, (old, new)) in old_cb.into_iter().zip(cb).enumerate() {
            number(&format!("cb[{place}]"), old, new);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tc(bytes: &[u8], mark: u32, first: u32) -> PacketInFlight {
        let context = TestContext::Tc { mark, priority: 0, cb: [first, 0, 0, 0, 0], ifindex: 1 };
        PacketInFlight { bytes: bytes.to_vec(), context }
    }

    fn xdp(bytes: &[u8], metadata: u32) -> PacketInFlight {
        let context = TestContext::Xdp { metadata, ingress_ifindex: 1, rx_queue: 0 };
        PacketInFlight { bytes: bytes.to_vec(), context }
    }

    #[test]
    fn packet_metadata_is_compared_too() {
        assert_eq!(differences(&tc(&[1, 2], 0, 0), &tc(&[1, 2], 0, 0)), [""; 0]);
        let all = differences(&tc(&[1, 2], 0, 5), &tc(&[1, 3], 7, 6));
        assert_eq!(all, ["byte 1: 02 -> 03", "mark 0x0 -> 0x7", "cb[0] 0x5 -> 0x6"]);
    }

    #[test]
    fn metadata_is_no_part_of_the_packet() {
        let all = differences(&xdp(&[1, 2, 3], 0), &xdp(&[9, 9, 9, 9, 1, 2, 3], 4));
        assert_eq!(all, ["metadata of 0 -> 4 bytes"]);
        assert_eq!(xdp(&[1, 2], 8).packet(), [0_u8; 0], "what the kernel says is not trusted to fit");
    }
}
