//! Collection of a part: output of a command or contents of a file, limited in size and time.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

pub const MAX_BYTES: usize = 8 << 20;
const MAX_STDERR_BYTES: usize = 64 << 10;
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Names of the fields with values that are replaced.
const VALUES: [&str; 2] = ["global_data", "globals"];

#[derive(Debug, Default, PartialEq, Eq)]
pub struct CollectedPart {
    pub bytes: Vec<u8>,
    pub cut: bool,
    pub exit_code: Option<i32>,
    pub failure: Option<String>,
}

impl CollectedPart {
    pub fn failed(why: impl Into<String>) -> Self {
        Self { failure: Some(why.into()), ..Self::default() }
    }

    /// Replaces the values of variables in JSON. Incomplete JSON is dropped, since its contents are unknown.
    pub fn without_values(mut self) -> Self {
        if self.bytes.is_empty() {
            return self;
        }
        match serde_json::from_slice::<Value>(&self.bytes) {
            Ok(mut value) => {
                remove_values(&mut value);
                self.bytes = serde_json::to_vec_pretty(&value).unwrap_or_default();
            }
            Err(error) => {
                self.bytes.clear();
                let why = self.failure.take().unwrap_or_default();
                self.failure = Some(format!("left out, since it is no whole JSON: {error} {why}"));
            }
        }
        self
    }
}

fn remove_values(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                match value {
                    Value::Object(values) if VALUES.contains(&name.as_str()) => {
                        values.values_mut().for_each(|value| *value = Value::from("left out"));
                    }
                    other if VALUES.contains(&name.as_str()) => *other = Value::from("left out"),
                    other => remove_values(other),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(remove_values),
        _ => {}
    }
}

/// Collects the output of a command, and kills it at its time limit. `ending` keeps the end of the output, as for a
/// log. An exit code other than 0 with output is no failure: `doctor` returns its result by it.
pub fn of_command(command: &[String], time: Duration, ending: bool) -> CollectedPart {
    let Some((program, arguments)) = command.split_first() else {
        return CollectedPart::failed("no command");
    };
    // Run this very program, even if its path now has another one.
    let path = if program == "bpfman" { "/proc/self/exe" } else { program };
    let started = Command::new(path)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => return CollectedPart::failed(format!("{program} cannot be started: {error}")),
    };
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let answer =
        thread::spawn(move || stdout.map_or_else(Default::default, |read| bounded(read, MAX_BYTES, ending)));
    let complaint = thread::spawn(move || {
        stderr.map_or_else(Default::default, |read| bounded(read, MAX_STDERR_BYTES, false))
    });
    let ended = wait(&mut child, time);
    // Both readers end with the command, which has ended.
    let (bytes, cut) = answer.join().unwrap_or_default();
    let (said, _) = complaint.join().unwrap_or_default();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    let (exit_code, failure) = match ended {
        Ok(Some(status)) if status.success() => (Some(0), (ending && !said.is_empty()).then_some(said)),
        Ok(Some(status)) if !bytes.is_empty() && status.code().is_some() => (status.code(), None),
        Ok(Some(status)) if said.is_empty() => {
            (status.code(), Some(format!("{program} ended with {status}")))
        }
        Ok(Some(status)) => (status.code(), Some(said)),
        Ok(None) => (None, Some(format!("{program} took more than {} s, and was ended", time.as_secs()))),
        Err(error) => (None, Some(format!("{program} cannot be waited for: {error}"))),
    };
    CollectedPart { bytes, cut, exit_code, failure }
}

fn wait(child: &mut Child, time: Duration) -> io::Result<Option<ExitStatus>> {
    let end = Instant::now() + time;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            // The command may have ended meanwhile.
            let _ended = child.kill();
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// Reads everything, and keeps a limited part of it: a command would not end if its output were not read.
fn bounded(mut from: impl Read, most: usize, ending: bool) -> (Vec<u8>, bool) {
    let (mut kept, mut cut) = (Vec::new(), false);
    let mut piece = vec![0; 64 << 10];
    loop {
        let read = match from.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // Keep what was read before the error.
            Err(_) => break,
        };
        let room = if ending { read } else { read.min(most - kept.len()) };
        kept.extend_from_slice(&piece[..room]);
        cut |= room < read;
        if kept.len() > 2 * most {
            kept.drain(..kept.len() - most);
            cut = true;
        }
    }
    if kept.len() > most {
        kept.drain(..kept.len() - most);
        cut = true;
    }
    (kept, cut)
}

pub fn of_file(path: &Path) -> CollectedPart {
    match File::open(path) {
        Ok(file) => {
            let (bytes, cut) = bounded(file.take(MAX_BYTES as u64 + 1), MAX_BYTES, false);
            CollectedPart { bytes, cut, ..CollectedPart::default() }
        }
        Err(error) => CollectedPart::failed(format!("{}: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, time: Duration) -> CollectedPart {
        of_command(&["sh", "-c", script].map(str::to_owned), time, false)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_command_answers_or_says_why_not() {
        let good = sh("echo a; echo b >&2", LONG);
        assert_eq!((&good.bytes[..], good.exit_code, &good.failure), (&b"a\n"[..], Some(0), &None));
        let found = sh("echo finding; exit 13", LONG);
        assert_eq!((&found.bytes[..], found.exit_code, &found.failure), (&b"finding\n"[..], Some(13), &None));
        let bad = sh("echo why >&2; exit 3", LONG);
        assert_eq!((bad.exit_code, bad.failure.as_deref()), (Some(3), Some("why")));
        let killed = sh("echo part; kill -9 $$", LONG);
        assert!(killed.failure.unwrap().contains("signal: 9"));
        let hangs = sh("echo part; exec sleep 1000", Duration::from_millis(200));
        assert_eq!((&hangs.bytes[..], hangs.exit_code), (&b"part\n"[..], None));
        assert!(hangs.failure.unwrap().contains("was ended"));
        let log = of_command(&["sh", "-c", "echo line; echo not all >&2"].map(str::to_owned), LONG, true);
        assert_eq!((&log.bytes[..], log.exit_code), (&b"line\n"[..], Some(0)));
        assert_eq!(log.failure.as_deref(), Some("not all"), "a log is not whole where its reader complains");
        let none = of_command(&["/no/such/program".to_owned()], LONG, false);
        assert!(none.failure.unwrap().contains("cannot be started"));
    }

    #[test]
    fn large_output_is_cut_at_end_or_start() {
        let all: Vec<u8> = (0..100_u8).collect();
        assert_eq!(bounded(&all[..], 10, false), ((0..10).collect(), true));
        assert_eq!(bounded(&all[..], 10, true), ((90..100).collect(), true));
        assert_eq!(bounded(&all[..], 100, false), (all.clone(), false));
        assert_eq!(bounded(&all[..], 100, true), (all.clone(), false));
    }

    #[test]
    fn values_of_variables_are_left_out() {
        let json = br#"{"programs": [{"name": "x", "global_data": {"key": "c0ffee"}, "globals": {"key": "12648430"}}]}"#;
        let collected = CollectedPart { bytes: json.to_vec(), ..CollectedPart::default() }.without_values();
        let text = String::from_utf8(collected.bytes).unwrap();
        assert!(
            text.contains("\"key\": \"left out\"") && !text.contains("c0ffee") && !text.contains("12648430"),
            "{text}"
        );
        let half = CollectedPart { bytes: json[..40].to_vec(), ..CollectedPart::default() }.without_values();
        assert!(half.bytes.is_empty() && half.failure.unwrap().contains("no whole JSON"));
    }
}
