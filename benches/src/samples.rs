use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;

pub fn folder() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(2).context("this program lies in target/<profile>")?;
    let folder = target.join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

pub struct Results {
    file: File,
}

impl Results {
    pub fn new(name: &str) -> anyhow::Result<Self> {
        let folder = folder()?;
        let path = folder.join(format!("{name}.json"));
        let file = OpenOptions::new().create(true).write(true).truncate(true).open(path)?;
        Ok(Self { file })
    }

    pub fn add(&mut self, case: &str, unit: &str, mut samples: Vec<f64>) -> anyhow::Result<f64> {
        samples.sort_by(f64::total_cmp);
        let (Some(min), Some(max)) = (samples.first(), samples.last()) else { return Ok(0.0) };
        let median = samples[samples.len() / 2];
        let round = |value: f64| (value * 1000.0).round() / 1000.0;
        let line = serde_json::json!({
            "case": case, "n": samples.len(), "unit": unit,
            "min": round(*min), "median": round(median), "max": round(*max),
        });
        writeln!(self.file, "{line}")?;
        println!("{case:<44} {:>10.3} {:>10.3} {:>10.3} {unit}  (n = {})", min, median, max, samples.len());
        Ok(median)
    }
}

pub fn ms(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1000.0
}
