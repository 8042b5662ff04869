use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use bpfman_application::orders::{ROLLOUT, ROLLOUT_COMMAND};
use bpfman_application::rollout::{RolloutPhase, RolloutStatus};
use bpfman_application::summary::Summary;
use bpfman_proto::printable::one_line;

use super::applications::FoundApplications;
use super::arguments::{OutputFormat, StatusOptions};
use super::connect::ClientSession;
use super::error::ClientError;
use super::status::{StatusReport, report};
use super::structured::{json_line, yaml};
use super::{Shown, ShownEnd};

const PAUSE: Duration = Duration::from_secs(1);
const AWAY: Duration = Duration::from_secs(60);
const USUAL_WIDTH: usize = 80;
const BAR: i32 = 30;
const CAUSES: usize = 3;

pub async fn follow(
    session: &ClientSession,
    named: &str,
    options: &StatusOptions,
) -> Result<Shown, ClientError> {
    let until = options.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut application = session.application(named).await?;
    let mut screen = FollowScreen::of(options.output);
    let mut answered = Instant::now();
    loop {
        let now = report(&application, Vec::new());
        let is_seen = application.status.observed_generation >= application.meta.generation;
        screen.show(&now, is_seen)?;
        if let Some(end) = end_of(&application, is_seen) {
            return Ok(Shown { text: screen.last_words(end).into(), end });
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            return Ok(Shown { text: screen.last_words(ShownEnd::TimedOut).into(), end: ShownEnd::TimedOut });
        }
        tokio::time::sleep(PAUSE).await;
        match session.again(&application).await {
            Ok(again) => (application, answered) = (again, Instant::now()),
            Err(ClientError::Away(..)) if answered.elapsed() < AWAY => {}
            Err(error) => return Err(error),
        }
    }
}

/// Returns the final state; `None` while the rollout continues. A status of an earlier spec is ignored.
fn end_of(application: &FoundApplications, is_seen: bool) -> Option<ShownEnd> {
    use bpfman_application::application::ApplicationVerdict as Verdict;
    let (verdict, _) = application.status.verdict().filter(|_| is_seen && !is_commanded(application))?;
    let rollout = application.status.rollout.clone().filter(|_| application.rollout.is_some());
    let Some(rollout) = rollout else {
        return match verdict {
            Verdict::Success => Some(ShownEnd::Well),
            Verdict::Error | Verdict::DeleteError => Some(ShownEnd::NotWell),
            Verdict::Pending => None,
        };
    };
    match (rollout.phase, verdict) {
        (RolloutPhase::AwaitingPromotion | RolloutPhase::Paused, _) => Some(ShownEnd::Waits),
        (RolloutPhase::Failed, _) => Some(ShownEnd::NotWell),
        (RolloutPhase::Idle, _) if rollout.failed_revision.is_some() => Some(ShownEnd::NotWell),
        (RolloutPhase::Idle, Verdict::Success) => Some(ShownEnd::Well),
        (RolloutPhase::Idle, Verdict::Error | Verdict::DeleteError) => Some(ShownEnd::NotWell),
        _ => None,
    }
}

fn is_commanded(application: &FoundApplications) -> bool {
    let annotation = |name: &str| application.meta.annotations.as_ref()?.get(name);
    let is_new = annotation(ROLLOUT).is_some_and(|word| matches!(word.as_str(), "promote" | "abort"));
    let taken = annotation(ROLLOUT_COMMAND).and_then(|taken| taken.split(' ').next()?.parse::<i32>().ok());
    let done = application.status.rollout.as_ref().map_or(0, |rollout| rollout.command);
    is_new || taken.is_some_and(|taken| taken > done)
}

struct FollowScreen {
    form: FollowForm,
    shown: String,
    lines: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FollowForm {
    Drawn,
    Lines,
    Json,
    Yaml,
}

impl FollowScreen {
    fn of(output: OutputFormat) -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|value| value == "dumb");
        let form = match output {
            OutputFormat::Json => FollowForm::Json,
            OutputFormat::Yaml => FollowForm::Yaml,
            OutputFormat::Table if io::stdout().is_terminal() && !is_dumb => FollowForm::Drawn,
            OutputFormat::Table => FollowForm::Lines,
        };
        Self { form, shown: String::new(), lines: 0 }
    }

    fn show(&mut self, report: &StatusReport, is_seen: bool) -> Result<(), ClientError> {
        let text = match self.form {
            FollowForm::Json => json_line(report)?,
            FollowForm::Yaml => format!("---\n{}", yaml(report)?),
            FollowForm::Lines => line(report, is_seen) + "\n",
            FollowForm::Drawn => block(report, is_seen, width()),
        };
        if text == self.shown {
            return Ok(());
        }
        let up = match (self.form, self.lines) {
            (FollowForm::Drawn, 1..) => format!("\x1b[{}A\r\x1b[J", self.lines),
            _ => String::new(),
        };
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all((up + &text).as_bytes()).and_then(|()| stdout.flush());
        written.map_err(|error| ClientError::Output(error.to_string()))?;
        self.lines = text.matches('\n').count();
        self.shown = text;
        Ok(())
    }

    fn last_words(&self, end: ShownEnd) -> String {
        let words = match end {
            ShownEnd::Well => "complete\n",
            ShownEnd::NotWell => "failed\n",
            ShownEnd::Waits => {
                "waits for somebody: `kubectl bpfman promote` lets it go on, `abort` takes it back\n"
            }
            ShownEnd::TimedOut => "not over in time; it goes on\n",
        };
        match self.form {
            FollowForm::Drawn | FollowForm::Lines => words.to_owned(),
            FollowForm::Json | FollowForm::Yaml => String::new(),
        }
    }
}

fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stdout());
    let columns = size.map(|size| usize::from(size.ws_col)).ok().filter(|columns| *columns > 0);
    columns.unwrap_or(USUAL_WIDTH)
}

fn line(report: &StatusReport, is_seen: bool) -> String {
    if !is_seen {
        return format!("{}: the controller has not looked at this spec yet", one_line(&report.name));
    }
    let mut parts = vec![one_line(&report.condition).into_owned()];
    parts.extend(report.rollout.as_ref().map(of_wave));
    parts.extend(report.summary.as_ref().map(of_nodes));
    let message = report.rollout.as_ref().map_or(&report.message, |rollout| &rollout.message);
    parts.push(one_line(message).into_owned());
    format!("{}: {}", one_line(&report.name), parts.join(", "))
}

fn of_wave(rollout: &RolloutStatus) -> String {
    match rollout.target_revision {
        Some(_) => format!("{:?}, wave {} of {}", rollout.phase, rollout.wave, rollout.waves),
        None => format!("{:?}", rollout.phase),
    }
}

fn of_nodes(summary: &Summary) -> String {
    format!(
        "{} of {} nodes updated, {} healthy, {} failed",
        summary.updated, summary.wanted, summary.healthy, summary.failed
    )
}

fn block(report: &StatusReport, is_seen: bool, width: usize) -> String {
    let mut lines = vec![format!("{} application {}: {}", report.kind, report.name, report.condition)];
    if !is_seen {
        lines.push("the controller has not looked at this spec yet".to_owned());
    }
    if let Some(rollout) = &report.rollout {
        lines.push(of_wave(rollout));
        lines.extend(waves(rollout));
    }
    if let Some(summary) = &report.summary {
        let filled =
            (BAR * summary.updated.clamp(0, summary.wanted)).checked_div(summary.wanted).unwrap_or(0);
        let bar: String = (0..BAR).map(|place| if place < filled { '#' } else { '-' }).collect();
        lines.push(format!("nodes [{bar}]"));
        lines.push(of_nodes(summary));
        lines.extend(summary.causes.iter().take(CAUSES).map(|cause| {
            format!("{} x {} on {}: {}", cause.nodes, cause.reason, cause.kernel, cause.message)
        }));
    }
    lines.push(report.rollout.as_ref().map_or(&report.message, |rollout| &rollout.message).clone());
    let fitted = |line: &String| cut(&one_line(line), width.saturating_sub(1)) + "\n";
    lines.iter().filter(|line| !line.is_empty()).map(fitted).collect()
}

fn waves(rollout: &RolloutStatus) -> Option<String> {
    rollout.target_revision.as_ref().filter(|_| rollout.waves > 0)?;
    let is_failing = matches!(rollout.phase, RolloutPhase::RollingBack | RolloutPhase::Failed);
    let of = |wave: i32| match wave.cmp(&rollout.wave) {
        std::cmp::Ordering::Less => '#',
        std::cmp::Ordering::Equal if is_failing => '!',
        std::cmp::Ordering::Equal if rollout.phase == RolloutPhase::AwaitingPromotion => '#',
        std::cmp::Ordering::Equal => '>',
        std::cmp::Ordering::Greater => '.',
    };
    Some(format!("waves [{}]", (1..=rollout.waves).map(of).collect::<String>()))
}

fn cut(line: &str, most: usize) -> String {
    let columns = |character: char| if character.is_ascii() { 1 } else { 2 };
    let mut room = most;
    let fits = |character: &char| {
        let left = room.checked_sub(columns(*character));
        room = left.unwrap_or(0);
        left.is_some()
    };
    line.chars().take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use bpfman_application::application::ApplicationStatus;
    use bpfman_application::rollout::Rollout;
    use bpfman_application::scope::Scope;
    use serde_json::json;

    use super::*;

    fn application(verdict: &str, rollout: Option<RolloutStatus>) -> FoundApplications {
        let status = json!({
            "observedGeneration": 2,
            "conditions": [{ "type": verdict, "status": "True", "reason": verdict, "message": "m",
                             "lastTransitionTime": "2026-01-31T12:00:00Z" }],
            "summary": { "wanted": 30, "updated": 12, "healthy": 11, "failed": 1, "ready": "11/30",
                         "causes": [{ "reason": "kernel-refused", "kernel": "6.1.0", "nodes": 1, "example": "n7",
                                      "message": "R1 invalid\u{1b}[2J" }] },
        });
        let mut status: ApplicationStatus = serde_json::from_value(status).unwrap();
        let has_rollout = rollout.is_some();
        status.rollout = rollout;
        let mut application = FoundApplications {
            scope: Scope::Cluster,
            meta: Default::default(),
            selector: Default::default(),
            rollout: has_rollout.then(Rollout::default),
            status,
            spec: json!({}),
        };
        (application.meta.name, application.meta.generation) = (Some("filter".to_owned()), Some(2));
        application
    }

    fn in_phase(phase: RolloutPhase) -> RolloutStatus {
        RolloutStatus {
            phase,
            wave: 2,
            waves: 4,
            target_revision: Some("filter-2".to_owned()),
            message: "12 nodes are in change".to_owned(),
            ..RolloutStatus::default()
        }
    }

    #[test]
    fn following_ends_at_success_failure_or_wait_for_user() {
        let idle = |failed: Option<&str>| RolloutStatus {
            failed_revision: failed.map(str::to_owned),
            ..RolloutStatus::default()
        };
        for (verdict, rollout, end) in [
            ("Pending", Some(in_phase(RolloutPhase::Preflight)), None),
            ("Pending", Some(in_phase(RolloutPhase::Progressing)), None),
            ("Pending", Some(in_phase(RolloutPhase::Soaking)), None),
            ("Error", Some(in_phase(RolloutPhase::RollingBack)), None),
            ("Pending", Some(in_phase(RolloutPhase::AwaitingPromotion)), Some(ShownEnd::Waits)),
            ("Pending", Some(in_phase(RolloutPhase::Paused)), Some(ShownEnd::Waits)),
            ("Error", Some(in_phase(RolloutPhase::Failed)), Some(ShownEnd::NotWell)),
            ("Success", Some(idle(Some("filter-2"))), Some(ShownEnd::NotWell)),
            ("Success", Some(idle(None)), Some(ShownEnd::Well)),
            ("Pending", Some(idle(None)), None),
            ("Success", None, Some(ShownEnd::Well)),
            ("Error", None, Some(ShownEnd::NotWell)),
            ("Pending", None, None),
        ] {
            let application = application(verdict, rollout);
            assert_eq!(end_of(&application, true), end, "{verdict} {:?}", application.status.rollout);
            assert_eq!(end_of(&application, false), None, "it is of an earlier spec");
        }
    }

    #[test]
    fn promoted_rollout_waits_for_no_user() {
        let mut rollout = in_phase(RolloutPhase::AwaitingPromotion);
        rollout.command = 3;
        let with = |annotation: &str, value: &str| {
            let mut application = application("Pending", Some(rollout.clone()));
            let annotations = [(annotation.to_owned(), value.to_owned())];
            application.meta.annotations = Some(annotations.into());
            end_of(&application, true)
        };
        assert_eq!((with(ROLLOUT, "promote"), with(ROLLOUT, "abort")), (None, None));
        assert_eq!(with(ROLLOUT_COMMAND, "4 promote"), None);
        for (annotation, value) in
            [(ROLLOUT_COMMAND, "3 promote"), (ROLLOUT, "nonsense"), ("other", "promote")]
        {
            assert_eq!(with(annotation, value), Some(ShownEnd::Waits), "{annotation} {value}");
        }
    }

    #[test]
    fn waves_and_nodes_are_drawn_and_no_line_is_broken() {
        let application = application("Pending", Some(in_phase(RolloutPhase::Soaking)));
        let report = report(&application, Vec::new());
        let drawn = block(&report, true, 80);
        for part in [
            "cluster application filter: Pending\n",
            "Soaking, wave 2 of 4\n",
            "waves [#>..]\n",
            "nodes [############------------------]\n",
            "12 of 30 nodes updated, 11 healthy, 1 failed\n",
            "1 x kernel-refused on 6.1.0: R1 invalid\\u{1b}[2J\n",
            "12 nodes are in change\n",
        ] {
            assert!(drawn.contains(part), "{part}: {drawn}");
        }
        for width in [1, 5, 20, 40] {
            assert!(block(&report, true, width).lines().all(|line| line.chars().count() < width), "{width}");
        }
        assert_eq!(
            line(&report, true),
            "filter: Pending, Soaking, wave 2 of 4, 12 of 30 nodes updated, 11 healthy, 1 failed, 12 nodes are in change"
        );
        assert!(line(&report, false).contains("has not looked at this spec yet"));
        assert_eq!(waves(&in_phase(RolloutPhase::Failed)).unwrap(), "waves [#!..]");
        assert_eq!(waves(&RolloutStatus::default()), None);
    }
}
