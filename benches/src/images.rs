//! Cost of reading images in unprivileged processes: loads from the cache, compared with threads.

use std::process::Command;

use anyhow::bail;
use bpfman_proto::v1::BpfmanProgramType as Type;

use crate::client::Client;
use crate::daemon::{Daemon, binary};
use crate::objects::Objects;
use crate::samples::Results;

/// Loads of each variant, alternating.
const ROUNDS: usize = 200;
/// Pause between loads, in milliseconds: enough to start the next verifier in advance.
const PAUSE: u64 = 40;
const IMAGE: &str = "localhost:5000/bench:1";

pub async fn run(objects: &Objects) -> anyhow::Result<()> {
    let mut results = Results::new("images")?;
    let layout = tempfile::tempdir()?;
    let output = Command::new(binary("bpfman")?)
        .args(["image", "build", "--tag", IMAGE, "--layout"])
        .arg(layout.path())
        .arg("--bytecode")
        .arg(objects.path("trivial"))
        .output()?;
    if !output.status.success() {
        bail!("bpfman image build: {}", String::from_utf8_lossy(&output.stderr));
    }
    let ways = [("processes", "on"), ("threads", "off")];
    let mut daemons = Vec::new();
    for (name, word) in ways {
        let daemon = Daemon::start_with(&format!("[cage]\nhelpers = \"{word}\"\n"), "mode = \"off\"\n")?;
        daemon.cli(&["image", "load", &layout.path().display().to_string()])?;
        let client = Client::connect(&daemon.socket()).await?;
        daemons.push((name, daemon, client, Vec::new(), Vec::new()));
    }
    for (paced, rounds) in [(true, ROUNDS), (false, ROUNDS)] {
        for _ in 0..rounds {
            for (_, _, client, at_leisure, at_once) in &mut daemons {
                if paced {
                    tokio::time::sleep(std::time::Duration::from_millis(PAUSE)).await;
                }
                let (id, took) = client.load_image(IMAGE, "xdp_trivial", Type::Xdp).await?;
                if paced { &mut *at_leisure } else { at_once }.push(took);
                client.unload(id).await?;
            }
        }
    }
    for (name, _, _, at_leisure, at_once) in daemons {
        results.add(&format!("image load from the cache, {name}"), "ms", at_leisure)?;
        results.add(&format!("image load from the cache, {name}, one after the other"), "ms", at_once)?;
    }
    Ok(())
}
