use super::*;
use crate::list::parse;

#[derive(Clone, Copy, Debug)]
struct Packet {
    source: Prefix,
    destination: Prefix,
    protocol: u8,
    port: u16,
}

fn first_match(rules: &[Rule], packet: Packet) -> Option<usize> {
    rules.iter().position(|rule| {
        let wanted = rule.matches;
        let address = |direction| match direction {
            Direction::Source => packet.source,
            Direction::Destination => packet.destination,
        };
        wanted.prefix.is_none_or(|(direction, prefix)| prefix.contains(address(direction)))
            && wanted.protocol.is_none_or(|protocol| protocol.0 == packet.protocol)
            && wanted.port.is_none_or(|port| port.get() == packet.port)
    })
}

fn looked_up(compiled: &Compiled, packet: Packet) -> Option<usize> {
    let find = |class: u32, protocol: u16, port: u16| {
        let key = Detail { class, protocol, port };
        compiled.details.iter().find(|(detail, _)| *detail == key).map(|(_, rule)| *rule)
    };
    let detail = |class: u32, looks: u32| {
        let protocol = u16::from(packet.protocol);
        let by_port = || find(class, protocol, packet.port);
        let by_protocol = || find(class, protocol, 0);
        let port = if looks & LOOK_PORT != 0 && packet.port != 0 { by_port() } else { None };
        port.or_else(|| if looks & LOOK_PROTOCOL != 0 { by_protocol() } else { None })
    };
    let mut found = vec![detail(0, compiled.looks)];
    if compiled.looks & LOOK_ALL != 0 {
        found.push(find(0, ANY_PROTOCOL, 0));
    }
    for (direction, address) in
        [(Direction::Source, packet.source), (Direction::Destination, packet.destination)]
    {
        let table =
            |wanted| compiled.prefixes.iter().find(|(of, prefix, _)| *of == direction && *prefix == wanted);
        let (longest, steps) = compiled.searches.of(direction, address).find(address, table);
        assert!(steps <= 8, "{steps}");
        if let Some((_, prefix, class)) = longest {
            assert_ne!(compiled.looks & look_at(direction, *prefix), 0, "packets look there");
            let one = class.one.filter(|(one, _)| {
                one.protocol == u16::from(packet.protocol) && (one.port == 0 || one.port == packet.port)
            });
            assert_eq!(class.one.is_some(), class.looks == LOOK_ONE, "{class:?}");
            let in_table = if class.one.is_some() { None } else { detail(class.number, class.looks) };
            found.extend([class.plain, one.map(|(_, rule)| rule), in_table]);
        }
    }
    found.into_iter().flatten().min()
}

struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    /// Returns one of few prefixes, so that prefixes contain one another.
    fn address(&mut self, v6: bool) -> Prefix {
        let bits = self.below(16) as u32;
        if v6 {
            Prefix::V6(std::net::Ipv6Addr::from_bits(u128::from(bits) << 124), 128)
        } else {
            Prefix::V4(std::net::Ipv4Addr::from_bits(bits << 28), 32)
        }
    }

    fn prefix(&mut self, v6: bool) -> Prefix {
        let address = self.address(v6);
        address.shortened([0, 1, 2, 3, 4, 32][self.below(6) as usize])
    }

    fn rule(&mut self) -> String {
        let mut text = ["drop", "allow"][self.below(2) as usize].to_owned();
        if self.below(5) > 0 {
            let v6 = self.below(3) == 0;
            text += &format!(" {} {}", ["src", "dst"][self.below(2) as usize], self.prefix(v6));
        }
        if self.below(2) > 0 {
            text += &format!(" proto {}", ["tcp", "udp"][self.below(2) as usize]);
            if self.below(2) > 0 {
                text += &format!(" dport {}", 1 + self.below(3));
            }
        }
        text
    }
}

#[test]
fn packets_find_the_first_rule_that_matches_whatever_the_rules() {
    let mut numbers = Numbers(7);
    let (mut matched, mut ones, mut more) = ([0, 0], 0, 0);
    for _ in 0..300 {
        let mut seen = std::collections::HashSet::new();
        let mut lines: Vec<String> = (0..=numbers.below(30)).map(|_| numbers.rule()).collect();
        lines.retain(|line| seen.insert(line.parse::<Rule>().unwrap().matches));
        let rules = parse(&lines.join("\n"), "x").unwrap();
        let compiled = compile(&rules).unwrap();
        for (_, _, class) in &compiled.prefixes {
            ones += usize::from(class.one.is_some());
            more += usize::from(class.looks & (LOOK_PROTOCOL | LOOK_PORT) != 0);
        }
        for _ in 0..100 {
            let v6 = numbers.below(3) == 0;
            let (source, destination) = (numbers.address(v6), numbers.address(v6));
            let protocol = [6, 17, 1][numbers.below(3) as usize];
            let port = if protocol == 1 { 0 } else { numbers.below(4) as u16 };
            let packet = Packet { source, destination, protocol, port };
            let expected = first_match(&rules, packet);
            assert_eq!(looked_up(&compiled, packet), expected, "{packet:?}\n{}", lines.join("\n"));
            matched[usize::from(expected.is_some())] += 1;
        }
    }
    assert!(matched.iter().all(|times| *times > 1000), "both kinds of packets: {matched:?}");
    assert!(ones > 100 && more > 100, "both kinds of classes: {ones}, {more}");
}

#[test]
fn rules_over_the_capacity_of_the_maps_are_refused() {
    let mut text: String =
        (1..=400).map(|port| format!("drop src 10.0.0.0/8 proto tcp dport {port}\n")).collect();
    for number in 0..400_u32 {
        text += &format!("drop src 10.{}.{}.0/24\n", number / 256, number % 256);
    }
    let error = compile(&parse(&text, "x").unwrap()).unwrap_err();
    assert!(error.to_string().contains("more than the 131072 entries"), "{error:#}");
}

#[test]
fn prefixes_over_the_capacity_of_the_maps_are_refused() {
    let compiled = |lengths: u32| {
        let text: String = (0..100_000_u32).fold(String::new(), |text, number| {
            let address = std::net::Ipv6Addr::from_bits(u128::from(number) << 64);
            text + &format!("drop src {address}/{}\n", 64 + number % lengths)
        });
        compile(&parse(&text, "x").unwrap()).map(|compiled| compiled.prefixes.len())
    };
    assert!((100_000..200_000).contains(&compiled(3).unwrap()), "some have a marker");
    let error = format!("{:#}", compiled(63).unwrap_err());
    assert!(error.contains("the IPv6 prefixes need") && error.contains("room for 262144"), "{error}");
}
