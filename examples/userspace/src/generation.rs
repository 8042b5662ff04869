//! Replacement of all rules at once. Keys contain a generation number: new rules are written beside the current ones.

use anyhow::{Context as _, Result, ensure};
use aya::Pod;
use aya::maps::lpm_trie::LpmTrie;
use aya::maps::{HashMap, MapData, MapError};
use rustix::thread::{MembarrierCommand, membarrier};

type RawRule = [u8; 320];

/// Map `rules`: texts of rules by generation and number.
pub struct RuleTexts(HashMap<MapData, [u32; 2], RawRule>);

impl RuleTexts {
    /// Returns the texts in a map.
    pub fn new(map: HashMap<MapData, [u32; 2], RawRule>) -> Self {
        Self(map)
    }

    /// Returns all rules of a generation in their order, each with the word that is stored before its text.
    pub fn read(&self, generation: u32) -> Result<Vec<(u32, String)>> {
        let mut rules = Vec::new();
        for number in 0.. {
            let raw = match self.0.get(&[generation, number], 0) {
                Ok(raw) => raw,
                Err(MapError::KeyNotFound) => break,
                Err(error) => return Err(error).with_context(|| format!("cannot read rule {number}")),
            };
            let (word, text) = raw.split_first_chunk().context("a rule begins with a word")?;
            let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
            let text = std::str::from_utf8(text).context("the map holds no rule")?;
            rules.push((u32::from_ne_bytes(*word), text.to_owned()));
        }
        Ok(rules)
    }

    /// Writes the rules of a generation; fails if a rule is too long.
    pub fn write(&mut self, generation: u32, rules: impl IntoIterator<Item = (u32, String)>) -> Result<()> {
        for ((word, text), number) in rules.into_iter().zip(0..) {
            let mut raw: RawRule = [0; _];
            let bytes = word.to_ne_bytes().into_iter().chain(text.bytes());
            ensure!(text.len() + 5 <= raw.len(), "`{text}` is longer than its place in the map");
            raw.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
            let written = self.0.insert([generation, number], raw, 0);
            written.with_context(|| format!("cannot write rule {number}"))?;
        }
        Ok(())
    }

    /// Removes the rules of all other generations.
    pub fn clear_all_but(&mut self, generation: u32) -> Result<(), MapError> {
        clear_table(&mut self.0, |key| key[0] != generation)
    }
}

/// Returns the next generation; never 0, which stands for no rules.
pub fn after(generation: u32) -> u32 {
    generation.wrapping_add(1).max(1)
}

/// Waits for programs that still use the old rules. A kernel with `nohz_full` CPUs refuses to wait.
pub fn wait_for_packets() {
    let _refused = membarrier(MembarrierCommand::Global);
}

/// Removes the entries with matching keys.
pub fn clear_table<K: Pod, V: Pod>(
    map: &mut HashMap<MapData, K, V>,
    goes: impl Fn(&K) -> bool,
) -> Result<(), MapError> {
    let keys = map.keys().collect::<Result<Vec<_>, _>>()?;
    keys.iter().filter(|key| goes(key)).try_for_each(|key| map.remove(key))
}

/// Removes the entries with matching keys.
pub fn clear_trie<K: Pod>(
    map: &mut LpmTrie<MapData, K, u32>,
    goes: impl Fn(&K) -> bool,
) -> Result<(), MapError> {
    let keys = map.keys().collect::<Result<Vec<_>, _>>()?;
    keys.iter().filter(|key| goes(&key.data())).try_for_each(|key| map.remove(key))
}
