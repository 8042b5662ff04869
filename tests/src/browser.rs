//! Browser under control of WebDriver, by JSON calls over HTTP: Debian's chromium and its driver.

use crate::wait::within;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http;
use crate::wait::until;

/// Environment variable with which the pictures in docs are written again.
pub const PICTURES_VARIABLE: &str = "BPFMAN_TEST_PICTURES";

pub mod key {
    pub const TAB: &str = "\u{e004}";
    pub const ENTER: &str = "\u{e007}";
    pub const ESCAPE: &str = "\u{e00c}";
}

#[derive(Debug)]
pub struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    netns: Option<PathBuf>,
    _profile: TempDir,
}

impl Browser {
    /// Starts a browser. Panics if Chromium or its driver is not installed: `packaging/install-deps test`.
    #[must_use]
    pub fn start() -> Self {
        Self::start_in(None)
    }

    #[must_use]
    pub fn start_in(netns: Option<&Path>) -> Self {
        let profile = tempfile::Builder::new().prefix("bpfman-test-browser-").tempdir().unwrap();
        let mut command = match netns {
            None => Command::new("chromedriver"),
            Some(netns) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net={}", netns.display())).arg("chromedriver");
                command
            }
        };
        let mut driver = command
            .arg("--port=0")
            .env("HOME", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is installed: packaging/install-deps test");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = loop {
            let line = within("chromedriver to name its port", || lines.next());
            let line = line.expect("chromedriver names its port").unwrap();
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                break port.trim_end_matches('.').parse().unwrap();
            }
        };
        std::thread::spawn(move || lines.for_each(drop));
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut browser = Self {
            driver,
            address,
            session: String::new(),
            netns: netns.map(Path::to_path_buf),
            _profile: profile,
        };
        let data = format!("--user-data-dir={}", browser._profile.path().join("profile").display());
        let arguments = json!([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-extensions",
            "--window-size=1280,900",
            "--force-device-scale-factor=1",
            "--lang=en",
            data,
        ]);
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
            "timeouts": { "script": 60_000, "pageLoad": 60_000 },
        } } });
        let begun = browser.call("POST", "/session", &wanted);
        browser.session = begun["sessionId"].as_str().unwrap().to_owned();
        browser
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if method == "GET" { String::new() } else { body.to_string() };
        let host = self.address.to_string();
        let headers = [("host", host.as_str()), ("content-type", "application/json")];
        let answer = http::request_in(
            self.netns.as_deref(),
            self.address,
            &format!("{method} {path}"),
            &headers,
            &body,
        );
        let mut value = answer.json();
        assert_eq!(answer.status, 200, "{method} {path} {body}: {value}");
        value["value"].take()
    }

    fn in_session(&self, method: &str, path: &str, body: &Value) -> Value {
        self.call(method, &format!("/session/{}/{path}", self.session), body)
    }

    pub fn open(&self, url: &str) {
        self.in_session("POST", "url", &json!({ "url": url }));
    }

    #[must_use]
    pub fn url(&self) -> String {
        self.in_session("GET", "url", &Value::Null).as_str().unwrap().to_owned()
    }

    pub fn script(&self, script: &str) -> Value {
        self.in_session("POST", "execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until a script returns true. Panics if it does not within the time limit, or the page had an error.
    pub fn until(&self, what: &str, script: &str) {
        until(&format!("{what}\nthe page: {}", script), || {
            let holds = self.script(script) == true;
            if !holds {
                std::thread::sleep(std::time::Duration::from_millis(30));
            }
            holds
        });
    }

    pub fn shows(&self, text: &str) {
        let script = format!("return document.body.innerText.includes({})", json!(text));
        self.until(&format!("the page shows {text:?}"), &script);
    }

    #[must_use]
    pub fn text(&self) -> String {
        self.script("return document.body.innerText").as_str().unwrap().to_owned()
    }

    pub fn press(&self, keys: &[&str]) {
        let presses = keys.iter().flat_map(|key| {
            [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })]
        });
        let actions: Vec<_> = presses.collect();
        let sequence = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] });
        self.in_session("POST", "actions", &sequence);
    }

    pub fn protocol(&self, command: &str, parameters: &Value) -> Value {
        self.in_session("POST", "goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    pub fn prefer(&self, scheme: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.protocol("Emulation.setEmulatedMedia", &features);
    }

    fn log(&self, kind: &str) -> Vec<Value> {
        self.in_session("POST", "se/log", &json!({ "type": kind })).as_array().unwrap().clone()
    }

    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        let entries = self.log("browser").into_iter();
        let grave = entries.filter(|entry| matches!(entry["level"].as_str(), Some("SEVERE" | "WARNING")));
        grave.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        let messages = self.log("performance").into_iter().filter_map(|entry| {
            let message: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            let message = &message["message"];
            (message["method"] == "Network.requestWillBeSent")
                .then(|| message["params"]["request"]["url"].as_str().map(str::to_owned))
                .flatten()
        });
        messages.collect()
    }

    #[must_use]
    pub fn picture(&self) -> Vec<u8> {
        let text = self.in_session("GET", "screenshot", &Value::Null);
        from_base64(text.as_str().unwrap())
    }

    /// Writes a picture of the page's first `height` pixels for docs.
    pub fn keep_picture(&self, name: &str, height: u64) {
        if std::env::var_os(PICTURES_VARIABLE).is_none() {
            return;
        }
        let size = json!({ "width": 1280, "height": height, "deviceScaleFactor": 2, "mobile": false });
        self.protocol("Emulation.setDeviceMetricsOverride", &size);
        let picture = self.picture();
        self.protocol("Emulation.clearDeviceMetricsOverride", &json!({}));
        assert!(picture.len() <= 400_000, "{name} takes {} bytes", picture.len());
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/pictures");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{name}.png")), picture).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the page's console ---");
        }
        if !self.session.is_empty() {
            let host = self.address.to_string();
            let line = format!("DELETE /session/{}", self.session);
            let _ended = http::request_in(self.netns.as_deref(), self.address, &line, &[("host", &host)], "");
        }
        let _gone = self.driver.kill();
        let _reaped = self.driver.wait();
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'=').map(digit).collect();
    digits
        .chunks(4)
        .flat_map(|four| {
            let bits = four.iter().fold(0_u32, |bits, digit| (bits << 6) | u32::from(*digit));
            let bits = bits << (6 * (4 - four.len()));
            bits.to_be_bytes()[1..four.len()].to_vec()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read() {
        assert_eq!(from_base64("YnBmbWFu"), b"bpfman");
        assert_eq!(from_base64("YnBmbWE="), b"bpfma");
        assert_eq!(from_base64("YnBmbQ=="), b"bpfm");
    }
}
