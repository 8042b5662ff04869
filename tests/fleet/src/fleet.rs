//! All nodes, in one process or several: a process may not open as many files as a large fleet needs.

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

/// How often it is looked whether what is waited for is there.
const LOOK: Duration = Duration::from_millis(100);

/// The longest wait between two looks.
const LONGEST: Duration = Duration::from_secs(5);

/// All nodes.
pub struct Fleet {
    parts: Vec<Part>,
    count: usize,
    patience: Duration,
}

/// A process, and the nodes that it runs. It is killed with this value.
struct Part {
    first: usize,
    count: usize,
    process: Child,
    talk: Arc<Mutex<Talk>>,
}

/// Orders go in, answers come out.
struct Talk {
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Fleet {
    /// Starts the daemons of so many nodes, with so many at most in a process.
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

    /// How many nodes there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// The processes that run them.
    pub fn processes(&self) -> impl Iterator<Item = u32> + '_ {
        self.parts.iter().map(|part| part.process.id())
    }

    /// Starts the agents of nodes, and waits until they know everything.
    pub async fn start_agents(&self, which: impl Fn(usize) -> bool + Copy) -> Result<()> {
        self.tell(Order::StartAgents, which).await?;
        self.until("agents are ready", async || self.first(Order::Unready, which).await).await
    }

    /// Ends the agents of nodes.
    pub async fn stop_agents(&self, which: impl Fn(usize) -> bool) -> Result<()> {
        self.tell(Order::StopAgents, which).await
    }

    /// Waits until nothing is missing: `missing` says what is.
    pub async fn until(&self, what: &str, missing: impl AsyncFn() -> Result<Option<String>>) -> Result<()> {
        let end = Instant::now() + self.patience;
        loop {
            let begun = Instant::now();
            let Some(missing) = missing().await? else { return Ok(()) };
            if begun > end {
                bail!("after {:?} still not true: {what}; {missing}", self.patience);
            }
            // To look may take long itself, and others need the processor.
            tokio::time::sleep((2 * begun.elapsed()).clamp(LOOK, LONGEST)).await;
        }
    }

    /// What all agents asked and wrote.
    pub async fn totals(&self) -> Result<Totals> {
        self.totals_of(|_| true).await
    }

    /// What the agents of some nodes asked and wrote.
    pub async fn totals_of(&self, which: impl Fn(usize) -> bool) -> Result<Totals> {
        let mut all = Totals::default();
        self.ask(Order::Totals, which).await?.iter().for_each(|part: &Totals| all += part);
        Ok(all)
    }

    /// What each agent wrote, by number.
    pub async fn writes(&self) -> Result<Vec<u64>> {
        self.ask(Order::Writes, |_| true).await
    }

    /// The programs that run on each node, by number.
    pub async fn running(&self) -> Result<Vec<Vec<u32>>> {
        self.ask(Order::Running, |_| true).await
    }

    /// Nodes have other names from now on. Their agents end.
    pub async fn rename(&self, which: impl Fn(usize) -> bool) -> Result<()> {
        self.tell(Order::Rename, which).await
    }

    /// The programs that the daemon of a node has loaded, by its records.
    pub async fn loaded(&self, number: usize) -> Result<Vec<u32>> {
        Ok(self.ask(Order::Loaded, |one| one == number).await?.into_iter().next().unwrap_or_default())
    }

    /// What became of loads of a version, by number.
    pub async fn loads(&self, version: Version) -> Result<Vec<Loads>> {
        self.ask(Order::Loads(version), |_| true).await
    }

    /// Whether a node has a program of a version, by number.
    pub async fn runs(&self, version: Version) -> Result<Vec<bool>> {
        self.ask(Order::Runs(version), |_| true).await
    }

    /// A node that has a program of a version, if there is one.
    pub async fn first_with(&self, version: Version) -> Result<Option<String>> {
        self.first(Order::FirstWith(version), |_| true).await
    }

    /// A node whose agent has looked at fewer applications than that since it was started, or is not done.
    pub async fn busy(&self, looks: u64) -> Result<Option<String>> {
        self.first(Order::Busy(looks), |_| true).await
    }

    /// From now on the verifier of nodes refuses a version.
    pub async fn refuse(&self, version: Version, which: impl Fn(usize) -> bool) -> Result<()> {
        self.tell(Order::Refuse(version, true), which).await
    }

    /// From now on the line of nodes to the API server is like that.
    pub async fn line(&self, line: Line, which: impl Fn(usize) -> bool) -> Result<()> {
        self.tell(Order::Line(line), which).await
    }

    /// What the processes need.
    pub async fn needs(&self) -> Result<Vec<Needs>> {
        self.ask(Order::Needs, |_| true).await
    }

    async fn tell(&self, order: Order, which: impl Fn(usize) -> bool) -> Result<()> {
        self.ask::<()>(order, which).await.map(drop)
    }

    async fn first(&self, order: Order, which: impl Fn(usize) -> bool) -> Result<Option<String>> {
        Ok(self.ask(order, which).await?.into_iter().next())
    }

    /// Asks all processes at the same time, and puts their lists together.
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

    /// Waits for what it says without being asked: that its nodes are there.
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
