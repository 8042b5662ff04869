//! The radar's programs, their attach points, and the activity that each observes.

use bpfman_model::{AttachPoint, ProgramRequest, ProgramType};
use bpfmand_api::RadarSource;
use bpfmand_kernel::SYSCALL_WRAPPERS;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RadarProgram {
    pub name: &'static str,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Entry(&'static str),
    Return(&'static str),
    /// Return of the system call bpf(2), which has a different function name on each architecture.
    ReturnOfCall,
    Trace(&'static str),
}

/// Programs that observe bpf(2), in the order of attachment: the end of a call first, so that no call lacks its end.
#[derive(Clone, Copy, Debug)]
pub struct RadarCore {
    pub source: RadarSource,
    pub programs: [RadarProgram; 2],
    /// Activity that a better source would also observe.
    pub lacks: &'static str,
}

const fn program(name: &'static str, place: Place) -> RadarProgram {
    RadarProgram { name, place }
}

const TRACED_BEGUN: RadarProgram = program("traced_begun", Place::Trace("sys_enter_bpf"));

pub const CORES: [RadarCore; 3] = [
    RadarCore {
        source: RadarSource::Trampolines,
        programs: [
            program("call_ended", Place::ReturnOfCall),
            program("call_begun", Place::Entry("security_bpf")),
        ],
        lacks: "",
    },
    RadarCore {
        source: RadarSource::Tracepoints,
        programs: [program("traced_ended_typed", Place::Trace("sys_exit_bpf")), TRACED_BEGUN],
        lacks: "what programs of type \"syscall\" call, and arguments that a process changes during the call",
    },
    RadarCore {
        source: RadarSource::Tracepoints,
        programs: [program("traced_ended", Place::Trace("sys_exit_bpf")), TRACED_BEGUN],
        lacks: "ids of programs and links, network namespaces, what programs of type \"syscall\" call, and arguments that a \
                process changes during the call",
    },
];

#[derive(Clone, Copy, Debug)]
pub struct RadarExtra {
    pub sees: &'static str,
    /// Alternatives, of which the first that the kernel supports is used.
    pub programs: &'static [RadarProgram],
}

/// All extras. Each is loaded separately, since a kernel may lack any of the functions.
pub const EXTRAS: [RadarExtra; 5] = [
    RadarExtra {
        sees: "XDP by netlink",
        programs: &[program("xdp_by_netlink", Place::Return("dev_change_xdp_fd"))],
    },
    RadarExtra {
        sees: "programs at sockets",
        programs: &[program("socket_program", Place::Return("sk_attach_bpf"))],
    },
    RadarExtra {
        sees: "removed pins",
        programs: &[program("unlinked", Place::Return("security_inode_unlink"))],
    },
    RadarExtra {
        sees: "filters of traffic control",
        programs: &[program("filter", Place::Return("tc_new_tfilter"))],
    },
    RadarExtra {
        sees: "removed filters of traffic control",
        programs: &[program("filter_gone", Place::Return("tc_del_tfilter"))],
    },
];

impl RadarProgram {
    pub fn request(&self) -> ProgramRequest {
        let of_call = || format!("{}bpf", SYSCALL_WRAPPERS.unwrap_or("__do_sys_"));
        let (program_type, target) = match self.place {
            Place::Entry(function) => (ProgramType::Fentry, Some(function.to_owned())),
            Place::Return(function) => (ProgramType::Fexit, Some(function.to_owned())),
            Place::ReturnOfCall => (ProgramType::Fexit, Some(of_call())),
            Place::Trace(_) => (ProgramType::Tracepoint, None),
        };
        ProgramRequest { name: self.name.to_owned(), program_type, target }
    }

    pub fn point(&self) -> AttachPoint {
        match self.place {
            Place::Entry(_) => AttachPoint::Fentry,
            Place::Return(_) | Place::ReturnOfCall => AttachPoint::Fexit,
            Place::Trace(name) => {
                AttachPoint::Tracepoint { category: "syscalls".to_owned(), name: name.to_owned() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_of_the_object_is_used_and_no_other() {
        let source = include_str!("../../../examples/radar/radar.bpf.c");
        let cores = CORES.iter().flat_map(|core| core.programs);
        let extras = EXTRAS.iter().flat_map(|extra| extra.programs.iter().copied());
        let used: std::collections::BTreeSet<&str> =
            cores.chain(extras).map(|program| program.name).collect();
        let declared = source.matches("\nSEC(\"f").count() + source.matches("\nSEC(\"tracepoint").count();
        assert_eq!(used.len(), declared);
        for name in used {
            let declares = [format!("BPF_PROG({name}, "), format!("int {name}(")];
            assert!(declares.iter().any(|text| source.contains(text)), "{name}");
        }
    }
}
