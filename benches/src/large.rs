use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, bail};
use bpfmand_object::{BtfFeatures, KernelBtf, ObjectFile, TextOptions};

use crate::samples::{Results, ms};

const SIZE: u64 = 1 << 20;
const STEP: usize = 50;
const TYPES: &str = "/sys/kernel/btf/vmlinux";
pub const MEMORY: &str = "memory-of-object";
const ROUNDS: usize = 30;

pub fn run() -> anyhow::Result<()> {
    let mut results = Results::new("large")?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("large.o");
    let programs = compile(&path)?;
    let bytes = fs::read(&path)?;
    println!(
        "an object of {} bytes, {programs} programs, each with 24 fields of the kernel's types",
        bytes.len()
    );
    let types = fs::read(TYPES).context("the kernel has no types of itself")?;
    let mut of_kernel = Vec::new();
    for _ in 0..ROUNDS {
        let types = types.clone();
        let start = Instant::now();
        let kernel = KernelBtf::parse(types)?;
        of_kernel.push(ms(start));
        drop(kernel);
    }
    results.add("read the kernel's types", "ms", of_kernel)?;
    let kernel = KernelBtf::parse(types)?;
    let (mut read, mut linked) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let content = fs::read(&path)?;
        let start = Instant::now();
        let object = ObjectFile::parse(content)?;
        read.push(ms(start));
        let start = Instant::now();
        let options = TextOptions { kernel_btf: Some(&kernel), features: BtfFeatures::ALL };
        let texts = object
            .programs()
            .iter()
            .map(|one| object.text(&one.name, &options))
            .collect::<Result<Vec<_>, _>>()?;
        linked.push(ms(start));
        drop((texts, object));
    }
    results.add("read the object", "ms", read)?;
    results.add("relocate all of its programs", "ms", linked)?;
    let mut memory = Vec::new();
    for _ in 0..ROUNDS {
        let more = most_memory(Some(&path))? - most_memory(None)?;
        memory.push(more * 1024.0 / bytes.len() as f64);
    }
    results.add("memory, all of its programs kept, by the object's size", "times", memory)?;
    let bpfman = std::env::current_exe()?.with_file_name("bpfman");
    let mut checks = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let output = Command::new(&bpfman).arg("check").arg(&path).arg("--no-try").output()?;
        checks.push(ms(start));
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr));
        }
    }
    results.add("bpfman check --no-try, the process included", "ms", checks)?;
    Ok(())
}

fn most_memory(object: Option<&Path>) -> anyhow::Result<f64> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(MEMORY).args(object);
    let output = command.output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

pub fn print_memory(object: Option<&str>) -> anyhow::Result<()> {
    let kernel = KernelBtf::parse(fs::read(TYPES)?)?;
    let options = TextOptions { kernel_btf: Some(&kernel), features: BtfFeatures::ALL };
    let object = object.map(|path| anyhow::Ok(ObjectFile::parse(fs::read(path)?)?)).transpose()?;
    let programs =
        object.iter().flat_map(|object| object.programs().iter().map(move |one| (object, &one.name)));
    let _texts = programs.map(|(object, name)| object.text(name, &options)).collect::<Result<Vec<_>, _>>()?;
    let status = fs::read_to_string("/proc/self/status")?;
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    println!("{}", most.trim().trim_end_matches(" kB"));
    Ok(())
}

fn compile(to: &Path) -> anyhow::Result<usize> {
    for programs in (STEP..).step_by(STEP) {
        let source = to.with_extension("c");
        fs::write(&source, text(programs))?;
        let include = format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH);
        let whole = to.with_extension("whole.o");
        run_tool(
            Command::new("clang")
                .args(["-O2", "-g", "-target", "bpf", &include, "-c"])
                .arg(&source)
                .arg("-o")
                .arg(&whole),
        )?;
        // Convert it to the form in which objects are shipped: with BTF, without debug information.
        run_tool(Command::new("bpftool").args(["gen", "object"]).arg(to).arg(&whole))?;
        if fs::metadata(to)?.len() >= SIZE {
            return Ok(programs);
        }
    }
    bail!("no number of programs makes an object of {SIZE} bytes")
}

fn run_tool(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn text(programs: usize) -> String {
    let mut text = String::from(
        "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n#include <bpf/bpf_core_read.h>\n\
         struct mm_struct { unsigned long start_code, end_code, start_data, end_data, start_brk, start_stack; }\n\
         __attribute__((preserve_access_index));\n\
         struct signal_struct { int group_exit_code; } __attribute__((preserve_access_index));\n\
         struct task_struct { int pid, tgid, prio, static_prio, exit_code, exit_signal; struct mm_struct *mm;\n\
         struct task_struct *real_parent, *parent, *group_leader; struct signal_struct *signal; }\n\
         __attribute__((preserve_access_index));\n\
         struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 64); __type(key, int); __type(value, long); } sums\n\
         SEC(\".maps\");\nvolatile const int scale = 3;\n",
    );
    let fields = ["pid", "tgid", "prio", "static_prio", "exit_code", "exit_signal"];
    let behind = [
        "mm, start_code",
        "mm, end_code",
        "mm, start_data",
        "mm, end_data",
        "mm, start_brk",
        "mm, start_stack",
    ];
    for number in 0..programs {
        _ = writeln!(text, "SEC(\"raw_tp/sched_switch\") int program_{number}(unsigned long long *ctx)\n{{");
        _ = writeln!(
            text,
            "\tstruct task_struct *task = (void *)ctx[1];\n\tlong sum = {number};\n\tint key = {};",
            number % 64
        );
        for field in fields {
            for through in ["task", "task, real_parent", "task, group_leader"] {
                _ = writeln!(text, "\tsum += BPF_CORE_READ({through}, {field}) * scale;");
            }
        }
        for path in behind {
            _ = writeln!(text, "\tsum += BPF_CORE_READ(task, {path});");
        }
        text.push_str("\tlong *value = bpf_map_lookup_elem(&sums, &key);\n\tif (value) *value += sum;\n\treturn 0;\n}\n");
    }
    text.push_str("char LICENSE[] SEC(\"license\") = \"GPL\";\n");
    text
}
