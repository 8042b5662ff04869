//! Access control for cached images: a caller needs an earlier fetch, or a password that the registry accepts.
//! Passwords are stored as keyed hashes; the key never leaves the cache folder.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bpfman_image_format::{Credential, Digest, ImageReference};
use hmac::{Hmac, KeyInit as _, Mac as _};
use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::ImageError;
use crate::cache::{ImageCache, RECORD_LIMIT, missing_is_fine, read, storage};

const MAX_PASSWORDS: usize = 64;
const KEY: usize = 32;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Right {
    /// The registry serves the image without credentials, or root imported it from an archive.
    Everybody,
    Machine,
    Password(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ImageCaller {
    Daemon,
    With(Right),
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Access {
    pub(crate) name: String,
    pub(crate) digest: Digest,
    rights: Vec<Right>,
}

impl ImageCache {
    pub(crate) fn allows(&self, name: &str, digest: Digest, asker: &ImageCaller) -> Result<bool, ImageError> {
        let ImageCaller::With(right) = asker else { return Ok(true) };
        let access = self.access(name, digest)?;
        Ok(access.is_some_and(|access| {
            access.rights.iter().any(|known| known == right || *known == Right::Everybody)
        }))
    }

    pub(crate) fn allow(
        self: &Arc<Self>,
        name: &str,
        digests: &BTreeSet<Digest>,
        right: &Right,
    ) -> Result<(), ImageError> {
        let _one = self.access_lock().lock().unwrap_or_else(PoisonError::into_inner);
        for digest in digests {
            let mut rights = self.access(name, *digest)?.map(|access| access.rights).unwrap_or_default();
            if rights.contains(right) {
                continue;
            }
            rights.push(right.clone());
            let surplus = rights.len().saturating_sub(MAX_PASSWORDS);
            rights.drain(..surplus);
            let access = Access { name: name.to_owned(), digest: *digest, rights };
            self.record(&self.access_path(name, *digest), &access)?;
        }
        Ok(())
    }

    pub(crate) fn right_of(
        self: &Arc<Self>,
        image: &ImageReference,
        credential: &Credential,
    ) -> Result<Right, ImageError> {
        let key = self.access_key()?;
        let no_key = |_| storage(&self.root().join("access.key"))(io::Error::other("it is no key"));
        let mut context = Hmac::<Sha256>::new_from_slice(&key).map_err(no_key)?;
        for part in [image.registry(), credential.user(), credential.password()] {
            // The length prefix keeps different lists of parts from hashing the same bytes.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        Ok(Right::Password(BASE64_STANDARD.encode(context.finalize().into_bytes())))
    }

    fn access(&self, name: &str, digest: Digest) -> Result<Option<Access>, ImageError> {
        // An unreadable record grants nothing; the registry then decides.
        let found = read(&self.access_path(name, digest), RECORD_LIMIT)?
            .and_then(|bytes| serde_json::from_slice::<Access>(&bytes).ok());
        Ok(found.filter(|access| access.name == name && access.digest == digest))
    }

    fn access_path(&self, name: &str, digest: Digest) -> PathBuf {
        let key = Digest::of(format!("{name}@{digest}").as_bytes());
        self.root().join("access").join(key.hex())
    }

    /// Returns the key, which is created once: a new key would invalidate all stored password hashes.
    fn access_key(self: &Arc<Self>) -> Result<[u8; KEY], ImageError> {
        let path = self.root().join("access.key");
        let _one = self.access_lock().lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = read(&path, KEY as u64)?.and_then(|bytes| bytes.try_into().ok()) {
            return Ok(key);
        }
        let mut key = [0; KEY];
        getrandom(&mut key, GetRandomFlags::empty()).map_err(|error| storage(&path)(error.into()))?;
        self.replace(&path, &key)?;
        Ok(key)
    }
}

pub(crate) fn forget(path: &Path) -> Result<(), ImageError> {
    fs::remove_file(path).or_else(missing_is_fine).map_err(storage(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_those_of_one_image_and_of_one_password() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Arc::new(ImageCache::new(folder.path().to_owned()));
        let image: ImageReference = "quay.io/a:1".parse().unwrap();
        let right =
            |user: &str, password: &str| cache.right_of(&image, &Credential::new(user, password)).unwrap();
        let mine = right("user", "secret");
        assert_eq!(mine, right("user", "secret"));
        assert_ne!(mine, right("users", "ecret"));
        let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
        cache.allow("quay.io/a", &[one].into(), &mine).unwrap();
        let may = |name: &str, digest: Digest, right: &Right| {
            cache.allows(name, digest, &ImageCaller::With(right.clone())).unwrap()
        };
        assert!(may("quay.io/a", one, &mine));
        assert!(!may("quay.io/a", one, &right("user", "other")));
        assert!(!may("quay.io/a", one, &Right::Machine) && !may("quay.io/a", one, &Right::Everybody));
        assert!(!may("quay.io/a", two, &mine) && !may("quay.io/b", one, &mine));
        assert!(cache.allows("quay.io/b", two, &ImageCaller::Daemon).unwrap());
        cache.allow("quay.io/a", &[one].into(), &Right::Everybody).unwrap();
        assert!(may("quay.io/a", one, &right("user", "other")) && may("quay.io/a", one, &mine));
        let other = tempfile::tempdir().unwrap();
        let other = Arc::new(ImageCache::new(other.path().to_owned()));
        assert_ne!(other.right_of(&image, &Credential::new("user", "secret")).unwrap(), mine);
        assert!(!format!("{mine:?}").contains("secret"));
    }
}
