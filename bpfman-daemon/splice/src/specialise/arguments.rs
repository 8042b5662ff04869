/// Number of a helper's arguments, by `enum bpf_func_id`; variadic helpers count as five. Linux 6.2 and later add none.
#[rustfmt::skip]
const ARGUMENTS: [u8; 212] = [
    5, 2, 4, 2, 3, 0, 5, 0, 0, 5, 5, 5, 3, 3, 0, 0, 2, 1, 3, 1, 4, 4, 2, 2, 1, 5, 4, 3, 5, 3, 3, 3,
    2, 3, 1, 0, 3, 2, 3, 2, 2, 1, 0, 3, 2, 3, 1, 1, 2, 5, 4, 3, 4, 4, 2, 4, 3, 5, 2, 2, 4, 2, 2, 4,
    3, 2, 5, 4, 5, 4, 4, 4, 4, 4, 4, 3, 4, 1, 4, 1, 0, 2, 4, 2, 5, 5, 1, 3, 2, 2, 4, 4, 3, 1, 1, 1,
    1, 1, 1, 5, 5, 4, 3, 3, 3, 4, 4, 4, 2, 1, 5, 5, 3, 3, 3, 3, 2, 1, 0, 4, 4, 5, 1, 1, 3, 0, 5, 3,
    1, 2, 4, 3, 2, 2, 2, 2, 1, 1, 1, 1, 1, 4, 4, 4, 3, 4, 2, 3, 3, 5, 4, 1, 4, 2, 1, 2, 4, 2, 0, 2,
    0, 3, 1, 5, 4, 5, 3, 4, 1, 3, 2, 3, 1, 1, 1, 1, 3, 4, 1, 4, 5, 4, 3, 3, 2, 1, 0, 1, 1, 4, 4, 5,
    3, 3, 2, 3, 1, 4, 4, 2, 2, 5, 5, 3, 3, 3, 2, 2, 0, 4, 4, 2,
];

/// Returns the number of a helper's arguments, in registers from 1 on; five for an unknown helper.
pub(crate) fn of_helper(id: i32) -> u8 {
    usize::try_from(id).ok().and_then(|id| ARGUMENTS.get(id)).copied().unwrap_or(5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helpers_take_what_the_kernel_says() {
        // Map lookup and update, ktime_get_ns, trace_printk, tail_call, xdp_adjust_head, loop, cgrp_storage_delete
        let known = [(1, 2), (2, 4), (5, 0), (6, 5), (12, 3), (44, 2), (181, 4), (211, 2)];
        for (id, registers) in known {
            assert_eq!(of_helper(id), registers, "{id}");
        }
        assert_eq!([of_helper(0), of_helper(212), of_helper(-1)], [5; 3]);
    }
}
