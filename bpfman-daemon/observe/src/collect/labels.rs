use bpfman_proto::{APPLICATION_KEY, APPLICATION_KEY_NEWER};
use bpfmand_engine::{ProgramRecord, SourceRecord, recorded_application};

/// Number of digits of a digest: enough to distinguish versions.
const DIGITS: usize = 12;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProgramLabels {
    pub program: String,
    pub type_name: &'static str,
    pub owner: String,
    pub application: String,
    pub digest: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemberLabels {
    pub hook: String,
    pub program: String,
    pub owner: String,
    pub application: String,
    pub counted: MemberCount,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberCount {
    Packets,
    Ended(&'static str),
    Shadowed(&'static str),
}

impl ProgramLabels {
    pub fn of(record: &ProgramRecord) -> Self {
        Self {
            program: record.name.clone(),
            type_name: record.program_type.name(),
            owner: record.owner().to_string(),
            application: application(record),
            digest: digest(record),
        }
    }

    pub fn values(&self) -> [&str; 5] {
        [&self.program, self.type_name, &self.owner, &self.application, &self.digest]
    }
}

impl MemberLabels {
    pub fn values(&self) -> [&str; 4] {
        [&self.hook, &self.program, &self.owner, &self.application]
    }

    pub fn with<'l>(&'l self, verdict: &'l str) -> [&'l str; 5] {
        [&self.hook, &self.program, &self.owner, &self.application, verdict]
    }
}

/// Returns the Kubernetes application as `namespace/name`, or the one in the metadata; empty if there is none.
pub fn application(record: &ProgramRecord) -> String {
    let said = || {
        let keys = [APPLICATION_KEY, APPLICATION_KEY_NEWER];
        keys.iter().find_map(|key| record.metadata.get(*key).cloned())
    };
    match recorded_application(&record.metadata).filter(|claim| claim.name.is_some()) {
        Some(claim) => claim.to_string(),
        None => said().unwrap_or_default(),
    }
}

fn digest(record: &ProgramRecord) -> String {
    let digest = match &record.source {
        SourceRecord::Image { digest, .. } => digest.strip_prefix("sha256:").unwrap_or(digest),
        SourceRecord::File { .. } | SourceRecord::Adopted { .. } => record.bytecode_sha256(),
    };
    digest.chars().take(DIGITS).collect()
}
