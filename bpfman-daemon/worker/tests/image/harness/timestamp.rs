use std::fs;
use std::path::PathBuf;
use std::process::Command;

use bpfman_registry::SigningKey;
use serde_json::{Value, json};

use super::authority::{Authority, Claims, TIME_STAMPING, now, spki, uri};
use super::der::pem;
use super::log::base64;

const CONFIG: &str = "[stamp]\nserial = serial\ncrypto_device = builtin\nsigner_digest = sha256\n\
    default_policy = 1.2.3.4.1\ndigests = sha256\ness_cert_id_alg = sha256\n";

/// `openssl ts` takes the time from this function only, and has no option for it.
const CLOCK: &str = "#include <stdlib.h>\n#include <sys/time.h>\n\
    int gettimeofday(struct timeval *restrict now, void *restrict zone) {\n\
    \x20   (void)zone; now->tv_sec = atoll(getenv(\"STAMP_AT\")); now->tv_usec = 0; return 0;\n}\n";

pub struct Timestamper {
    authority: Authority,
    certificate: Vec<u8>,
    folder: tempfile::TempDir,
    clock: PathBuf,
}

impl Timestamper {
    pub fn new() -> Self {
        let (authority, key) = (Authority::new("timestamps"), SigningKey::generate().unwrap());
        let valid = (now() - 5 * 365 * 86_400, now() + 365 * 86_400);
        let claims =
            Claims { name: uri("https://timestamps.test"), issuer: None, usage: TIME_STAMPING, valid };
        let certificate = authority.issue(&spki(&key), &claims);
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        fs::write(file("key.pem"), key.to_pem().unwrap()).unwrap();
        fs::write(file("certificate.pem"), pem("CERTIFICATE", &certificate)).unwrap();
        fs::write(file("stamp.conf"), CONFIG).unwrap();
        fs::write(file("serial"), "01\n").unwrap();
        fs::write(file("clock.c"), CLOCK).unwrap();
        let clock = file("clock.so");
        let built =
            Command::new("clang").args(["-shared", "-fPIC", "-o"]).args([&clock, &file("clock.c")]).status();
        assert!(built.expect("clang is installed").success());
        Self { authority, certificate, folder, clock }
    }

    pub fn stamp(&self, signature: &[u8], at: i64) -> Vec<u8> {
        fs::write(self.folder.path().join("signature"), signature).unwrap();
        self.openssl(&["-query", "-data", "signature", "-sha256", "-cert", "-out", "query"], at);
        let reply = [
            "-reply",
            "-config",
            "stamp.conf",
            "-section",
            "stamp",
            "-queryfile",
            "query",
            "-inkey",
            "key.pem",
            "-signer",
            "certificate.pem",
            "-out",
            "reply",
        ];
        self.openssl(&reply, at);
        fs::read(self.folder.path().join("reply")).unwrap()
    }

    fn openssl(&self, words: &[&str], at: i64) {
        let output = Command::new("openssl")
            .arg("ts")
            .args(words)
            .current_dir(self.folder.path())
            .env("LD_PRELOAD", &self.clock)
            .env("STAMP_AT", at.to_string())
            .output()
            .expect("openssl is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    pub fn in_root(&self) -> Value {
        self.in_root_since("2000-01-01T00:00:00Z")
    }

    pub fn in_root_since(&self, start: &str) -> Value {
        let chain = [self.certificate.as_slice(), self.authority.der()];
        let chain: Vec<Value> = chain.iter().map(|der| json!({ "rawBytes": base64(der) })).collect();
        json!({
            "subject": { "organization": "test", "commonName": "timestamps" },
            "uri": "https://timestamps.test",
            "certChain": { "certificates": chain },
            "validFor": { "start": start },
        })
    }
}
