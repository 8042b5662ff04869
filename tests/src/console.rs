//! Running console: `bpfman console` or `kubectl bpfman console`.

use crate::wait::within;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::Daemon;
use crate::browser::Browser;
use crate::http::{self, Answer};
use crate::wait::until;

#[derive(Debug)]
pub struct Console {
    process: Child,
    netns: Option<PathBuf>,
    pub address: SocketAddr,
    pub url: String,
}

#[derive(Clone, Debug)]
pub struct PageSession {
    pub cookie: String,
    pub key: String,
}

impl Console {
    #[must_use]
    pub fn start(daemon: &Daemon) -> Self {
        Self::of(daemon.cli_command(), None)
    }

    #[must_use]
    pub fn of(mut command: Command, netns: Option<&Path>) -> Self {
        command.args(["console", "--no-open"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(process.stdout.take().unwrap());
        within("the console to name its address", || out.read_line(&mut line)).unwrap();
        let url = line.trim_end().to_owned();
        let address = url.strip_prefix("http://").and_then(|rest| rest.split('/').next()).map(str::parse);
        let address = address.unwrap_or_else(|| panic!("no address: {line:?}")).unwrap();
        Self { process, netns: netns.map(Path::to_path_buf), address, url }
    }

    #[must_use]
    pub fn token(&self) -> &str {
        self.url.split_once("#token=").unwrap().1
    }

    #[must_use]
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    #[must_use]
    pub fn browser(&self, view: &str) -> Browser {
        let browser = Browser::start_in(self.netns.as_deref());
        browser.open(&self.url);
        browser.until("the console has begun", "return document.body.dataset.ready === 'yes'");
        self.go(&browser, view);
        browser
    }

    #[must_use]
    pub fn browser_refused(&self) -> Browser {
        let browser = Browser::start_in(self.netns.as_deref());
        browser.open(&self.url);
        browser
    }

    pub fn go(&self, browser: &Browser, view: &str) {
        browser.script(&format!("location.hash = {}", json!(format!("#/{view}"))));
        let name = view.split('/').next().unwrap();
        let there = format!("return document.getElementById('view').dataset.view === {}", json!(name));
        browser.until(view, &there);
    }

    #[must_use]
    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask(&format!("GET {path}"), headers, "")
    }

    #[must_use]
    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.ask(&format!("POST {path}"), headers, body)
    }

    fn ask(&self, line: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let host = self.address.to_string();
        let own = [("host", host.as_str())];
        let named = headers.iter().any(|(name, _)| *name == "host");
        let headers: Vec<_> = own.iter().filter(|_| !named).chain(headers).copied().collect();
        http::request_in(self.netns.as_deref(), self.address, line, &headers, body)
    }

    #[must_use]
    pub fn begin(&self) -> PageSession {
        let answer = self.post("/api/session", &[], &json!({ "token": self.token() }).to_string());
        assert_eq!(answer.status, 200, "{answer:?}");
        let cookie = answer.header("set-cookie").unwrap();
        for needed in ["HttpOnly", "SameSite=Strict", "Path=/"] {
            assert!(cookie.contains(needed), "{cookie}");
        }
        let key = answer.json()["page_key"].as_str().unwrap().to_owned();
        PageSession { cookie: cookie.split(';').next().unwrap().to_owned(), key }
    }

    #[must_use]
    pub fn begun(&self, browser: &Browser) -> PageSession {
        let cookies = browser.protocol("Network.getCookies", &json!({ "urls": [self.origin()] }));
        let own = cookies["cookies"].as_array().unwrap().iter().find(|cookie| {
            cookie["name"].as_str().is_some_and(|name| name.ends_with(&self.address.port().to_string()))
        });
        let own = own.expect("the page has a cookie");
        assert_eq!((&own["httpOnly"], &own["sameSite"]), (&json!(true), &json!("Strict")));
        let cookie = format!("{}={}", own["name"].as_str().unwrap(), own["value"].as_str().unwrap());
        let key = browser.script("return localStorage.getItem('bpfman-page-key')");
        PageSession { cookie, key: key.as_str().unwrap().to_owned() }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    pub fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        until("the console ended", || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl PageSession {
    #[must_use]
    pub fn headers(&self) -> [(&str, &str); 2] {
        [("cookie", &self.cookie), ("x-bpfman-page", &self.key)]
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}
