//! Perf events of root, as `perf stat` opens them.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::wait::within;

const COUNT: &str = "my ($call, $event, $pid) = @ARGV; $| = 1; \
    my $attributes = pack('LLQQQQQLLQ', 2, 64, $event, 0, 0, 0, 0, 0, 0, 0); \
    my $fd = syscall($call, $attributes, $pid + 0, -1, -1, 8); die \"perf_event_open: $!\" if $fd < 0; \
    open(my $file, '<&=', $fd) or die; print \"ready\\n\"; \
    while (<STDIN>) { sysread($file, my $count, 8) == 8 or die; print unpack('Q', $count), \"\\n\"; }";

#[derive(Debug)]
pub struct CountedEvent {
    process: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

#[must_use]
pub fn tracepoint_of(tracepoint: &str, pid: u32) -> CountedEvent {
    let places = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
    let number =
        places.iter().find_map(|place| fs::read_to_string(format!("{place}/events/{tracepoint}/id")).ok());
    let number = number.unwrap_or_else(|| panic!("no tracepoint {tracepoint}"));
    let call = if cfg!(target_arch = "aarch64") { "241" } else { "298" };
    let mut process = Command::new("perl")
        .args(["-e", COUNT, call, number.trim(), &pid.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdin = process.stdin.take().unwrap();
    let stdout = BufReader::new(process.stdout.take().unwrap());
    let mut event = CountedEvent { process, stdin, stdout };
    assert_eq!(event.answer(), "ready");
    event
}

impl CountedEvent {
    pub fn count(&mut self) -> u64 {
        writeln!(self.stdin).unwrap();
        self.answer().parse().unwrap()
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        within("perf to answer", || self.stdout.read_line(&mut line)).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for CountedEvent {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _ended = self.process.wait();
    }
}
