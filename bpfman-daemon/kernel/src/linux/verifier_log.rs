use std::io;

/// Size of a log with statistics only: a few lines, and one number per function.
pub const STATISTICS: usize = 8 << 10;
const START: usize = 64 << 10;
const OF_REFUSAL: usize = 1 << 20;
/// The largest size that every kernel accepts.
const END: usize = (u32::MAX >> 8) as usize;

/// Loads with larger and larger logs, and finally without one: even a valid program fails to load if its log does not fit.
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

/// Repeats a load that was refused without a log, to read the log, at most twice. Since Linux 6.4, the kernel returns the end
/// of a log that does not fit.
pub fn of_refusal<T>(
    first: io::Error,
    mut attempt: impl FnMut(&mut [u8]) -> io::Result<T>,
) -> (io::Result<T>, Vec<u8>) {
    let mut log = vec![0_u8; OF_REFUSAL];
    let mut result = attempt(&mut log);
    let is_cut = |result: &io::Result<T>| {
        result.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::ENOSPC))
    };
    if is_cut(&result) && !has_end(&log) {
        log = vec![0_u8; END];
        result = attempt(&mut log);
    }
    if is_cut(&result) { (Err(first), log) } else { (result, log) }
}

/// Returns whether the log is complete: its last lines are statistics ("processed 9 insns ...").
fn has_end(log: &[u8]) -> bool {
    const LAST: &[u8] = b"processed ";
    let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
    let last = &log[end.saturating_sub(STATISTICS)..end];
    last.windows(LAST.len()).any(|window| window == LAST)
}

/// Parses "stack depth 24+0+16", which Linux 7.2 ends with " max 48". The last such line is that of the whole program.
pub fn stack_depths(log: &str) -> Option<Vec<u32>> {
    let line = log.lines().rev().find_map(|line| line.trim().strip_prefix("stack depth "))?;
    line.split_whitespace().next()?.split('+').map(|depth| depth.parse().ok()).collect()
}

pub fn is_too_complex(log: &str) -> bool {
    ["BPF program is too large. Processed", "jumps is too complex"].iter().any(|text| log.contains(text))
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
    fn log_of_a_refusal_takes_two_verifications_at_most() {
        let error = io::Error::from_raw_os_error;
        let read = |says: &'static [u8]| {
            let mut sizes = Vec::new();
            let (result, log) = of_refusal(error(libc::EACCES), |log| -> io::Result<()> {
                sizes.push(log.len());
                log[..says.len()].copy_from_slice(says);
                Err(error(libc::ENOSPC))
            });
            assert!(log.starts_with(says));
            (result.unwrap_err().raw_os_error(), sizes)
        };
        let end = b"R0 !read_ok\nprocessed 9 insns (limit 1000000)\nstack depth 0\n";
        assert_eq!(read(end), (Some(libc::EACCES), vec![OF_REFUSAL]));
        assert_eq!(read(b"0: (b7) r0 = 0\n"), (Some(libc::EACCES), vec![OF_REFUSAL, END]));
        let (result, _) = of_refusal(error(libc::EAGAIN), |_| Ok(7));
        assert_eq!(result.unwrap(), 7);
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
