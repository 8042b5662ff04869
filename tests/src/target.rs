//! Process to attach probes to.

use crate::wait::within;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

use crate::compile;

/// Running `programs/target.c`, which executes one command for each line that it reads, and answers with a line.
#[derive(Debug)]
pub struct Target {
    process: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Target {
    #[must_use]
    pub fn start() -> Self {
        Self::start_by(&mut Command::new(binary()))
    }

    #[must_use]
    pub fn start_by(command: &mut Command) -> Self {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = process.stdin.take().unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let mut target = Self { process, stdin, stdout };
        assert_eq!(target.answer(), "ready");
        target
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn call(&mut self) {
        self.enter();
        self.leave();
    }

    pub fn enter(&mut self) {
        self.tell("enter");
        assert_eq!(self.answer(), "inside");
    }

    pub fn leave(&mut self) {
        self.tell("leave");
        assert_eq!(self.answer(), "left");
    }

    pub fn get_priority(&mut self) {
        self.tell("priority");
        assert_eq!(self.answer(), "done");
    }

    pub fn get_session(&mut self) {
        self.tell("session");
        assert_eq!(self.answer(), "done");
    }

    pub fn open(&mut self) {
        self.tell("open");
        assert_eq!(self.answer(), "done");
    }

    pub fn returned_into_main(&mut self) -> bool {
        self.tell("returned");
        self.answer() == "into main"
    }

    pub fn marker(&mut self) -> String {
        self.tell("marker");
        self.answer()
    }

    fn tell(&mut self, command: &str) {
        writeln!(self.stdin, "{command}").unwrap();
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        within("the target to answer", || self.stdout.read_line(&mut line)).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _ended = self.process.wait();
    }
}

#[must_use]
pub fn binary() -> PathBuf {
    compile::executable("target")
}

#[must_use]
pub fn file_offset(binary: &Path, function: &str) -> u64 {
    let bytes = fs::read(binary).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    let symbol = file.symbols().find(|symbol| symbol.name() == Ok(function)).unwrap();
    let section = file.section_by_index(symbol.section_index().unwrap()).unwrap();
    let (start, _) = section.file_range().unwrap();
    symbol.address() - section.address() + start
}
