//! An ordinary loader on aya: attaches XDP and a tracepoint, and prints whether executions were seen; or an LSM program.

use std::error::Error;
use std::process::Command;

use aya::maps::Array;
use aya::programs::{Lsm, TracePoint, Xdp};
use aya::{Btf, Ebpf};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match &words[..] {
        ["--lsm", object, program, hook, command @ ..] => lsm(object, program, hook, command),
        [object, interface] => count(object, interface),
        _ => Err("usage: run-as-loader OBJECT INTERFACE | --lsm OBJECT PROGRAM HOOK COMMAND...".into()),
    }
}

fn lsm(object: &str, program: &str, hook: &str, command: &[&str]) -> Result<(), Box<dyn Error>> {
    let mut loaded = Ebpf::load_file(object)?;
    let program: &mut Lsm = loaded.program_mut(program).ok_or("no program")?.try_into()?;
    program.load(hook, &Btf::from_sys_fs()?)?;
    program.attach()?;
    let (first, others) = command.split_first().ok_or("no command")?;
    Command::new(first).args(others).status()?;
    Ok(())
}

fn count(object: &str, interface: &str) -> Result<(), Box<dyn Error>> {
    let mut loaded = Ebpf::load_file(object)?;
    let execs: &mut TracePoint = loaded.program_mut("execs").ok_or("no program")?.try_into()?;
    execs.load()?;
    execs.attach("sched", "sched_process_exec")?;
    let packets: &mut Xdp = loaded.program_mut("packets").ok_or("no program")?.try_into()?;
    packets.load()?;
    packets.attach(interface, Default::default())?;
    for _ in 0..3 {
        Command::new("/bin/true").status()?;
    }
    let counts: Array<_, u64> = Array::try_from(loaded.map("counts").ok_or("no map")?)?;
    println!("executions were seen: {}", counts.get(&1, 0)? >= 3);
    Ok(())
}
