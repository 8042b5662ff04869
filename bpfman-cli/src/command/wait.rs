use std::cell::RefCell;

use bpfman_model::{Hint, LinkId, ProgramId};

use super::reconnect::ReconnectBackoff;
use super::waited_state::{WaitedState, look};
use crate::args::Global;
use crate::args::object_name::ObjectName;
use crate::args::wait::{WaitCondition, WaitFor, WaitKind};
use crate::error::CliError;
use crate::exit::Exit;
use crate::show;
use crate::show::waited::Waited;

/// Waits until a condition is met. It is checked after each change that the daemon reports.
pub async fn run(global: &Global, command: WaitFor) -> Result<(), CliError> {
    check(&command)?;
    let seen = RefCell::new(Seen::Nothing);
    let waited = if command.timeout.is_zero() {
        look_once(global, &command, &seen).await?
    } else {
        let waiting = tokio::time::timeout(command.timeout, until_so(global, &command, &seen));
        waiting.await.ok().transpose()?
    };
    match waited {
        Some(waited) => show::answer(global, &waited),
        None => Err(not_so(global, &command, seen.into_inner())),
    }
}

enum Seen {
    Nothing,
    Otherwise(String),
}

fn check(command: &WaitFor) -> Result<(), CliError> {
    let loading = matches!(command.condition, WaitCondition::Loaded | WaitCondition::Unloaded);
    match (command.kind, &command.target) {
        (WaitKind::Link, ObjectName::Name(name)) => {
            Err(CliError::Usage(format!("\"{name}\" is no id of a link: links have no names")))
        }
        (WaitKind::Link, _) if loading => Err(CliError::Usage(format!(
            "a link is never {}: it is attached, detached or gone",
            command.condition.name()
        ))),
        _ => Ok(()),
    }
}

async fn look_once(
    global: &Global,
    command: &WaitFor,
    seen: &RefCell<Seen>,
) -> Result<Option<Waited>, CliError> {
    let client = super::connect_fresh(global).await?;
    take(look(&client, command).await.map_err(CliError::Client)?, seen)
}

async fn until_so(global: &Global, command: &WaitFor, seen: &RefCell<Seen>) -> Result<Waited, CliError> {
    let mut away = ReconnectBackoff::default();
    let mut was_there = false;
    loop {
        let mut is_there = false;
        let ended = follow(global, command, seen, &mut is_there).await;
        if is_there {
            (was_there, away) = (true, ReconnectBackoff::default());
        }
        match ended {
            Err(CliError::Client(error)) if error.is_lost() => *seen.borrow_mut() = Seen::Nothing,
            // A starting daemon opens its socket to other users last.
            Err(CliError::Client(bpfman_client::Error::SocketDenied { .. })) if was_there => {}
            Ok(None) => *seen.borrow_mut() = Seen::Nothing,
            Ok(Some(waited)) => return Ok(waited),
            Err(error) => return Err(error),
        }
        away.pause().await;
    }
}

/// Checks the condition after each change; returns none if the daemon stops.
async fn follow(
    global: &Global,
    command: &WaitFor,
    seen: &RefCell<Seen>,
    is_there: &mut bool,
) -> Result<Option<Waited>, CliError> {
    let client = super::connect_fresh(global).await?;
    *is_there = true;
    let mut watch = client.watch().await.map_err(CliError::Client)?;
    // The first event arrives at once, and no later change is missed.
    while watch.next().await.map_err(CliError::Client)?.is_some() {
        if let Some(waited) = take(look(&client, command).await.map_err(CliError::Client)?, seen)? {
            return Ok(Some(waited));
        }
    }
    Ok(None)
}

fn take(state: WaitedState, seen: &RefCell<Seen>) -> Result<Option<Waited>, CliError> {
    match state {
        WaitedState::So(waited) => Ok(Some(waited)),
        WaitedState::Never(error) => Err(CliError::Client(error)),
        WaitedState::NotYet(how) => {
            *seen.borrow_mut() = Seen::Otherwise(how);
            Ok(None)
        }
    }
}

fn not_so(global: &Global, command: &WaitFor, seen: Seen) -> CliError {
    let WaitFor { kind, target, condition, timeout } = command;
    let time = humantime::format_duration(*timeout);
    let (kind, condition) = (kind.name(), condition.name());
    match seen {
        Seen::Nothing => CliError::TimedOut {
            what: format!("no daemon answers at {} after {time}", global.socket_path.display()),
            exit: Exit::Unreachable,
            hint: Hint::StartDaemon,
        },
        Seen::Otherwise(how) => CliError::TimedOut {
            what: format!("{kind} {target} is not {condition} after {time}: {how}"),
            exit: Exit::TimedOut,
            hint: match command.target {
                ObjectName::Id(id) => {
                    let get = match command.kind {
                        WaitKind::Link => Hint::GetLink(LinkId(id)),
                        _ => Hint::GetProgram(ProgramId(id)),
                    };
                    Hint::Lines(vec![get, Hint::History { id }])
                }
                ObjectName::Name(_) => Hint::ListPrograms,
            },
        },
    }
}
