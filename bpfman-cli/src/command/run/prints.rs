//! Output of `bpf_printk`, line by line.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bpfman_client::Services;
use bpfman_proto::ext::v1 as ext;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tonic::Streaming;

use crate::error::CliError;

/// Maximum number of queued lines; more are lost, because the daemon closes a connection that is not read.
const AHEAD: usize = 1024;
const LAST: Duration = Duration::from_millis(300);

pub struct PrintLines {
    lines: Option<mpsc::Receiver<Result<PrintedLine, CliError>>>,
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
pub enum PrintNews {
    Line(PrintedLine),
    /// Number of lines that were lost because the queue was full.
    Lost(u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrintedLine {
    /// Name and id of the task that ran the program, `bash-123`; empty if the line has another format.
    pub task: String,
    pub cpu: Option<u32>,
    pub text: String,
}

impl PrintLines {
    pub fn none() -> Self {
        Self { lines: None, lost: Arc::default() }
    }

    pub async fn begin(mut services: Services) -> Result<Self, CliError> {
        let mut stream = services.ext.follow_prints(ext::FollowPrintsRequest {}).await?.into_inner();
        // The first answer has no lines; no line after it is missed.
        stream.message().await?;
        let (sender, lines) = mpsc::channel(AHEAD);
        let lost = Arc::new(AtomicU64::new(0));
        tokio::spawn(read(stream, sender, Arc::clone(&lost)));
        Ok(Self { lines: Some(lines), lost })
    }

    /// Returns the next line; waits forever if nothing is followed.
    pub async fn next(&mut self) -> Result<PrintNews, CliError> {
        let Some(lines) = &mut self.lines else { return std::future::pending().await };
        if let Ok(line) = lines.try_recv() {
            return line.map(PrintNews::Line);
        }
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            return Ok(PrintNews::Lost(lost));
        }
        match lines.recv().await {
            Some(line) => line.map(PrintNews::Line),
            None => {
                self.lines = None;
                std::future::pending().await
            }
        }
    }

    /// Returns the last lines within a time limit: other programs of the machine may print forever.
    pub async fn last(&mut self) -> Vec<Result<PrintNews, CliError>> {
        let (end, mut last) = (Instant::now() + LAST, Vec::new());
        while self.lines.is_some()
            && Instant::now() < end
            && let Ok(news) = timeout_at(end, self.next()).await
        {
            last.push(news);
        }
        last
    }
}

/// Reads all lines, also while the queue is full.
async fn read(
    mut stream: Streaming<ext::FollowPrintsResponse>,
    lines: mpsc::Sender<Result<PrintedLine, CliError>>,
    lost: Arc<AtomicU64>,
) {
    let mut text = String::new();
    loop {
        match stream.message().await {
            Ok(Some(piece)) => text.push_str(&String::from_utf8_lossy(&piece.text)),
            Ok(None) => return,
            Err(status) => {
                let _gone = lines.send(Err(status.into())).await;
                return;
            }
        }
        while let Some(end) = text.find('\n') {
            let line: String = text.drain(..=end).collect();
            if lines.try_send(Ok(parse(line.trim_end_matches('\n')))).is_err() {
                lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Parses `   bash-123     [001] ...11  12.345678: bpf_trace_printk: text`.
fn parse(line: &str) -> PrintedLine {
    let parts = line.split_once(": bpf_trace_printk: ");
    let head = parts.map(|(head, _)| head.trim_start());
    let parsed = head.and_then(|head| {
        // Names of tasks may contain blanks and brackets.
        let (task, rest) = head.rsplit_once(" [")?;
        let (cpu, _) = rest.split_once(']')?;
        Some((task.trim().to_owned(), cpu.trim().parse().ok()))
    });
    let text = parts.map_or(line, |(_, text)| text).to_owned();
    let (task, cpu) = parsed.unwrap_or_default();
    PrintedLine { task, cpu, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_task_a_cpu_and_a_text() {
        let line = "   my [app] x-42      [001] d..31  1234.567890: bpf_trace_printk: opened: [7]";
        let expected =
            PrintedLine { task: "my [app] x-42".to_owned(), cpu: Some(1), text: "opened: [7]".to_owned() };
        assert_eq!(parse(line), expected);
        let odd = PrintedLine { task: String::new(), cpu: None, text: "CPU:0 [LOST 3 EVENTS]".to_owned() };
        assert_eq!(parse("CPU:0 [LOST 3 EVENTS]"), odd);
    }
}
