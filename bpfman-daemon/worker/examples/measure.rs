//! Measures the cost of images: a cold pull, a warm load, fifty concurrent loads, and the memory of a large pull.
//!
//!     cargo run --release -p bpfman-worker --example measure

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement ends at what it did not expect")]

#[path = "../tests/image/harness/mod.rs"]
mod harness;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bpfman_registry::{SigningKey, sign};
use bpfmand_image::{FetchPolicy, ImageRequest};
use harness::docker_registry::DockerRegistry;
use harness::hostile::Hostile;
use harness::{Store, demand, object, publish, unsigned};

const ROUNDS: usize = 30;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        times().await;
        together().await;
        memory().await;
    });
}

fn tell(case: &str, mut times: Vec<Duration>) {
    times.sort();
    let ms = |time: &Duration| time.as_secs_f64() * 1000.0;
    println!(
        "{case}: min {:.1}, median {:.1}, max {:.1} ms",
        ms(&times[0]),
        ms(&times[times.len() / 2]),
        ms(times.last().unwrap())
    );
}

fn large_object() -> bpfman_image_format::BytecodeFile {
    let mut bytes = object("measured").bytes().to_vec();
    let mut state = 88_172_645_463_325_252_u64;
    while bytes.len() < 100_000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bpfman_image_format::BytecodeFile::parse("prog.o", bytes).unwrap()
}

async fn times() {
    let (registry, key) = (DockerRegistry::start(), SigningKey::generate().unwrap());
    let image = registry.image("demo/measured:v1");
    publish(&image, &large_object(), None).await;
    sign(&image, &key, &BTreeMap::new(), None).await.unwrap();
    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let store = Store::new(demand(&[&key]));
        let begun = Instant::now();
        store.pull(&image).await.unwrap();
        cold.push(begun.elapsed());
        let begun = Instant::now();
        store.load(&image, FetchPolicy::Never).await.unwrap();
        warm.push(begun.elapsed());
    }
    tell("cold pull of a signed image of 100 kB, loopback", cold);
    tell("load from the warm cache, verification included", warm);
}

async fn together() {
    let hostile = Hostile::start();
    let (layer, _) = hostile.image_of(large_object().bytes());
    let store = Arc::new(Store::new(unsigned()));
    let begun = Instant::now();
    let loads: Vec<_> = (0..50)
        .map(|_| {
            let (store, image) = (store.clone(), hostile.image("a:latest"));
            tokio::spawn(async move { store.pull(&image).await.unwrap().elf_digest })
        })
        .collect();
    for load in loads {
        load.await.unwrap();
    }
    let requests = hostile.requests();
    let downloads = requests.iter().filter(|request| request.contains(&layer.digest.to_string())).count();
    println!(
        "50 loads of one image at once: {downloads} download, {:.1} ms in all",
        begun.elapsed().as_secs_f64() * 1000.0
    );
}

fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

async fn memory() {
    let registry = DockerRegistry::start();
    for mib in [1, 16, 64] {
        let image = registry.image(&format!("demo/large:{mib}"));
        push_with_skopeo(&image, mib);
        let store = Store::new(unsigned());
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = peak();
        let request = ImageRequest {
            image,
            pull_policy: FetchPolicy::Always,
            credential: None,
            caller: Default::default(),
        };
        let begun = Instant::now();
        store.store.load(&request, None).await.unwrap();
        let ms = begun.elapsed().as_secs_f64() * 1000.0;
        println!("pull of {mib} MiB: peak {:.1} MiB above {before:.1} MiB, {ms:.0} ms", peak() - before);
    }
}

fn push_with_skopeo(image: &bpfman_image_format::ImageReference, mib: u64) {
    use bpfman_image_format::{Descriptor, OciLayout, media};
    let folder = tempfile::tempdir().unwrap();
    let layout = OciLayout::open_or_create(folder.path()).unwrap();
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, name, bytes).unwrap();
    };
    add("beside", &vec![7; usize::try_from(mib << 20).unwrap()]);
    add("prog.o", object("large").bytes());
    let layer = archive.into_inner().unwrap();
    let config = Descriptor::of(media::OCI_CONFIG, b"{}");
    let layer_of = Descriptor::of(media::OCI_LAYER, &layer);
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "config": config, "layers": [layer_of],
    });
    let manifest = manifest.to_string().into_bytes();
    for content in [b"{}".as_slice(), &layer, &manifest] {
        layout.put(content).unwrap();
    }
    layout.name("large", Descriptor::of(media::OCI_MANIFEST, &manifest)).unwrap();
    let status = std::process::Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"])
        .arg(format!("oci:{}:large", folder.path().display()))
        .arg(format!("docker://{image}"))
        .status()
        .expect("skopeo is installed");
    assert!(status.success());
}
