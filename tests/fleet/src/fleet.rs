//! All nodes, in one process or several, because the limit of open files of a process is too low for a large fleet.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use serde::de::DeserializeOwned;

use crate::link::Line;
use crate::order::{Loads, Message, Needs, Order};
use crate::totals::Totals;
use crate::version::Version;

const LOOK: Duration = Duration::from_millis(100);

const MAX_INTERVAL: Duration = Duration::from_secs(5);

pub struct Fleet {
    parts: Vec<Part>,
    count: usize,
    patience: Duration,
}

struct Part {
    first: usize,
    count: usize,
    process: Child,
    talk: Arc<Mutex<Talk>>,
}

struct Talk {
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Fleet {
    pub async fn start(
        count: usize,
        at_most: usize,
        folder: &Path,
        kubeconfig: &Path,
        patience: Duration,
    ) -> Result<Self> {
        let processes = count.div_ceil(at_most).max(1);
        let each = count.div_ceil(processes);
        let starts = (0..count).step_by(each.max(1)).map(|first| {
            let count = each.min(count - first);
            Part::start(first, count, folder, kubeconfig)
        });
        let parts: Vec<Part> = starts.collect::<Result<_>>()?;
        futures::future::try_join_all(parts.iter().map(Part::answer)).await?;
        Ok(Self { parts, count, patience })
    }

    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    pub fn processes(&self) -> impl Iterator<Item = u32> + '_ {
        self.parts.iter().map(|part| part.process.id())
    }

    pub async fn start_agents(&self, which: impl Fn(usize) -> bool + Copy) -> Result<()> {
        self.tell(Order::StartAgents, which).await?;
        self.until("agents are ready", async || self.first(Order::Unready, which).await).await
    }

    pub async fn stop_agents(&self, which: impl Fn(usize) -> bool) -> Result<()> {
        self.tell(Order::StopAgents, which).await
    }

    pub async fn until(&self, what: &str, missing: impl AsyncFn() -> Result<Option<String>>) -> Result<()> {
        let end = Instant::now() + self.patience;
        loop {
            let begun = Instant::now();
            let Some(missing) = missing().await? else { return Ok(()) };
            if begun > end {
                bail!("after {:?} still not true: {what}; {missing}", self.patience);
            }
            // A slow poll uses CPU time that others need, so the interval grows with it.
            tokio::time::sleep((2 * begun.elapsed()).clamp(LOOK, MAX_INTERVAL)).await;
        }
    }

    pub async fn totals(&self) -> Result<Totals> {
        self.totals_of(|_| true).await
    }

    pub async fn totals_of(&self, which: impl Fn(usize) -> bool) -> Result<Totals> {
        let mut all = Totals::default();
        self.ask(Order::Totals, which).await?.iter().for_each(|part: &Totals| all += part);
        Ok(all)
    }

    pub async fn writes(&self) -> Result<Vec<u64>> {
        self.ask(Order::Writes, |_| true).await
    }

    pub async fn running(&self) -> Result<Vec<Vec<u32>>> {
        self.ask(Order::Running, |_| true).await
    }

    pub async fn rename(&self, which: impl Fn(usize) -> bool) -> Result<()> {
        self.tell(Order::Rename, which).await
    }

    pub async fn loaded(&self, number: usize) -> Result<Vec<u32>> {
        Ok(self.ask(Order::Loaded, |one| one == number).await?.into_iter().next().unwrap_or_default())
    }

    pub async fn loads(&self, version: Version) -> Result<Vec<Loads>> {
        self.ask(Order::Loads(version), |_| true).await
    }

    pub async fn runs(&self, version: Version) -> Result<Vec<bool>> {
        self.ask(Order::Runs(version), |_| true).await
    }

    pub async fn first_with(&self, version: Version) -> Result<Option<String>> {
        self.first(Order::FirstWith(version), |_| true).await
    }

    /// Returns a node whose agent has made fewer than `looks` reconciliations, or has pending ones.
    pub async fn busy(&self, looks: u64) -> Result<Option<String>> {
        self.first(Order::Busy(looks), |_| true).await
    }

    pub async fn refuse(&self, version: Version, which: impl Fn(usize) -> bool) -> Result<()> {
        self.tell(Order::Refuse(version, true), which).await
    }

    pub async fn line(&self, line: Line, which: impl Fn(usize) -> bool) -> Result<()> {
        self.tell(Order::Line(line), which).await
    }

    pub async fn needs(&self) -> Result<Vec<Needs>> {
        self.ask(Order::Needs, |_| true).await
    }

    async fn tell(&self, order: Order, which: impl Fn(usize) -> bool) -> Result<()> {
        self.ask::<()>(order, which).await.map(drop)
    }

    async fn first(&self, order: Order, which: impl Fn(usize) -> bool) -> Result<Option<String>> {
        Ok(self.ask(order, which).await?.into_iter().next())
    }

    async fn ask<T: DeserializeOwned>(&self, order: Order, which: impl Fn(usize) -> bool) -> Result<Vec<T>> {
        let asked = self.parts.iter().map(|part| {
            let numbers = part.first..part.first + part.count;
            part.ask(Message { order, nodes: numbers.filter(|number| which(*number)).collect() })
        });
        Ok(futures::future::try_join_all(asked).await?.into_iter().flatten().collect())
    }
}

impl Part {
    fn start(first: usize, count: usize, folder: &Path, kubeconfig: &Path) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("part")
            .args(["--first", &first.to_string(), "--count", &count.to_string()])
            .arg("--folder")
            .arg(folder)
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = process.stdin.take().context("its input")?;
        let answers = BufReader::new(process.stdout.take().context("its output")?);
        Ok(Self { first, count, process, talk: Arc::new(Mutex::new(Talk { orders, answers })) })
    }

    async fn ask<T: DeserializeOwned>(&self, message: Message) -> Result<Vec<T>> {
        self.read(Some(format!("{}\n", serde_json::to_string(&message)?))).await
    }

    async fn answer(&self) -> Result<Vec<()>> {
        self.read(None).await
    }

    async fn read<T: DeserializeOwned>(&self, order: Option<String>) -> Result<Vec<T>> {
        let talk = Arc::clone(&self.talk);
        let read = tokio::task::spawn_blocking(move || {
            let mut talk = talk.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(order) = order {
                talk.orders.write_all(order.as_bytes())?;
            }
            let mut line = String::new();
            talk.answers.read_line(&mut line).map(|_| line)
        });
        let line = read.await?.with_context(|| self.ended())?;
        if line.is_empty() {
            bail!(self.ended());
        }
        let answer: Result<Vec<T>, String> =
            serde_json::from_str(&line).with_context(|| format!("an answer that cannot be read: {line}"))?;
        answer.map_err(|why| anyhow!(why))
    }

    fn ended(&self) -> String {
        format!("the process of {} nodes from {} on ended", self.count, self.first)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}
