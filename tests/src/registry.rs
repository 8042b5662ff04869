//! Debian's `docker-registry` on a port of its own.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::network::Namespace;

pub const USER: &str = "ann";
pub const PASSWORD: &str = "s3cret:word";
/// Hash of the password for the registry: bcrypt, the only accepted hash, with the lowest cost.
const PASSWORD_HASH: &str = "$2b$05$3VG89O.o3oHBhTaemRhLj.JH4.6OZu00Sjd0a0XqZcr9wxhy7SyqK";

#[derive(Debug)]
pub struct Registry {
    process: Child,
    address: String,
    folder: TempDir,
}

impl Registry {
    #[must_use]
    pub fn start() -> Self {
        Self::start_at("127.0.0.1:0")
    }

    #[must_use]
    pub fn start_at(address: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        Self::serve(folder, &data, &format!("addr: \"{address}\""))
    }

    #[must_use]
    pub fn start_inside(namespace: &Namespace, address: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        Self::serve_by(namespace.command("docker-registry"), folder, &data, &format!("addr: \"{address}:0\""))
    }

    /// Starts another registry with the same images, which accepts only TLS as `host`; also returns its certificate.
    #[must_use]
    pub fn with_tls(&self, host: &str) -> (Self, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let (key, certificate) = (folder.path().join("key.pem"), folder.path().join("certificate.pem"));
        let name = format!("subjectAltName=DNS:{host}");
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
            .args(["-subj", "/CN=registry", "-days", "2", "-addext", &name])
            .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .expect("openssl is installed");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let http = format!(
            "addr: \"127.0.0.1:0\", tls: {{ certificate: {}, key: {} }}",
            certificate.display(),
            key.display()
        );
        (Self::serve(folder, &self.folder.path().join("data"), &http), certificate)
    }

    #[must_use]
    pub fn with_password(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let users = folder.path().join("users");
        fs::write(&users, format!("{USER}:{PASSWORD_HASH}\n")).unwrap();
        let http = format!(
            "addr: \"127.0.0.1:0\" }}\nauth: {{ htpasswd: {{ realm: tests, path: {} }}",
            users.display()
        );
        Self::serve(folder, &self.folder.path().join("data"), &http)
    }

    fn serve(folder: TempDir, data: &Path, http: &str) -> Self {
        Self::serve_by(Command::new("docker-registry"), folder, data, http)
    }

    fn serve_by(mut command: Command, folder: TempDir, data: &Path, http: &str) -> Self {
        let config = folder.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{ level: info }}\nhttp: {{ {http} }}\n\
             storage: {{ filesystem: {{ rootdirectory: {} }} }}\n",
            data.display()
        );
        fs::write(&config, text).unwrap();
        let mut process = command
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry is installed");
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
        let address = lines.by_ref().find_map(|line| {
            let (_, rest) = line.split_once("listening on ")?;
            rest.split(['"', ',', ' ']).next().map(str::to_owned)
        });
        // Keep reading: a full pipe would block the registry.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, address: address.expect("it says where it listens"), folder }
    }

    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    #[must_use]
    pub fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    pub fn stop(&mut self) {
        let _gone = self.process.kill();
        let _ended = self.process.wait();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}
