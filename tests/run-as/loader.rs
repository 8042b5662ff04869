//! An ordinary loader on aya: attaches XDP and a tracepoint, and prints whether executions were seen.

use std::error::Error;
use std::process::Command;

use aya::Ebpf;
use aya::maps::Array;
use aya::programs::{TracePoint, Xdp};

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (object, interface) = (words.next().ok_or("no object")?, words.next().ok_or("no interface")?);
    let mut loaded = Ebpf::load_file(object)?;
    let execs: &mut TracePoint = loaded.program_mut("execs").ok_or("no program")?.try_into()?;
    execs.load()?;
    execs.attach("sched", "sched_process_exec")?;
    let packets: &mut Xdp = loaded.program_mut("packets").ok_or("no program")?.try_into()?;
    packets.load()?;
    packets.attach(&interface, Default::default())?;
    for _ in 0..3 {
        Command::new("/bin/true").status()?;
    }
    let counts: Array<_, u64> = Array::try_from(loaded.map("counts").ok_or("no map")?)?;
    println!("executions were seen: {}", counts.get(&1, 0)? >= 3);
    Ok(())
}
