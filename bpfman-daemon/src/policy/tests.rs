use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

use bpfman_registry::SigningKey;
use bpfmand_image::{Mode, Requirement};
use rustix::fs::{CWD, FileType, mknodat};
use tempfile::TempDir;

use super::*;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let key = SigningKey::generate().unwrap().public_key().unwrap().to_pem();
        fs::write(folder.path("key.pub"), key).unwrap();
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, text: &str) {
        fs::write(self.path("policy.toml"), text).unwrap();
    }

    fn source(&self, is_required: bool) -> PolicySource {
        let source = PolicySource {
            file: self.path("policy.toml"),
            is_required,
            legacy: LegacySigning { verify_enabled: Some(false), allow_unsigned: None },
            node_agent: Some(77),
            copy: LastGoodCopy::new(self.0.path()),
            state: Mutex::default(),
        };
        source.begun()
    }

    fn good(&self, grant: &str) -> String {
        format!(
            "mode = \"enforce\"\n[[images]]\npattern = \"quay.io/a\"\nkeys = [\"{}\"]\n[revoked]\ndigests = [\"sha256:{}\"]\n\
             [access]\nsocket_group = \"read\"\n[[grants]]\nname = \"{grant}\"\nusers = [1000]\nallow = [\"load\"]\n",
            self.path("key.pub").display(),
            "1".repeat(64),
        )
    }
}

/// Returns the grants in force, without the node agent's, which is always there.
fn grants(source: &PolicySource) -> Vec<String> {
    let policy = source.policy();
    let (agent, grants): (Vec<_>, Vec<_>) = policy.grants.iter().partition(|grant| grant.name == NODE_AGENT);
    assert_eq!(agent.len(), 1);
    grants.into_iter().map(|grant| grant.name.clone()).collect()
}

fn fingerprint(source: &PolicySource) -> String {
    let images = source.images();
    assert_eq!(images.unknown, None);
    let Requirement::Signed(signers) = &images.rules.rules()[0].requirement else { panic!() };
    signers.keys[0].fingerprint().to_string()
}

fn assert_root_alone(source: &PolicySource) {
    assert_eq!(grants(source), Vec::<String>::new());
    assert_eq!(source.policy().socket_group, SocketGroup::Nothing);
    let images = source.images();
    assert!(images.unknown.is_some() && images.rules.rules().is_empty());
    assert_eq!(images.rules.mode(), Mode::Enforce, "keys of v0.6.0 loosen nothing");
    assert!(source.health().is_unknown);
}

#[test]
fn any_mistake_leaves_the_last_good_policy_in_force() {
    let folder = Folder::new();
    let file = folder.path("policy.toml");
    let good = folder.good("first");
    let texts = [
        ("not toml", "= ="),
        ("a table that is cut off", &good[..good.len() - 9]),
        ("an unknown key", &format!("colour = 1\n{good}")),
        ("an unknown verb", &good.replace("\"load\"", "\"fly\"")),
        ("an unknown user", &good.replace("[1000]", "[\"of-nobody-at-all\"]")),
        ("an unknown group", &good.replace("users = [1000]", "groups = [\"of-nobody-at-all\"]")),
        ("an invalid pattern", &good.replace("quay.io/a", "quay.io")),
        ("a key that is not there", &good.replace("key.pub", "none.pub")),
        ("a huge file", &format!("{good}#{}", "x".repeat(1 << 20))),
    ];
    type Break<'b> = Box<dyn Fn() + 'b>;
    let mut breaks: Vec<(&str, Break<'_>)> = Vec::new();
    for (what, text) in &texts {
        breaks.push((what, Box::new(|| folder.write(text))));
    }
    breaks.push(("a file of another user", Box::new(|| chown(&file, Some(1), None).unwrap())));
    breaks.push((
        "a file that others write",
        Box::new(|| fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap()),
    ));
    let mode = rustix::fs::Mode::from_bits_truncate(0o600);
    let replaced = |make: &dyn Fn()| {
        fs::remove_file(&file).unwrap();
        make();
    };
    breaks.push(("a FIFO", Box::new(|| replaced(&|| mknodat(CWD, &file, FileType::Fifo, mode, 0).unwrap()))));
    breaks.push(("a folder", Box::new(|| replaced(&|| fs::create_dir(&file).unwrap()))));
    breaks.push(("a link to nothing", Box::new(|| replaced(&|| symlink("/nonexistent", &file).unwrap()))));
    breaks.push(("no file, where a flag names it", Box::new(|| replaced(&|| {}))));
    for (what, break_it) in breaks {
        let _gone = fs::remove_file(&file).or_else(|_| fs::remove_dir(&file));
        folder.write(&good);
        let source = folder.source(true);
        assert_eq!((grants(&source), source.health().mistakes), (vec!["first".to_owned()], None), "{what}");
        break_it();
        for source in [source, folder.source(true)] {
            let health = source.health();
            assert_eq!(grants(&source), ["first"], "{what}");
            assert!(health.mistakes.is_some_and(|mistakes| mistakes.contains("policy.toml:")), "{what}");
            assert!(health.in_force.contains("stays in force") && !health.is_unknown, "{what}");
            assert_eq!(source.images().rules.revoked().digests.len(), 1, "{what}");
            assert_eq!(source.images().rules.rules().len(), 1, "{what}");
        }
    }
}

#[test]
fn without_any_good_policy_root_is_alone() {
    let folder = Folder::new();
    folder.write("mode = \"of\"\n");
    let source = folder.source(true);
    assert_root_alone(&source);
    assert!(!source.copy.path().exists());
    // A default policy that root never chose is not kept as the last good one either.
    fs::remove_file(folder.path("policy.toml")).unwrap();
    let source = folder.source(false);
    assert_eq!((source.policy().socket_group, source.health().removed), (SocketGroup::Read, None));
    folder.write("mode = \"of\"\n");
    assert_root_alone(&source);
    folder.write(&folder.good("first"));
    assert_eq!(grants(&source), ["first"]);
    assert_eq!(
        source.health(),
        PolicyHealth {
            file: folder.path("policy.toml"),
            other_file: Some(folder.path("policy.toml")),
            ..PolicyHealth::default()
        }
    );
}

#[test]
fn damaged_or_newer_copy_is_no_policy() {
    let folder = Folder::new();
    folder.write(&folder.good("first"));
    drop(folder.source(true));
    let copy = folder.path("last-good-policy");
    let whole = fs::read_to_string(&copy).unwrap();
    folder.write("= =");
    assert_eq!(grants(&folder.source(true)), ["first"]);
    let unknown = AcceptedPolicy {
        file: folder.path("policy.toml"),
        texts: PolicyTexts { policy: Some("later = 1\n".to_owned()), ..PolicyTexts::default() },
        accepted: String::new(),
    };
    for text in [
        whole[..whole.len() - 1].to_owned(),
        whole.replace("first", "other"),
        whole.replacen("format 1", "format 2", 1),
        String::new(),
    ] {
        fs::write(&copy, text).unwrap();
        assert_root_alone(&folder.source(true));
    }
    LastGoodCopy::new(folder.0.path()).write(&unknown).unwrap();
    assert_root_alone(&folder.source(true));
    folder.write(&folder.good("second"));
    assert_eq!(grants(&folder.source(true)), ["second"]);
    folder.write("= =");
    assert_eq!(grants(&folder.source(true)), ["second"]);
}

const BROKEN_KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEh8zhU6EgtoT6uHdtg52+xSCCecBFn2m72BbnufwzhAiCUfegVrJRkhXu8qapK2uDcaE/\
    l/Xy/gdj9h0VgqwiSw==\n-----END PUBLIC KEY-----\n";
const BROKEN_ROOT: &str = r#"{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1", "tlogs": [
    {"publicKey": {"rawBytes": "MAEA"}}]}"#;

/// An earlier version accepted keys and roots without looking at their numbers and fields.
#[test]
fn upgrade_keeps_a_policy_whose_key_or_root_is_broken() {
    let folder = Folder::new();
    let (key, root) = (folder.path("broken.pub"), folder.path("root.json"));
    fs::write(&key, BROKEN_KEY).unwrap();
    fs::write(&root, BROKEN_ROOT).unwrap();
    let rule = |more: &str| format!("[[images]]\npattern = \"quay.io/b\"\n{more}\n");
    let identities = "identities = [{ issuer = \"https://a\", subject = \"b\" }]";
    for text in [
        format!("{}{}", folder.good("first"), rule(&format!("keys = [{key:?}]\nmin_signatures = 1"))),
        format!("trusted_root = {root:?}\n{}{}", folder.good("first"), rule(identities)),
    ] {
        folder.write(&text);
        let mut texts = PolicyTexts { policy: Some(text), ..PolicyTexts::default() };
        for (path, text) in [(&key, BROKEN_KEY), (&root, BROKEN_ROOT)] {
            texts.keep(path, text).unwrap();
        }
        let good = fs::read_to_string(folder.path("key.pub")).unwrap();
        texts.keep(&folder.path("key.pub"), &good).unwrap();
        let accepted = "2026-01-02T03:04:05Z".to_owned();
        let earlier = AcceptedPolicy { file: folder.path("policy.toml"), texts, accepted };
        LastGoodCopy::new(folder.0.path()).write(&earlier).unwrap();
        for _ in 0..2 {
            let source = folder.source(true);
            assert_eq!(grants(&source), ["first"]);
            assert_eq!(fingerprint(&source).len(), "sha256:".len() + 64);
            let images = source.images();
            assert_eq!(images.rules.revoked().digests.len(), 1);
            let Requirement::Signed(signers) = &images.rules.rules()[1].requirement else { panic!() };
            assert!(signers.keys.is_empty() && signers.root.is_none() && signers.minimum == 1);
            let mistakes = source.health().mistakes.unwrap();
            assert!(mistakes.contains("broken.pub") || mistakes.contains("tlogs[0]"), "{mistakes}");
        }
    }
}

#[test]
fn last_good_policy_keeps_its_keys() {
    let folder = Folder::new();
    folder.write(&folder.good("first"));
    let source = folder.source(true);
    let key = fingerprint(&source);
    let other = SigningKey::generate().unwrap().public_key().unwrap().to_pem();
    folder.write("= =");
    fs::write(folder.path("key.pub"), other).unwrap();
    assert_eq!((fingerprint(&source), fingerprint(&folder.source(true))), (key.clone(), key.clone()));
    fs::write(folder.path("key.pub"), "no key").unwrap();
    folder.write(&folder.good("second"));
    for source in [&source, &folder.source(true)] {
        assert_eq!((fingerprint(source), grants(source)), (key.clone(), vec!["first".to_owned()]));
    }
}

#[test]
fn removed_file_is_the_default_and_no_mistake_brings_it_back() {
    let folder = Folder::new();
    folder.write(&folder.good("first"));
    let source = folder.source(false);
    fs::remove_file(folder.path("policy.toml")).unwrap();
    for source in [&source, &folder.source(false)] {
        assert_eq!((grants(source), source.policy().socket_group), (vec![], SocketGroup::Read));
        assert!(source.images().rules.revoked().digests.is_empty());
        assert!(source.health().removed.is_some() && source.health().mistakes.is_none());
    }
    folder.write("= =");
    for source in [&source, &folder.source(false)] {
        assert_eq!(grants(source), Vec::<String>::new());
        assert!(source.health().mistakes.is_some() && !source.health().is_unknown);
    }
}

#[test]
fn beginning_of_a_file_takes_no_policy_away() {
    let folder = Folder::new();
    folder.write(&folder.good("first"));
    let source = folder.source(true);
    // A slow writer truncates the file, writes a table, and then a mistake.
    let table = "[access]\nsocket_group = \"read\"\n";
    for text in ["", table] {
        folder.write(text);
        assert_eq!(grants(&source), Vec::<String>::new());
    }
    folder.write(&format!("{table}[[grants]]\n"));
    assert_eq!(grants(&source), ["first"]);
    for source in [&source, &folder.source(true)] {
        assert_eq!(grants(source), ["first"]);
        assert_eq!(source.images().rules.revoked().digests.len(), 1);
    }
    // A mistake in an unrelated text does not discard an accepted policy.
    folder.write(&folder.good("second"));
    assert_eq!(grants(&source), ["second"]);
    folder.write("= =");
    assert_eq!(grants(&source), ["second"]);
}

#[test]
fn file_that_may_be_there_is_not_removed() {
    let folder = Folder::new();
    let file = folder.path("policy.toml");
    folder.write(&folder.good("first"));
    let source = folder.source(false);
    fs::remove_file(&file).unwrap();
    symlink("/nonexistent/policy.toml", &file).unwrap();
    for source in [&source, &folder.source(false)] {
        assert_eq!(grants(source), ["first"]);
        assert!(source.health().mistakes.is_some());
    }
}

#[test]
fn file_that_could_not_be_read_is_read_again() {
    let folder = Folder::new();
    let file = folder.path("policy.toml");
    folder.write("= =");
    let source = folder.source(true);
    assert_root_alone(&source);
    folder.write(&folder.good("first"));
    {
        let mut state = source.state.lock().unwrap();
        state.stamps.insert(file.clone(), FileStamp::settled(&file, true));
    }
    assert_root_alone(&source);
    source.state.lock().unwrap().again = Some(Instant::now());
    assert_eq!(grants(&source), ["first"]);
    assert_eq!(source.state.lock().unwrap().again, None);
}

#[test]
fn damaged_copy_goes_where_there_is_no_file() {
    let folder = Folder::new();
    let copy = folder.path("last-good-policy");
    fs::write(&copy, "damaged").unwrap();
    drop(folder.source(false));
    assert!(!copy.exists());
}

#[test]
fn policy_that_cannot_be_kept_holds_and_leaves_no_older_one() {
    let folder = Folder::new();
    folder.write(&folder.good("first"));
    let source = folder.source(true);
    fs::create_dir(folder.path("last-good-policy.new")).unwrap();
    folder.write(&folder.good("second"));
    assert_eq!(grants(&source), ["second"]);
    assert!(source.health().copy_failure.is_some_and(|why| why.contains("there is none")));
    folder.write("= =");
    assert_eq!(grants(&source), ["second"]);
    assert_root_alone(&folder.source(true));
    fs::remove_dir(folder.path("last-good-policy.new")).unwrap();
    source.state.lock().unwrap().copy_failure.as_mut().unwrap().1 = Instant::now();
    assert_eq!((grants(&source), source.health().copy_failure), (vec!["second".to_owned()], None));
    assert_eq!(grants(&folder.source(true)), ["second"]);
}

#[test]
fn grant_of_the_agent_has_no_verb_that_no_agent_uses() {
    let folder = Folder::new();
    let policy = folder.source(false).policy();
    let agent = policy.grants.iter().find(|grant| grant.name == NODE_AGENT).unwrap();
    for verb in AccessVerb::GRANTABLE {
        let beyond = matches!(
            verb,
            AccessVerb::Adopt
                | AccessVerb::Radar
                | AccessVerb::Raw
                | AccessVerb::MapsRead
                | AccessVerb::MapsWrite
        );
        assert_eq!(agent.verbs.contains(&verb), !beyond, "{verb:?}");
    }
}
