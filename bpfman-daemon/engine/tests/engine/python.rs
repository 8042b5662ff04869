//! Deeds in Python, each by a process of its own. A test starts Python once, which takes seconds on an emulated machine;
//! that Python makes a process for each deed.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

/// Reads `LENGTH PROCS`, and so many bytes of code. A child joins the control group of PROCS and runs the code; its exit
/// status and its output are the answer. The loop ends with the test, which has the other end of its input.
const LOOP: &str = "
import errno, os, socket, sys, traceback
deeds, answers = sys.stdin.buffer, sys.stdout.buffer
while head := deeds.readline():
    length, procs = head.decode()[:-1].split(' ', 1)
    code = deeds.read(int(length)).decode()
    ours, its = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(os.open('/dev/null', os.O_RDONLY), 0)
        os.dup2(its, 1)
        os.dup2(its, 2)
        status = 1
        try:
            with open(procs, 'w') as file:
                file.write(str(os.getpid()))
            exec(code, {'errno': errno, 'os': os, 'socket': socket})
            status = 0
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(status)
    os.close(its)
    with open(ours, 'rb') as output:
        said = output.read()
    status = os.waitpid(child, 0)[1]
    answers.write(b'%d %d\\n' % (status, len(said)) + said)
    answers.flush()
";

/// The Python of this process.
static RUNNING: Mutex<Option<Python>> = Mutex::new(None);

struct Python {
    netns: PathBuf,
    process: Child,
    deeds: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// Runs code in a network namespace, and in a control group, and returns what it prints. It has `errno`, `os` and `socket`.
///
/// # Panics
/// The code ended by an exception.
pub fn run(netns: &Path, group: Option<&Path>, code: &str) -> String {
    let procs = group.map_or_else(|| "/dev/null".into(), |group| group.join("cgroup.procs"));
    // A test that panicked in here has no use for it any more.
    let mut running = RUNNING.lock().unwrap();
    let mut python =
        running.take().filter(|python| python.netns == netns).unwrap_or_else(|| Python::start(netns));
    let (status, said) = python.does(&procs, code);
    *running = Some(python);
    assert_eq!(status, 0, "{said}");
    said.trim().to_owned()
}

impl Python {
    fn start(netns: &Path) -> Self {
        let mut process = Command::new("nsenter")
            .arg(format!("--net={}", netns.display()))
            .args(["/usr/bin/python3", "-I", "-S", "-c", LOOP])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // It may end a moment after the test, whose output is not to wait for it.
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (deeds, answers) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Self { netns: netns.to_owned(), process, deeds, answers: BufReader::new(answers) }
    }

    /// Returns the status of the deed's process, as `wait` has it, and what it said.
    fn does(&mut self, procs: &Path, code: &str) -> (i32, String) {
        writeln!(self.deeds, "{} {}", code.len(), procs.display()).unwrap();
        self.deeds.write_all(code.as_bytes()).unwrap();
        let mut head = String::new();
        self.answers.read_line(&mut head).unwrap();
        let (status, length) = head.trim().split_once(' ').unwrap();
        let mut said = vec![0; length.parse().unwrap()];
        self.answers.read_exact(&mut said).unwrap();
        (status.parse().unwrap(), String::from_utf8(said).unwrap())
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}
