/// Names of `reg_type_str`; unknown ones are quoted.
pub fn in_words(name: &str) -> String {
    if let Some(rest) = name.strip_suffix("_or_null") {
        return format!("{} or NULL", in_words(rest));
    }
    let known = match name {
        "scalar" | "inv" => "a number",
        "ctx" => "the context",
        "fp" => "an address on the stack",
        "map_ptr" => "a map",
        "map_key" => "an address in a map's key",
        "map_value" => "an address in a map's value",
        "pkt" => "an address in the packet",
        "pkt_meta" => "an address in the packet's metadata",
        "pkt_end" => "the end of the packet",
        "sock" | "sock_common" | "tcp_sock" | "xdp_sock" => "a socket",
        "mem" | "alloc_mem" | "buf" => "an address in memory of known size",
        "rdonly_mem" | "rdonly_buf" => "an address in memory that can only be read",
        "ringbuf_mem" => "an address in a record of a ring buffer",
        "dynptr_ptr" => "a dynptr",
        "func" => "the address of a function",
        _ => return pointer(name).unwrap_or_else(|| format!("'{name}'")),
    };
    known.to_owned()
}

/// Example: `trusted_ptr_or_null_task_struct`.
fn pointer(name: &str) -> Option<String> {
    let (trust, to) = name.split_once("ptr_")?;
    let trust = match trust {
        "" => "a pointer",
        "trusted_" => "a trusted pointer",
        "untrusted_" => "an untrusted pointer",
        "rcu_" => "an RCU-protected pointer",
        "percpu_" => "a per-CPU pointer",
        _ => return None,
    };
    let (to, null) = to.strip_prefix("or_null_").map_or((to, ""), |to| (to, ", or NULL"));
    (!to.is_empty()).then(|| format!("{trust} to the kernel's {to}{null}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_old_and_new_kernels_have_words() {
        for (name, words) in [
            ("inv", "a number"),
            ("scalar", "a number"),
            ("map_value_or_null", "an address in a map's value or NULL"),
            ("ptr_task_struct", "a pointer to the kernel's task_struct"),
            ("trusted_ptr_or_null_task_struct", "a trusted pointer to the kernel's task_struct, or NULL"),
            ("untrusted_ptr_file", "an untrusted pointer to the kernel's file"),
            ("odd", "'odd'"),
            ("ptr_", "'ptr_'"),
        ] {
            assert_eq!(in_words(name), words, "{name}");
        }
    }
}
