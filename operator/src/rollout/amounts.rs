use bpfman_application::rollout::Rollout;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

fn percent(amount: &IntOrString) -> Option<usize> {
    match amount {
        IntOrString::Int(_) => None,
        IntOrString::String(text) => text.strip_suffix('%').and_then(|number| number.parse().ok()),
    }
}

fn count(amount: &IntOrString) -> usize {
    match amount {
        IntOrString::Int(count) => usize::try_from(*count).unwrap_or(0),
        // The schema refuses any other text. Zero is the careful interpretation.
        IntOrString::String(text) => text.parse().unwrap_or(0),
    }
}

fn at_least(amount: &IntOrString, total: usize) -> usize {
    percent(amount).map_or_else(|| count(amount), |share| (total * share).div_ceil(100)).min(total)
}

pub fn waves(rollout: &Rollout) -> usize {
    let all = rollout.waves.last().is_some_and(|last| percent(last) == Some(100));
    rollout.waves.len() + usize::from(!all)
}

pub fn after_wave(rollout: &Rollout, wave: usize, total: usize) -> usize {
    if wave == 0 {
        return 0;
    }
    if wave >= waves(rollout) {
        return total;
    }
    rollout.waves.iter().take(wave).map(|amount| at_least(amount, total)).max().unwrap_or(total)
}

pub fn first_wave(rollout: &Rollout, total: usize) -> usize {
    (1..=waves(rollout)).map(|wave| after_wave(rollout, wave, total)).find(|amount| *amount > 0).unwrap_or(1)
}

/// Returns the maximum number of changing or unhealthy nodes: at least one, else nothing could change.
pub fn unavailable(rollout: &Rollout, total: usize) -> usize {
    rollout.max_unavailable.as_ref().map_or(usize::MAX, |amount| at_least(amount, total).max(1))
}

/// Returns the maximum number of failed nodes. Percentages are rounded down, to never exceed the bound.
pub fn failures(rollout: &Rollout, total: usize) -> usize {
    let Some(amount) = &rollout.max_failed else { return 0 };
    percent(amount).map_or_else(|| count(amount), |share| total * share / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollout(waves: &[&str]) -> Rollout {
        let amount = |text: &&str| {
            text.parse().map_or_else(|_| IntOrString::String((*text).to_owned()), IntOrString::Int)
        };
        Rollout { waves: waves.iter().map(amount).collect(), ..Rollout::default() }
    }

    fn sizes(texts: &[&str], total: usize) -> Vec<usize> {
        let rollout = rollout(texts);
        (1..=waves(&rollout)).map(|wave| after_wave(&rollout, wave, total)).collect()
    }

    #[test]
    fn percentages_are_rounded_up_and_what_is_left_is_a_wave() {
        assert_eq!(sizes(&["5%", "50%"], 21), [2, 11, 21]);
        assert_eq!(sizes(&["1", "100%"], 21), [1, 21]);
        assert_eq!(sizes(&[], 21), [21]);
    }

    #[test]
    fn waves_never_shrink() {
        assert_eq!(sizes(&["10", "20%", "4"], 20), [10, 10, 10, 20]);
        assert_eq!(sizes(&["500"], 20), [20, 20]);
    }

    #[test]
    fn the_first_wave_is_the_first_that_has_a_node() {
        assert_eq!(first_wave(&rollout(&["0", "5%", "50%"]), 40), 2);
        assert_eq!(first_wave(&rollout(&[]), 40), 40);
        assert_eq!(first_wave(&rollout(&["5%"]), 0), 1);
    }

    #[test]
    fn at_least_one_node_may_change_and_failure_limits_stay_exact() {
        let amount = |text: &str| Some(IntOrString::String(text.to_owned()));
        let rollout =
            Rollout { max_unavailable: amount("0%"), max_failed: amount("9%"), ..Rollout::default() };
        assert_eq!(unavailable(&rollout, 20), 1);
        assert_eq!(failures(&rollout, 20), 1);
        assert_eq!(unavailable(&Rollout::default(), 20), usize::MAX);
        assert_eq!(failures(&Rollout::default(), 20), 0);
    }
}
