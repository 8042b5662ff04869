//! C sources of chains. Every member counts in a per-CPU map of its own and continues: PASS for XDP, -1 for TC.

use std::fmt::Write as _;

use crate::kernel::ProgramKind;

pub fn goes_on(kind: ProgramKind) -> i32 {
    if kind == ProgramKind::Xdp { 2 } else { -1 }
}

fn drops(kind: ProgramKind) -> i32 {
    if kind == ProgramKind::Xdp { 1 } else { 2 }
}

fn context(kind: ProgramKind) -> (&'static str, &'static str) {
    if kind == ProgramKind::Xdp { ("xdp", "struct xdp_md") } else { ("tc", "struct __sk_buff") }
}

fn head(maps: usize) -> String {
    let mut text = String::from(
        "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n\
         char LICENSE[] SEC(\"license\") = \"GPL\";\n\
         #define COUNT(map) do { __u32 key = 0; __u64 *value = bpf_map_lookup_elem(&map, &key); \
         if (value) *value += 1; } while (0)\n",
    );
    for number in 0..maps {
        let _ = writeln!(
            text,
            "struct {{ __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, __u32); \
             __type(value, __u64); }} count{number} SEC(\".maps\");"
        );
    }
    text
}

fn program(text: &mut String, kind: ProgramKind, name: &str, body: &str) {
    let (section, context) = context(kind);
    let _ = writeln!(text, "SEC(\"{section}\") int {name}({context} *ctx) {{ {body} }}");
}

/// Returns the source of the members. `unknown` is `member` with a verdict that depends on the packet.
pub fn members(kind: ProgramKind) -> String {
    let (on, off) = (goes_on(kind), drops(kind));
    let mut text = head(1);
    program(&mut text, kind, "empty", &format!("return {on};"));
    program(&mut text, kind, "member", &format!("COUNT(count0); return {on};"));
    let unknown = format!("COUNT(count0); return ctx->data_end - ctx->data > 8 ? {on} : {off};");
    program(&mut text, kind, "unknown", &unknown);
    program(&mut text, kind, "dropper", &format!("COUNT(count0); return {off};"));
    text
}

pub fn merged(kind: ProgramKind, members: usize, drop: bool) -> String {
    let mut text = head(members);
    let mut body: String = (0..members).map(|number| format!("COUNT(count{number}); ")).collect();
    let _ = write!(body, "return {};", if drop { drops(kind) } else { goes_on(kind) });
    program(&mut text, kind, "merged", &body);
    text
}

/// The cost is a lower bound for libxdp, which replaces the called functions (freplace) and so adds one jump each.
pub fn dispatcher(kind: ProgramKind, members: usize, drop: bool) -> String {
    let (on, context) = (goes_on(kind), context(kind).1);
    let mut text = head(members);
    let _ = writeln!(text, "const volatile struct {{ __u8 enabled; __u32 sets[{members}]; }} config = {{");
    let bit = if kind == ProgramKind::Xdp { on } else { on + 1 };
    let sets: String = (0..members).map(|_| format!("{}u, ", 1_u32 << bit)).collect();
    let _ = writeln!(text, ".enabled = {members}, .sets = {{ {sets} }} }};");
    for number in 0..members {
        let verdict = if drop && number + 1 == members { drops(kind) } else { on };
        let _ = writeln!(
            text,
            "__attribute__((noinline)) int slot{number}({context} *ctx) {{ volatile int verdict = {verdict}; \
             if (!ctx) return 0; COUNT(count{number}); return verdict; }}"
        );
    }
    let shift = if kind == ProgramKind::Xdp { "" } else { " + 1" };
    let mut body = String::from("int verdict; ");
    for number in 0..members {
        let _ = write!(
            body,
            "if (config.enabled < {number} + 1) goto out; verdict = slot{number}(ctx); \
             if (!((1u << (verdict{shift})) & config.sets[{number}])) return verdict; "
        );
    }
    let _ = write!(body, "out: return {on};");
    program(&mut text, kind, "dispatcher", &body);
    text
}

/// `link0`, `link1` and so on call each other by constant keys in the array `next`.
pub fn tail_calls(kind: ProgramKind, members: usize, drop: bool) -> String {
    let mut text = head(members);
    let _ = writeln!(
        text,
        "struct {{ __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, {members}); __type(key, __u32); \
         __type(value, __u32); }} next SEC(\".maps\");"
    );
    for number in 0..members {
        let last = number + 1 == members;
        let verdict = if drop && last { drops(kind) } else { goes_on(kind) };
        let call = if last { String::new() } else { format!("bpf_tail_call(ctx, &next, {}); ", number + 1) };
        program(
            &mut text,
            kind,
            &format!("link{number}"),
            &format!("COUNT(count{number}); {call}return {verdict};"),
        );
    }
    text
}
