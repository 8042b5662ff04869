//! Members that parse the same headers, and the same programs optimised by hand: they show the possible gain.

use std::fmt::Write as _;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Folded {
    pub constants: bool,
    pub headers: bool,
}

impl Folded {
    pub const ALL: [(&str, Self); 4] = [
        ("by hand, nothing folded", Self { constants: false, headers: false }),
        ("by hand, constants folded", Self { constants: true, headers: false }),
        ("by hand, headers parsed once", Self { constants: false, headers: true }),
        ("by hand, both", Self { constants: true, headers: true }),
    ];
}

const HEAD: &str = "#include <linux/bpf.h>\n#include <linux/if_ether.h>\n#include <linux/ip.h>\n#include <linux/udp.h>\n\
    #include <bpf/bpf_helpers.h>\n#include <bpf/bpf_endian.h>\nchar LICENSE[] SEC(\"license\") = \"GPL\";\n\
    struct settings { __u8 enabled, protocol; __u16 port; __u32 source, mask; };\n\
    struct parsed { struct iphdr *ip; struct udphdr *udp; };\n\
    static __always_inline int parse(struct xdp_md *ctx, struct parsed *parsed) {\n\
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;\n\
    struct ethhdr *eth = data; if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP)) return 0;\n\
    parsed->ip = (void *)(eth + 1); if ((void *)(parsed->ip + 1) > end || parsed->ip->ihl < 5) return 0;\n\
    parsed->udp = (void *)parsed->ip + parsed->ip->ihl * 4; return (void *)(parsed->udp + 1) <= end; }\n\
    static __always_inline int matches(struct parsed *parsed, __u8 enabled, __u8 protocol, __u16 port, __u32 source, __u32 mask) {\n\
    return enabled && parsed->ip->protocol == protocol && parsed->udp->dest == port && (parsed->ip->saddr & mask) == source; }\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwitchedOn {
    All,
    /// Settings disable every second member, since most options of programs are off.
    Half,
}

fn declared(text: &mut String, number: usize, on: SwitchedOn) {
    let _ = writeln!(
        text,
        "struct {{ __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, __u32); \
         __type(value, __u64); }} count{number} SEC(\".maps\");\n\
         const volatile struct settings set{number} = {{ {} }};",
        values(number, on)
    );
}

fn values(number: usize, on: SwitchedOn) -> String {
    let enabled = u8::from(on == SwitchedOn::All || number.is_multiple_of(2));
    format!("{enabled}, 17, {}, 0x0a000000, 0xff000000", 1000 + number)
}

fn step(number: usize, on: SwitchedOn, folded: Folded) -> String {
    let settings = if folded.constants {
        values(number, on)
    } else {
        let fields = ["enabled", "protocol", "port", "source", "mask"];
        fields.map(|field| format!("set{number}.{field}")).join(", ")
    };
    format!(
        "if (whole && matches(&parsed, {settings})) return XDP_DROP; \
         {{ __u32 key = 0; __u64 *value = bpf_map_lookup_elem(&count{number}, &key); if (value) *value += 1; }} "
    )
}

pub fn member(number: usize, on: SwitchedOn) -> String {
    let mut text = HEAD.to_owned();
    declared(&mut text, number, on);
    let body = step(number, on, Folded { constants: false, headers: false });
    let _ = writeln!(
        text,
        "SEC(\"xdp\") int filter(struct xdp_md *ctx) {{ struct parsed parsed; int whole = parse(ctx, &parsed); {body} return XDP_PASS; }}"
    );
    text
}

pub fn merged(members: usize, on: SwitchedOn, folded: Folded) -> String {
    let mut text = HEAD.to_owned();
    for number in 0..members {
        declared(&mut text, number, on);
    }
    let mut body = String::from("struct parsed parsed; int whole; ");
    for number in 0..members {
        if number == 0 || !folded.headers {
            // Make the compiler forget facts about the packet: a chain of members cannot keep them either.
            body.push_str("asm volatile(\"\" : \"+r\"(ctx) : : \"memory\"); whole = parse(ctx, &parsed); ");
        }
        body.push_str(&step(number, on, folded));
    }
    let _ = writeln!(text, "SEC(\"xdp\") int merged(struct xdp_md *ctx) {{ {body} return XDP_PASS; }}");
    text
}
