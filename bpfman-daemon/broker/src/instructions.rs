//! Digests of programs as sessions load them, and the lists of recorded ones that grants name.

use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use bpfman_model::uapi::prog_type;
use bpfman_model::{Peer, hexadecimal};
use bpfmand_access::AccessPolicy;
use bpfmand_calls::CallAttr;
use sha2::{Digest as _, Sha256};

/// Size of the largest list that is read, in bytes.
const MAX_LIST: u64 = 4 << 20;
/// Bits of a mode that let others than the owner write.
const OTHERS_WRITE: u32 = 0o022;
/// Offsets of integers of `PROG_LOAD` that the digest includes: type, flags, attach type, and the function's
/// number in this kernel's types.
const COUNTED: [usize; 4] = [0, 44, 68, 108];
const NAME: std::ops::Range<usize> = 48..64;

/// Release of the running kernel.
static KERNEL: LazyLock<String> = LazyLock::new(|| {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.trim().to_owned()
});

/// Instructions of a load, with all else that the kernel verifies. The digest is computed at its first use: most loads need none.
pub struct LoadInstructions<'a> {
    attr: &'a CallAttr,
    code: &'a [u8],
    digest: OnceCell<String>,
}

impl<'a> LoadInstructions<'a> {
    pub const fn of(attr: &'a CallAttr, code: &'a [u8]) -> Self {
        Self { attr, code, digest: OnceCell::new() }
    }

    pub const fn code(&self) -> &'a [u8] {
        self.code
    }

    /// Returns the SHA-256 as hexadecimal digits. Maps are replaced by indexes.
    pub fn digest(&self) -> &str {
        self.digest.get_or_init(|| {
            let mut hash = Sha256::new();
            COUNTED.into_iter().for_each(|at| hash.update(self.attr.word(at).to_le_bytes()));
            hash.update(self.code);
            hexadecimal(&hash.finalize())
        })
    }

    pub fn name(&self) -> String {
        let name = &self.attr.bytes()[NAME];
        let name = name.iter().take_while(|byte| **byte != 0).map(|byte| char::from(*byte));
        name.filter(|one| one.is_ascii_alphanumeric() || "_.".contains(*one)).collect()
    }

    /// Returns the line of a list for the load on this kernel.
    pub fn line(&self) -> String {
        let program_type = prog_type::name(self.attr.word(0));
        format!("{} sha256:{} {program_type} {}", *KERNEL, self.digest(), self.name())
    }

    /// Returns the program lists of a caller's grants that contain this load, recorded on this kernel.
    pub fn lists_with(&self, policy: &AccessPolicy, peer: &Peer) -> Vec<PathBuf> {
        let lists = policy.grants_of(peer).filter_map(|grant| grant.programs.as_ref());
        lists.filter(|list| has(list, &KERNEL, self.digest())).cloned().collect()
    }
}

fn has(list: &Path, kernel: &str, digest: &str) -> bool {
    let text = match read(list) {
        Ok(text) => text,
        Err(error) => {
            tracing::debug!(list = %list.display(), %error, "a list of recorded programs allows nothing");
            return false;
        }
    };
    text.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some(kernel)
            && words.next().and_then(|word| word.strip_prefix("sha256:")) == Some(digest)
    })
}

fn read(list: &Path) -> io::Result<String> {
    // Otherwise, opening a pipe would wait for a writer.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(list)?;
    let found = file.metadata()?;
    if !found.is_file() || found.uid() != 0 || found.mode() & OTHERS_WRITE != 0 {
        return Err(io::Error::other("others than root can write it"));
    }
    let mut text = String::new();
    file.take(MAX_LIST).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use bpfmand_access::{AccessVerb, Grant, GrantCallers};

    use super::*;

    #[test]
    fn digest_depends_on_all_that_the_kernel_verifies() {
        let attr = CallAttr::copy(&[0; 152], 152).unwrap();
        let of = |at: usize| {
            let mut attr = attr.clone();
            attr.set_word(at, 1);
            LoadInstructions::of(&attr, &[7; 8]).digest().to_owned()
        };
        let plain = LoadInstructions::of(&attr, &[7; 8]).digest().to_owned();
        assert!(COUNTED.into_iter().all(|at| of(at) != plain));
        assert_ne!(LoadInstructions::of(&attr, &[8; 8]).digest(), plain);
        // The buffer of the log does not change the digest.
        assert_eq!(of(24), plain);
        let mut named = attr;
        named.set_long(48, u64::from_le_bytes(*b"my\nprog\0"));
        assert_eq!(LoadInstructions::of(&named, &[]).line().split(' ').nth(3), Some("myprog"));
    }

    #[test]
    fn digest_is_computed_for_grants_with_a_list_alone() {
        let attr = CallAttr::copy(&[0; 152], 152).unwrap();
        let text = LoadInstructions::of(&attr, &[]);
        let callers = GrantCallers { users: [0].into(), ..GrantCallers::default() };
        let mut grant = Grant { callers, verbs: [AccessVerb::Raw].into(), ..Grant::default() };
        let policy = |grant: &Grant| AccessPolicy { grants: vec![grant.clone()], ..AccessPolicy::default() };
        assert!(text.lists_with(&policy(&grant), &Peer::default()).is_empty() && text.digest.get().is_none());
        grant.programs = Some("/nowhere".into());
        assert!(text.lists_with(&policy(&grant), &Peer::default()).is_empty() && text.digest.get().is_some());
    }

    #[test]
    fn list_counts_for_one_kernel_if_root_alone_writes_it() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list");
        assert!(!has(&list, "6.1", "aa"));
        fs::write(&list, "# recorded\n6.1 sha256:aa xdp a\n6.12 sha256:bb\n6.12\n").unwrap();
        let all = [("6.1", "aa"), ("6.12", "bb"), ("6.12", "aa"), ("6.1", "bb"), ("6.12", "")];
        assert_eq!(all.map(|(kernel, digest)| has(&list, kernel, digest)), [true, true, false, false, false]);
        fs::set_permissions(&list, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(!has(&list, "6.1", "aa"));
        fs::set_permissions(&list, fs::Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::chown(&list, Some(1), None).unwrap();
        assert!(!has(&list, "6.1", "aa"));
    }
}
