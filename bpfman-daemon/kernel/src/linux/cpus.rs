use std::io;

use crate::KernelError;

const FOLDER: &str = "/sys/devices/system/cpu";

pub fn online() -> Result<Vec<u32>, KernelError> {
    listed("online").map_err(|source| KernelError::call("read", format!("{FOLDER}/online"), source))
}

/// Returns the CPUs of a list ("online", "possible"), ascending: at least one.
pub fn listed(list: &str) -> io::Result<Vec<u32>> {
    let text = std::fs::read_to_string(format!("{FOLDER}/{list}"))?;
    parse(&text).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{FOLDER}/{list} is {text:?}, not a list of CPUs"))
    })
}

/// Format: "0-3,8".
fn parse(list: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cpus.extend(first.parse::<u32>().ok()?..=last.parse().ok()?);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_read() {
        for (list, expected) in [
            ("0\n", Some(vec![0])),
            ("0-3\n", Some(vec![0, 1, 2, 3])),
            ("0-1,8,10-11\n", Some(vec![0, 1, 8, 10, 11])),
            ("\n", None),
            ("0-x\n", None),
        ] {
            assert_eq!(parse(list), expected, "{list:?}");
        }
    }
}
