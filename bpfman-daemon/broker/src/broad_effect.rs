//! Functions of the kernel that let a program affect more than its type and attach point imply.

use bpfmand_calls::{KernelCall, kernel_calls};

/// Effect of a program beyond its type and its attach point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BroadEffect {
    /// Changes or signals any process, or calls functions of the kernel that have no number.
    Processes(&'static str),
    /// Sends packets to other interfaces.
    Interfaces(&'static str),
}

const fn effect(helper: u32) -> Option<BroadEffect> {
    Some(match helper {
        13 => BroadEffect::Interfaces("bpf_clone_redirect"),
        23 => BroadEffect::Interfaces("bpf_redirect"),
        36 => BroadEffect::Processes("bpf_probe_write_user"),
        58 => BroadEffect::Processes("bpf_override_return"),
        109 => BroadEffect::Processes("bpf_send_signal"),
        117 => BroadEffect::Processes("bpf_send_signal_thread"),
        152 => BroadEffect::Interfaces("bpf_redirect_neigh"),
        155 => BroadEffect::Interfaces("bpf_redirect_peer"),
        _ => return None,
    })
}

/// Returns the effects of the calls of a program, once each.
pub fn broad_effects(code: &[u8]) -> Vec<BroadEffect> {
    let mut found = Vec::new();
    for call in kernel_calls(code) {
        let one = match call {
            KernelCall::Helper(number) => effect(number),
            KernelCall::Function(_) => Some(BroadEffect::Processes("a function of the kernel (kfunc)")),
        };
        if let Some(one) = one.filter(|one| !found.contains(one)) {
            found.push(one);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_beyond_type_and_place_are_found() {
        let call = |source: u8, number: u32| {
            let mut bytes = vec![0x85, source << 4, 0, 0];
            bytes.extend(number.to_ne_bytes());
            bytes
        };
        for (number, expected) in [
            (36, Some(BroadEffect::Processes("bpf_probe_write_user"))),
            (58, Some(BroadEffect::Processes("bpf_override_return"))),
            (109, Some(BroadEffect::Processes("bpf_send_signal"))),
            (117, Some(BroadEffect::Processes("bpf_send_signal_thread"))),
            (23, Some(BroadEffect::Interfaces("bpf_redirect"))),
            (155, Some(BroadEffect::Interfaces("bpf_redirect_peer"))),
            (1, None),
            (51, None),
            (113, None),
        ] {
            assert_eq!(broad_effects(&call(0, number)), Vec::from_iter(expected), "{number}");
            // A call of the program's own function, at this distance.
            assert_eq!(broad_effects(&call(1, number)), []);
        }
        assert_eq!(broad_effects(&call(2, 9)).len(), 1);
        assert_eq!(broad_effects(&[call(0, 109), call(0, 109), call(0, 13)].concat()).len(), 2);
    }
}
