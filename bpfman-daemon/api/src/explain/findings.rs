//! Reasons, as text, why a member of a chain is or is not reached.

use super::times::{MemberTimes, of_times};

#[derive(Clone, Debug, Default)]
pub(super) struct Scene {
    pub hook: String,
    pub trouble: String,
    pub is_down: bool,
    pub before: Vec<String>,
    /// True if XDP runs in the network stack.
    pub is_generic: bool,
    /// True if it is an XDP chain in the driver, and its network namespace has a veth.
    pub may_redirect_to_veth: bool,
    pub refusal: Option<String>,
    pub members: Vec<MemberScene>,
    pub is_counted: bool,
    pub failed: u64,
    pub held_by: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct MemberScene {
    pub name: String,
    /// Verdicts after which the next member runs, as text; empty: none.
    pub proceed_on: String,
    /// True if REDIRECT is one of them.
    pub forgets_redirects: bool,
    pub runs: u64,
    pub ended: Vec<(&'static str, u64)>,
    pub shadow: bool,
    pub shadowed: Vec<(&'static str, u64)>,
    /// `None` if times are not sampled.
    pub times: Option<MemberTimes>,
}

pub(super) fn findings(scene: &Scene, member: Option<usize>) -> Vec<String> {
    let mut found = of_hook(scene);
    match member {
        Some(at) => found.extend(of_member(scene, at)),
        None => (0..scene.members.len()).for_each(|at| found.extend(of_member(scene, at))),
    }
    for (index, shadow) in scene.members.iter().enumerate().filter(|(_, member)| member.shadow) {
        if member.is_none_or(|at| at == index) {
            found.push(of_shadow(index, shadow));
        }
    }
    for (index, forgetful) in scene.members.iter().enumerate().filter(|(_, member)| member.forgets_redirects)
    {
        found.push(format!(
            "position {index} ({}) proceeds on redirect: a packet that it redirects is not sent there, but goes the way \
             that the members behind it decide",
            forgetful.name
        ));
    }
    if scene.may_redirect_to_veth {
        found.extend(
            scene.members.iter().enumerate().filter_map(|(index, sender)| of_redirects(index, sender)),
        );
    }
    found.extend(of_times(scene, member));
    if scene.failed > 0 {
        found.push(format!(
            "{} lost at a tail call, which ended with the hook's fail verdict: an array of the chain was emptied, or \
             a member used up the 33 tail calls of a packet",
            packets(scene.failed)
        ));
    }
    if scene.is_generic {
        let why = scene.refusal.iter().map(|refusal| format!(", since the driver refused it ({refusal})"));
        found.push(format!(
            "the chain runs in generic mode{}: packets that the driver hands on without a socket buffer, or redirects \
             before, do not meet it",
            why.collect::<String>()
        ));
    }
    if let Some(holder) = &scene.held_by {
        found.push(format!("{} is frozen by {holder}: its chain is not changed meanwhile", scene.hook));
    }
    found
}

fn of_shadow(index: usize, shadow: &MemberScene) -> String {
    let answers: Vec<String> =
        shadow.shadowed.iter().map(|(verdict, n)| format!("{verdict} for {}", packets(*n))).collect();
    let answers = match &answers[..] {
        [] => "nothing yet that was counted".to_owned(),
        answers => answers.join(", "),
    };
    format!(
        "position {index} ({}) is a shadow: the chain goes on whatever it answers; it answered {answers}. What it writes into \
         packets and maps counts all the same",
        shadow.name
    )
}

/// Returns a finding about redirects to a veth: its peer can receive packets only with an XDP program or GRO.
fn of_redirects(index: usize, sender: &MemberScene) -> Option<String> {
    let (_, redirected) = sender.ended.iter().find(|(verdict, n)| *verdict == "redirect" && *n > 0)?;
    Some(format!(
        "position {index} ({}) redirected {}: if their target is a veth, it drops them, and no counter here has them, unless its peer \
         runs an XDP program, which may pass everything, or has GRO on (Linux 5.13)",
        sender.name,
        packets(*redirected)
    ))
}

fn of_hook(scene: &Scene) -> Vec<String> {
    let mut found = Vec::new();
    if !scene.trouble.is_empty() {
        found.push(format!("no member of {} is reached as recorded: {}", scene.hook, scene.trouble));
    }
    if scene.is_down {
        found.push(format!("the interface of {} is down: no packets come", scene.hook));
    }
    for other in &scene.before {
        found.push(format!(
            "packets meet {other} first, which is not of bpfman; what it ends does not reach {}",
            scene.hook
        ));
    }
    found
}

fn of_member(scene: &Scene, at: usize) -> Vec<String> {
    let Some(member) = scene.members.get(at) else { return Vec::new() };
    let before = &scene.members[..at];
    let name = &member.name;
    if let Some((index, wall)) = before.iter().enumerate().find(|(_, other)| other.proceed_on.is_empty()) {
        return vec![format!(
            "{name} never runs: position {index} ({}) proceeds on no verdict, since its proceed-on set is empty",
            wall.name
        )];
    }
    if !scene.is_counted {
        let mut found: Vec<String> = before
            .iter()
            .enumerate()
            .map(|(index, other)| {
                format!(
                    "{name} is reached only after position {index} ({}) answers {}",
                    other.name, other.proceed_on
                )
            })
            .collect();
        found.push(format!(
            "packets of {0} are not counted, so it is not known how many reach {name} and what it answers: `bpfman chain \
             counters {0} on` counts them from now on",
            scene.hook
        ));
        return found;
    }
    let all = scene.members.first().map_or(0, |first| first.runs) + if at == 0 { 0 } else { scene.failed };
    if all == 0 {
        return vec![format!("{name} was not reached: no packet has met {} since it counts", scene.hook)];
    }
    let mut ends: Vec<(usize, &MemberScene, &'static str, u64)> = before
        .iter()
        .enumerate()
        .flat_map(|(index, other)| other.ended.iter().map(move |(verdict, n)| (index, other, *verdict, *n)))
        .filter(|(.., packets)| *packets > 0)
        .collect();
    ends.sort_by_key(|(index, .., packets)| (std::cmp::Reverse(*packets), *index));
    let mut found = vec![if member.runs == 0 {
        format!("{name} is not reached: none of {} came to position {at}", packets(all))
    } else {
        format!("{name} is reached by {} of {} ({})", member.runs, packets(all), share(member.runs, all))
    }];
    let why = ends.iter().map(|(index, other, verdict, n)| {
        format!(
            "{} of packets end at position {index} ({}) with {verdict}; its set proceeds on {} only",
            share(*n, all),
            other.name,
            other.proceed_on
        )
    });
    let why: Vec<String> = why.collect();
    // Name the cause in the same sentence if no packet reaches the member.
    match (member.runs, why.split_first()) {
        (0, Some((first, rest))) => {
            found = vec![format!("{name} is not reached: {first}")];
            found.extend(rest.iter().cloned());
        }
        _ => found.extend(why),
    }
    found.extend(of_own_ends(member, all));
    found
}

/// Describes the packets that no later program sees, because of a member's verdict. `None` if there are none.
fn of_own_ends(member: &MemberScene, all: u64) -> Option<String> {
    let mut ended: Vec<_> = member.ended.iter().filter(|(_, n)| *n > 0).collect();
    ended.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let ends: Vec<String> = ended
        .iter()
        .map(|(verdict, n)| format!("{} with {verdict} ({})", packets(*n), share(*n, all)))
        .collect();
    (!ends.is_empty()).then(|| format!("at {} end {}", member.name, ends.join(", ")))
}

fn packets(number: u64) -> String {
    if number == 1 { "1 packet".to_owned() } else { format!("{number} packets") }
}

/// Returns a part in percent, never rounded to 0 or 100.
pub(super) fn share(part: u64, whole: u64) -> String {
    let percent = part as f64 * 100.0 / whole as f64;
    let text = format!("{percent:.1}");
    match text.as_str() {
        "100.0" if part < whole => "99.9 %".to_owned(),
        "0.0" if part > 0 => "less than 0.1 %".to_owned(),
        "100.0" => "100 %".to_owned(),
        _ => format!("{text} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene() -> Scene {
        let member = |name: &str, runs, ended| MemberScene {
            name: name.to_owned(),
            proceed_on: "pass".to_owned(),
            forgets_redirects: false,
            runs,
            ended,
            ..MemberScene::default()
        };
        Scene {
            hook: "xdp:eth0".to_owned(),
            members: vec![
                member("counter", 1000, Vec::new()),
                member("firewall", 1000, vec![("drop", 998)]),
                member("sampler", 2, Vec::new()),
            ],
            is_counted: true,
            ..Scene::default()
        }
    }

    #[test]
    fn the_member_that_ends_most_packets_is_named_with_its_verdict() {
        let found = findings(&scene(), Some(2));
        assert_eq!(found[0], "sampler is reached by 2 of 1000 packets (0.2 %)");
        assert_eq!(
            found[1],
            "99.8 % of packets end at position 1 (firewall) with drop; its set proceeds on pass only"
        );
    }

    #[test]
    fn one_that_nothing_reaches_has_its_cause_first() {
        let mut scene = scene();
        scene.members[1].ended = vec![("drop", 1000)];
        scene.members[2].runs = 0;
        assert_eq!(
            findings(&scene, Some(2))[0],
            "sampler is not reached: 100 % of packets end at position 1 (firewall) with drop; its set proceeds on pass only"
        );
        assert_eq!(findings(&scene, Some(0)), ["counter is reached by 1000 of 1000 packets (100 %)"]);
    }

    #[test]
    fn a_lone_member_says_what_it_drops() {
        let mut scene = scene();
        scene.members.drain(..1);
        scene.members.truncate(1);
        scene.members[0].ended = vec![("pass", 2), ("drop", 998)];
        assert_eq!(
            findings(&scene, Some(0)),
            [
                "firewall is reached by 1000 of 1000 packets (100 %)",
                "at firewall end 998 packets with drop (99.8 %), 2 packets with pass (0.2 %)",
            ]
        );
    }

    #[test]
    fn behind_an_empty_set_nothing_runs_whatever_was_counted() {
        let mut scene = scene();
        scene.members[0].proceed_on.clear();
        assert!(findings(&scene, Some(2))[0].starts_with("sampler never runs: position 0 (counter)"));
    }

    #[test]
    fn lost_redirect_is_reported() {
        let mut scene = scene();
        scene.members[1].forgets_redirects = true;
        let found = findings(&scene, Some(2));
        assert!(
            found.iter().any(|f| f.starts_with("position 1 (firewall) proceeds on redirect")),
            "{found:?}"
        );
    }

    #[test]
    fn redirects_say_what_a_veth_needs_only_where_one_may_be_meant() {
        let mut scene = scene();
        scene.members[1].ended = vec![("drop", 900), ("redirect", 98)];
        let told = |scene: &Scene| findings(scene, Some(2)).iter().any(|f| f.contains("unless its peer"));
        assert!(!told(&scene));
        scene.may_redirect_to_veth = true;
        assert!(told(&scene));
        scene.members[1].ended.pop();
        assert!(!told(&scene), "it redirected none");
    }

    #[test]
    fn trouble_of_the_hook_comes_before_its_members() {
        let mut scene = scene();
        scene.trouble = "unpinned: the pin of its chain was removed".to_owned();
        scene.is_down = true;
        scene.before = vec!["program 7 (cil_from_netdev), tcx link 3".to_owned()];
        let found = findings(&scene, Some(1));
        assert!(found[0].contains("the pin of its chain was removed"), "{found:?}");
        assert!(found[1].contains("is down"), "{found:?}");
        assert!(found[2].contains("cil_from_netdev"), "{found:?}");
        assert!(found[3].starts_with("firewall is reached"), "{found:?}");
    }

    #[test]
    fn sets_are_reported_without_counters() {
        let mut scene = scene();
        scene.is_counted = false;
        let found = findings(&scene, Some(1));
        assert_eq!(found[0], "firewall is reached only after position 0 (counter) answers pass");
        assert!(found[1].contains("not counted"), "{found:?}");
        // A lone member counts nothing unless its counters are switched on.
        scene.members.truncate(1);
        let [found] = &findings(&scene, Some(0))[..] else { panic!("one finding") };
        assert!(found.contains(&format!("`bpfman chain counters {} on`", scene.hook)), "{found}");
    }

    #[test]
    fn a_shadow_says_what_it_would_have_done() {
        let mut scene = scene();
        scene.members[0].shadow = true;
        scene.members[0].shadowed = vec![("drop", 7), ("pass", 1)];
        let found = findings(&scene, None).join("\n");
        assert!(found.contains("is a shadow: the chain goes on whatever it answers"), "{found}");
        assert!(found.contains("drop for 7 packets, pass for 1 packet"), "{found}");
        assert!(!findings(&scene, Some(1)).join("\n").contains("is a shadow"));
    }

    #[test]
    fn lost_packets_and_rare_ones_are_not_rounded_away() {
        let mut scene = scene();
        scene.failed = 1;
        assert!(
            findings(&scene, Some(0))
                .iter()
                .any(|finding| finding.starts_with("1 packet lost at a tail call"))
        );
        assert_eq!(share(1, 1_000_000), "less than 0.1 %");
        assert_eq!(share(999_999, 1_000_000), "99.9 %");
    }
}
