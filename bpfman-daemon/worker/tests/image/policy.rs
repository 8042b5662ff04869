use std::io;
use std::path::Path;

use crate::harness::docker_registry::DockerRegistry;
use crate::harness::{Store, object, policy, publish};
use bpfman_image_format::ImageReference;
use bpfman_registry::SigningKey;
use bpfmand_image::{ImageError, LegacySigning, Mode, Policy, PolicyDecision, PolicyFile, Requirement};
use bpfmand_policy_text::TextDefects;

fn pem() -> String {
    SigningKey::generate().unwrap().public_key().unwrap().to_pem()
}

fn parse(text: &str) -> Result<PolicyFile, TextDefects> {
    PolicyFile::parse(text, &mut |path| match path.to_str() {
        Some("/keys/good.pub") => Ok(pem()),
        Some("/keys/bad.pub") => Ok("no key".to_owned()),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    })
}

fn image(text: &str) -> ImageReference {
    text.parse().unwrap()
}

fn with_mode(mode: Option<Mode>, legacy: LegacySigning) -> Mode {
    Policy::resolve(mode.map(|mode| PolicyFile { mode: Some(mode), ..PolicyFile::default() }), legacy).mode()
}

#[test]
fn nothing_written_means_enforce_and_nothing_allowed() {
    let policy = Policy::resolve(None, LegacySigning::default());
    assert_eq!(policy.mode(), Mode::Enforce);
    let error = policy.decide(&image("quay.io/a/b:c")).unwrap_err();
    assert!(matches!(error, ImageError::NoRule { .. }));
    assert!(
        error.hint().unwrap().to_string().contains("bpfman policy allow quay.io/a/b --unsigned"),
        "{error}"
    );
    assert_eq!(Policy::resolve(Some(parse("").unwrap()), LegacySigning::default()).mode(), Mode::Enforce);
}

#[test]
fn the_keys_of_v0_6_loosen_only_what_they_write_out() {
    let legacy = |verify_enabled, allow_unsigned| LegacySigning { verify_enabled, allow_unsigned };
    for (keys, mode) in [
        (legacy(None, None), Mode::Enforce),
        (legacy(Some(true), None), Mode::Enforce),
        (legacy(None, Some(false)), Mode::Enforce),
        (legacy(Some(true), Some(false)), Mode::Enforce),
        (legacy(None, Some(true)), Mode::Warn),
        (legacy(Some(true), Some(true)), Mode::Warn),
        (legacy(Some(false), None), Mode::Off),
        (legacy(Some(false), Some(true)), Mode::Off),
    ] {
        assert_eq!(with_mode(None, keys), mode, "{keys:?}");
        assert_eq!(with_mode(Some(Mode::Enforce), keys), Mode::Enforce);
    }
    assert_eq!(with_mode(Some(Mode::Off), LegacySigning::default()), Mode::Off);
}

#[test]
fn the_first_rule_that_covers_an_image_decides() {
    let text = "\
        [[images]]\npattern = \"quay.io/a/trial-*\"\nunsigned = true\n\
        [[images]]\npattern = \"quay.io/a/*\"\nkeys = [\"/keys/good.pub\"]\n";
    let policy = Policy::resolve(Some(parse(text).unwrap()), LegacySigning::default());
    let requirement = |name: &str| match policy.decide(&image(name)) {
        Ok(PolicyDecision::Rule(rule)) => Some(matches!(rule.requirement, Requirement::Unsigned)),
        _ => None,
    };
    assert_eq!(requirement("quay.io/a/trial-1"), Some(true));
    assert_eq!(requirement("quay.io/a/b"), Some(false));
    assert_eq!(requirement("quay.io/b"), None);
}

#[test]
fn keys_are_read_from_files_and_from_the_text() {
    let text = format!(
        "mode = \"warn\"\n[[images]]\npattern = \"*\"\nkeys = [\"/keys/good.pub\", \"\"\"\n{}\"\"\"]\nmin_signatures = 2\n",
        pem()
    );
    let file = parse(&text).unwrap();
    assert_eq!(file.mode, Some(Mode::Warn));
    let Requirement::Signed(signers) = &file.rules[0].requirement else { panic!() };
    assert_eq!((signers.keys.len(), signers.minimum), (2, 2));
}

#[test]
fn mistakes_are_refused_with_their_line() {
    let start = "# a comment\n\n[[images]]\npattern = \"quay.io/a\"\n";
    let one = pem();
    let cases: Vec<(String, usize, &str)> = vec![
        (start.to_owned(), 3, "names no keys"),
        (format!("{start}keys = []\n"), 3, "names no keys"),
        (format!("{start}unsigned = false\n"), 3, "names no keys"),
        (format!("{start}unsigned = true\nkeys = [\"/keys/good.pub\"]\n"), 3, "one of them is wrong"),
        (
            format!("{start}keys = [\"/keys/good.pub\"]\nmin_signatures = 2\n"),
            6,
            "= 2 with 1 different signers",
        ),
        (format!("{start}keys = [\"/keys/good.pub\"]\nmin_signatures = 0\n"), 6, "min_signatures = 0"),
        (
            format!("{start}min_signatures = 2\nkeys = [\"\"\"{one}\"\"\", \"\"\"{one}\"\"\"]\n"),
            5,
            "with 1 different signers",
        ),
        (format!("{start}keys = [\n  \"/keys/none.pub\"]\n"), 6, "/keys/none.pub"),
        (format!("{start}keys = [\"/keys/bad.pub\"]\n"), 5, "key /keys/bad.pub: not a PEM public key"),
        (format!("{start}keys = [\"keys/good.pub\"]\n"), 5, "neither PEM text nor an absolute path"),
        (format!("{start}keys = [\"-----BEGIN PUBLIC KEY-----\"]\n"), 5, "key (inline)"),
        ("[[images]]\npattern = \"a/b\"\nunsigned = true\n".to_owned(), 2, "does not begin with a registry"),
        ("[[images]]\nunsigned = true\n".to_owned(), 1, "missing field `pattern`"),
        ("mode = \"lenient\"\n".to_owned(), 1, "unknown variant `lenient`"),
        ("mod = \"off\"\n".to_owned(), 1, "unknown key `mod`"),
        (format!("{start}keys = [\"/keys/good.pub\"]\nunsined = true\n"), 6, "unknown field `unsined`"),
        ("mode = off".to_owned(), 1, ""),
    ];
    for (text, line, says) in cases {
        let found = parse(&text).unwrap_err();
        let [defect] = &found.0[..] else { panic!("{text}\n{found}") };
        assert_eq!(defect.line, line, "{text}\n{found}");
        assert!(defect.reason.contains(says), "{text}\n{found}");
    }
}

#[test]
fn all_mistakes_are_found_at_once() {
    let text = "mode = \"lenient\"\ntrusted_root = \"root.json\"\ncolour = 1\n\
        [[images]]\npattern = \"quay.io\"\nkeys = [\"keys/a.pub\",\n  \"/keys/none.pub\", \"/keys/bad.pub\"]\n\
        signed_as = [\"quay.io\"]\nmin_signatures = 0\nunsined = true\n\
        [[images]]\npattern = \"quay.io/b\"\nidentities = [{ issuer = \"\", subject = \"x\" }]\n\
        [files]\nusers = [-1]\n[revoked]\ndigests = [\"sha256:1\"]\nrunning = \"stop\"\n";
    let lines: Vec<usize> = parse(text).unwrap_err().0.iter().map(|defect| defect.line).collect();
    assert_eq!(lines, [1, 2, 3, 5, 6, 7, 7, 8, 9, 10, 13, 15, 17, 18]);
}

#[test]
fn keys_of_other_kinds_are_refused() {
    if std::process::Command::new("openssl").arg("version").output().is_err() {
        eprintln!("skipped: openssl is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str, arguments: &[&str]| {
        let (private, public) = (folder.path().join(name), folder.path().join(format!("{name}.pub")));
        let run = |arguments: &[&str], path: &Path, input: Option<&Path>| {
            let mut command = std::process::Command::new("openssl");
            command.args(arguments).arg("-out").arg(path);
            if let Some(input) = input {
                command.arg("-in").arg(input);
            }
            let output = command.output().expect("openssl is installed");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        run(&[&["genpkey"], arguments].concat(), &private, None);
        run(&["pkey", "-pubout"], &public, Some(&private));
        (std::fs::read_to_string(private).unwrap(), std::fs::read_to_string(public).unwrap())
    };
    let curve = |name: &'static str| ["-algorithm", "EC", "-pkeyopt", name];
    let trust = |public: &str| bpfmand_image::TrustedKey::from_pem(public);
    let (private, public) = make("p256", &curve("ec_paramgen_curve:P-256"));
    trust(&public).unwrap();
    let key = SigningKey::from_pem(&private).unwrap();
    assert_eq!(key.public_key().unwrap().to_pem(), public);
    trust(&make("rsa", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]).1).unwrap();
    for (name, arguments) in [
        ("p384", curve("ec_paramgen_curve:P-384").as_slice()),
        ("ed25519", &["-algorithm", "ED25519"]),
        ("short", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"]),
    ] {
        let (private, public) = make(name, arguments);
        assert!(trust(&public).is_err(), "{name}");
        assert!(SigningKey::from_pem(&private).is_err(), "{name}");
        assert!(trust(&private).is_err(), "{name}: a private key is no public key");
    }
}

#[tokio::test]
async fn a_strict_rule_holds_for_every_spelling_of_its_registry() {
    let registry = DockerRegistry::start();
    let port = registry.address().rsplit_once(':').unwrap().1.to_owned();
    let named = |host: &str| format!("{host}:{port}/network/firewall:v1");
    let key = SigningKey::generate().unwrap();
    publish(&named("localhost").parse().unwrap(), &object("spelling"), None).await;
    let text = format!(
        "[[images]]\npattern = \"LocalHost:{port}/network/*\"\nkeys = ['''{}''']\n\
         [[images]]\npattern = \"*\"\nunsigned = true\n",
        key.public_key().unwrap().to_pem()
    );
    for host in ["localhost", "LOCALHOST", "localHost", "127.0.0.1"] {
        let store = Store::new(policy(&text));
        let error = store.pull(&named(host).parse().unwrap()).await.unwrap_err();
        assert!(matches!(error, ImageError::Unsigned { .. }), "{host}: {error}");
    }
    assert!(named("2130706433").parse::<ImageReference>().is_err());
}
