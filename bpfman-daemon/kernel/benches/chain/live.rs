//! Live frames (Linux 5.18) through a pair of virtual interfaces to the hook at the other end, all on one CPU.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use bpfman_model::Insn;

use crate::kernel::{self, Link, Program, ProgramKind};
use crate::objects;

const FRAMES: u32 = 400_000;
const BATCH: u32 = 64;

fn run(words: &str) {
    let status = Command::new("sh").args(["-c", words]).status().expect("sh runs");
    assert!(status.success(), "{words}");
}

/// Pair of virtual interfaces in private network and mount namespaces, removed with them.
pub struct VethPair {
    generator: Program,
    hook: u32,
    pins: tempfile::TempDir,
    ksoftirqd: PathBuf,
}

pub enum MeasuredHook {
    Links(#[expect(dead_code, reason = "it holds them")] Vec<Link>),
    Filters,
}

impl Drop for MeasuredHook {
    fn drop(&mut self) {
        if matches!(self, Self::Filters) {
            run("tc qdisc del dev vb clsact");
        }
    }
}

impl VethPair {
    pub fn new() -> Self {
        kernel::own_network_namespace().expect("namespaces can be made");
        kernel::own_mount_namespace().expect("namespaces can be made");
        let cpu = kernel::stay_on_one_cpu().expect("affinity can be set");
        run("echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6; ip link set lo up");
        run("ip link add va type veth peer name vb && ip link set va up && ip link set vb up");
        kernel::receive_redirected_frames("vb").expect("the interface can be set");
        let pins = tempfile::tempdir().expect("a folder can be made");
        run(&format!("mount -t bpf bpf {}", pins.path().display()));
        let insns = vec![
            Insn::new(0xb7, 1, 0, 0, kernel::interface("va").cast_signed()),
            Insn::new(0xb7, 2, 0, 0, 0),
            Insn::new(0x85, 0, 0, 0, 23),
            Insn::new(0x95, 0, 0, 0, 0),
        ];
        let generator = kernel::load(&objects::program("generator", insns), ProgramKind::Xdp, &[]);
        let generator = generator.expect("the generator loads");
        Self { generator, hook: kernel::interface("vb"), pins, ksoftirqd: ksoftirqd(cpu) }
    }

    pub fn attach(&self, kind: ProgramKind, program: &Program) -> MeasuredHook {
        self.attach_all(kind, &[program])
    }

    pub fn attach_all(&self, kind: ProgramKind, programs: &[&Program]) -> MeasuredHook {
        if kind == ProgramKind::Clsact {
            run("tc qdisc add dev vb clsact");
            for (number, program) in (1..).zip(programs) {
                let pin = self.pins.path().join(format!("filter{number}"));
                kernel::pin(*program, &pin).expect("a program can be pinned");
                run(&format!(
                    "tc filter add dev vb ingress protocol all prio {number} handle 1 bpf da object-pinned {}",
                    pin.display()
                ));
                std::fs::remove_file(pin).expect("a pin can be removed");
            }
            return MeasuredHook::Filters;
        }
        let attach = |program: &&Program| match kind {
            ProgramKind::Xdp => kernel::attach_xdp(program, self.hook, kernel::XdpMode::Native),
            _ => kernel::attach_tcx_ingress(program, self.hook),
        };
        let links = programs.iter().map(|program| attach(program).expect("a program can be attached"));
        MeasuredHook::Links(links.collect())
    }

    /// Returns the time per frame, and the minimum number of frames received: the last batch may still be in transit.
    pub fn sample(&self) -> (f64, u64) {
        let mut frame = [0xff_u8; 64];
        frame[12..14].copy_from_slice(&[0x88, 0xb5]);
        let start = self.cpu_time();
        kernel::send_live_frames(&self.generator, &frame, FRAMES, BATCH).expect("live frames");
        ((self.cpu_time() - start).as_nanos() as f64 / f64::from(FRAMES), u64::from(FRAMES - BATCH))
    }

    /// Returns the CPU time of this thread and of `ksoftirqd`, which takes over if there is much to receive.
    fn cpu_time(&self) -> Duration {
        let statistics =
            std::fs::read_to_string(&self.ksoftirqd).expect("the kernel keeps scheduler statistics");
        let nanoseconds = statistics.split(' ').next().and_then(|first| first.parse().ok());
        kernel::thread_cpu_time() + Duration::from_nanos(nanoseconds.expect("the first field is a time"))
    }
}

fn ksoftirqd(cpu: u32) -> PathBuf {
    let name = format!("ksoftirqd/{cpu}");
    std::fs::read_dir("/proc")
        .expect("/proc is mounted")
        .map(|entry| entry.expect("/proc can be read").path())
        .find(|process| std::fs::read_to_string(process.join("comm")).is_ok_and(|comm| comm.trim() == name))
        .expect("every CPU has this thread")
        .join("schedstat")
}
