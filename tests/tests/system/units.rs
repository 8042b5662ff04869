//! Systemd units of the packages.

use std::fs;
use std::path::Path;
use std::process::Command;

const PACKAGED: [&str; 2] = ["systemd", "gallery"];
const AT_BOOT: [&str; 2] = ["multi-user.target", "sockets.target"];

fn enabled_name(file: &str) -> String {
    file.replace("@.", "@xdp-firewall.")
}

/// `systemctl enable` puts each unit that can be enabled below a target that a boot starts.
#[test]
fn units_of_packages_are_started_at_boot() {
    let root = tempfile::tempdir().unwrap();
    let installed = root.path().join("usr/lib/systemd/system");
    fs::create_dir_all(&installed).unwrap();
    let mut names = Vec::new();
    for folder in PACKAGED {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(folder);
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let file = path.file_name().unwrap().to_str().unwrap();
            fs::copy(&path, installed.join(file)).unwrap();
            if fs::read_to_string(&path).unwrap().contains("[Install]") {
                names.push(enabled_name(file));
            }
        }
    }
    assert!(names.contains(&"bpfmand.service".to_owned()), "{names:?}");
    assert!(names.contains(&"bpfman-rules@xdp-firewall.service".to_owned()), "{names:?}");

    for name in &names {
        let output =
            Command::new("systemctl").arg("--root").arg(root.path()).args(["enable", name]).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let below = |target: &str| root.path().join(format!("etc/systemd/system/{target}.wants/{name}"));
        assert!(AT_BOOT.iter().any(|target| below(target).is_symlink()), "no boot starts {name}");
    }
}
