use std::process::Command;

use anyhow::bail;
use bpfman_proto::v1::BpfmanProgramType as Type;

use crate::client::Client;
use crate::daemon::{Daemon, binary};
use crate::objects::Objects;
use crate::samples::Results;

const ROUNDS: usize = 200;
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
    let daemon = Daemon::start_with("", "mode = \"off\"\n")?;
    daemon.cli(&["image", "load", &layout.path().display().to_string()])?;
    let mut client = Client::connect(&daemon.socket()).await?;
    for (how, pause) in [("", PAUSE), (", one after the other", 0)] {
        let mut samples = Vec::new();
        for _ in 0..ROUNDS {
            tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
            let (id, took) = client.load_image(IMAGE, "xdp_trivial", Type::Xdp).await?;
            samples.push(took);
            client.unload(id).await?;
        }
        results.add(&format!("image load from the cache{how}"), "ms", samples)?;
    }
    Ok(())
}
