use anyhow::{Context, Result};
use aya::maps::{HashMap, MapData, MapError, PerCpuArray};
use bpfman_client::MapAccess;
use bpfman_examples::source::MapSource;
use bpfman_profile::Weight;

const DEPTH: usize = 127;
/// `struct seen`: both stack hashes, thread and process, name.
type RawSeen = [u64; 5];
type RawFrames = [u64; DEPTH];
const NO_STACK: u64 = 0;
const LOST_STACK: u64 = 1;

pub struct Samples {
    counts: HashMap<MapData, RawSeen, [u64; 2]>,
    stacks: HashMap<MapData, u64, RawFrames>,
    counters: PerCpuArray<MapData, u64>,
}

/// Addresses, innermost first; `None` if the stack was lost.
pub type Frames = Option<Vec<u64>>;

pub struct Seen {
    pub process: u32,
    pub name: String,
    pub kernel: Frames,
    pub user: Frames,
    pub weight: Weight,
}

/// Order of `enum counter`; they never decrease.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    pub samples: u64,
    pub idle: u64,
    pub others: u64,
    pub lost_stacks: u64,
    pub lost_samples: u64,
}

impl Counters {
    pub const fn since(self, before: Self) -> Self {
        Self {
            samples: self.samples.wrapping_sub(before.samples),
            idle: self.idle.wrapping_sub(before.idle),
            others: self.others.wrapping_sub(before.others),
            lost_stacks: self.lost_stacks.wrapping_sub(before.lost_stacks),
            lost_samples: self.lost_samples.wrapping_sub(before.lost_samples),
        }
    }
}

impl Samples {
    pub fn open(maps: &MapSource) -> Result<Self> {
        Ok(Self {
            counts: maps.open("counts", MapAccess::Write)?,
            stacks: maps.open("stacks", MapAccess::Write)?,
            counters: maps.open("counters", MapAccess::Read)?,
        })
    }

    pub fn clear(&mut self) -> Result<()> {
        let counts = self.counts.keys().collect::<Result<Vec<_>, _>>().context("cannot read old samples")?;
        for key in counts {
            gone(self.counts.remove(&key)).context("cannot remove old samples")?;
        }
        let stacks = self.stacks.keys().collect::<Result<Vec<_>, _>>().context("cannot read old stacks")?;
        for key in stacks {
            gone(self.stacks.remove(&key)).context("cannot remove old stacks")?;
        }
        Ok(())
    }

    pub fn counters(&self) -> Result<Counters> {
        let read = |slot| -> Result<u64> {
            Ok(self.counters.get(&slot, 0).context("cannot read the counters")?.iter().sum())
        };
        Ok(Counters {
            samples: read(0)?,
            idle: read(1)?,
            others: read(2)?,
            lost_stacks: read(3)?,
            lost_samples: read(4)?,
        })
    }

    pub fn read(&self) -> Result<Vec<Seen>> {
        let mut all = Vec::new();
        for entry in self.counts.iter() {
            let ([kernel, user, thread, name, rest], [samples, nanoseconds]) =
                entry.context("cannot read the samples")?;
            let [_, process] = halves(thread);
            all.push(Seen {
                process,
                name: text([name, rest]),
                kernel: self.stack(kernel)?,
                user: self.stack(user)?,
                weight: Weight { samples, nanoseconds },
            });
        }
        Ok(all)
    }

    fn stack(&self, hash: u64) -> Result<Frames> {
        match hash {
            NO_STACK => Ok(Some(Vec::new())),
            LOST_STACK => Ok(None),
            hash => match self.stacks.get(&hash, 0) {
                Ok(frames) => Ok(Some(frames.into_iter().take_while(|address| *address != 0).collect())),
                Err(MapError::KeyNotFound) => Ok(None),
                Err(error) => Err(error).context("cannot read a stack"),
            },
        }
    }
}

fn gone(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        result => result,
    }
}

fn halves(both: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = both.to_ne_bytes();
    [u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])]
}

fn text(words: [u64; 2]) -> String {
    let bytes: Vec<u8> =
        words.iter().flat_map(|word| word.to_ne_bytes()).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_taken_apart_as_the_program_laid_them() {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&4711_u32.to_ne_bytes());
        bytes[4..].copy_from_slice(&42_u32.to_ne_bytes());
        assert_eq!(halves(u64::from_ne_bytes(bytes)), [4711, 42]);
        assert_eq!(
            text([u64::from_ne_bytes(*b"kworker/"), u64::from_ne_bytes(*b"0:1\0\0\0\0\0")]),
            "kworker/0:1"
        );
    }
}
