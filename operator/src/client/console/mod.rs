//! `console`: shows the fleet in a browser on this machine.
//!
//! The page is served on loopback; its data comes from the controller's Service `bpfman-console` through the API
//! server's proxy. `promote` and `abort` are written as the user, so that permission check and audit log name the user.

mod source;
mod user_token;

use std::sync::Arc;

use bpfman_console::{ConsoleNotice, LocalConsole, open_browser, serve};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::Shown;
use super::arguments::{ClientArguments, ConsoleOptions};
use super::connect::{ClientSession, config};
use super::dry_run_objects::operator_namespace;
use super::error::ClientError;
use source::FleetSource;
use user_token::UserToken;

pub async fn console(
    session: ClientSession,
    arguments: &ClientArguments,
    options: &ConsoleOptions,
) -> Result<Shown, ClientError> {
    let token = match &options.token_file {
        Some(file) => UserToken::File(file.clone()),
        None => UserToken::of(&config(arguments).await?)?,
    };
    // Report a missing token before a browser opens.
    token.now().await?;
    let operator = operator_namespace(&session, options.operator_namespace.as_deref()).await;
    let unable = |error: std::io::Error| ClientError::Listen(options.listen, error);
    let listener = TcpListener::bind(options.listen).await.map_err(unable)?;
    let address = listener.local_addr().map_err(unable)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(unable)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(unable)?;
    let source = FleetSource::new(session, operator, token);
    let console = LocalConsole::new(source, address, tell).map_err(unable)?;
    let url = console.url();
    println!("{url}");
    eprintln!("note: it works once, within 5 minutes, in one browser; Ctrl-C ends the console");
    let page = if options.no_open { None } else { open_browser(&url) };
    let stop = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    serve(Arc::new(console), listener, stop).await;
    drop(page);
    Ok(Shown { text: Vec::new(), end: super::ShownEnd::Well })
}

fn tell(notice: ConsoleNotice) {
    eprintln!("{}", notice.text());
}
