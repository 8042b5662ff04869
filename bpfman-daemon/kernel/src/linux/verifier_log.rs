//! The verifier's log: a buffer that it fits in, and what is read from it.

use std::io;

/// Room for the statistics alone: a few lines, and one number a function.
pub const STATISTICS: usize = 8 << 10;
/// Logs grow from here until they fit.
const START: usize = 64 << 10;
/// What Linux takes at most.
const END: usize = (u32::MAX >> 8) as usize;

/// Tries with a buffer that grows until the log fits. The kernel fails a load whose log does not fit, however sound the
/// program: where the largest buffer is too small, what counts is the answer to a last try without a log.
pub fn growing<T>(attempt: impl FnMut(&mut [u8]) -> io::Result<T>) -> (io::Result<T>, Vec<u8>) {
    growing_between(START, END, attempt)
}

fn growing_between<T>(
    start: usize,
    end: usize,
    mut attempt: impl FnMut(&mut [u8]) -> io::Result<T>,
) -> (io::Result<T>, Vec<u8>) {
    let mut size = start;
    loop {
        let mut log = vec![0_u8; size];
        match attempt(&mut log) {
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                if size >= end {
                    return (attempt(&mut []), log);
                }
                size = (size * 4).min(end);
            }
            result => return (result, log),
        }
    }
}

/// Reads "stack depth 24+0+16", which Linux 7.2 ends with " max 48". The last such line is the whole program's.
pub fn stack_depths(log: &str) -> Option<Vec<u32>> {
    let line = log.lines().rev().find_map(|line| line.trim().strip_prefix("stack depth "))?;
    line.split_whitespace().next()?.split('+').map(|depth| depth.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stack_depths_of_all_kernels_are_read() {
        let old = "processed 9 insns\nverification time 12 usec\nstack depth 24+0+16\n";
        assert_eq!(stack_depths(old), Some(vec![24, 0, 16]));
        assert_eq!(stack_depths("stack depth 8 max 8\ninsns processed 3\n"), Some(vec![8]));
        assert_eq!(stack_depths("processed 9 insns\n"), None);
    }

    #[test]
    fn a_log_that_never_fits_hides_no_answer() {
        let no_space = || io::Error::from_raw_os_error(libc::ENOSPC);
        let mut sizes = Vec::new();
        let (result, log) = growing_between(2, 20, |log| {
            sizes.push(log.len());
            log.fill(b'x');
            if log.is_empty() { Ok(7) } else { Err(no_space()) }
        });
        assert_eq!((result.unwrap(), log, sizes), (7, vec![b'x'; 20], vec![2, 8, 20, 0]));
        let (result, _log) = growing_between(2, 20, |log| -> io::Result<()> {
            Err(if log.is_empty() { io::Error::from_raw_os_error(libc::EACCES) } else { no_space() })
        });
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EACCES));
        let (result, log) =
            growing_between(2, 20, |log| if log.len() < 8 { Err(no_space()) } else { Ok(()) });
        assert_eq!((result.unwrap(), log.len()), ((), 8));
    }
}
