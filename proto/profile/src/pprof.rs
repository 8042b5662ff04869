//! Format of pprof, which `go tool pprof`, Parca, Pyroscope and Grafana read.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use prost::Message as _;
use thiserror::Error;

use crate::message::{FunctionMessage, Line, Location, ProfileMessage, Sample, StringIndex, ValueType};
use crate::{Profile, Weight};

/// Maximum size of a message, so that a node's answer does not fill the client's memory.
const MAX_MESSAGE: u64 = 256 << 20;

/// Reason why bytes are no profile.
#[derive(Debug, Error)]
pub enum PprofError {
    #[error("it is not compressed by gzip: {0}")]
    Compression(#[from] std::io::Error),
    #[error("it is larger than {} MiB", MAX_MESSAGE >> 20)]
    Large,
    #[error("it is no message of pprof: {0}")]
    Message(#[from] prost::DecodeError),
    /// The message refers to something that it does not contain.
    #[error("it names {0} {1}, which it does not hold")]
    Missing(&'static str, u64),
    #[error("it has no samples in counts and nanoseconds of CPU time")]
    Kind,
}

impl Profile {
    /// Returns pprof's message, compressed: `samples/count` and `cpu/nanoseconds`, function names without addresses.
    #[must_use]
    pub fn to_pprof(&self) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        // Writing to memory does not fail.
        let _ = encoder.write_all(&self.message().encode_to_vec());
        encoder.finish().unwrap_or_default()
    }

    fn message(&self) -> ProfileMessage {
        let mut strings = Strings::default();
        let mut functions: HashMap<&str, u64> = HashMap::new();
        let mut message = ProfileMessage::default();
        let samples = ValueType { kind: strings.index("samples"), unit: strings.index("count") };
        let cpu = ValueType { kind: strings.index("cpu"), unit: strings.index("nanoseconds") };
        message.sample_type = vec![samples, cpu];
        for (stack, weight) in self.stacks() {
            let mut location_id = Vec::with_capacity(stack.len());
            for name in stack.iter().rev() {
                let next = functions.len() as u64 + 1;
                let id = *functions.entry(name).or_insert(next);
                if id == next {
                    message.function.push(FunctionMessage { id, name: strings.index(name) });
                    message.location.push(Location { id, line: vec![Line { function_id: id }] });
                }
                location_id.push(id);
            }
            let value = vec![signed(weight.samples.into()), signed(weight.nanoseconds.into())];
            message.sample.push(Sample { location_id, value });
        }
        let total = self.total();
        message.time_nanos =
            self.started.duration_since(UNIX_EPOCH).map_or(0, |since| signed(since.as_nanos()));
        message.duration_nanos = signed(self.duration.as_nanos());
        message.period_type = Some(cpu);
        message.period = signed(total.nanoseconds.checked_div(total.samples).unwrap_or(0).into());
        message.comment = self.notes.iter().map(|note| strings.index(note)).collect();
        message.string_table = strings.table;
        message
    }

    /// Parses the output of [`Profile::to_pprof`].
    pub fn from_pprof(bytes: &[u8]) -> Result<Self, PprofError> {
        let mut plain = Vec::new();
        GzDecoder::new(bytes).take(MAX_MESSAGE + 1).read_to_end(&mut plain)?;
        if plain.len() as u64 > MAX_MESSAGE {
            return Err(PprofError::Large);
        }
        Self::of_message(&ProfileMessage::decode(plain.as_slice())?)
    }

    fn of_message(message: &ProfileMessage) -> Result<Self, PprofError> {
        let text = |index: StringIndex| {
            let found = usize::try_from(index).ok().and_then(|index| message.string_table.get(index));
            found.map(String::as_str).ok_or(PprofError::Missing("string", index.unsigned_abs()))
        };
        let mut kinds = Vec::new();
        for kind in &message.sample_type {
            kinds.push((text(kind.kind)?, text(kind.unit)?));
        }
        if kinds != [("samples", "count"), ("cpu", "nanoseconds")] {
            return Err(PprofError::Kind);
        }
        let functions: HashMap<u64, StringIndex> =
            message.function.iter().map(|function| (function.id, function.name)).collect();
        let mut names: HashMap<u64, &str> = HashMap::new();
        for location in &message.location {
            let line = location.line.first().ok_or(PprofError::Missing("a line of location", location.id))?;
            let name = functions.get(&line.function_id);
            let name = *name.ok_or(PprofError::Missing("function", line.function_id))?;
            names.insert(location.id, text(name)?);
        }
        let nanoseconds = |value: i64| Duration::from_nanos(u64::try_from(value).unwrap_or(0));
        let started: SystemTime = UNIX_EPOCH + nanoseconds(message.time_nanos);
        let mut profile = Self::new(started, nanoseconds(message.duration_nanos));
        for sample in &message.sample {
            let [samples, cpu] = sample.value[..] else { return Err(PprofError::Kind) };
            let (Ok(samples), Ok(nanoseconds)) = (u64::try_from(samples), u64::try_from(cpu)) else {
                return Err(PprofError::Kind);
            };
            let mut stack = Vec::with_capacity(sample.location_id.len());
            for id in sample.location_id.iter().rev() {
                stack.push((*names.get(id).ok_or(PprofError::Missing("location", *id))?).to_owned());
            }
            profile.add(stack, Weight { samples, nanoseconds });
        }
        for comment in &message.comment {
            profile.notes.push(text(*comment)?.to_owned());
        }
        Ok(profile)
    }
}

struct Strings {
    table: Vec<String>,
    known: HashMap<String, StringIndex>,
}

impl Default for Strings {
    fn default() -> Self {
        Self { table: vec![String::new()], known: HashMap::from([(String::new(), 0)]) }
    }
}

impl Strings {
    fn index(&mut self, text: &str) -> StringIndex {
        if let Some(index) = self.known.get(text) {
            return *index;
        }
        let index = signed(self.table.len() as u128);
        self.table.push(text.to_owned());
        self.known.insert(text.to_owned(), index);
        index
    }
}

fn signed(number: u128) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn profile() -> Profile {
        let started = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let mut profile = Profile::new(started, Duration::from_millis(1500));
        for (stack, samples) in [("shop;main;sort", 5), ("shop;main", 2), ("idle", 1)] {
            let names = stack.split(';').map(str::to_owned).collect();
            profile.add(names, Weight { samples, nanoseconds: samples * 10_101_010 });
        }
        profile.notes.push("2 samples lost".to_owned());
        profile
    }

    #[test]
    fn written_pprof_is_read_back() {
        assert_eq!(Profile::from_pprof(&profile().to_pprof()).unwrap(), profile());
    }

    #[test]
    fn the_message_has_the_leaf_first_and_the_empty_string_first() {
        let message = profile().message();
        assert_eq!(message.string_table[0], "");
        assert_eq!(message.period, 10_101_010);
        let deepest = message.sample.iter().max_by_key(|sample| sample.location_id.len()).unwrap();
        let leaf = message.function.iter().find(|one| one.id == deepest.location_id[0]).unwrap();
        assert_eq!(message.string_table[usize::try_from(leaf.name).unwrap()], "sort");
    }

    #[test]
    fn other_bytes_are_refused_with_the_reason() {
        let whole = profile().to_pprof();
        for (bytes, reason) in
            [(b"not found".as_slice(), "not compressed"), (&whole[..whole.len() / 2], "not compressed")]
        {
            let error = Profile::from_pprof(bytes).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        let mut message = profile().message();
        message.location.pop();
        assert!(matches!(Profile::of_message(&message), Err(PprofError::Missing("location", _))));
        message.sample_type.pop();
        assert!(matches!(Profile::of_message(&message), Err(PprofError::Kind)));
    }
}
