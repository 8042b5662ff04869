//! Requests of the pages, and the daemon's calls for them.

use std::path::{Path, PathBuf};

use bpfman_client::{EventPlace, Reconnect, Services};
use bpfman_console::{ConsoleAnswer, ConsoleRefusal, ConsoleRequest, ConsoleSource, StreamPlaces};
use bpfman_model::HookName;
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;
use http::{Method, StatusCode};
use serde_json::json;

use super::live::LiveStream;
use super::machine_facts::MachineFacts;
use crate::error::CliError;
use crate::exit::Exit;
use crate::show::chain::ChainJson;
use crate::show::history::HistoryJson;
use crate::show::hook_answers::Explained;
use crate::show::hooks::HookList;
use crate::show::json::{LinkJson, ProgramJson};
use crate::show::link::LinkList;
use crate::show::maps::MapList;
use crate::show::program::ProgramList;
use crate::show::radar::RadarJson;
use crate::show::session::SessionList;

/// Maximum number of streams: the daemon allows a user 16 of the journal, and other commands need some.
const STREAMS: usize = 8;

const HISTORY: u32 = 200;

pub struct MachineSource {
    socket: PathBuf,
    places: StreamPlaces,
}

impl MachineSource {
    /// Creates the source for a socket, which need not exist yet.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_path_buf(), places: StreamPlaces::new(STREAMS) }
    }

    /// Connects for one request, so that requests work again after a restart of the daemon.
    async fn daemon(&self) -> Result<Services, CliError> {
        let connected = Services::connect(&self.socket, Reconnect::Never).await;
        let path = self.socket.clone();
        connected.map_err(|source| match source.kind() {
            std::io::ErrorKind::PermissionDenied => CliError::SocketDenied { path, source },
            _ => CliError::Unreachable { path, source },
        })
    }

    async fn respond(&self, request: &ConsoleRequest) -> Result<ConsoleAnswer, ConsoleRefusal> {
        if request.method != Method::GET {
            let message = "this console only shows";
            return Err(ConsoleRefusal::new(StatusCode::METHOD_NOT_ALLOWED, "invalid", message));
        }
        let parts = request.parts().ok_or_else(|| ConsoleRefusal::not_found(&request.path))?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let answered = match parts[..] {
            ["about"] => Ok(about()),
            ["stream"] => return self.stream(request),
            ["health"] => self.health().await,
            ["machine"] => self.machine().await,
            ["hooks"] => self.hooks().await,
            ["links"] => self.links().await,
            ["chain"] => self.chain(hook(request)?).await,
            ["explain"] => self.explain(hook(request)?).await,
            ["programs"] => self.programs(request.asked("all").is_some()).await,
            ["programs", id] => self.program(number(id, &request.path)?).await,
            ["maps"] => self.maps().await,
            ["radar"] => self.radar().await,
            ["sessions"] => self.sessions().await,
            ["history"] => {
                let id =
                    request.asked("id").ok_or_else(|| ConsoleRefusal::invalid("history of which id?"))?;
                self.history(number(&id, &request.path)?).await
            }
            _ => return Err(ConsoleRefusal::not_found(&request.path)),
        };
        answered.map_err(|error| refusal(&error))
    }

    fn stream(&self, request: &ConsoleRequest) -> Result<ConsoleAnswer, ConsoleRefusal> {
        let after = match request.asked("after") {
            Some(text) => {
                let number =
                    text.parse().map_err(|_| ConsoleRefusal::invalid("`after` is the number of an entry"))?;
                Some(EventPlace { number, epoch: request.asked("epoch").unwrap_or_default() })
            }
            None => None,
        };
        let (events, answer) = self.places.open()?;
        let time_runs = request.asked("time").is_some();
        let stream = LiveStream { socket: self.socket.clone(), after, time_runs };
        tokio::spawn(stream.run(events));
        Ok(answer)
    }

    async fn machine(&self) -> Result<ConsoleAnswer, CliError> {
        let mut daemon = self.daemon().await?;
        let caller = daemon.access.who_am_i(ext::WhoAmIRequest {}).await?.into_inner();
        let info = daemon.ext.info(ext::InfoRequest {}).await?.into_inner();
        Ok(ConsoleAnswer::json(&MachineFacts::new(&self.socket.display().to_string(), &caller, &info)))
    }

    async fn health(&self) -> Result<ConsoleAnswer, CliError> {
        let answer = self.daemon().await?.node.examine(ext::ExamineRequest {}).await?.into_inner();
        let findings = answer.findings.iter().map(|found| {
            json!({ "subject": found.subject, "what": found.what, "why": found.why, "fix": found.fix })
        });
        Ok(ConsoleAnswer::json(&json!({ "findings": findings.collect::<Vec<_>>() })))
    }

    async fn hooks(&self) -> Result<ConsoleAnswer, CliError> {
        let answer = self.daemon().await?.chains.list_hooks(ext::ListHooksRequest {}).await?;
        Ok(ConsoleAnswer::json(&HookList::from(&answer.into_inner())))
    }

    async fn links(&self) -> Result<ConsoleAnswer, CliError> {
        let answer =
            self.daemon().await?.ext.list_links(ext::ListLinksRequest::default()).await?.into_inner();
        Ok(ConsoleAnswer::json(&LinkList { links: answer.links.iter().map(LinkJson::new).collect() }))
    }

    async fn chain(&self, hook: HookName) -> Result<ConsoleAnswer, CliError> {
        let request = ext::ShowChainRequest { hook: Some(ext::Hook::from(&hook)), sample_ms: 0 };
        let shown = self.daemon().await?.chains.show_chain(request).await?.into_inner();
        Ok(ConsoleAnswer::json(&ChainJson::of_hook(&hook.to_string(), &shown)))
    }

    async fn explain(&self, hook: HookName) -> Result<ConsoleAnswer, CliError> {
        let request = ext::ExplainRequest { hook: Some(ext::Hook::from(&hook)), ..Default::default() };
        let findings = self.daemon().await?.chains.explain(request).await?.into_inner().findings;
        Ok(ConsoleAnswer::json(&Explained { hook: hook.to_string(), member: None, findings }))
    }

    async fn programs(&self, all: bool) -> Result<ConsoleAnswer, CliError> {
        let select = v1::ListRequest { bpfman_programs_only: Some(!all), ..Default::default() };
        let request = ext::ListProgramsRequest { select: Some(select), program_type: String::new() };
        let answer = self.daemon().await?.ext.list_programs(request).await?.into_inner();
        let programs = answer.programs.iter().map(ProgramJson::listed).collect();
        Ok(ConsoleAnswer::json(&ProgramList { programs }))
    }

    async fn program(&self, id: u32) -> Result<ConsoleAnswer, CliError> {
        let answer = self.daemon().await?.ext.get_program(ext::GetProgramRequest { id }).await?;
        let program = answer.into_inner().program;
        let program = program.ok_or(CliError::Incomplete { call: "GetProgram", part: "the program" })?;
        Ok(ConsoleAnswer::json(&ProgramJson::new(&program)))
    }

    async fn maps(&self) -> Result<ConsoleAnswer, CliError> {
        let answer = self.daemon().await?.map_entries.list_maps(ext::ListMapsRequest::default()).await?;
        Ok(ConsoleAnswer::json(&MapList::new(&answer.into_inner())))
    }

    async fn radar(&self) -> Result<ConsoleAnswer, CliError> {
        let answer = self.daemon().await?.radar.survey_radar(ext::SurveyRadarRequest {}).await?;
        Ok(ConsoleAnswer::json(&RadarJson::new(&answer.into_inner())))
    }

    async fn sessions(&self) -> Result<ConsoleAnswer, CliError> {
        let answer = self.daemon().await?.sessions.list(ext::ListSessionsRequest {}).await?.into_inner();
        Ok(ConsoleAnswer::json(&SessionList::new(&answer)))
    }

    async fn history(&self, id: u32) -> Result<ConsoleAnswer, CliError> {
        let request = ext::HistoryRequest { limit: HISTORY, id, ..Default::default() };
        let mut pages = self.daemon().await?.node.history(request).await?.into_inner();
        let mut history = HistoryJson::default();
        while let Some(page) = pages.message().await? {
            history.add(&page);
        }
        Ok(ConsoleAnswer::json(&history))
    }
}

impl ConsoleSource for MachineSource {
    async fn answer(&self, request: ConsoleRequest) -> ConsoleAnswer {
        self.respond(&request).await.unwrap_or_else(Into::into)
    }
}

fn about() -> ConsoleAnswer {
    let host = rustix::system::uname();
    let name = host.nodename().to_string_lossy();
    ConsoleAnswer::json(&json!({ "kind": "machine", "where": name, "version": env!("CARGO_PKG_VERSION") }))
}

fn number(text: &str, path: &str) -> Result<u32, ConsoleRefusal> {
    text.parse().map_err(|_| ConsoleRefusal::not_found(path))
}

fn hook(request: &ConsoleRequest) -> Result<HookName, ConsoleRefusal> {
    let text = request.asked("hook").ok_or_else(|| ConsoleRefusal::invalid("which hook?"))?;
    text.parse().map_err(|error: bpfman_model::BadHook| ConsoleRefusal::invalid(error.to_string()))
}

pub fn refusal(error: &CliError) -> ConsoleRefusal {
    let (status, reason) = match error.exit() {
        Exit::Denied => (StatusCode::FORBIDDEN, "denied"),
        Exit::NotFound => (StatusCode::NOT_FOUND, "not-found"),
        Exit::Invalid | Exit::Usage => (StatusCode::BAD_REQUEST, "invalid"),
        Exit::Conflict => (StatusCode::CONFLICT, "conflict"),
        Exit::Unreachable => (StatusCode::SERVICE_UNAVAILABLE, "unreachable"),
        _ => (StatusCode::BAD_GATEWAY, "failed"),
    };
    ConsoleRefusal::new(status, reason, error.to_string()).with_hint(error.hints().join("\n"))
}
