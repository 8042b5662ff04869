//! Readings assembled from a complete first message and later changes.

use std::collections::{BTreeMap, HashSet};

use bpfman_proto::ext::v1 as ext;

/// Last two readings of a stream.
#[derive(Debug, Default)]
pub struct LastReadings {
    then: Option<ext::Figures>,
    now: Option<ext::Figures>,
}

impl LastReadings {
    /// Processes a message. Returns both readings, unless it is the first. An older daemon sends complete readings.
    pub fn take(&mut self, news: ext::Figures) -> Option<(&ext::Figures, &ext::Figures)> {
        // Reuse the memory of the reading before the last.
        let mut next = self.then.take().unwrap_or_default();
        if news.changes
            && let Some(last) = &self.now
        {
            next.clone_from(last);
            change(&mut next, news);
        } else {
            next = news;
        }
        self.then = self.now.replace(next);
        self.then.as_ref().zip(self.now.as_ref())
    }
}

fn change(figures: &mut ext::Figures, news: ext::Figures) {
    figures.at_ns = news.at_ns;
    figures.runs_timed = news.runs_timed;
    replace(&mut figures.programs, news.programs, &news.gone_programs, |program| program.id);
    replace(&mut figures.chains, news.chains, &news.gone_chains, |chain| chain.hook.clone());
    replace(&mut figures.maps, news.maps, &news.gone_maps, |map| map.id);
    // Both lists are sorted by id.
    let mut programs = figures.programs.iter_mut();
    for counts in news.counts {
        let Some(program) = programs.find(|program| program.id == counts.id) else { continue };
        program.runs = counts.runs;
        program.nanoseconds = counts.nanoseconds;
        program.missed = counts.missed;
        program.nanoseconds_in_chains = counts.nanoseconds_in_chains;
    }
}

/// Applies changes, and keeps `all` sorted by key, as complete readings are.
fn replace<T, K: Ord + std::hash::Hash + Eq>(
    all: &mut Vec<T>,
    news: Vec<T>,
    gone: &[K],
    key: impl Fn(&T) -> K,
) {
    if news.is_empty() && gone.is_empty() {
        return;
    }
    let gone: HashSet<&K> = gone.iter().collect();
    let mut kept: BTreeMap<K, T> = all.drain(..).map(|one| (key(&one), one)).collect();
    kept.retain(|key, _| !gone.contains(key));
    kept.extend(news.into_iter().map(|one| (key(&one), one)));
    all.extend(kept.into_values());
}

#[cfg(test)]
mod tests {
    use super::super::tests::{program, reading};
    use super::*;

    #[test]
    fn omitted_values_are_unchanged() {
        let mut kept = LastReadings::default();
        let map = |id, memory_bytes| ext::MapFigures { id, memory_bytes, ..Default::default() };
        let chain =
            |hook: &str, runs| ext::ChainFigures { hook: hook.to_owned(), runs, ..Default::default() };
        let first = ext::Figures {
            maps: vec![map(1, 10), map(2, 20)],
            ..reading(
                0,
                vec![program(7, 1, 10), program(8, 2, 20), program(9, 3, 30)],
                vec![chain("xdp:a", 1), chain("xdp:b", 2)],
            )
        };
        assert_eq!(kept.take(first.clone()), None);
        let changes = ext::Figures {
            changes: true,
            counts: vec![ext::ProgramCounts {
                id: 9,
                runs: 5,
                nanoseconds: 50,
                missed: 1,
                nanoseconds_in_chains: 4,
            }],
            gone_programs: vec![7],
            gone_chains: vec!["xdp:a".to_owned()],
            gone_maps: vec![1],
            maps: vec![map(3, 30)],
            ..reading(1, vec![program(6, 0, 0), program(8, 9, 90)], vec![chain("xdp:b", 4)])
        };
        let nine = ext::ProgramFigures { missed: 1, nanoseconds_in_chains: 4, ..program(9, 5, 50) };
        let second = ext::Figures {
            maps: vec![map(2, 20), map(3, 30)],
            ..reading(1, vec![program(6, 0, 0), program(8, 9, 90), nine], vec![chain("xdp:b", 4)])
        };
        assert_eq!(kept.take(changes), Some((&first, &second)));
        let nothing = ext::Figures { changes: true, ..reading(2, Vec::new(), Vec::new()) };
        let third = ext::Figures { at_ns: 2_000_000_000, ..second.clone() };
        assert_eq!(kept.take(nothing), Some((&second, &third)));
        assert_eq!(kept.take(first.clone()), Some((&third, &first)));
    }
}
