use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use bpfman_image_format::{Digest, ImageReference};

pub struct DockerRegistry {
    process: Child,
    folder: tempfile::TempDir,
    address: String,
}

/// `user` with password `pass:word`, in bcrypt, the only supported kind.
const PASSWORDS: &str = "user:$2b$04$cTWaXCLjv72J2vKYIufww.v.qkLHHc.b/.RXIAn/KDrf45xfmamHm\n";

impl DockerRegistry {
    pub fn start() -> Self {
        Self::start_with("")
    }

    pub fn start_with_password() -> Self {
        Self::start_with("auth: { htpasswd: { realm: test, path: PASSWORDS } }\n")
    }

    pub fn start_with_tls(authority: &super::authority::Authority) -> Self {
        use super::authority::{Claims, SERVER, address, now, spki};
        let key = bpfman_registry::SigningKey::generate().unwrap();
        let claims = Claims {
            name: address([127, 0, 0, 1]),
            issuer: None,
            usage: SERVER,
            valid: (now() - 3600, now() + 3600),
        };
        let certificate = super::der::pem("CERTIFICATE", &authority.issue(&spki(&key), &claims));
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("server.pem"), certificate).unwrap();
        fs::write(folder.path().join("server.key"), key.to_pem().unwrap()).unwrap();
        let tls = format!(
            "http: {{ addr: \"127.0.0.1:0\", tls: {{ certificate: {0}/server.pem, key: {0}/server.key }} }}\n\
             auth: {{ htpasswd: {{ realm: test, path: PASSWORDS }} }}\n",
            folder.path().display()
        );
        Self::start_in(folder, &tls)
    }

    fn start_with(more: &str) -> Self {
        let more = format!("http: {{ addr: \"127.0.0.1:0\" }}\n{more}");
        Self::start_in(tempfile::tempdir().unwrap(), &more)
    }

    fn start_in(folder: tempfile::TempDir, more: &str) -> Self {
        let passwords = folder.path().join("passwords");
        fs::write(&passwords, PASSWORDS).unwrap();
        let config = folder.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{ level: info }}\nstorage: {{ filesystem: {{ rootdirectory: {} }} }}\n{}",
            folder.path().join("data").display(),
            more.replace("PASSWORDS", &passwords.display().to_string()),
        );
        fs::write(&config, text).unwrap();
        let mut process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry is installed");
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                let rest = line.split_once("listening on ")?.1;
                Some(rest.split(|c: char| c == '"' || c == ',' || c.is_whitespace()).next()?.to_owned())
            })
            .expect("docker-registry says where it listens");
        // Drain the log: the registry would block on a full pipe.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self { process, folder, address }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn image(&self, path: &str) -> ImageReference {
        format!("{}/{path}", self.address).parse().unwrap()
    }

    pub fn blob(&self, digest: Digest) -> PathBuf {
        let hex = digest.hex();
        self.folder.path().join(format!("data/docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]))
    }

    pub fn bytes(&self) -> u64 {
        let blobs = self.folder.path().join("data/docker/registry/v2/blobs/sha256");
        let of_prefix = |prefix: std::io::Result<fs::DirEntry>| fs::read_dir(prefix.unwrap().path()).unwrap();
        let kept = fs::read_dir(blobs).unwrap().flat_map(of_prefix);
        kept.map(|blob| fs::metadata(blob.unwrap().path().join("data")).unwrap().len()).sum()
    }

    pub fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        self.stop();
    }
}
