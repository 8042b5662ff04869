//! Debian's Prometheus in a network namespace.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::monitoring::ShippedExpression;
use crate::wait::until;

const ADDRESS: &str = "127.0.0.1:9090";

#[derive(Debug)]
pub struct Prometheus {
    netns: PathBuf,
    process: Child,
    folder: TempDir,
}

impl Prometheus {
    /// Starts the server and waits until it answers. `config` has the contents of `prometheus.yml`.
    #[must_use]
    pub fn start(netns: &Path, config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, config).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let process = inside(netns, "prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={ADDRESS}"))
            .args(["--web.console.templates=/nonexistent", "--web.console.libraries=/nonexistent"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("prometheus is installed");
        let prometheus = Self { netns: netns.to_owned(), process, folder };
        until("Prometheus is ready", || {
            prometheus.curl(&[&format!("http://{ADDRESS}/-/ready")]).contains("Ready")
        });
        prometheus
    }

    fn curl(&self, words: &[&str]) -> String {
        let output =
            inside(&self.netns, "curl").args(["-sS", "--max-time", "20"]).args(words).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let pairs: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let url = format!("http://{ADDRESS}/api/v1/{path}");
        let mut words = vec!["--get", url.as_str()];
        for pair in &pairs {
            words.extend(["--data-urlencode", pair.as_str()]);
        }
        let answer = self.curl(&words);
        let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{path}: {answer}"));
        assert_eq!(answer["status"], "success", "{parameters:?}: {answer}");
        answer["data"].clone()
    }

    /// Returns the current value of an expression: one entry per series. Panics if the expression is invalid.
    #[must_use]
    pub fn query(&self, expression: &str) -> Vec<Value> {
        self.ask("query", &[("query", expression)])["result"].as_array().unwrap().clone()
    }

    pub fn until_scraped(&self, targets: usize) {
        until("all targets are scraped", || {
            let up = self.query("up == 1").len() == targets;
            if !up {
                // A target that has not been scraped yet has no error.
                let errors = self.scrape_errors();
                assert!(errors.is_empty(), "{errors:?}");
            }
            up
        });
    }

    pub fn until_all_give_data(&self, expressions: &[ShippedExpression]) {
        for ShippedExpression { of, panel, expression } in expressions {
            until(&format!("{of}, {panel}: {expression} gives data"), || {
                self.query(expression).iter().any(|series| series["value"][1] != "NaN")
            });
        }
    }

    #[must_use]
    pub fn scrape_errors(&self) -> Vec<String> {
        let targets = self.ask("targets", &[("state", "active")]);
        let targets = targets["activeTargets"].as_array().unwrap();
        let said = targets.iter().map(|target| target["lastError"].as_str().unwrap_or_default().to_owned());
        said.filter(|error| !error.is_empty()).collect()
    }

    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

fn inside(netns: &Path, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", netns.display())).arg(program);
    command
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- Prometheus' log ---\n{}", self.log());
        }
        let _gone = self.process.kill();
        let _ended = self.process.wait();
    }
}
