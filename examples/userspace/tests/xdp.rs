//! XDP examples on the running kernel, by bpftool's test run. Requires root, clang and bpftool.

mod compiled;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bpfman_examples::prefix::Prefix;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::{Value, json};

const XDP_DROP: u64 = 1;
const XDP_PASS: u64 = 2;

const INSIDE_V6: [u16; 8] = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 7];

struct Loaded {
    folder: tempfile::TempDir,
    function: &'static str,
}

impl Loaded {
    fn new(example: &str, function: &'static str) -> Result<Self> {
        let object = compiled::object(example)?;
        // The prefix has no dots: libbpf replaces dots in a pin path by underscores.
        let folder = tempfile::Builder::new().prefix("examples-").tempdir()?;
        let bpffs = folder.path().join("fs");
        std::fs::create_dir(&bpffs)?;
        mount("bpffs", &bpffs, "bpf", MountFlags::empty(), None).context("cannot mount a bpffs")?;
        let loaded = Self { folder, function };
        let mut load = Command::new("bpftool");
        load.args(["prog", "loadall"]).arg(object).arg(loaded.programs()).arg("pinmaps").arg(loaded.maps());
        run(&mut load)?;
        Ok(loaded)
    }

    fn programs(&self) -> PathBuf {
        self.folder.path().join("fs/programs")
    }

    fn maps(&self) -> PathBuf {
        self.folder.path().join("fs/maps")
    }

    fn verdict(&self, packet: &[u8]) -> Result<u64> {
        let file = self.folder.path().join("packet");
        std::fs::write(&file, packet)?;
        let mut test_run = Command::new("bpftool");
        test_run.args(["--json", "prog", "run", "pinned"]).arg(self.programs().join(self.function));
        test_run.arg("data_in").arg(file).args(["repeat", "1"]);
        let answer: Value = serde_json::from_str(&run(&mut test_run)?)?;
        answer["retval"].as_u64().with_context(|| format!("no retval in {answer}"))
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        // Only the pins hold the programs, so this removes them.
        let _ = unmount(self.folder.path().join("fs"), UnmountFlags::DETACH);
    }
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{command:?}: {}\n{stdout}{stderr}", output.status);
    Ok(stdout.into_owned())
}

fn firewall(loaded: &Loaded, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bpfman-xdp-firewall"));
    run(command.arg("--map-dir").arg(loaded.maps()).args(arguments))
}

fn json_of(text: &str) -> Result<Value> {
    serde_json::from_str(text).with_context(|| format!("not JSON: {text}"))
}

fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&[2; 12], ethertype.to_be_bytes().as_slice(), payload].concat()
}

fn ipv4(source: [u8; 4], protocol: u8) -> Vec<u8> {
    let mut header = [0; 20];
    header[0] = 0x45;
    header[9] = protocol;
    header[12..16].copy_from_slice(&source);
    ethernet(0x0800, &header)
}

fn ipv6(source: [u16; 8], next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = [0; 40];
    header[0] = 0x60;
    header[6] = next_header;
    header[8..24].copy_from_slice(&std::net::Ipv6Addr::from(source).octets());
    ethernet(0x86dd, &[&header, payload].concat())
}

#[test]
fn firewall_drops_what_a_prefix_matches_and_counts_it_there() -> Result<()> {
    let loaded = Loaded::new("xdp-firewall", "xdp_firewall")?;
    let inside = ipv4([192, 0, 2, 7], 6);
    let inside_v6 = ipv6(INSIDE_V6, 58, &[0; 8]);
    assert_eq!(loaded.verdict(&inside)?, XDP_PASS, "without a rule everything passes");

    let added = firewall(&loaded, &["add", "192.0.0.0/16", "192.0.2.0/24", "2001:db8::/32"])?;
    assert_eq!(added, "192.0.0.0/16 added\n192.0.2.0/24 added\n2001:db8::/32 added\n");
    assert_eq!(loaded.verdict(&inside)?, XDP_DROP);
    assert_eq!(loaded.verdict(&inside)?, XDP_DROP);
    assert_eq!(loaded.verdict(&inside_v6)?, XDP_DROP);
    assert_eq!(loaded.verdict(&ipv4([192, 1, 2, 7], 6))?, XDP_PASS);
    assert_eq!(loaded.verdict(&ipv6([0x2001, 0xdb9, 0, 0, 0, 0, 0, 7], 58, &[0; 8]))?, XDP_PASS);
    assert_eq!(loaded.verdict(&ethernet(0x0806, &[0; 28]))?, XDP_PASS);
    assert_eq!(loaded.verdict(&inside[..30])?, XDP_PASS, "a header cut short is not looked at");

    assert_eq!(firewall(&loaded, &["add", "192.0.2.0/24"])?, "192.0.2.0/24 unchanged\n");
    let rules = json_of(&firewall(&loaded, &["list", "--json"])?)?;
    let count = |prefix: &str| {
        rules.as_array().and_then(|rules| rules.iter().find(|rule| rule["prefix"] == prefix)).cloned()
    };
    let rule = |prefix: &str, packets: u64, bytes: u64| {
        let rule = format!("drop src {prefix}");
        json!({ "rule": rule, "prefix": prefix, "packets": packets, "bytes": bytes })
    };
    assert_eq!(count("192.0.2.0/24"), Some(rule("192.0.2.0/24", 2, 68)));
    assert_eq!(count("192.0.0.0/16"), Some(rule("192.0.0.0/16", 0, 0)));
    assert_eq!(count("2001:db8::/32"), Some(rule("2001:db8::/32", 1, 62)));
    let stats = json_of(&firewall(&loaded, &["stats", "--json"])?)?;
    assert_eq!(stats["dropped_ipv4"]["packets"], 2);
    assert_eq!(stats["dropped_ipv6"]["packets"], 1);
    assert_eq!(stats["passed_ipv4"]["packets"], 2);
    assert_eq!(stats["passed_ipv6"]["packets"], 1);
    assert_eq!(stats["passed_other"]["packets"], 2);

    let removed = firewall(&loaded, &["remove", "192.0.2.0/24", "192.0.0.0/16", "10.0.0.0/8"])?;
    assert_eq!(removed, "192.0.2.0/24 removed\n192.0.0.0/16 removed\n10.0.0.0/8 was not there\n");
    assert_eq!(loaded.verdict(&inside)?, XDP_PASS);
    Ok(())
}

fn ports(destination: u16) -> [u8; 8] {
    let [high, low] = destination.to_be_bytes();
    [0x10, 0, high, low, 0, 8, 0, 0]
}

#[test]
fn firewall_finds_ports_behind_options_not_in_later_fragments() -> Result<()> {
    let loaded = Loaded::new("xdp-firewall", "xdp_firewall")?;
    let rules = loaded.folder.path().join("rules");
    std::fs::write(&rules, "drop proto udp dport 53\nallow proto udp\ndrop src 192.0.2.0/24\n")?;
    firewall(&loaded, &["apply", rules.to_str().context("a path of text")?])?;
    let v4 = |first: u8, fragment: u16, protocol: u8, behind: &[u8]| {
        let mut packet = ipv4([192, 0, 2, 7], protocol);
        packet[14] = first;
        packet[20..22].copy_from_slice(&fragment.to_be_bytes());
        packet.extend(behind);
        packet
    };
    let options = [[1; 8], ports(53)].concat();
    let hop_by_hop = [[17, 0, 0, 0, 0, 0, 0, 0], ports(53)].concat();
    let fragment = |offset: u8| [[17, 0, 0, offset, 0, 0, 0, 9], ports(53)].concat();
    for (what, packet, verdict) in [
        ("plain", v4(0x45, 0, 17, &ports(53)), XDP_DROP),
        ("another port", v4(0x45, 0, 17, &ports(54)), XDP_PASS),
        ("the port as a source", v4(0x45, 0, 17, &[0, 53, 1, 1, 0, 8, 0, 0]), XDP_PASS),
        ("another protocol", v4(0x45, 0, 6, &ports(53)), XDP_DROP),
        ("behind options", v4(0x47, 0, 17, &options), XDP_DROP),
        ("the first fragment", v4(0x45, 0x2000, 17, &ports(53)), XDP_DROP),
        ("a later one", v4(0x45, 0x2004, 17, &ports(53)), XDP_PASS),
        ("cut short", v4(0x45, 0, 17, &ports(53)[..3]), XDP_PASS),
        ("IPv6", ipv6(INSIDE_V6, 17, &ports(53)), XDP_DROP),
        ("behind an extension header", ipv6(INSIDE_V6, 0, &hop_by_hop), XDP_DROP),
        ("the first fragment over IPv6", ipv6(INSIDE_V6, 44, &fragment(1)), XDP_DROP),
        ("a later one over IPv6", ipv6(INSIDE_V6, 44, &fragment(8)), XDP_PASS),
        ("no rule at all", ipv6(INSIDE_V6, 6, &ports(53)), XDP_PASS),
    ] {
        assert_eq!(loaded.verdict(&packet)?, verdict, "{what}");
    }
    assert_eq!(
        firewall(&loaded, &["list", "--rules"])?,
        "drop proto udp dport 53\nallow proto udp\ndrop src 192.0.2.0/24\n"
    );
    let counted = json_of(&firewall(&loaded, &["list", "--json"])?)?;
    assert_eq!(counted[0]["packets"], 6);
    assert_eq!(counted[1]["packets"], 5);
    assert_eq!(counted[2]["packets"], 1);
    Ok(())
}

#[test]
fn firewall_finds_the_longest_prefix_of_few_lengths_and_of_many() -> Result<()> {
    let loaded = Loaded::new("xdp-firewall", "xdp_firewall")?;
    let few =
        "allow src 10.1.2.3\ndrop src 10.1.2.0/24 proto tcp\nallow src 10.1.0.0/16\ndrop src 0.0.0.0/0\n";
    // All prefix lengths. Prefixes around 99.99.99.99 match no packet here, but add lengths to the search.
    let mut many = few.to_owned();
    let beside = Prefix::V4([99; 4].into(), 32);
    for length in (1..16).chain(17..24).chain(25..32) {
        many += &format!("drop src {}\n", beside.shortened(length));
    }
    many += "drop src 2001:db8::/65\n";
    let inside = Prefix::V6(INSIDE_V6.into(), 128);
    for length in (0..=128).filter(|length| *length != 65) {
        many += &format!("allow src {}\n", inside.shortened(length));
    }
    for text in [few, &many, few, &many] {
        apply(&loaded, text)?;
        for (source, protocol, verdict) in [
            ([10, 1, 2, 3], 6, XDP_PASS),
            ([10, 1, 2, 4], 6, XDP_DROP),
            ([10, 1, 2, 4], 17, XDP_PASS),
            ([10, 1, 3, 3], 6, XDP_PASS),
            ([10, 2, 2, 3], 6, XDP_DROP),
            ([192, 0, 2, 7], 17, XDP_DROP),
        ] {
            assert_eq!(loaded.verdict(&ipv4(source, protocol))?, verdict, "{source:?} {protocol}\n{text}");
        }
        let verdict = if text == few { XDP_PASS } else { XDP_DROP };
        assert_eq!(loaded.verdict(&ipv6(INSIDE_V6, 6, &[0; 20]))?, verdict, "{text}");
        let outside = [0x2001, 0xdb8, 0, 0, 0x8000, 0, 0, 7];
        assert_eq!(loaded.verdict(&ipv6(outside, 6, &[0; 20]))?, XDP_PASS, "{text}");
    }
    Ok(())
}

#[test]
fn firewall_changes_only_differences_or_replaces_all_if_unsure() -> Result<()> {
    let loaded = Loaded::new("xdp-firewall", "xdp_firewall")?;
    let entries = |map: &str| -> Result<usize> {
        let mut dump = Command::new("bpftool");
        let entries =
            json_of(&run(dump.args(["--json", "map", "dump", "pinned"]).arg(loaded.maps().join(map)))?)?;
        Ok(entries.as_array().map_or(0, Vec::len))
    };
    let rules = |from: u8, last: &str| -> String {
        let all = (from..from + 100).map(|number| {
            format!("drop src 11.{number}.0.0/16\ndrop src fd00:{number}::/32 proto udp dport 53\n")
        });
        all.collect::<String>() + last
    };
    apply(&loaded, &rules(0, "drop src 10.0.0.0/8\n"))?;
    assert_eq!((entries("prefixes_v4_1")?, entries("prefixes_v6_1")?), (101, 100));
    apply(&loaded, "allow proto tcp\n")?;
    apply(&loaded, &rules(50, "drop src 10.1.0.0/16 proto udp\n"))?;
    assert_eq!((entries("prefixes_v4_1")?, entries("prefixes_v6_1")?), (101, 100));
    let verdicts = || -> Result<[u64; 3]> {
        let of = |source, protocol| loaded.verdict(&ipv4(source, protocol));
        Ok([of([10, 2, 0, 1], 17)?, of([10, 1, 0, 1], 17)?, of([11, 149, 0, 1], 6)?])
    };
    assert_eq!(verdicts()?, [XDP_PASS, XDP_DROP, XDP_DROP]);
    let listed = firewall(&loaded, &["list", "--rules"])?;
    assert_eq!(listed, rules(50, "drop src 10.1.0.0/16 proto udp\n"));
    apply(&loaded, "")?;
    let stranger = "0a 00 00 00 08 00 00 00";
    let class = "00 00 00 00 ".repeat(7);
    let mut update = Command::new("bpftool");
    update.args(["map", "update", "pinned"]).arg(loaded.maps().join("prefixes_v4_1")).args(["key", "hex"]);
    run(update.args(stranger.split(' ')).args(["value", "hex"]).args(class.split_whitespace()))?;
    let mut forget = Command::new("bpftool");
    forget.args(["map", "update", "pinned"]).arg(loaded.maps().join("fillings"));
    let sum = format!("key hex 01 00 00 00 value hex c9 00 00 00 00 00 00 00 {}", "07 ".repeat(8));
    run(forget.args(sum.split_whitespace()))?;
    apply(&loaded, &rules(50, ""))?;
    assert_eq!((entries("prefixes_v4_1")?, entries("prefixes_v6_1")?), (100, 100));
    assert_eq!(verdicts()?, [XDP_PASS, XDP_PASS, XDP_DROP]);
    Ok(())
}

fn apply(loaded: &Loaded, text: &str) -> Result<()> {
    let rules = loaded.folder.path().join("rules");
    std::fs::write(&rules, text)?;
    firewall(loaded, &["apply", rules.to_str().context("a path of text")?])?;
    Ok(())
}

#[test]
fn counter_counts_protocols_also_behind_extension_headers() -> Result<()> {
    let loaded = Loaded::new("xdp-counter", "xdp_counter")?;
    let extended = [[60, 1, 0, 0, 0, 0, 0, 0], [0; 8], [44, 0, 0, 0, 0, 0, 0, 0], [17, 0, 0, 0, 0, 0, 0, 0]];
    let packets = [
        ipv4([192, 0, 2, 7], 6),
        ipv4([192, 0, 2, 8], 6),
        ipv4([192, 0, 2, 7], 89),
        ipv6(INSIDE_V6, 58, &[0; 8]),
        ipv6(INSIDE_V6, 0, extended.as_flattened()),
        ipv6(INSIDE_V6, 0, &extended.as_flattened()[..12]),
        ethernet(0x0806, &[0; 28]),
        ethernet(0x88cc, &[0; 28]),
    ];
    for packet in &packets {
        assert_eq!(loaded.verdict(packet)?, XDP_PASS);
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_bpfman-xdp-counter"));
    let counted = json_of(&run(command.arg("--map-dir").arg(loaded.maps()).arg("--json"))?)?;
    let expected = json!({
        "ipv4/tcp": { "packets": 2, "bytes": 68 },
        "ipv4/89": { "packets": 1, "bytes": 34 },
        "ipv6/icmpv6": { "packets": 1, "bytes": 62 },
        "ipv6/udp": { "packets": 1, "bytes": 86 },
        "malformed": { "packets": 1, "bytes": 66 },
        "arp": { "packets": 1, "bytes": 42 },
        "other": { "packets": 1, "bytes": 42 },
    });
    assert_eq!(counted, expected);
    Ok(())
}

#[test]
fn a_folder_without_the_maps_is_named_in_the_error() {
    let folder = tempfile::tempdir().unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_bpfman-xdp-counter")).arg("--map-dir").arg(folder.path()).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(5));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains(&folder.path().join("protocols").display().to_string()), "{message}");
}
