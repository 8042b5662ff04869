//! Compiled eBPF programs and other programs of `programs/`, cached by their source.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use crate::binaries;
use crate::command::run;

#[must_use]
pub fn object(name: &str) -> PathBuf {
    object_with(name, None)
}

#[must_use]
pub fn object_with(name: &str, defined: Option<&str>) -> PathBuf {
    let source = source(&format!("{name}.bpf.c"));
    let macros: Vec<String> = defined.iter().map(|defined| format!("-D{defined}")).collect();
    let extension =
        defined.map_or_else(|| "o".to_owned(), |defined| format!("{}.o", defined.replace('=', "_")));
    once(&source, &extension, |out| {
        let include = format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH);
        let machine =
            if cfg!(target_arch = "aarch64") { "-D__TARGET_ARCH_arm64" } else { "-D__TARGET_ARCH_x86" };
        let path = path(&source);
        let mut words = vec![
            "clang", "-target", "bpf", "-O2", "-g", "-Wall", "-Werror", machine, &include, "-c", &path, "-o",
            out,
        ];
        words.extend(macros.iter().map(String::as_str));
        run(&words);
    })
}

#[must_use]
pub fn example(name: &str) -> PathBuf {
    // Tests are in `target/<profile>/deps`.
    let target = binaries::build_folder().parent().expect("a profile lies in a target folder").to_path_buf();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let variable = format!("CARGO_TARGET_DIR={}", path(&target));
    run(&["make", "-C", &path(&folder), &variable]);
    target.join("bpf").join(name).with_extension("o")
}

/// Compiles `programs/<name>.c` for this machine, with frame pointers, which the kernel needs to walk stacks.
#[must_use]
pub fn executable(name: &str) -> PathBuf {
    let source = source(&format!("{name}.c"));
    once(&source, "exe", |out| {
        let flags = ["-O1", "-g", "-fno-omit-frame-pointer", "-Wall", "-Werror"];
        run(&[&["clang"], &flags[..], &[&path(&source), "-o", out]].concat());
    })
}

#[must_use]
pub fn static_executable(name: &str) -> PathBuf {
    let source = source(&format!("{name}.c"));
    once(&source, "static", |out| {
        run(&["clang", "-O1", "-g", "-Wall", "-Werror", "-static", &path(&source), "-o", out]);
    })
}

#[must_use]
pub fn library(name: &str) -> PathBuf {
    let source = source(&format!("{name}.c"));
    once(&source, "so", |out| {
        run(&["clang", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", &path(&source), "-o", out]);
    })
}

#[must_use]
pub fn go(name: &str, linker: &str) -> Option<PathBuf> {
    let toolchain = Path::new("/usr/lib/go-1.19/bin/go");
    if !toolchain.exists() {
        return None;
    }
    let extension = format!("go{}", linker.replace(['-', ' '], "_"));
    Some(once(&source(&format!("{name}.go")), &extension, |out| {
        let cache = format!("GOCACHE={}", path(&binaries::build_folder().join("go")));
        let source = path(&source(&format!("{name}.go")));
        let flags = format!("-ldflags={linker}");
        let words = ["build", &flags, "-o", out, &source];
        run(&[&["env", &cache, "GO111MODULE=off", "GOFLAGS=", &path(toolchain)], &words[..]].concat());
    }))
}

#[must_use]
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(name)
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

/// Tests run in parallel: each builds into its own file and renames it.
fn once(source: &Path, extension: &str, build: impl FnOnce(&str)) -> PathBuf {
    let text = fs::read(source).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
    let mut hasher = DefaultHasher::new();
    (text, include_str!("compile.rs")).hash(&mut hasher);
    let folder = binaries::build_folder().join("test-programs");
    fs::create_dir_all(&folder).unwrap();
    let stem = source.file_name().unwrap().to_string_lossy().replace('.', "_");
    let built = folder.join(format!("{stem}_{:016x}.{extension}", hasher.finish()));
    if !built.exists() {
        let fresh = folder.join(format!("{stem}_{}.fresh", std::process::id()));
        build(&path(&fresh));
        fs::rename(&fresh, &built).unwrap();
    }
    built
}
