//! Python code in a separate process, which is started once per test and forks for each piece.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

/// Reads `LENGTH PROCS` and as many bytes of code. A child joins the cgroup of PROCS and runs it; the answer is its
/// exit status and its output. The loop ends when the test closes its input.
const LOOP: &str = "
import errno, os, socket, sys, traceback
requests, answers = sys.stdin.buffer, sys.stdout.buffer
while head := requests.readline():
    length, procs = head.decode()[:-1].split(' ', 1)
    code = requests.read(int(length)).decode()
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

static RUNNING: Mutex<Option<Python>> = Mutex::new(None);

struct Python {
    netns: u64,
    /// Standard error: a file, since Python may exit after the test, and nextest would wait for a pipe.
    errors: File,
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// Returns the output of code, which can use `errno`, `os` and `socket`. Panics if the code raises an exception.
pub fn run(netns: &Path, group: Option<&Path>, code: &str) -> String {
    let procs = group.map_or_else(|| "/dev/null".into(), |group| group.join("cgroup.procs"));
    let inode = std::fs::metadata(netns).unwrap().ino();
    // A poisoned lock is of a test that has failed already.
    let mut running = RUNNING.lock().unwrap();
    let ours = running.take().filter(|python| python.netns == inode);
    let mut python = ours.unwrap_or_else(|| Python::start(netns, inode));
    let (status, said) = python.does(&procs, code);
    *running = Some(python);
    assert_eq!(status, 0, "{said}");
    said.trim().to_owned()
}

impl Python {
    fn start(netns: &Path, inode: u64) -> Self {
        let errors = tempfile::tempfile().unwrap();
        let mut process = Command::new("nsenter")
            .arg(format!("--net={}", netns.display()))
            .args(["/usr/bin/python3", "-I", "-S", "-c", LOOP])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors.try_clone().unwrap())
            .spawn()
            .unwrap();
        let (requests, answers) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Self { netns: inode, errors, process, requests, answers: BufReader::new(answers) }
    }

    fn does(&mut self, procs: &Path, code: &str) -> (i32, String) {
        // If Python did not start, its error output has the reason.
        let sent = write!(self.requests, "{} {}\n{code}", code.len(), procs.display());
        let mut head = String::new();
        self.answers.read_line(&mut head).unwrap();
        let Some((status, length)) = head.trim().split_once(' ') else {
            let mut errors = String::new();
            self.errors.rewind().unwrap();
            self.errors.read_to_string(&mut errors).unwrap();
            panic!("Python does not answer ({sent:?}): {errors}");
        };
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
