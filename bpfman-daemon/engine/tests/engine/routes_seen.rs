//! Programs of routes for incoming and forwarded packets.

use std::process::Command;

use bpfman_model::ProgramId;
use bpfmand_engine::Engine;
use bpfmand_kernel::linux::LinuxKernel;

use crate::bench::Bench;
use crate::openers::{load_one, runs};
use crate::sockmaps::python;

fn forwarded(bench: &Bench<LinuxKernel>, ethertype: u16, packet: &str) {
    let lines = format!(
        "
import fcntl
for setting in ('ipv4/ip_forward', 'ipv6/conf/all/forwarding'):
    open('/proc/sys/net/' + setting, 'w').write('1')
for where in ('all', 'right'):
    open('/proc/sys/net/ipv4/conf/' + where + '/rp_filter', 'w').write('0')
def checksum(data):
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    total = (total & 0xffff) + (total >> 16)
    return ~((total & 0xffff) + (total >> 16)) & 0xffff
{packet}
asks = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
mac = fcntl.ioctl(asks, 0x8927, struct.pack('256s', b'right'))[18:24]
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
raw.bind(('left', 0))
raw.send(mac + bytes(6) + struct.pack('!H', {ethertype}) + packet)"
    );
    python(bench, &lines);
}

fn routed(bench: &Bench<LinuxKernel>, program: ProgramId, route: &[&str], with: &[&str]) -> bool {
    let netns = bench.netns.file_name().unwrap().to_str().unwrap();
    let pin = bench.libxdp_pins.ancestors().nth(2).unwrap().join(format!("prog_{program}"));
    let ip = |words: &[&str]| Command::new("ip").args(["-n", netns]).args(words).output().unwrap();
    for interface in ["left", "right"] {
        assert!(ip(&["link", "set", interface, "up"]).status.success());
    }
    ip(&["addr", "add", "10.77.0.1/24", "dev", "right"]);
    ip(&["-6", "addr", "add", "fd00:77::1/64", "dev", "right", "nodad"]);
    let pin = pin.display().to_string();
    let made = ip(&[route, &["encap"], with, &["pinned", &pin, "dev", "right"]].concat());
    if !made.status.success() {
        println!("skipped: ip makes no such route here: {}", String::from_utf8_lossy(&made.stderr));
    }
    made.status.success()
}

fn assert_seen(
    bench: &Bench<LinuxKernel>,
    engine: &Engine<LinuxKernel>,
    program: ProgramId,
    (ethertype, packet): (u16, &str),
) {
    let ran = crate::points_seen::wait_until(|| {
        forwarded(bench, ethertype, packet);
        runs(bench, engine, program) > 0
    });
    assert!(ran, "it did not run");
}

#[test]
fn linux_a_route_that_packets_come_in_by_runs_its_program() {
    let bench = crate::linux::bench("way-in");
    let engine = bench.engine();
    let Some(program) = load_one(&engine, &bench, "no_way_in") else { return };
    if !routed(&bench, program, &["route", "add", "10.78.0.0/24"], &["bpf", "in"]) {
        return;
    }
    let packet = "
head = lambda sum: struct.pack('!BBHHHBBH4s4s', 0x45, 0, 28, 7, 0, 64, 17, sum,
                               socket.inet_aton('10.79.0.1'), socket.inet_aton('10.78.0.9'))
packet = head(checksum(head(0))) + struct.pack('!HHHH', 9, 9, 8, 0)";
    assert_seen(&bench, &engine, program, (0x0800, packet));
}

#[test]
fn linux_a_segment_of_a_route_runs_its_program() {
    let bench = crate::linux::bench("segment");
    let engine = bench.engine();
    let Some(program) = load_one(&engine, &bench, "no_segment") else { return };
    let with = ["seg6local", "action", "End.BPF", "endpoint"];
    if !routed(&bench, program, &["-6", "route", "add", "fd00:1::/64"], &with) {
        return;
    }
    // A routing header of type 4 with two segments, one of them left.
    let packet = "
address = lambda text: socket.inet_pton(socket.AF_INET6, text)
segments = struct.pack('!BBBBBBH', 17, 4, 4, 1, 1, 0, 0) + address('fd00:2::1') + address('fd00:1::1')
datagram = struct.pack('!HHHH', 9, 9, 8, 0)
packet = struct.pack('!IHBB', 6 << 28, len(segments) + len(datagram), 43, 64)
packet += address('fd00:3::1') + address('fd00:1::1') + segments + datagram";
    assert_seen(&bench, &engine, program, (0x86dd, packet));
}
