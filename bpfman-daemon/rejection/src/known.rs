//! Known messages of the kernel's `kernel/bpf/verifier.c` and `btf.c`, Linux 5.10 to 6.18.

/// Known message. The first match counts.
pub struct KnownMessage {
    pub pattern: &'static str,
    pub word: &'static str,
    /// Meaning, with indexes of holes.
    pub sentence: &'static str,
    pub advice: &'static str,
}

const fn known(
    word: &'static str,
    pattern: &'static str,
    sentence: &'static str,
    advice: &'static str,
) -> KnownMessage {
    KnownMessage { pattern, word, sentence, advice }
}

const COMPARE_WITH_END: &str =
    "compare before the access, with the pointer that it goes through: `if (p + SIZE > data_end) return …;`";
const BOUND_INDEX: &str = "bound the index before the access, as an unsigned number: `if (i >= COUNT) return …;`; what \
    the compiler moves or splits may need `barrier_var(i)` or `i &= COUNT - 1`";
const TEST_NULL: &str = "compare it with NULL first: `if (!p) return …;`";
const SET_WHOLE: &str = "set the whole variable first, its padding too: `= {}` or __builtin_memset()";
const LESS_STACK: &str = "keep large variables in a per-CPU array map of one entry";
const SHORTER: &str = "shorten or unroll less of its loops, use bpf_loop() (Linux 5.17), or move code into global functions, \
    which are verified once each";
const END_LOOP: &str = "give the loop a bound that is a constant, or use bpf_loop() (Linux 5.17)";
const READ_BY_HELPER: &str = "read memory of the kernel by BPF_CORE_READ() or bpf_probe_read_kernel(), memory of a \
    process by bpf_probe_read_user()";
const CONSTANT_OFFSET: &str =
    "copy the pointer to another variable before it is changed, and add numbers that are bounded";
const RELEASE: &str = "release it on every path: bpf_sk_release(), bpf_ringbuf_submit() or _discard(), bpf_task_release() \
    and others, by what was acquired";
const WHO_HAS_HELPERS: &str =
    "`bpftool feature probe kernel` lists the helpers of each type of program on this kernel";
const OTHER_FIELD: &str = "the field may be younger than this kernel, not be for this type of program, or be read by \
    another size than it has; of fentry, fexit and raw trace points, count the arguments";
const ON_EVERY_PATH: &str = "give the variable a value on every path; a function that is no void needs a return on every \
    path, and a call leaves nothing in r1 to r5";
const UNLOCK: &str = "call bpf_spin_unlock() on every path, and nothing else in between";
const MAKE_SLEEPABLE: &str = "use a section for sleepable programs (lsm.s/…, fentry.s/…, uprobe.s/…), or a function \
    that does not sleep";
const ONLY_READ: &str = "write through a map, a helper or a kernel function that offers it";
const SAY_LICENSE: &str =
    "if it is: `char LICENSE[] SEC(\"license\") = \"GPL\";` (\"Dual BSD/GPL\" counts too)";
const UNDEFINED: &str = "clang ends functions so where it found undefined behaviour: a missing return, a variable without a \
    value, an endless loop; compile with -Wall";

const BUILD_V3: &str = "build it with `-mcpu=v3`, or run it on Linux 6.6 or later; clang makes such instructions with \
    `-mcpu=v4`, newer versions of gcc by default";
const BUILD_FOR_OLDER: &str = "build it with `-mcpu=v3`, or with `-mcpu=v2` for a kernel before Linux 5.12; `bpfman check FILE` \
    names newer instructions, with the version of Linux that has them";

/// More specific messages come first.
pub const KNOWN: &[KnownMessage] = &[
    known(
        "packet-bounds",
        "invalid access to packet, off={} size={}, R{}",
        "it accesses {1} byte(s) of the packet that no comparison with its end has shown to be there",
        COMPARE_WITH_END,
    ),
    known(
        "map-value-bounds",
        "invalid access to map value, value_size={} off={} size={}",
        "it accesses {2} byte(s) at offset {1} of a map's value, which has {0}",
        BOUND_INDEX,
    ),
    known(
        "memory-bounds",
        "invalid access to map key, key_size={} off={} size={}",
        "it accesses {2} byte(s) at offset {1} of a map's key, which has {0}",
        BOUND_INDEX,
    ),
    known(
        "memory-bounds",
        "invalid access to memory, mem_size={} off={} size={}",
        "it accesses {2} byte(s) at offset {1} of memory that has {0}",
        BOUND_INDEX,
    ),
    known(
        "unbounded-size",
        "R{} unbounded memory access, use 'var &= const'",
        "it passes r{0} as a size that may be of any value",
        "bound it before the call: `if (size > MAX) return …;` or `size &= MAX - 1`",
    ),
    known(
        "unbounded-index",
        "R{} unbounded memory access",
        "it accesses memory at an offset without a bound, by r{0}",
        BOUND_INDEX,
    ),
    known(
        "negative-index",
        "R{} min value is negative",
        "it uses r{0}, which may be negative, as an offset or a size",
        "make the variable unsigned, or compare it first: `if (i < 0) return …;`",
    ),
    known(
        "unbounded-index",
        "math between {} pointer and register with unbounded min value",
        "it adds a number without a bound to {0 in words}",
        BOUND_INDEX,
    ),
    known(
        "unbounded-index",
        "R{} {} value is outside of the allowed memory range",
        "it accesses memory by r{0}, which may be outside of what is there",
        BOUND_INDEX,
    ),
    known(
        "null",
        "R{} invalid mem access '{}_or_null'",
        "it goes through r{0}, which may be NULL: {1 in words} or NULL",
        TEST_NULL,
    ),
    known(
        "null",
        "R{} invalid mem access '{}ptr_or_null_{}'",
        "it goes through r{0}, which may be NULL: a pointer to the kernel's {2}",
        TEST_NULL,
    ),
    known(
        "null",
        "R{} invalid mem access '{}ptr_or_null_'",
        "it goes through r{0}, which may be NULL: a pointer to an object of the kernel",
        TEST_NULL,
    ),
    known("null", "Possibly NULL pointer passed to {}", "it passes what may be NULL ({0})", TEST_NULL),
    known(
        "null",
        "R{} type={}_or_null expected=",
        "it passes {1 in words}, which may be NULL, in r{0}",
        TEST_NULL,
    ),
    known(
        "no-pointer",
        "R{} invalid mem access 'scalar'",
        "it goes through r{0} as if it were a pointer; to the verifier it is a number",
        READ_BY_HELPER,
    ),
    known(
        "no-pointer",
        "R{} invalid mem access 'inv'",
        "it goes through r{0} as if it were a pointer; to the verifier it is a number",
        READ_BY_HELPER,
    ),
    known(
        "wrong-pointer",
        "R{} invalid mem access '{}'",
        "it goes through r{0}, which is {1 in words}",
        READ_BY_HELPER,
    ),
    known(
        "no-value",
        "R0 !read_ok",
        "it returns, or reads r0, where nothing was written to it",
        ON_EVERY_PATH,
    ),
    known("no-value", "R{} !read_ok", "it reads r{0}, where nothing was written to it", ON_EVERY_PATH),
    known(
        "stack-no-value",
        "invalid indirect read from stack {}",
        "it passes bytes of its stack that nothing was written to",
        SET_WHOLE,
    ),
    known(
        "stack-no-value",
        "invalid read from stack {}",
        "it reads bytes of its stack that nothing was written to",
        SET_WHOLE,
    ),
    known(
        "stack-bounds",
        "invalid write to stack {}",
        "it writes outside of its stack, which has 512 bytes",
        LESS_STACK,
    ),
    known(
        "stack-bounds",
        "invalid stack {}",
        "it accesses what is outside of its stack, which has 512 bytes",
        LESS_STACK,
    ),
    known(
        "stack-bounds",
        "invalid variable-offset {}",
        "it accesses its stack at an offset without a bound ({0})",
        BOUND_INDEX,
    ),
    known(
        "zero-size",
        "R{} invalid zero-sized read",
        "it passes a size that may be 0, in r{0}",
        "compare it first: `if (!size) return …;`",
    ),
    known(
        "zero-size",
        "invalid zero-sized read",
        "it passes a size that may be 0",
        "compare it first: `if (!size) return …;`",
    ),
    known(
        "stack-size",
        "combined stack size of {} calls is {}. Too large",
        "{0} of its functions that call each other take {1} bytes of stack, of 512",
        LESS_STACK,
    ),
    known(
        "stack-size",
        "the call stack of {} frames is too deep",
        "its functions call each other {0} deep; 8 is the most",
        "have the compiler inline some: `static __always_inline`",
    ),
    known(
        "helper",
        "program of this type cannot use helper {}#{}",
        "it calls {0}, which programs of its type cannot on this kernel",
        WHO_HAS_HELPERS,
    ),
    known(
        "helper",
        "unknown func {}#{}",
        "it calls {0}, which programs of its type cannot on this kernel",
        WHO_HAS_HELPERS,
    ),
    known(
        "helper",
        "invalid func {}#{}",
        "it calls helper {1}, which this kernel does not have",
        WHO_HAS_HELPERS,
    ),
    known(
        "helper",
        "cannot pass map_type {} into func {}#{}",
        "it passes {1} a map of a type that it does not take (number {0})",
        "helpers differ by type of map: queues have push and pop, ring buffers reserve and submit, arrays and hashes look up",
    ),
    known(
        "license",
        "cannot call GPL-restricted function from non-GPL compatible program",
        "it calls what only programs under the GPL may, and its object does not say that it is",
        SAY_LICENSE,
    ),
    known(
        "license",
        "cannot call kernel function from non-GPL compatible program",
        "it calls what only programs under the GPL may, and its object does not say that it is",
        SAY_LICENSE,
    ),
    known(
        "kernel-function",
        "calling kernel function {} is not allowed",
        "it calls the kernel's {0}, which programs of its type may not on this kernel",
        "kernel functions (kfuncs) are no stable interface: see which types of program this kernel registers it for",
    ),
    known(
        "sleep",
        "program must be sleepable to call sleepable kfunc {}",
        "it calls the kernel's {0}, which may sleep, and is not sleepable",
        MAKE_SLEEPABLE,
    ),
    known(
        "sleep",
        "helper call might sleep in a non-sleepable prog",
        "it calls a helper that may sleep, and is not sleepable",
        MAKE_SLEEPABLE,
    ),
    known("sleep", "sleepable helper {}#{} in {}", "it calls {0}, which may sleep, in {2}", MAKE_SLEEPABLE),
    known(
        "endless-loop",
        "infinite loop detected at insn {}",
        "it has a loop that goes on without end",
        END_LOOP,
    ),
    known(
        "endless-loop",
        "back-edge from insn {} to {}",
        "it has a loop that this kernel takes no program with",
        END_LOOP,
    ),
    known(
        "too-complex",
        "BPF program is too large. Processed {} insn",
        "it has too many paths: the verifier gave up after {0} instructions",
        SHORTER,
    ),
    known(
        "too-complex",
        "The sequence of {} jumps is too complex",
        "it has too many paths: the verifier gave up after {0} branches",
        SHORTER,
    ),
    known(
        "return-value",
        "At program exit the register R{} ",
        "it returns a value that programs of its type may not",
        "return only values that this type of program has a meaning for",
    ),
    known(
        "return-value",
        "At {} the register R{} ",
        "it returns a value that a {0} may not",
        "return only values that this type of function has a meaning for",
    ),
    known("no-end", "last insn is not an exit or jmp", "its last function has no end", UNDEFINED),
    known("no-end", "jump out of range from insn {} to {}", "it jumps out of a function", UNDEFINED),
    known(
        "no-end",
        "unreachable insn {}",
        "it has an instruction, number {0}, that nothing leads to",
        UNDEFINED,
    ),
    known(
        "context",
        "invalid bpf_context access off={} size={}",
        "it accesses {1} byte(s) at offset {0} of its context, which programs of its type may not",
        OTHER_FIELD,
    ),
    known(
        "context",
        "dereference of modified ctx ptr R{} off={} disallowed",
        "it accesses its context by a pointer that it has changed",
        "read fields of the context directly, each into a variable, before other work",
    ),
    known(
        "context",
        "func '{}' doesn't have {}-th argument",
        "it reads an argument that the kernel's {0} does not have",
        OTHER_FIELD,
    ),
    known(
        "struct-bounds",
        "access beyond struct {} at off {} size {}",
        "it reads {2} byte(s) at offset {1}, beyond the end of the kernel's struct {0}",
        OTHER_FIELD,
    ),
    known(
        "struct-bounds",
        "access beyond the end of member {}",
        "it reads beyond the end of the kernel's {0}",
        OTHER_FIELD,
    ),
    known(
        "reference",
        "Unreleased reference id={}",
        "it ends, and has not released what it acquired",
        RELEASE,
    ),
    known(
        "reference",
        "BPF_EXIT instruction {} would lead to reference leak",
        "it ends, and has not released what it acquired",
        RELEASE,
    ),
    known(
        "lock",
        "function calls are not allowed while holding a lock",
        "it calls a function while it holds a lock",
        UNLOCK,
    ),
    known("lock", "bpf_spin_unlock is missing", "it ends while it holds a lock", UNLOCK),
    known(
        "lock",
        "BPF_EXIT instruction {} cannot be used inside bpf_spin_lock-ed region",
        "it ends while it holds a lock",
        UNLOCK,
    ),
    known(
        "argument",
        "R{} type={} expected={}",
        "it passes {1 in words} in r{0}, where the verifier expects {2}",
        "see the helper's or function's declaration for what each argument has to be",
    ),
    known(
        "constant",
        "R{} must be a known constant",
        "it passes a variable in r{0} where only a constant may be",
        "write the number itself, or a `const volatile` global",
    ),
    known(
        "constant",
        "R{} is not a known constant",
        "it passes a variable in r{0} where only a constant may be",
        "write the number itself, or a `const volatile` global",
    ),
    known(
        "pointer-arithmetic",
        "R{} pointer arithmetic on {} prohibited",
        "it calculates with r{0}, {1 in words}, which is not allowed",
        CONSTANT_OFFSET,
    ),
    known(
        "pointer-arithmetic",
        "R{} pointer arithmetic with {} operator prohibited",
        "it calculates with a pointer, in r{0}, by {1}",
        CONSTANT_OFFSET,
    ),
    known(
        "pointer-arithmetic",
        "R{} {}-bit pointer arithmetic prohibited",
        "it calculates with half of a pointer, in r{0}",
        "keep pointers in 64-bit variables",
    ),
    known(
        "pointer-arithmetic",
        "R{} bitwise operator {} on pointer prohibited",
        "it calculates with the bits of a pointer, in r{0}",
        CONSTANT_OFFSET,
    ),
    known(
        "pointer-arithmetic",
        "R{} pointer -= pointer prohibited",
        "it subtracts pointers, in r{0}, which takes CAP_PERFMON",
        "programs of tenants are loaded without CAP_PERFMON: read a packet's length by `skb->len` or \
         bpf_xdp_get_buff_len()",
    ),
    known(
        "pointer-arithmetic",
        "R{} pointer {} pointer prohibited",
        "it adds or subtracts pointers, in r{0}",
        CONSTANT_OFFSET,
    ),
    known(
        "kernel-address",
        "R{} pointer comparison prohibited",
        "it compares a pointer, in r{0}, which takes CAP_PERFMON",
        "programs of tenants are loaded without CAP_PERFMON: compare pointers with NULL, and those into a packet with its end",
    ),
    known(
        "kernel-address",
        "R{} leaks addr ",
        "it gives away an address of the kernel, in r{0}, which takes CAP_PERFMON",
        "programs of tenants are loaded without CAP_PERFMON: keep numbers, and no pointers, in maps and results",
    ),
    known(
        "read-only",
        "write into map forbidden",
        "it writes into a map that can only be read by programs",
        ONLY_READ,
    ),
    known(
        "read-only",
        "R{} cannot write into {}",
        "it writes by r{0} into {1 in words}, which can only be read",
        ONLY_READ,
    ),
    known(
        "read-only",
        "cannot write into packet",
        "it writes into the packet, which programs of its type may not",
        ONLY_READ,
    ),
    known(
        "read-only",
        "only read is supported",
        "it writes into memory of the kernel that can only be read",
        ONLY_READ,
    ),
    known(
        "instruction-set",
        "unknown opcode d7",
        "it has a byte swap of instruction set version 4, which Linux has since 6.6",
        BUILD_V3,
    ),
    known(
        "instruction-set",
        "unknown opcode 06",
        "it has a long jump of instruction set version 4, which Linux has since 6.6",
        BUILD_V3,
    ),
    known(
        "instruction-set",
        "unknown opcode 0d",
        "it has a jump to an address in a register, by a jump table, which Linux has since 6.19",
        "build it with `-fno-jump-tables` or `-mcpu=v3`",
    ),
    known(
        "instruction-set",
        "unknown opcode e5",
        "it has a may_goto (`can_loop`, `cond_break`), which Linux has since 6.9",
        END_LOOP,
    ),
    known(
        "instruction-set",
        "unknown opcode {}",
        "it has an instruction that this kernel does not know",
        BUILD_FOR_OLDER,
    ),
    known(
        "instruction-set",
        "BPF_LDX uses reserved fields",
        "it has a load that extends the sign, of instruction set version 4, which Linux has since 6.6",
        BUILD_V3,
    ),
    known(
        "instruction-set",
        "BPF_MOV uses reserved fields",
        "it has a move that extends the sign, of instruction set version 4, which Linux has since 6.6",
        BUILD_V3,
    ),
    known(
        "instruction-set",
        "BPF_ALU uses reserved fields",
        "it has a signed division, of instruction set version 4, which Linux has since 6.6",
        BUILD_V3,
    ),
    known(
        "instruction-set",
        "BPF_ATOMIC uses invalid atomic opcode {}",
        "it has an atomic operation that this kernel does not know (opcode {0}); load-acquire and store-release, which are \
         100 and 110, take Linux 6.15",
        BUILD_FOR_OLDER,
    ),
    known(
        "instruction-set",
        "BPF_STX uses reserved fields",
        "it has an atomic operation other than an addition without result, which Linux has since 5.12",
        "build it with `-mcpu=v2`",
    ),
    known(
        "no-end",
        "unexpected __bpf_trap() due to uninitialized variable?",
        "it gets to where the compiler found undefined behaviour",
        UNDEFINED,
    ),
    known(
        "alignment",
        "misaligned {} access",
        "it accesses memory ({0}) at an offset that is no multiple of its size",
        "use memcpy() or a packed struct",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let mut shown = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            shown.push_str(before);
            shown.push('…');
            rest = after.split_once('}').map_or("", |(_, after)| after);
        }
        shown + rest
    }

    #[test]
    fn the_page_for_users_has_every_message() {
        let page = include_str!("../../../docs/verifier.md");
        let (_, rest) = page.split_once("<!-- messages -->\n").unwrap();
        let (table, _) = rest.split_once("<!-- end of messages -->").unwrap();
        let rows = KNOWN.iter().map(|known| {
            format!("| `{}` | `{}` | {} |\n", known.word, shown(known.pattern), shown(known.sentence))
        });
        let expected =
            format!("| cause | message | meaning |\n| --- | --- | --- |\n{}", rows.collect::<String>());
        assert!(table == expected, "docs/verifier.md is to have this table:\n{expected}");
    }

    /// The kernel reports a version 4 instruction by its opcode or by reserved fields.
    #[test]
    fn unknown_instructions_name_kernel_and_build() {
        for (message, version, build) in [
            ("unknown opcode d7", "6.6", "-mcpu=v3"),
            ("unknown opcode 06", "6.6", "-mcpu=v3"),
            ("BPF_LDX uses reserved fields", "6.6", "-mcpu=v3"),
            ("BPF_MOV uses reserved fields", "6.6", "-mcpu=v3"),
            ("BPF_ALU uses reserved fields", "6.6", "-mcpu=v3"),
            ("unknown opcode 0d", "6.19", "-fno-jump-tables"),
            ("unknown opcode e5", "6.9", "bpf_loop()"),
            ("BPF_ATOMIC uses invalid atomic opcode 100", "6.15", "-mcpu=v3"),
            ("BPF_STX uses reserved fields", "5.12", "-mcpu=v2"),
            ("unknown opcode ff", "", "-mcpu=v3"),
        ] {
            let cause = crate::RejectionCause::of(message).unwrap();
            assert_eq!(cause.word, "instruction-set", "{message}");
            assert!(cause.sentence.contains(version), "{message}: {}", cause.sentence);
            assert!(cause.advice.contains(build), "{message}: {}", cause.advice);
        }
    }

    #[test]
    fn each_message_has_advice_and_none_hides_another() {
        for (index, known) in KNOWN.iter().enumerate() {
            assert!(!known.advice.is_empty() && !known.advice.contains('\n'), "{}", known.pattern);
            let message = known.pattern.replace("{}", "7");
            let found =
                KNOWN.iter().position(|other| crate::pattern::holes(other.pattern, &message).is_some());
            assert_eq!(found, Some(index), "{}", known.pattern);
        }
    }
}
