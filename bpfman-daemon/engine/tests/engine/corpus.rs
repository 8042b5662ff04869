//! Objects as users write them, loaded by the engine and by libbpf, with the same result in the kernel.
//!
//! The sources are in `tests/corpus`. The kernel's tag is a hash of the instructions without map references, which show
//! in the result of a run. The engine must load whatever libbpf loads, from the Linux version on that the source names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bpfman_model::{BytecodeSource, LoadRequest, ProgramRequest, ProgramType, SocketHook};
use bpfmand_engine::{Engine, EngineOptions};
use bpfmand_kernel::KernelFacts as _;
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_object::{ObjectFile, ProgramEntry};
use serde_json::Value;

use crate::bench::Bench;
use crate::judges::loaded_by_others;
use crate::linux::bench;

#[derive(Debug)]
enum Outcome {
    Loaded { tag: String, returned: Option<String> },
    Refused(String),
    Unknown,
}

#[derive(Debug)]
struct Row {
    object: String,
    program: String,
    section: String,
    program_type: String,
    ours: Outcome,
    libbpf: Outcome,
    others: Vec<&'static str>,
}

impl Row {
    fn is_others_alone(&self) -> bool {
        !matches!(self.ours, Outcome::Loaded { .. }) && !self.others.is_empty()
    }

    fn verdict(&self) -> &'static str {
        match (&self.ours, &self.libbpf) {
            (Outcome::Loaded { tag, returned }, Outcome::Loaded { tag: other, returned: also }) => {
                match (tag == other, returned == also) {
                    (true, true) => "same",
                    (false, _) => "DIFFERENT TEXT",
                    (true, false) => "DIFFERENT ANSWER",
                }
            }
            (Outcome::Loaded { .. }, _) => "ours only",
            (_, Outcome::Loaded { .. }) => "LIBBPF ONLY",
            _ => "neither",
        }
    }

    /// Upper case marks a defect of the engine.
    fn is_wrong(&self) -> bool {
        self.verdict().chars().next().is_some_and(char::is_uppercase)
    }

    fn line(&self) -> String {
        let said = |outcome: &Outcome| match outcome {
            Outcome::Loaded { tag, returned } => format!("{tag} {}", returned.as_deref().unwrap_or("")),
            Outcome::Refused(why) => why.replace(['\n', '\t'], " "),
            Outcome::Unknown => "no such program".to_owned(),
        };
        let Self { object, program, section, program_type, ours, libbpf, others } = self;
        let (verdict, ours, libbpf, others) = (self.verdict(), said(ours), said(libbpf), others.join(", "));
        format!("{object}\t{program}\t{section}\t{program_type}\t{verdict}\t{ours}\t{libbpf}\t{others}")
    }
}

struct Judge {
    path: PathBuf,
    runs: bool,
}

impl Judge {
    fn ask(&self, command: &str, about: &str) -> Vec<Value> {
        let script = r#"mount -t bpf none /sys/fs/bpf && exec "$@""#;
        let done = Command::new("unshare")
            .args(["--mount", "sh", "-c", script, "sh"])
            .arg(&self.path)
            .arg(command)
            .args(self.runs.then_some("-r"))
            .arg(about)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success(), "{command} {about}: {}", String::from_utf8_lossy(&done.stderr));
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn outcome(answer: &Value) -> Outcome {
        let Some(tag) = answer["tag"].as_str() else {
            return Outcome::Refused(answer["said"].as_str().unwrap_or_default().to_owned());
        };
        let returned =
            ["returned", "errno"].iter().find_map(|key| Some(format!("{key} {}", answer[*key].as_u64()?)));
        Outcome::Loaded { tag: tag.to_owned(), returned }
    }
}

fn request(bench: &Bench<LinuxKernel>, path: &Path, programs: Vec<ProgramRequest>) -> LoadRequest {
    LoadRequest { source: BytecodeSource::File(path.to_owned()), programs, ..bench.request("programs", &[]) }
}

fn loads(engine: &Engine<LinuxKernel>, judge: &Judge, request: &LoadRequest) -> Vec<Outcome> {
    let loaded = match engine.load(request) {
        Ok(loaded) => loaded,
        Err(error) => return request.programs.iter().map(|_| Outcome::Refused(error.to_string())).collect(),
    };
    let ids: Vec<_> = loaded.programs.iter().map(|program| program.id).collect();
    let outcomes = ids.iter().map(|id| Judge::outcome(&judge.ask("id", &id.to_string())[0])).collect();
    ids.into_iter().for_each(|id| engine.unload(id).unwrap());
    outcomes
}

fn guessed(program: &ProgramEntry) -> Option<ProgramType> {
    let known = [
        ("xdp", ProgramType::Xdp),
        ("filter", ProgramType::SocketFilter),
        ("loadbalancer", ProgramType::SocketFilter),
    ];
    known
        .into_iter()
        .find(|(name, _)| program.section.starts_with(name))
        .map(|(_, program_type)| program_type)
}

fn asked(program: &ProgramEntry) -> Option<ProgramRequest> {
    let program_type = program.family.program_type().or_else(|| guessed(program))?;
    let any_hook = || SocketHook::of_type(program_type).first().map(|hook| hook.name.to_owned());
    let target = program.attach_target.clone().or_else(any_hook);
    Some(ProgramRequest { name: program.name.clone(), program_type, target })
}

fn compare(bench: &Bench<LinuxKernel>, engine: &Engine<LinuxKernel>, judge: &Judge, path: &Path) -> Vec<Row> {
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    let together = said("together", &name).is_some();
    if let Some(module) = said("module", &name) {
        // The module may be built in or missing, and both loaders then report the same.
        let _ = Command::new("modprobe").arg(module).output();
    }
    let mut by_libbpf: BTreeMap<String, Value> = judge
        .ask(if together { "together" } else { "load" }, &path.display().to_string())
        .into_iter()
        .map(|answer| (answer["program"].as_str().unwrap_or_default().to_owned(), answer))
        .collect();
    let object = match ObjectFile::parse(std::fs::read(path).unwrap()) {
        Ok(object) => object,
        Err(error) => {
            let row = |(program, answer): (String, Value)| Row {
                object: name.clone(),
                program,
                section: answer["section"].as_str().unwrap_or_default().to_owned(),
                program_type: String::new(),
                ours: Outcome::Refused(error.to_string()),
                libbpf: Judge::outcome(&answer),
                others: Vec::new(),
            };
            return by_libbpf.into_iter().map(row).collect();
        }
    };
    let mut asked: Vec<ProgramRequest> = object.programs().iter().filter_map(asked).collect();
    // The target of extensions is the object's first other program.
    let is_extension = |program: &ProgramRequest| program.program_type == ProgramType::Freplace;
    let extended = asked.iter().any(is_extension).then(|| {
        let first = asked.iter().find(|program| !is_extension(program)).unwrap().clone();
        engine.load(&request(bench, path, vec![first])).ok().map(|loaded| loaded.programs[0].id)
    });
    let extended = extended.flatten();
    for program in asked.iter_mut().filter(|program| is_extension(program)) {
        program.target = extended.map(|id| id.to_string());
    }
    let requests = if together { vec![asked] } else { asked.into_iter().map(|one| vec![one]).collect() };
    let mut ours = BTreeMap::new();
    for programs in requests {
        let names: Vec<String> = programs.iter().map(|program| program.name.clone()).collect();
        ours.extend(names.into_iter().zip(loads(engine, judge, &request(bench, path, programs))));
    }
    extended.into_iter().for_each(|id| engine.unload(id).unwrap());
    let mut rows = Vec::new();
    for program in object.programs() {
        let libbpf =
            by_libbpf.remove(&program.name).map_or(Outcome::Unknown, |answer| Judge::outcome(&answer));
        let unsupported = || Outcome::Refused(program.family.to_string());
        let ours = ours.remove(&program.name).unwrap_or_else(unsupported);
        let program_type = program.family.program_type().map_or("", ProgramType::name).to_owned();
        rows.push(Row {
            object: name.clone(),
            program: program.name.clone(),
            section: program.section.clone(),
            program_type,
            ours,
            libbpf,
            others: Vec::new(),
        });
    }
    // If libbpf cannot parse the object, its error has no program name.
    by_libbpf.remove("");
    rows.extend(by_libbpf.into_iter().map(|(program, answer)| Row {
        object: name.clone(),
        program,
        section: answer["section"].as_str().unwrap_or_default().to_owned(),
        program_type: String::new(),
        ours: Outcome::Unknown,
        libbpf: Judge::outcome(&answer),
        others: Vec::new(),
    }));
    rows
}

fn objects(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "o")).collect()
}

/// Prints each row, also to the file in `BPFMAN_CORPUS_RESULTS`. `built` has the judges.
fn compare_all(folder: &Path, built: &Path, runs: bool) -> Vec<Row> {
    let judge = Judge { path: built.join("judge"), runs };
    let bench = bench("corpus");
    // Third-party objects have maps of gigabytes, which their own loaders shrink.
    let options = EngineOptions { map_bytes: u64::MAX, ..bench.options() };
    let engine = Engine::open(Arc::clone(&bench.kernel), options).unwrap();
    assert_eq!(engine.recover().unwrap().problems, Vec::<String>::new());
    let objects = objects(folder);
    let mut rows: Vec<Row> = objects.iter().flat_map(|path| compare(&bench, &engine, &judge, path)).collect();
    let bpffs = bench.libxdp_pins.ancestors().nth(2).unwrap();
    for (library, taken) in loaded_by_others(built, &objects, bpffs) {
        for row in &mut rows {
            if taken.contains(&(row.object.clone(), row.program.clone())) {
                row.others.push(library);
            }
        }
        println!("{library} loads {} of {} programs", taken.len(), rows.len());
    }
    let libbpf = Command::new(&judge.path).arg("version").output().unwrap().stdout;
    let release = &bench.kernel.features().release;
    let mut table = format!("# Linux {release}, libbpf {}", String::from_utf8_lossy(&libbpf));
    rows.iter().for_each(|row| writeln!(table, "{}", row.line()).unwrap());
    print!("{table}");
    if let Some(file) = std::env::var_os("BPFMAN_CORPUS_RESULTS") {
        std::fs::write(file, table).unwrap();
    }
    rows
}

fn built() -> PathBuf {
    let target = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_path_buf();
    let folder = target.join("corpus");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus/build");
    let done = Command::new(script).arg(&folder).status().unwrap();
    assert!(done.success(), "tests/corpus/build: {done}");
    folder
}

fn said(name: &str, object: &str) -> Option<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/corpus/src/{object}.bpf.c"));
    let text = std::fs::read_to_string(source).ok()?;
    let prefix = format!("// {name}: ");
    text.lines().find_map(|line| line.strip_prefix(&prefix).map(str::to_owned))
}

fn has_type(name: &str) -> bool {
    let types = std::fs::read("/sys/kernel/btf/vmlinux").unwrap_or_default();
    let name = [&[0], name.as_bytes(), &[0]].concat();
    types.windows(name.len()).any(|window| window == name)
}

fn version_of(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[test]
fn linux_objects_of_the_corpus_load_as_by_libbpf() {
    let folder = built();
    for left_out in std::fs::read_to_string(folder.join("left-out")).unwrap_or_default().lines() {
        let (object, compiler) = left_out.split_once(' ').unwrap();
        println!("SKIPPED({compiler}): {object} of the corpus");
    }
    let rows = compare_all(&folder.join("objects"), &folder, true);
    let version = bench("version").kernel.features().version;
    // Only virtual machines have the kernels of distributions; this machine's may lack or deny features.
    let is_whole = Path::new("/run/vm").exists();
    let late = |row: &&Row| {
        let is_due = version >= said("since", &row.object).as_deref().and_then(version_of).unwrap();
        let is_built = said("built-in", &row.object).is_none_or(|name| has_type(&name));
        is_whole && is_due && is_built && row.verdict() == "neither"
    };
    let mut wrong: Vec<String> = rows.iter().filter(|row| row.is_wrong()).map(Row::line).collect();
    wrong.extend(rows.iter().filter(late).map(|row| format!("due, and not loaded: {}", row.line())));
    let alone = rows.iter().filter(|row| row.is_others_alone());
    wrong.extend(alone.map(|row| format!("{} loads it: {}", row.others.join(", "), row.line())));
    let same = rows.iter().filter(|row| row.verdict() == "same").count();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    assert!(same > 60, "only {same} programs compared");
}

/// Third-party objects of `tests/strangers/collect`. The programs are not run.
#[test]
#[ignore = "needs the folder that BPFMAN_STRANGERS names"]
fn linux_third_party_objects_load_as_with_libbpf() {
    let folder =
        PathBuf::from(std::env::var_os("BPFMAN_STRANGERS").expect("BPFMAN_STRANGERS names a folder"));
    let rows = compare_all(&folder, &built(), false);
    let wrong: Vec<String> = rows.iter().filter(|row| row.is_wrong()).map(Row::line).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}
