//! Members that take most of their chain's time, and remedies.

use bpfman_model::Hint;

use super::findings::{Scene, share};

/// Share of the chain's time above which a member is slow, if it also exceeds `SLOW_NANOSECONDS`.
const SLOW_SHARE: f64 = 0.5;
/// Time per packet above which a member can be slow: even in a fast chain, one member is the slowest.
const SLOW_NANOSECONDS: f64 = 200.0;
/// Minimum number of samples of a member: fewer are not significant.
const ENOUGH_SAMPLES: u64 = 16;

#[derive(Clone, Debug, Default)]
pub(super) struct MemberTimes {
    /// Packets that were timed: one in 1,024 of those that reached the member.
    pub samples: u64,
    pub nanoseconds_per_run: f64,
    pub source: String,
    pub owner: String,
}

pub(super) fn of_times(scene: &Scene, member: Option<usize>) -> Vec<String> {
    if scene.members.len() < 2 {
        return Vec::new();
    }
    let times: Vec<&MemberTimes> = scene.members.iter().filter_map(|member| member.times.as_ref()).collect();
    if times.len() < scene.members.len() {
        let how = format!(
            "what each program takes is not known: {}; `bpfman chain watch {} --timing` does it while you watch",
            Hint::TimeChain { hook: scene.hook.clone() },
            scene.hook
        );
        return if member.is_none() { vec![how] } else { Vec::new() };
    }
    if times.iter().map(|time| time.samples).max().unwrap_or(0) < ENOUGH_SAMPLES {
        let few = "times are sampled, and too few packets came to say what each program takes".to_owned();
        return if member.is_none() { vec![few] } else { Vec::new() };
    }
    // Time over all packets of the chain: a member that fewer packets reach has fewer samples.
    let taken = |times: &MemberTimes| times.samples as f64 * times.nanoseconds_per_run;
    let all: f64 = times.iter().map(|times| taken(times)).sum();
    let is_slow = |times: &MemberTimes| {
        times.samples >= ENOUGH_SAMPLES
            && times.nanoseconds_per_run > SLOW_NANOSECONDS
            && taken(times) > all * SLOW_SHARE
    };
    let slow = times.iter().enumerate().filter(|(_, times)| is_slow(times));
    slow.filter(|(index, _)| member.is_none_or(|at| at == *index))
        .map(|(index, times)| {
            let name = &scene.members[index].name;
            format!(
                "position {index} ({name}) is slow: it takes {} of the chain's time, {:.0} ns for each packet that reaches it. \
                 It is of {}, from {}. `bpfman replace` puts a faster version in its place without a gap; a limit of CPU \
                 time for its next load (`--cpu-limit`), or for its owner, has it detached or warned about; a program \
                 before it that ends packets spares it these",
                share(taken(times) as u64, all as u64),
                times.nanoseconds_per_run,
                times.owner,
                times.source
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::findings::MemberScene;
    use super::*;

    fn scene(times: &[Option<(u64, f64)>]) -> Scene {
        let member = |(at, times): (usize, &Option<(u64, f64)>)| MemberScene {
            name: format!("member_{at}"),
            times: times.map(|(samples, nanoseconds_per_run)| MemberTimes {
                samples,
                nanoseconds_per_run,
                source: "quay.io/acme/filter:v1 (sha256:ab)".to_owned(),
                owner: "user:7".to_owned(),
            }),
            ..MemberScene::default()
        };
        Scene {
            hook: "xdp:eth0".to_owned(),
            members: times.iter().enumerate().map(member).collect(),
            ..Scene::default()
        }
    }

    #[test]
    fn slowest_member_is_named_with_its_owner_and_image() {
        let scene = scene(&[Some((1000, 20.0)), Some((1000, 900.0)), Some((1000, 80.0))]);
        let [found] = &of_times(&scene, None)[..] else { panic!() };
        assert!(
            found.starts_with("position 1 (member_1) is slow: it takes 90.0 % of the chain's time, 900 ns"),
            "{found}"
        );
        assert!(found.contains("of user:7, from quay.io/acme/filter:v1 (sha256:ab)"), "{found}");
        assert!(found.contains("bpfman replace") && found.contains("--cpu-limit"), "{found}");
        assert_eq!(of_times(&scene, Some(1)).len(), 1);
        assert_eq!(of_times(&scene, Some(0)), [""; 0]);
    }

    #[test]
    fn fast_chain_and_equal_times_have_no_slow_member() {
        assert_eq!(of_times(&scene(&[Some((1000, 5.0)), Some((1000, 150.0))]), None), [""; 0]);
        assert_eq!(of_times(&scene(&[Some((1000, 900.0)), Some((1000, 900.0))]), None), [""; 0]);
        // A member takes long, but few packets reach it.
        assert_eq!(of_times(&scene(&[Some((10_000, 100.0)), Some((100, 900.0))]), None), [""; 0]);
    }

    #[test]
    fn missing_times_are_reported_with_a_command() {
        let [found] = &of_times(&scene(&[None, None]), None)[..] else { panic!() };
        assert!(found.contains("`bpfman chain timing xdp:eth0 on`"), "{found}");
        let [found] = &of_times(&scene(&[Some((3, 900.0)), Some((3, 1.0))]), None)[..] else { panic!() };
        assert!(found.contains("too few packets"), "{found}");
        // The kernel times a lone program.
        assert_eq!(of_times(&scene(&[None]), None), [""; 0]);
    }
}
