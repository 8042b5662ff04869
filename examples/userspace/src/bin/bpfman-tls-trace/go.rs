//! Probes at the TLS functions of Go programs, each of which contains them at its own offsets.

mod file;
mod returns;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use bpfman_client::wire::ext::v1::Link;
use bpfman_client::wire::v1::UprobeAttachInfo;
use bpfman_client::wire::v1::attach_info::Info;
use bpfman_client::{RemoteLink, RemoteProgram};
use bpfman_examples::failure::Failure;
use bpfman_examples::source::MapSource;

use file::{GoProgram, READ, WRITE};

const CALLS: &str = "go_calls";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoFile {
    path: PathBuf,
    container: Option<i32>,
}

impl GoFile {
    pub fn new(path: &Path, container: Option<i32>) -> Result<Self> {
        let absolute = std::path::absolute(path);
        let path = absolute.with_context(|| format!("cannot tell which file \"{}\" is", path.display()))?;
        Ok(Self { path, container })
    }

    fn seen_from_here(&self) -> PathBuf {
        match self.container {
            Some(process) => {
                let inside = self.path.strip_prefix("/").unwrap_or(&self.path);
                Path::new("/proc").join(process.to_string()).join("root").join(inside)
            }
            None => self.path.clone(),
        }
    }

    fn probe(&self, function: &str, offset: u64) -> UprobeAttachInfo {
        UprobeAttachInfo {
            fn_name: Some(function.to_owned()),
            offset,
            target: self.path.display().to_string(),
            container_pid: self.container,
            ..Default::default()
        }
    }

    fn is_of(&self, link: &Link) -> bool {
        let info = link.attach_info.as_ref().and_then(|attach| attach.info.as_ref());
        matches!(info, Some(Info::UprobeAttachInfo(probe))
            if Path::new(&probe.target) == self.path && probe.container_pid == self.container)
    }
}

/// Attaches the probes, and replaces earlier ones at the file. If one fails, the earlier state is restored.
pub fn attach(maps: &MapSource, file: &GoFile) -> Result<()> {
    let found = GoProgram::open(&file.seen_from_here())?;
    let path = file.path.display();
    let count = runtime()?.block_on(async {
        let programs = Programs::of(maps).await?;
        let before = programs.links(file).await?;
        let attached =
            programs.attach(&found, file).await.with_context(|| format!("cannot attach to {path}"))?;
        end(before).await.context("the new probes are there, and those of before as well")?;
        anyhow::Ok(attached)
    })?;
    println!("{count} probes are at {path} ({})", found.version);
    Ok(())
}

pub fn detach(maps: &MapSource, file: &GoFile) -> Result<()> {
    let path = file.path.display();
    let count = runtime()?.block_on(async {
        let links = Programs::of(maps).await?.links(file).await?;
        let count = links.len();
        end(links).await.with_context(|| format!("cannot detach from {path}"))?;
        anyhow::Ok(count)
    })?;
    if count == 0 {
        let hint = "`bpfman list links --kind uprobe` shows where probes are";
        return Err(Failure::not_found(format!("no probe is at {path}"), hint).into());
    }
    println!("{count} probes were at {path}");
    Ok(())
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

async fn end(links: Vec<RemoteLink>) -> Result<()> {
    let mut ended = Ok(());
    for link in links {
        if let Err(error) = link.detach().await {
            ended = Err(error.into());
        }
    }
    ended
}

struct Programs {
    enter: RemoteProgram,
    leave_read: RemoteProgram,
    leave_write: RemoteProgram,
}

impl Programs {
    async fn of(maps: &MapSource) -> Result<Self> {
        let mut programs = maps.programs(CALLS).await?;
        let mut take = |name: &str| {
            let at = programs.iter().position(|program| program.name() == name);
            at.map(|at| programs.swap_remove(at)).ok_or_else(|| {
                Failure::not_found(
                    format!("program {name} is not loaded"),
                    "load it with the others: app.yaml has all",
                )
            })
        };
        Ok(Self {
            enter: take("go_enter")?,
            leave_read: take("go_leave_read")?,
            leave_write: take("go_leave_write")?,
        })
    }

    async fn links(&self, file: &GoFile) -> Result<Vec<RemoteLink>> {
        let mut found = Vec::new();
        for program in [&self.enter, &self.leave_read, &self.leave_write] {
            let here = program.describe().await?.links.into_iter().filter(|link| file.is_of(link));
            let here: Vec<u32> = here.map(|link| link.id).collect();
            found.extend(program.links().await?.into_iter().filter(|link| here.contains(&link.id())));
        }
        Ok(found)
    }

    async fn attach(&self, found: &GoProgram, file: &GoFile) -> Result<usize> {
        let entries = [READ, WRITE].map(|function| (&self.enter, function, 0));
        let read = found.read.iter().map(|offset| (&self.leave_read, READ, *offset));
        let write = found.write.iter().map(|offset| (&self.leave_write, WRITE, *offset));
        let mut attached = Vec::new();
        // Attach the entry probes last: they record calls, which only the return probes report.
        for (program, function, offset) in read.chain(write).chain(entries) {
            match program.attach(Info::UprobeAttachInfo(file.probe(function, offset)).into()).await {
                Ok(link) => attached.push(link),
                Err(error) => {
                    let count = attached.len();
                    end(attached)
                        .await
                        .with_context(|| format!("{error}; and not all of {count} probes could be ended"))?;
                    return Err(error.into());
                }
            }
        }
        Ok(attached.len())
    }
}
