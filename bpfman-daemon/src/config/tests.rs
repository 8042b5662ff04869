use std::os::unix::fs::{PermissionsExt as _, chown};

use clap::Parser as _;

use super::*;

fn arguments(words: &[&str]) -> DaemonArguments {
    DaemonArguments::parse_from(std::iter::once("bpfmand").chain(words.iter().copied()))
}

#[test]
fn a_given_runtime_folder_moves_the_state_below_it() {
    let config = Config::merge(&arguments(&["--runtime-dir", "/r"]), ConfigFile::default()).unwrap();
    assert_eq!(config.state, Path::new("/r/state"));
    assert_eq!(config.images, Path::new("/r/state/images"));
    let config = Config::merge(
        &arguments(&["serve", "--runtime-dir", "/r", "--state-dir", "/s"]),
        ConfigFile::default(),
    )
    .unwrap();
    assert_eq!(config.state, Path::new("/s"));
}

#[test]
fn keys_of_v0_6_0_are_read_and_unknown_ones_left_alone() {
    let text = "[interfaces.eth0]\nxdp_mode = \"skb\"\n[interfaces.eth1]\nxdp_mode = \"drv\"\n[signing]\nverify_enabled = false\n[database]\nmax_retries = 3\n";
    let config = Config::merge(&arguments(&[]), toml::from_str(text).unwrap()).unwrap();
    assert_eq!(config.xdp_modes, [("eth0".to_owned(), XdpMode::Generic)].into());
    assert_eq!(config.signing.verify_enabled, Some(false));
    assert_eq!(config.signing.allow_unsigned, None);
}

#[test]
fn a_file_that_others_can_write_to_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bpfman.toml");
    std::fs::write(&path, "[signing]\nverify_enabled = false\n").unwrap();
    let read = || Config::read(&arguments(&["--config", path.to_str().unwrap()]));
    for mode in [0o666, 0o664, 0o602] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = format!("{:#}", read().unwrap_err());
        assert!(error.contains("bpfman.toml must belong to root"), "{error}");
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    // Only root can change the owner of a file, and only root's files are accepted.
    if chown(&path, Some(0), None).is_ok() {
        assert_eq!(read().unwrap().signing.verify_enabled, Some(false));
        chown(&path, Some(4711), None).unwrap();
        assert!(read().is_err());
    }
}

#[test]
fn a_mistake_in_the_file_is_named() {
    let text = "[chains]\ncounters = \"some\"\n";
    let error = Config::merge(&arguments(&[]), toml::from_str(text).unwrap()).unwrap_err();
    assert!(error.to_string().contains("chains.counters \"some\""), "{error}");
    let text = "[interfaces.eth0]\nxdp_mode = \"fast\"\n";
    let error = Config::merge(&arguments(&[]), toml::from_str(text).unwrap()).unwrap_err();
    assert!(error.to_string().contains("\"fast\""), "{error}");
    let error = Config::merge(&arguments(&["--runtime-dir", "r"]), ConfigFile::default()).unwrap_err();
    assert!(error.to_string().contains("absolute"), "{error}");
    for wrong in ["0.01", "-1", "1e9", "nan"] {
        let text = format!("[watch]\ncheck_seconds = {wrong}\n");
        let error = Config::merge(&arguments(&[]), toml::from_str(&text).unwrap()).unwrap_err();
        assert!(error.to_string().contains("watch.check_seconds"), "{error}");
    }
}

#[test]
fn share_that_is_kept_for_root_is_a_percentage() {
    let merged = |text: &str| {
        Config::merge(&arguments(&[]), toml::from_str(text).unwrap()).map(|config| config.kept.of_others(100))
    };
    assert_eq!(merged("").unwrap(), 50);
    assert_eq!(merged("[limits]\nkept_share = \"25%\"\n").unwrap(), 75);
    for wrong in ["91%", "half", "0.5", "-5%"] {
        let error = merged(&format!("[limits]\nkept_share = \"{wrong}\"\n")).unwrap_err().to_string();
        assert!(error.contains("limits.kept_share") && error.contains(wrong), "{error}");
        assert!(error.contains("from \"0%\" to \"90%\""), "{error}");
    }
}

#[test]
fn the_sockets_group_is_a_name_or_a_number_and_the_flag_wins() {
    let merged = |words: &[&str], text: &str| {
        Config::merge(&arguments(words), toml::from_str(text).unwrap()).map(|config| config.socket_group)
    };
    assert_eq!(merged(&[], "").unwrap(), None);
    assert_eq!(merged(&[], "[socket]\ngroup = \"root\"\n").unwrap(), Some(0));
    assert_eq!(merged(&[], "[socket]\ngroup = 4711\n").unwrap(), Some(4711));
    assert_eq!(merged(&["--socket-group", "12"], "[socket]\ngroup = 4711\n").unwrap(), Some(12));
    let error = format!("{:#}", merged(&[], "[socket]\ngroup = \"of-nobody\"\n").unwrap_err());
    assert!(error.contains("socket.group") && error.contains("of-nobody"), "{error}");
    let error = format!("{:#}", merged(&["--socket-group=-1"], "").unwrap_err());
    assert!(error.contains("--socket-group"), "{error}");
}

#[test]
fn owners_have_the_room_that_is_configured() {
    let merged = |text: &str| Config::merge(&arguments(&[]), toml::from_str(text).unwrap()).unwrap();
    assert_eq!(merged("").owner_budget, OwnerBudget::default());
    let budget = merged("[chains]\nowner_members = 4\nowner_verified_insns = 500000\n").owner_budget;
    assert_eq!(budget, OwnerBudget { members: Some(4), verified_insns: Some(500_000) });
}

#[test]
fn maps_have_the_memory_that_is_configured() {
    let bytes = |text: &str| Config::merge(&arguments(&[]), toml::from_str(text).unwrap()).unwrap().map_bytes;
    assert_eq!(bytes(""), 1 << 30);
    assert_eq!(bytes("[maps]\nmib_per_load = 64\n"), 64 << 20);
    assert_eq!(bytes("[maps]\nmib_per_load = 18446744073709551615\n"), u64::MAX);
    let of_owners = |text: &str| {
        let config = Config::merge(&arguments(&[]), toml::from_str(text).unwrap()).unwrap();
        (config.map_bytes_of_owner, config.map_bytes_of_owners)
    };
    assert_eq!(of_owners(""), (2 << 30, None));
    assert_eq!(of_owners("[maps]\nmib_per_owner = 64\nmib_of_owners = 256\n"), (64 << 20, Some(256 << 20)));
}

#[test]
fn features_of_the_kernel_to_do_without_are_known_ones() {
    let merged = |text: &str| Config::merge(&arguments(&[]), toml::from_str(text).unwrap());
    let names =
        |text: &str| -> Vec<&str> { merged(text).unwrap().without.iter().map(|probe| probe.name).collect() };
    assert_eq!(names(""), [""; 0]);
    assert_eq!(names("[kernel]\nwithout = [\"tcx\", \"freplace\"]\n"), ["tcx", "freplace"]);
    let error = format!("{:#}", merged("[kernel]\nwithout = [\"tcxx\"]\n").unwrap_err());
    assert!(error.contains("kernel.without") && error.contains("no probe \"tcxx\""), "{error}");
}

#[test]
fn empty_log_filters_are_as_none() {
    let log = |words: &[&str], text: &str| {
        Config::merge(&arguments(words), toml::from_str(text).unwrap()).unwrap().log
    };
    assert_eq!(log(&[], ""), "info");
    assert_eq!(log(&["--log", ""], "[logging]\nlevel = \"warn\"\n"), "warn");
    assert_eq!(log(&["--log", "debug"], "[logging]\nlevel = \"warn\"\n"), "debug");
}

#[test]
fn hooks_are_checked_as_often_as_configured() {
    let check = |text: &str| Config::merge(&arguments(&[]), toml::from_str(text).unwrap()).unwrap().check;
    assert_eq!(check(""), Some(Duration::from_secs(10)));
    assert_eq!(check("[watch]\ncheck_seconds = 0.5\n"), Some(Duration::from_millis(500)));
    assert_eq!(check("[watch]\ncheck_seconds = 0\n"), None);
}

#[test]
fn the_cage_is_whole_unless_it_is_written_otherwise() {
    let merged = |text: &str| {
        let file: ConfigFile = toml::from_str(text).map_err(anyhow::Error::from)?;
        Config::merge(&arguments(&[]), file).map(|config| config.seccomp)
    };
    assert_eq!(merged("").unwrap(), CageMode::On);
    for (word, mode) in [("on", CageMode::On), ("log", CageMode::Log), ("off", CageMode::Off)] {
        assert_eq!(merged(&format!("[cage]\nseccomp = \"{word}\"\n")).unwrap(), mode);
    }
    let error = format!("{:#}", merged("[cage]\nseccomp = \"no\"\n").unwrap_err());
    assert!(error.contains("cage.seccomp") && error.contains("\"no\""), "{error}");
    // Ignoring a misspelt key would leave the administrator with a wrong idea of the sandbox.
    assert!(merged("[cage]\nsecomp = \"off\"\n").is_err());
}
