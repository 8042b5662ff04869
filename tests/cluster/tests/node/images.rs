//! Images for the node: the project's own, and those of test pods.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::Path;

use bpfman_cluster_tests::scripts;
use bpfman_tests::{binaries, command::run};

use crate::node::{RealNode, text};

/// Name of a binary, and its path in an image.
type Placed<'a> = (&'a str, &'a str);

/// Names of the project's images in `packaging/containers`, each with its binaries. The first is the entry point.
const OURS: [(&str, &[Placed<'static>]); 3] = [
    ("daemon", &[("bpfmand", "/usr/sbin/bpfmand"), ("bpfman-worker", "/usr/libexec/bpfman/bpfman-worker")]),
    ("operator", &[("bpfman-operator", "/usr/bin/bpfman-operator")]),
    ("cni", &[("bpfman-cni", "/usr/bin/bpfman-cni")]),
];

pub fn ours(image: &str) -> String {
    format!("bpfman.test/bpfman-{image}:test")
}

pub fn side(entry: &str) -> String {
    format!("bpfman.test/{entry}-side:test")
}

pub const BUSY: &str = "bpfman.test/busy:1";

impl RealNode {
    pub fn images(&self) {
        for (image, binaries) in OURS {
            self.image(&format!("bpfman-{image}"), binaries, &ours(image));
        }
        for (program, image) in [("read_map", "bpfman.test/reader:1"), ("receive", "bpfman.test/receiver:1")]
        {
            self.compiled(&format!("programs/{program}.c"), program, image);
        }
    }

    pub fn side_image(&self, entry: &str) {
        let binary = format!("bpfman-{entry}");
        let place = format!("/usr/bin/{binary}");
        self.image(&format!("{entry}-side"), &[(&binary, &place)], &side(entry));
    }

    pub fn busy_image(&self) {
        self.compiled("../programs/busy.c", "busy", BUSY);
    }

    fn image(&self, archive: &str, binaries: &[Placed<'_>], name: &str) {
        match env::var_os("BPFMAN_IMAGES") {
            Some(folder) => self.packaged(Path::new(&folder), archive),
            None => self.as_built(binaries, name),
        }
    }

    pub fn tag(&self, image: &str, name: &str) {
        scripts::run("ctr", &self.cluster.path(""), &["images", "tag", &ours(image), name]);
    }

    fn packaged(&self, folder: &Path, archive: &str) {
        let archive = folder.join(format!("{archive}.tar"));
        assert!(archive.exists(), "{} is missing: run `make test-kube-node`", archive.display());
        self.archive(&archive);
    }

    /// Imports an image with binaries of this build and the libraries that they are linked with. This takes
    /// seconds; static binaries as in packages take minutes.
    fn as_built(&self, placed: &[Placed<'_>], name: &str) {
        let archives =
            binaries::build_folder().parent().expect("it lies in the target folder").join("kube/images");
        fs::create_dir_all(&archives).unwrap();
        let (entry, place) = placed[0];
        let archive = archives.join(format!("{entry}.tar"));
        let made = |file: &Path| fs::metadata(file).and_then(|file| file.modified());
        // The archive is shared by all tests of a run: stripping and packing a debug build takes seconds.
        let is_older = |(binary, _): &Placed<'_>, packed| packed > made(&binaries::find(binary)).unwrap();
        if made(&archive).is_ok_and(|packed| placed.iter().all(|one| is_older(one, packed))) {
            self.archive(&archive);
            return;
        }
        let mut files = BTreeSet::new();
        for (binary, place) in placed {
            let stripped = self.cluster.path(binary);
            run(&["strip", "-o", &text(&stripped), &text(&binaries::find(binary))]);
            files.insert(format!("{}:{place}", stripped.display()));
            let libraries = run(&["ldd", &text(&stripped)]);
            let libraries = libraries.split_whitespace().filter(|word| word.starts_with('/'));
            files.extend(libraries.map(|word| format!("{word}:{word}")));
        }
        // TLS connections to registries need certificates.
        let authorities = "/etc/ssl/certs/ca-certificates.crt";
        files.insert(format!("{authorities}:{authorities}"));
        let new = text(&archive.with_extension("new"));
        let words: Vec<&str> =
            [&*new, name, place].into_iter().chain(files.iter().map(String::as_str)).collect();
        scripts::run("image", Path::new("--pack"), &words);
        fs::rename(new, &archive).unwrap();
        self.archive(&archive);
    }

    fn archive(&self, archive: &Path) {
        scripts::run("image", &self.cluster.path(""), &["--archive", &text(archive)]);
    }

    /// Imports a program in C, compiled with the frame pointers that the kernel needs to walk stacks.
    fn compiled(&self, source: &str, program: &str, image: &str) {
        let binary = self.cluster.path(program);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
        let flags = ["-static", "-O1", "-fno-omit-frame-pointer", "-Wall", "-Werror"];
        run(&[&["cc"], &flags[..], &["-o", &text(&binary), &text(&source)]].concat());
        let (place, copy) = (format!("/bin/{program}"), format!("{}:/bin/{program}", binary.display()));
        scripts::run("image", &self.cluster.path(""), &[image, &place, &copy]);
    }
}
