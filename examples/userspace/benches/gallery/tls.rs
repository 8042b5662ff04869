//! Cost of a call of `SSL_write_ex` with and without the programs of tls-trace, by the size of the write.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use bpfman_tests::command;

use crate::contender::Contender;
use crate::equipment::{Gallery, WATCHER};
use crate::report::Report;

const SIZES: [u32; 3] = [16, 1024, 4096];
const CALLS: u32 = 20_000;

/// Prints CPU nanoseconds per call, with Python's own work. Pauses let the reader of the ring buffer keep up.
const WRITER: &str = r#"
import ssl, sys, time
folder, size = sys.argv[1], int(sys.argv[2])
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(folder + "/certificate", folder + "/key")
trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
client, server = trusting.wrap_bio(back, there), context.wrap_bio(there, back, server_side=True)
for _ in range(4):
    for end in (client, server):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            pass
data = b"x" * size
for order in sys.stdin:
    left, spent, calls = int(order), 0, int(order)
    while left > 0:
        before = time.process_time_ns()
        for _ in range(100):
            client.write(data)
        spent += time.process_time_ns() - before
        there.read()
        left -= 100
        time.sleep(0.004)
    print(spent / calls, flush=True)
"#;

struct Writer {
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Writer {
    fn new(folder: &str, size: u32) -> Self {
        let mut command = Command::new("python3");
        command.args(["-c", WRITER, folder, &size.to_string()]).env("LD_LIBRARY_PATH", folder);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (orders, answers) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Self { process, orders, answers: BufReader::new(answers) }
    }

    fn sample(&mut self) -> f64 {
        writeln!(self.orders, "{CALLS}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim().parse().unwrap()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _status = self.process.wait();
    }
}

pub fn run(report: &mut Report) {
    let gallery = Gallery::open();
    let folder = gallery.daemon.path("tls");
    fs::create_dir(&folder).unwrap();
    let path = |name: &str| folder.join(name).display().to_string();
    let libraries = command::run(&["ldconfig", "-p"]);
    let line = libraries.lines().find(|line| line.trim_start().starts_with("libssl.so.3 "));
    let library = line.and_then(|line| line.rsplit_once("=> ")).expect("OpenSSL 3 is here").1;
    fs::copy(library, folder.join("libssl.so.3")).unwrap();
    command::run(&[
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
        "-keyout",
        &path("key"),
        "-out",
        &path("certificate"),
    ]);
    let programs = gallery.load("tls-trace", "--programs uprobe:enter_ex uretprobe:leave_write");
    let attach = || {
        for program in &programs {
            let words = format!("attach {program} uprobe -t {} -f SSL_write_ex", path("libssl.so.3"));
            gallery.daemon.bpfman(&words).success();
        }
    };
    let detach = || {
        gallery.daemon.detach_all();
    };
    let mut side = gallery.side_as(WATCHER, "tls-trace");
    side.args(["--program", &programs[0].to_string(), "follow", "--raw"]);
    let mut side = side.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let writers: Vec<_> =
        SIZES.into_iter().map(|size| (size, std::cell::RefCell::new(Writer::new(&path(""), size)))).collect();
    let mut contenders = Vec::new();
    for (size, writer) in &writers {
        let sample = || || writer.borrow_mut().sample();
        contenders.push(Contender::new("nothing", sample()).at(*size));
        contenders.push(Contender::new("tls-trace", sample()).at(*size).set_up(attach).tear_down(detach));
    }
    report.measure("calls", "A call of SSL_write_ex by Python, by its bytes", "CPU ns", contenders);
    side.kill().unwrap();
    side.wait().unwrap();
    let mut told = String::new();
    side.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    // A program that finds the ring buffer full does less work: the number of these cases is part of the result.
    print!("{told}");
}
