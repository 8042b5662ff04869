//! Arguments of bpf(2), in the layout of `union bpf_attr`. The kernel treats missing fields at the end as zero.

use std::os::fd::RawFd;

#[derive(Clone, Copy, Debug)]
#[repr(i64)]
#[allow(missing_docs, reason = "named as in linux/bpf.h")]
pub enum Command {
    MapCreate = 0,
    MapLookupElem = 1,
    MapUpdateElem = 2,
    MapDeleteElem = 3,
    MapGetNextKey = 4,
    ProgLoad = 5,
    ObjPin = 6,
    ObjGet = 7,
    ProgTestRun = 10,
    ProgGetNextId = 11,
    MapGetNextId = 12,
    ProgGetFdById = 13,
    MapGetFdById = 14,
    ObjGetInfoByFd = 15,
    ProgQuery = 16,
    RawTracepointOpen = 17,
    BtfLoad = 18,
    BtfGetFdById = 19,
    MapFreeze = 22,
    BtfGetNextId = 23,
    MapLookupBatch = 24,
    MapUpdateBatch = 26,
    LinkCreate = 28,
    LinkUpdate = 29,
    LinkGetFdById = 30,
    LinkGetNextId = 31,
    EnableStats = 32,
    IterCreate = 33,
    LinkDetach = 34,
    ProgBindMap = 35,
}

/// Struct with bytes that may be passed to bpf(2).
///
/// # Safety
/// Implementors are `repr(C)`, hold only integers and arrays of them without any padding, and match the kernel's layout
/// of the command they are used with.
pub unsafe trait Attr: Copy {}

macro_rules! attr {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        #[repr(C)]
        pub struct $name { $(pub $field: $type),* }

        // SAFETY: integers only; the sum of the sizes below proves that there is no padding.
        unsafe impl Attr for $name {}
        const _: () = assert!(size_of::<$name>() == 0 $(+ size_of::<$type>())*);
    };
}

attr!(MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: RawFd,
    numa_node: u32,
    map_name: [u8; 16],
    map_ifindex: u32,
    btf_fd: RawFd,
    btf_key_type_id: u32,
    btf_value_type_id: u32,
    btf_vmlinux_value_type_id: u32,
    map_extra: u64,
});
attr!(MapElement { map_fd: RawFd, pad: u32, key: u64, value: u64, flags: u64 });
attr!(BindMap { prog_fd: RawFd, map_fd: RawFd, flags: u32 });
attr!(MapBatch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: RawFd,
    elem_flags: u64,
    flags: u64,
});
attr!(ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
    prog_btf_fd: RawFd,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_cnt: u32,
    line_info_rec_size: u32,
    line_info: u64,
    line_info_cnt: u32,
    attach_btf_id: u32,
    attach_prog_fd: RawFd,
    core_relo_cnt: u32,
    fd_array: u64,
});
attr!(Object { pathname: u64, bpf_fd: RawFd, file_flags: u32 });
attr!(ById { id: u32, next_id: u32, open_flags: u32 });
attr!(InfoByFd { bpf_fd: RawFd, info_len: u32, info: u64 });
attr!(Query {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    count: u32,
    pad: u32,
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
});
attr!(RawTracepoint { name: u64, prog_fd: RawFd, pad: u32, cookie: u64 });
attr!(BtfLoad { btf: u64, btf_log_buf: u64, btf_size: u32, btf_log_size: u32, btf_log_level: u32, pad: u32 });
attr!(Fd { fd: RawFd });
attr!(LinkCreate {
    prog_fd: RawFd,
    target: u32,
    attach_type: u32,
    flags: u32,
    relative: u32,
    pad: u32,
    expected_revision: u64,
});
attr!(
    /// `BPF_LINK_CREATE` for a perf event (Linux 5.15 and later).
    LinkCreateEvent { prog_fd: RawFd, event: RawFd, attach_type: u32, flags: u32, cookie: u64 }
);
attr!(
    /// `BPF_LINK_CREATE` for the target of the load (Linux 6.0 and later).
    LinkCreateTracing {
        prog_fd: RawFd,
        target: u32,
        attach_type: u32,
        flags: u32,
        target_btf_id: u32,
        pad: u32,
        cookie: u64,
    }
);
attr!(
    /// `BPF_LINK_CREATE` for kernel functions (Linux 5.18 and later).
    LinkCreateKprobes {
        prog_fd: RawFd,
        target: u32,
        attach_type: u32,
        flags: u32,
        probe_flags: u32,
        count: u32,
        names: u64,
        addresses: u64,
        cookies: u64,
    }
);
attr!(
    /// `BPF_LINK_CREATE` for user-space functions (Linux 6.6 and later).
    LinkCreateUprobes {
        prog_fd: RawFd,
        target: u32,
        attach_type: u32,
        flags: u32,
        path: u64,
        offsets: u64,
        ref_ctr_offsets: u64,
        cookies: u64,
        count: u32,
        probe_flags: u32,
        pid: u32,
        pad: u32,
    }
);
attr!(
    /// `BPF_LINK_CREATE` for netfilter (Linux 6.4 and later).
    LinkCreateNetfilter {
        prog_fd: RawFd,
        target: u32,
        attach_type: u32,
        flags: u32,
        family: u32,
        hook: u32,
        priority: i32,
        netfilter_flags: u32,
    }
);
attr!(
    /// `BPF_ITER_CREATE`.
    IterCreate { link_fd: RawFd, flags: u32 }
);
attr!(LinkUpdate { link_fd: RawFd, new_prog_fd: RawFd, flags: u32, old_prog_fd: RawFd });
attr!(TestRun {
    prog_fd: RawFd,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    pad: u32,
});
attr!(EnableStats { stats_type: u32 });
attr!(
    /// `struct bpf_prog_info` up to `attach_btf_id`.
    ProgInfo {
        prog_type: u32,
        id: u32,
        tag: [u8; 8],
        jited_prog_len: u32,
        xlated_prog_len: u32,
        jited_prog_insns: u64,
        xlated_prog_insns: u64,
        load_time: u64,
        created_by_uid: u32,
        nr_map_ids: u32,
        map_ids: u64,
        name: [u8; 16],
        ifindex: u32,
        bits: u32,
        netns_dev: u64,
        netns_ino: u64,
        nr_jited_ksyms: u32,
        nr_jited_func_lens: u32,
        jited_ksyms: u64,
        jited_func_lens: u64,
        btf_id: u32,
        func_info_rec_size: u32,
        func_info: u64,
        nr_func_info: u32,
        nr_line_info: u32,
        line_info: u64,
        jited_line_info: u64,
        nr_jited_line_info: u32,
        line_info_rec_size: u32,
        jited_line_info_rec_size: u32,
        nr_prog_tags: u32,
        prog_tags: u64,
        run_time_ns: u64,
        run_cnt: u64,
        recursion_misses: u64,
        verified_insns: u32,
        attach_btf_obj_id: u32,
    }
);
attr!(
    /// `struct bpf_map_info` up to `btf_id`.
    MapInfo {
        map_type: u32,
        id: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        map_flags: u32,
        name: [u8; 16],
        ifindex: u32,
        btf_vmlinux_value_type_id: u32,
        netns_dev: u64,
        netns_ino: u64,
        btf_id: u32,
        pad: u32,
    }
);
attr!(
    /// `struct bpf_link_info`; the words after `prog_id` depend on the type.
    LinkInfo { link_type: u32, id: u32, prog_id: u32, pad: u32, words: [u32; 12] }
);
attr!(
    /// `struct bpf_btf_info`.
    BtfInfo { btf: u64, btf_size: u32, id: u32, name: u64, name_len: u32, kernel_btf: u32 }
);
