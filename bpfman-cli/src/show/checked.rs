//! Requirements of an object, and those that kernels do not meet.

use std::collections::BTreeSet;

use bpfman_model::Hint;
use bpfmand_requirements::{KernelNeed, Lack, ObjectNeeds};
use serde::{Deserialize, Serialize};

use super::CommandOutput;
use super::screen::{Screen, cell};
use super::table::TextTable;
use super::tried::Tried;

#[derive(Clone, Debug, Serialize)]
pub struct CheckedObject {
    pub file: String,
    /// Requirements, by kind and name.
    pub needs: Vec<NeedJson>,
    /// First version of Linux with all requirements, as far as known.
    pub lowest_kernel: Option<String>,
    /// Requirements that determine this version.
    pub decided_by: Vec<String>,
    /// Requirements and program types whose first version is unknown: if there is any, the lowest kernel is unknown.
    pub without_version: Vec<String>,
    /// Programs that read kernel memory at offsets fixed at compile time.
    pub fixed_offsets: Vec<String>,
    /// Programs of types that the daemon does not load, with their sections.
    pub unsupported: Vec<String>,
    /// Unreadable programs, with the reason.
    pub damaged: Vec<String>,
    /// Missing features of each kernel.
    pub kernels: Vec<CheckedKernel>,
    /// Result of the daemon's dry run.
    pub tried: Option<Tried>,
    /// Checks that could not be done.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct NeedJson {
    pub kind: &'static str,
    pub name: String,
    /// First version of Linux that has it.
    pub since: Option<String>,
    /// Commit of Linux that introduced it.
    pub commit: Option<&'static str>,
    /// Programs and maps that need it.
    pub wanted_by: BTreeSet<String>,
    /// True if the object works without it, because it checks first.
    pub optional: bool,
    /// Reason why it is no stable interface; none if it is one.
    pub unstable: Option<&'static str>,
}

/// Kernel, and its missing features.
#[derive(Clone, Debug, Serialize)]
pub struct CheckedKernel {
    pub kernel: String,
    /// Requirements that it does not meet.
    pub lacks: Vec<LackJson>,
    /// Result of a daemon on it, if the kernel was booted.
    pub tried: Option<BootedTry>,
}

/// Result of a daemon on a booted kernel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BootedTry {
    /// True if it accepted every program.
    pub accepted: bool,
    /// Failure before any program was tried.
    pub failure: Option<String>,
    pub tried_programs: Vec<BootedProgram>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BootedProgram {
    pub name: String,
    /// True if the kernel accepted it.
    pub accepted: bool,
    pub failure: Option<String>,
}

impl BootedTry {
    fn refusal(&self) -> Option<String> {
        let of_program = || {
            let refused = self.tried_programs.iter().find(|program| !program.accepted)?;
            Some(refused.failure.clone().unwrap_or_else(|| format!("{} is refused", refused.name)))
        };
        if self.accepted { None } else { self.failure.clone().or_else(of_program) }
    }
}

/// Missing feature of a kernel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LackJson {
    pub what: String,
    /// Evidence that it is missing.
    pub why: String,
    /// Programs and maps that need it.
    pub wanted_by: Vec<String>,
    /// True if the programs cannot be loaded; false if they may work without it, or it may exist after all.
    pub certain: bool,
    /// Operation that fails without it.
    pub stage: LackStage,
}

/// Operation that a missing feature prevents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LackStage {
    Load,
    /// Attaching the programs, which load.
    Attach,
}

impl NeedJson {
    fn new(need: &KernelNeed) -> Self {
        Self {
            kind: need.kind.name(),
            name: need.name.clone(),
            since: need.since.map(|since| since.version.to_string()),
            commit: need.since.map(|since| since.commit).filter(|commit| !commit.is_empty()),
            wanted_by: need.wanted_by.clone(),
            optional: need.is_optional,
            unstable: need.kind.unstable(),
        }
    }
}

impl CheckedKernel {
    /// Creates the result of a kernel.
    #[must_use]
    pub fn new(kernel: &str, lacks: Vec<Lack>) -> Self {
        let lacks = lacks.into_iter().map(|lack| {
            let Lack { what, wanted_by, why, is_certain: certain, is_for_attaching } = lack;
            let stage = if is_for_attaching { LackStage::Attach } else { LackStage::Load };
            LackJson { what, why, wanted_by, certain, stage }
        });
        Self { kernel: kernel.to_owned(), lacks: lacks.collect(), tried: None }
    }

    /// Adds a program type that the daemon cannot attach, if the object has programs of this type.
    pub fn lack_type(&mut self, program_type: &str, why: &str, wanted_by: Vec<String>) {
        if wanted_by.is_empty() {
            return;
        }
        self.lacks.push(LackJson {
            what: format!("programs of type {program_type}"),
            why: if why.is_empty() { "the daemon tried".to_owned() } else { why.to_owned() },
            wanted_by,
            certain: true,
            stage: LackStage::Attach,
        });
    }

    /// Marks load requirements as uncertain if the kernel accepted the programs that need them.
    pub fn allow(&mut self, tried: Option<&Tried>) {
        let Some(tried) = tried else { return };
        let took =
            |name: &String| tried.tried_programs.iter().any(|part| part.accepted && part.name == *name);
        let refuted = |lack: &&mut LackJson| lack.stage == LackStage::Load && lack.wanted_by.iter().all(took);
        for lack in self.lacks.iter_mut().filter(refuted) {
            lack.certain = false;
        }
    }
}

impl CheckedObject {
    /// Creates the answer of an object before any comparison.
    #[must_use]
    pub fn new(source: &str, needs: &ObjectNeeds) -> Self {
        let deciding = needs.deciding();
        let named = |need: &&KernelNeed| format!("{} {}", need.kind.name(), need.name);
        let pairs =
            |pairs: &[(String, String)]| pairs.iter().map(|(name, of)| format!("{name}: {of}")).collect();
        Self {
            file: source.to_owned(),
            needs: needs.needs.iter().map(NeedJson::new).collect(),
            lowest_kernel: deciding.as_ref().map(|(version, _)| version.to_string()),
            decided_by: deciding.iter().flat_map(|(_, needs)| needs.iter().map(named)).collect(),
            without_version: needs
                .without_version()
                .map(|need| named(&need))
                .chain(needs.without_type().map(|program| format!("the type of program {program}")))
                .collect(),
            fixed_offsets: needs.fixed_offsets.clone(),
            unsupported: pairs(&needs.unsupported),
            damaged: pairs(&needs.damaged),
            kernels: Vec::new(),
            tried: None,
            notes: Vec::new(),
        }
    }

    /// Returns why the object does not run on all kernels, and the next step; none if it does.
    #[must_use]
    pub fn verdict(&self) -> Option<(String, Option<Hint>)> {
        for kernel in &self.kernels {
            if let Some(refusal) = kernel.tried.as_ref().and_then(BootedTry::refusal) {
                let what = cell(&format!("{}: {}: {refusal}", self.file, kernel.kernel));
                return Some((what, None));
            }
            let certain: Vec<_> = kernel.lacks.iter().filter(|lack| lack.certain).collect();
            let Some(first) = certain.first() else { continue };
            let others = match certain.len() {
                1 => String::new(),
                count => format!(", and {} more", count - 1),
            };
            let what = cell(&format!("{}: {} lacks {}{others}", self.file, kernel.kernel, first.what));
            let hint = self.lowest_kernel.as_ref().map(|version| {
                format!("Linux {version} is the first with all whose version is known; load fewer programs, or have them ask first").into()
            });
            return Some((what, hint));
        }
        let first = self.damaged.first()?;
        let hint = "compile it again: what a program refers to is not in the file".into();
        Some((cell(&format!("{}: program {first}", self.file)), Some(hint)))
    }

    fn needs_table(&self, screen: Screen) -> String {
        let mut table = TextTable::new(&["Need", "Name", "Linux", "Stable", "Wanted By"]);
        for need in &self.needs {
            let wanted_by: Vec<&str> = need.wanted_by.iter().map(String::as_str).collect();
            table.row(vec![
                need.kind.to_owned(),
                need.name.clone() + if need.optional { " (if there)" } else { "" },
                need.since.clone().unwrap_or_default(),
                if need.unstable.is_some() { "no" } else { "yes" }.to_owned(),
                wanted_by.join(", "),
            ]);
        }
        table.render(screen)
    }

    fn remarks(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(version) = &self.lowest_kernel {
            lines.push(format!("Lowest kernel: Linux {version}, for {}", self.decided_by.join(", ")));
        } else if !self.without_version.is_empty() {
            let needs = self.without_version.join(", ");
            lines.push(format!("Lowest kernel: not known, since the first version is not known of {needs}"));
        }
        let unstable: BTreeSet<&str> = self.needs.iter().filter_map(|need| need.unstable).collect();
        lines.extend(unstable.into_iter().map(|why| format!("Not stable: {why}")));
        lines.extend(self.fixed_offsets.iter().map(|program| {
            format!("Not stable: {program} reads the kernel's memory at offsets that were fixed when it was compiled")
        }));
        lines.extend(self.unsupported.iter().map(|program| {
            format!(
                "Loaded only as a type that is declared: {program} is no section of a type that bpfman loads"
            )
        }));
        lines.extend(self.damaged.iter().map(|program| format!("Damaged: {program}")));
        for kernel in &self.kernels {
            if !kernel.lacks.iter().any(|lack| lack.certain) {
                lines.push(format!("Has everything that can be known beforehand: {}", kernel.kernel));
            }
            lines.extend(kernel.lacks.iter().map(|lack| {
                let wanted_by = lack.wanted_by.join(", ");
                let lacking = if lack.certain { "Lacking" } else { "May be lacking" };
                format!("{lacking} on {}: {} (wanted by {wanted_by}): {}", kernel.kernel, lack.what, lack.why)
            }));
            if let Some(tried) = &kernel.tried {
                lines.push(match tried.refusal() {
                    None => format!(
                        "Tried on {}: all {} programs are accepted",
                        kernel.kernel,
                        tried.tried_programs.len()
                    ),
                    Some(why) => format!("Tried on {}: REFUSED: {why}", kernel.kernel),
                });
            }
        }
        lines.extend(self.notes.iter().map(|note| format!("Note: {note}")));
        lines
    }
}

impl CommandOutput for CheckedObject {
    fn table(&self, screen: Screen) -> String {
        let remarks: String = self.remarks().iter().map(|line| format!(" {}\n", cell(line))).collect();
        let tried = self.tried.as_ref().map(|tried| tried.table(screen)).unwrap_or_default();
        format!("{}\n{remarks}\n{tried}", self.needs_table(screen))
    }

    fn ids(&self) -> Vec<String> {
        self.kernels.iter().flat_map(|kernel| kernel.lacks.iter().map(|lack| lack.what.clone())).collect()
    }
}
