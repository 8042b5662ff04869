//! Arguments tagged as the program's context (`__arg_ctx`, Linux 6.8). Earlier kernels go by the argument's type, which
//! differs by program type: function types are appended once per context, and each program uses those of its type.

use std::collections::{BTreeMap, BTreeSet};

use bpfman_model::ProgramType;
use bpfman_model::uapi::prog_type;

use super::{Btf, Kind, Type};

const TAG: &str = "arg:ctx";

/// The kernel allows 256 functions per program.
const MAX_FUNCTIONS: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct TaggedContexts {
    /// Indexes of tagged arguments, by function type id.
    functions: BTreeMap<u32, BTreeSet<u32>>,
    contexts: BTreeSet<&'static str>,
    first: u32,
}

impl TaggedContexts {
    pub(crate) fn of(btf: &Btf, types: impl Iterator<Item = ProgramType>) -> Self {
        let mut functions: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        for tag in btf.types().filter(|ty| ty.kind == Kind::DeclTag && btf.name(ty) == TAG) {
            let global = |ty: Type<'_>| {
                let proto = btf.get(ty.size_or_type)?;
                (ty.kind == Kind::Func && ty.vlen() == 1 && proto.kind == Kind::FuncProto).then_some(())
            };
            if btf.get(tag.size_or_type).and_then(global).is_some() {
                functions.entry(tag.size_or_type).or_default().insert(tag.tagged_part());
            }
        }
        if functions.is_empty() || functions.len() > MAX_FUNCTIONS {
            return Self::default();
        }
        Self { functions, contexts: types.filter_map(context_of).collect(), first: btf.len() + 1 }
    }

    pub(crate) fn count(&self) -> u32 {
        self.contexts.len() as u32 * self.block()
    }

    /// Returns the number of types per context: the context, a pointer to it, and two for each function.
    fn block(&self) -> u32 {
        2 + 2 * self.functions.len() as u32
    }

    pub(crate) fn function_for(&self, type_id: u32, program_type: Option<ProgramType>) -> u32 {
        let find = || {
            let context = self
                .contexts
                .iter()
                .position(|context| Some(*context) == program_type.and_then(context_of))?;
            let function = self.functions.keys().position(|function| *function == type_id)?;
            Some(self.first + context as u32 * self.block() + 2 + 2 * function as u32 + 1)
        };
        find().unwrap_or(type_id)
    }

    /// `named` returns the string offset of a name.
    pub(crate) fn write(&self, btf: &Btf, mut named: impl FnMut(&str) -> u32, mut write: impl FnMut(&[u32])) {
        for (index, context) in self.contexts.iter().enumerate() {
            let own = self.first + index as u32 * self.block();
            write(&[named(context), Kind::Struct.info(0), 0]);
            write(&[0, Kind::Ptr.info(0), own]);
            for (number, (function, tagged)) in self.functions.iter().enumerate() {
                let parts = btf.get(*function).and_then(|ty| Some((ty, btf.get(ty.size_or_type)?)));
                let Some((function, proto)) = parts else { continue };
                let mut words = vec![0, proto.info, proto.size_or_type];
                for (at, (name, type_id)) in proto.params().enumerate() {
                    let name = if name == 0 { named(&format!("param{at}")) } else { name };
                    words.extend([name, if tagged.contains(&(at as u32)) { own + 1 } else { type_id }]);
                }
                write(&words);
                write(&[function.name_off, Kind::Func.info(1), own + 2 + 2 * number as u32]);
            }
        }
    }
}

/// Returns the name of the context type; `None` if arguments are typed, or the context has no name.
fn context_of(program_type: ProgramType) -> Option<&'static str> {
    Some(match program_type.kernel_type() {
        prog_type::SOCKET_FILTER
        | prog_type::SCHED_CLS
        | prog_type::SCHED_ACT
        | prog_type::CGROUP_SKB
        | prog_type::LWT_IN
        | prog_type::LWT_OUT
        | prog_type::LWT_XMIT
        | prog_type::LWT_SEG6LOCAL
        | prog_type::SK_SKB
        | prog_type::FLOW_DISSECTOR => "__sk_buff",
        prog_type::XDP => "xdp_md",
        prog_type::KPROBE => "bpf_user_pt_regs_t",
        prog_type::PERF_EVENT => "bpf_perf_event_data",
        prog_type::RAW_TRACEPOINT | prog_type::RAW_TRACEPOINT_WRITABLE => "bpf_raw_tracepoint_args",
        prog_type::CGROUP_SOCK => "bpf_sock",
        prog_type::CGROUP_SOCK_ADDR => "bpf_sock_addr",
        prog_type::CGROUP_SOCKOPT => "bpf_sockopt",
        prog_type::CGROUP_SYSCTL => "bpf_sysctl",
        prog_type::CGROUP_DEVICE => "bpf_cgroup_dev_ctx",
        prog_type::SOCK_OPS => "bpf_sock_ops",
        prog_type::SK_MSG => "sk_msg_md",
        prog_type::SK_LOOKUP => "bpf_sk_lookup",
        prog_type::SK_REUSEPORT => "sk_reuseport_md",
        prog_type::NETFILTER => "bpf_nf_ctx",
        _ => return None,
    })
}
