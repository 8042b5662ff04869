//! Applications: programs with the same application in their metadata.

use std::collections::BTreeMap;

use bpfman_apply::content::UUID_KEY;
use serde::Serialize;

use super::CommandOutput;
use super::json::ProgramJson;
use super::screen::Screen;
use super::table::TextTable;

/// Begin of the uid of an application that a manifest on this machine made: no object of a cluster has such a uid.
pub const LOCAL_UID: &str = "local:";

#[derive(Clone, Debug, Serialize)]
pub struct ApplicationList {
    pub applications: Vec<ApplicationJson>,
}

/// Application on this machine.
#[derive(Clone, Debug, Serialize)]
pub struct ApplicationJson {
    pub name: String,
    /// `apply` for a manifest on this machine, `cluster` for an object of a cluster, or `load`.
    pub by: &'static str,
    pub owners: Vec<String>,
    /// Image references and files of its programs.
    pub bytecode: Vec<String>,
    /// Kernel ids of its programs.
    pub programs: Vec<u32>,
    pub links: Vec<u32>,
}

impl ApplicationList {
    /// Groups programs. One name may stand for several applications, of different origins.
    pub fn of_programs(programs: &[ProgramJson]) -> Self {
        let mut found: BTreeMap<(&str, &'static str), ApplicationJson> = BTreeMap::new();
        for program in programs {
            let Some(name) = program.application.as_deref() else { continue };
            let by = match program.metadata.get(UUID_KEY) {
                Some(uid) if uid.starts_with(LOCAL_UID) => "apply",
                Some(_) => "cluster",
                None => "load",
            };
            let application = found.entry((name, by)).or_insert_with(|| ApplicationJson {
                name: name.to_owned(),
                by,
                owners: Vec::new(),
                bytecode: Vec::new(),
                programs: Vec::new(),
                links: Vec::new(),
            });
            let bytecode = program.bytecode.as_ref();
            add(&mut application.owners, program.owner.as_ref());
            add(
                &mut application.bytecode,
                bytecode.and_then(|code| code.image_url.as_ref().or(code.path.as_ref())),
            );
            application.programs.push(program.program_id);
            application.links.extend(&program.link_ids);
        }
        Self { applications: found.into_values().collect() }
    }
}

fn add(all: &mut Vec<String>, one: Option<&String>) {
    if let Some(one) = one.filter(|one| !all.contains(one)) {
        all.push(one.clone());
    }
}

impl CommandOutput for ApplicationList {
    fn table(&self, screen: Screen) -> String {
        if self.applications.is_empty() {
            return "no applications\n".to_owned();
        }
        let mut table = TextTable::new(&["Application", "By", "Owner", "Programs", "Links", "Bytecode"]);
        for application in &self.applications {
            table.row(vec![
                application.name.clone(),
                application.by.to_owned(),
                application.owners.join(", "),
                application.programs.len().to_string(),
                application.links.len().to_string(),
                application.bytecode.join(", "),
            ]);
        }
        table.render(screen)
    }

    fn ids(&self) -> Vec<String> {
        self.applications.iter().map(|application| application.name.clone()).collect()
    }
}
