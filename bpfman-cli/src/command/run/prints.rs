//! What programs print by `bpf_printk`, line by line.

use bpfman_client::Services;
use bpfman_proto::ext::v1 as ext;
use tonic::Streaming;

use crate::error::CliError;

/// Lines that programs of this machine print.
pub struct PrintLines {
    stream: Option<Streaming<ext::FollowPrintsResponse>>,
    text: String,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrintedLine {
    /// Name and id of the task that ran the program, `bash-123`; empty where the line is not as expected.
    pub task: String,
    /// CPU it ran on.
    pub cpu: Option<u32>,
    /// What was printed.
    pub text: String,
}

impl PrintLines {
    /// No lines: nothing prints.
    pub const fn none() -> Self {
        Self { stream: None, text: String::new() }
    }

    /// Lines from now on.
    ///
    /// # Errors
    /// The daemon or the kernel cannot, or the caller may not.
    pub async fn begin(mut services: Services) -> Result<Self, CliError> {
        let mut stream = services.ext.follow_prints(ext::FollowPrintsRequest {}).await?.into_inner();
        // The first answer has no lines: nothing is missed from there on.
        stream.message().await?;
        Ok(Self { stream: Some(stream), text: String::new() })
    }

    /// True while lines may come.
    pub const fn may_come(&self) -> bool {
        self.stream.is_some()
    }

    /// The next line; waits for ever where there are none.
    pub async fn next(&mut self) -> Result<PrintedLine, CliError> {
        loop {
            if let Some(end) = self.text.find('\n') {
                let line: String = self.text.drain(..=end).collect();
                return Ok(parse(line.trim_end_matches('\n')));
            }
            let Some(stream) = &mut self.stream else { std::future::pending().await };
            match stream.message().await {
                Ok(Some(piece)) => self.text.push_str(&String::from_utf8_lossy(&piece.text)),
                Ok(None) => self.stream = None,
                Err(status) => {
                    self.stream = None;
                    return Err(status.into());
                }
            }
        }
    }
}

/// `   bash-123     [001] ...11  12.345678: bpf_trace_printk: text`
fn parse(line: &str) -> PrintedLine {
    let parts = line.split_once(": bpf_trace_printk: ");
    let head = parts.map(|(head, _)| head.trim_start());
    let parsed = head.and_then(|head| {
        // Names of tasks may have blanks and brackets.
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
