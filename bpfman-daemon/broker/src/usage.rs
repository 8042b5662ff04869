//! Use of the sessions of one owner, against the limits of its grant.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bpfmand_access::GrantLimits;
use bpfmand_calls::ObjectKind;

use crate::session::{BrokeredSession, MAX_OBJECTS};

/// Time for which an owner may save up calls during a pause, to make them at once.
const BURST: Duration = Duration::from_secs(1);

/// Maximum size of the types (BTF) of an owner's sessions, in bytes: no cgroup is charged for them.
const MAX_TYPES: u64 = 256 << 20;

#[derive(Debug, Default)]
pub struct OwnerUse {
    reserved: Mutex<ReservedUse>,
    /// Time from which on the next call need not wait, where calls are limited.
    next_call: Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct ReservedUse {
    counts: BTreeMap<ObjectKind, usize>,
    bytes: BTreeMap<ObjectKind, u64>,
}

/// Object that a call is about to make, with the memory of a map, or the size of types (BTF), in bytes.
#[derive(Clone, Copy, Debug)]
pub struct WantedObject {
    pub kind: ObjectKind,
    pub bytes: u64,
}

/// Place of an object until its session knows it.
#[derive(Debug)]
pub struct ObjectPlace<'a> {
    owner: &'a OwnerUse,
    object: WantedObject,
}

impl Drop for ObjectPlace<'_> {
    fn drop(&mut self) {
        let mut reserved = self.owner.reserved();
        if let Some(count) = reserved.counts.get_mut(&self.object.kind) {
            *count = count.saturating_sub(1);
        }
        if let Some(bytes) = reserved.bytes.get_mut(&self.object.kind) {
            *bytes = bytes.saturating_sub(self.object.bytes);
        }
    }
}

/// Limit that an object would exceed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExceededLimit {
    OfSession(ObjectKind),
    /// Number of objects of an owner: key of the grant, and its value.
    Count(&'static str, u64),
    /// Memory of maps of an owner: in use, wanted, and the limit, in bytes.
    MapMemory {
        used: u64,
        wanted: u64,
        limit: u64,
    },
    /// Size of types (BTF) of an owner.
    Types,
}

impl ExceededLimit {
    /// Returns whether the object exceeds the limit even if the owner has no others.
    pub const fn is_lasting(&self) -> bool {
        matches!(self, Self::MapMemory { wanted, limit, .. } if *wanted > *limit)
    }
}

impl std::fmt::Display for ExceededLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OfSession(kind) => {
                write!(f, "a session has at most {MAX_OBJECTS} objects of kind {}; end some", kind.name())
            }
            Self::Count(key, limit) => write!(
                f,
                "all sessions of the owner have as many as limits.{key} = {limit} of the grant allows; end some, or \
                 have root raise it"
            ),
            Self::Types => {
                write!(f, "all sessions of the owner have {} MiB of types (BTF); end some", MAX_TYPES >> 20)
            }
            Self::MapMemory { used, wanted, limit } => write!(
                f,
                "a map of up to {wanted} bytes does not fit beside {used} bytes of maps of all sessions of the owner: \
                 limits.map_memory of the grant is {limit} bytes; make it smaller, or have root raise the limit"
            ),
        }
    }
}

impl OwnerUse {
    fn reserved(&self) -> MutexGuard<'_, ReservedUse> {
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves a place for an object. The first session is the one that makes it, the others are of the same owner.
    pub fn reserve(
        &self,
        object: WantedObject,
        limits: GrantLimits,
        sessions: &[Arc<BrokeredSession>],
    ) -> Result<ObjectPlace<'_>, ExceededLimit> {
        let WantedObject { kind, bytes } = object;
        let mut reserved = self.reserved();
        if sessions.first().is_some_and(|own| own.count(kind) >= MAX_OBJECTS) {
            return Err(ExceededLimit::OfSession(kind));
        }
        let limit = match kind {
            ObjectKind::Program => limits.programs.map(|limit| ("programs", limit)),
            ObjectKind::Link => limits.links.map(|limit| ("links", limit)),
            ObjectKind::Map | ObjectKind::Btf => None,
        };
        if let Some((key, limit)) = limit {
            let known: usize = sessions.iter().map(|one| one.count(kind)).sum();
            let coming = reserved.counts.get(&kind).copied().unwrap_or_default();
            if (known + coming) as u64 >= limit {
                return Err(ExceededLimit::Count(key, limit));
            }
        }
        let most = match kind {
            ObjectKind::Map => limits.map_memory,
            ObjectKind::Btf => Some(MAX_TYPES),
            ObjectKind::Program | ObjectKind::Link => None,
        };
        if let Some(limit) = most {
            let known = sessions.iter().map(|one| one.bytes(kind)).fold(0, u64::saturating_add);
            let used = known.saturating_add(reserved.bytes.get(&kind).copied().unwrap_or_default());
            if used.saturating_add(bytes) > limit {
                return Err(match kind {
                    ObjectKind::Btf => ExceededLimit::Types,
                    _ => ExceededLimit::MapMemory { used, wanted: bytes, limit },
                });
            }
        }
        *reserved.counts.entry(kind).or_default() += 1;
        *reserved.bytes.entry(kind).or_default() += bytes;
        Ok(ObjectPlace { owner: self, object })
    }

    /// Counts a call, and returns the delay that keeps the limit of calls per second.
    pub fn count_call(&self, per_second: u64, now: Instant) -> Duration {
        let mut next = self.next_call.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let free = next.unwrap_or(earliest).max(earliest) + BURST.div_f64(per_second.max(1) as f64);
        *next = Some(free);
        free.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::tests::session;

    fn map(bytes: u64) -> WantedObject {
        WantedObject { kind: ObjectKind::Map, bytes }
    }

    #[test]
    fn programs_and_bytes_of_all_sessions_count() {
        let (owner, one, other) = (OwnerUse::default(), session(), session());
        one.remember(ObjectKind::Program, 1, None, 0);
        other.remember(ObjectKind::Map, 2, None, 600);
        let limits = GrantLimits { programs: Some(2), map_memory: Some(1000), ..GrantLimits::default() };
        let all = [Arc::clone(&one), Arc::clone(&other)];
        let program = WantedObject { kind: ObjectKind::Program, bytes: 0 };
        let second = owner.reserve(program, limits, &all);
        assert!(second.is_ok());
        assert!(matches!(owner.reserve(program, limits, &all), Err(ExceededLimit::Count("programs", 2))));
        drop(second);
        assert!(owner.reserve(program, limits, &all).is_ok());
        let exceeded = ExceededLimit::MapMemory { used: 600, wanted: 401, limit: 1000 };
        assert!(!exceeded.is_lasting());
        assert_eq!(owner.reserve(map(401), limits, &all).err(), Some(exceeded));
        assert!(owner.reserve(map(1001), limits, &all).is_err_and(|limit| limit.is_lasting()));
        let fits = owner.reserve(map(400), limits, &all);
        assert!(fits.is_ok() && owner.reserve(map(1), limits, &all).is_err());
        assert!(owner.reserve(map(1 << 40), GrantLimits::default(), &all).is_ok());
        other.remember(ObjectKind::Btf, 3, None, MAX_TYPES - 9);
        let types = |bytes| WantedObject { kind: ObjectKind::Btf, bytes };
        assert!(owner.reserve(types(9), limits, &all).is_ok());
        assert_eq!(owner.reserve(types(10), limits, &all).err(), Some(ExceededLimit::Types));
    }

    #[test]
    fn calls_beyond_the_rate_wait() {
        let (owner, now) = (OwnerUse::default(), Instant::now());
        let waits: Vec<Duration> = (0..12).map(|_| owner.count_call(10, now)).collect();
        assert_eq!(waits[..10], [Duration::ZERO; 10]);
        assert_eq!(waits[10..], [Duration::from_millis(100), Duration::from_millis(200)]);
        assert_eq!(owner.count_call(10, now + Duration::from_secs(60)), Duration::ZERO);
    }
}
