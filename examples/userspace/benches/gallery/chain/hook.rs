use std::fs;

use bpfman_tests::network::{INTERFACE, Namespace};
use bpfman_tests::{Outcome, compile};

use super::FRAMES;
use crate::equipment::{Gallery, WATCHER};

pub struct Hook<'a> {
    gallery: &'a Gallery,
    far: &'a Namespace,
    kind: &'static str,
    pub place: &'static str,
    pub side: &'static str,
    name: String,
}

pub struct Member {
    pub name: &'static str,
    pub program: u64,
    pub ends: bool,
}

impl Member {
    pub fn new((name, program): (&'static str, u64)) -> Self {
        Self { name, program, ends: false }
    }
}

impl<'a> Hook<'a> {
    pub fn new(
        gallery: &'a Gallery,
        far: &'a Namespace,
        kind: &'static str,
        place: &'static str,
        side: &'static str,
    ) -> Self {
        let name = format!("{kind}:{INTERFACE}{side}@{}", far.path().display());
        Self { gallery, far, kind, place, side, name }
    }

    pub fn attach(&self, programs: &[u64]) {
        let netns = self.far.path().display().to_string();
        for (program, priority) in programs.iter().zip(10..) {
            let again = if self.kind == "tcx" { "" } else { "--again" };
            let words =
                format!("--iface {INTERFACE} --netns {netns} --priority {priority} {} {again}", self.place);
            self.gallery.daemon.bpfman(&format!("attach {program} {} {words}", self.kind)).success();
        }
    }

    pub fn share_headers(&self) {
        self.gallery.daemon.bpfman(&format!("chain optimise {} share", self.name)).success();
    }

    pub fn empty(&self, name: &str) -> u64 {
        let object = compile::object(name).display().to_string();
        let words = format!("load file -p {object} --programs {}:{name} -o json", self.kind);
        let loaded = self.gallery.daemon.bpfman(&words).json();
        loaded["programs"][0]["program_id"].as_u64().unwrap()
    }

    pub fn load(&self, entry: &str, function: &str) -> u64 {
        self.gallery.load(entry, &format!("--programs {}:{function}", self.kind))[0]
    }

    pub fn run_side(&self, entry: &str, program: u64, line: &str) {
        let mut side = self.gallery.side_in(self.far, WATCHER, entry);
        side.args(["--program", &program.to_string()]).args(line.split_whitespace());
        Outcome::of(&mut side).success();
    }

    pub fn apply(&self, entry: &str, function: &str, rules: &str) -> u64 {
        let program = self.load(entry, function);
        let file = self.gallery.daemon.path("rules.txt");
        fs::write(&file, rules).unwrap();
        self.run_side(entry, program, &format!("apply {}", file.display()));
        program
    }

    pub fn assert_all_ran(&self, count: usize) {
        let shown = self.gallery.daemon.bpfman(&format!("chain show {} -o json", self.name)).json();
        let members = shown["members"].as_array().unwrap();
        assert_eq!(members.len(), count, "{shown:#}");
        for member in members {
            let runs = member["runs"].as_u64().unwrap_or_else(|| panic!("counted: {shown:#}"));
            assert!(runs >= u64::from(FRAMES) * 9 / 10, "{} ran {runs} times", member["program_name"]);
        }
    }
}
