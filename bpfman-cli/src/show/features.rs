//! Features of a kernel: a summary, or a table of items.

use bpfman_proto::ext::v1 as ext;
use serde::Serialize;

use super::CommandOutput;
use super::block::Block;
use super::json::filled;
use super::json_shape::json_shape;
use super::screen::Screen;
use super::table::TextTable;

const COUNTED: [(&str, &str); 7] = [
    ("program_type", "Program Types"),
    ("map_type", "Map Types"),
    ("link_type", "Link Types"),
    ("attach_type", "Attach Types"),
    ("command", "Commands"),
    ("helper", "Helpers"),
    ("kfunc", "Kernel Functions"),
];

#[derive(Clone, Debug, Serialize)]
pub struct FeatureList {
    pub kernel_release: String,
    pub architecture: String,
    /// Features, in the daemon's order.
    pub features: Vec<FeatureJson>,
    /// True for a table of items instead of a summary.
    #[serde(skip)]
    pub item_by_item: bool,
}

json_shape! {
    pub struct FeatureJson(feature: &ext::Feature) {
        part: &'static str = part(feature.kind()),
        name: String = feature.name.clone(),
        /// `yes`, `no`, `switched off` or `unknown`.
        state: &'static str = state(feature.state()),
        /// Reason, consequence, or the value of a setting.
        detail: Option<String> = filled(&feature.detail),
        /// Program types that may call a helper.
        program_types: Vec<String> = feature.program_types.clone(),
        /// Module of a kernel function.
        module: Option<String> = filled(&feature.module),
    }
}

const fn part(kind: ext::FeatureKind) -> &'static str {
    match kind {
        ext::FeatureKind::Unspecified => "unknown",
        ext::FeatureKind::Probe => "probe",
        ext::FeatureKind::Type => "type",
        ext::FeatureKind::ProgramType => "program_type",
        ext::FeatureKind::MapType => "map_type",
        ext::FeatureKind::LinkType => "link_type",
        ext::FeatureKind::AttachType => "attach_type",
        ext::FeatureKind::Command => "command",
        ext::FeatureKind::Helper => "helper",
        ext::FeatureKind::Kfunc => "kfunc",
        ext::FeatureKind::Setting => "setting",
    }
}

const fn state(state: ext::FeatureState) -> &'static str {
    match state {
        ext::FeatureState::Unknown => "unknown",
        ext::FeatureState::There => "yes",
        ext::FeatureState::Missing => "no",
        ext::FeatureState::SwitchedOff => "switched off",
    }
}

impl FeatureJson {
    /// Returns whether programs cannot use the feature.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self.state, "no" | "switched off")
    }

    fn remark(&self) -> String {
        let module = self.module.as_ref().map(|module| format!("of module {module}"));
        let types = (!self.program_types.is_empty()).then(|| self.program_types.join(", "));
        [self.detail.clone(), types, module].into_iter().flatten().collect::<Vec<_>>().join("; ")
    }

    fn in_words(&self) -> String {
        let remark = self.remark();
        if remark.is_empty() { self.name.clone() } else { format!("{} ({remark})", self.name) }
    }
}

impl FeatureList {
    /// Converts the complete answer of the daemon.
    #[must_use]
    pub fn new(answer: &ext::FeaturesResponse) -> Self {
        Self {
            kernel_release: answer.kernel_release.clone(),
            architecture: answer.architecture.clone(),
            features: answer.features.iter().map(FeatureJson::new).collect(),
            item_by_item: false,
        }
    }

    fn of<'a>(&'a self, part: &'a str) -> impl Iterator<Item = &'a FeatureJson> {
        self.features.iter().filter(move |feature| feature.part == part)
    }

    fn missing<'a>(&'a self, part: &'a str) -> impl Iterator<Item = String> + 'a {
        self.of(part).filter(|feature| feature.is_missing()).map(FeatureJson::in_words)
    }

    /// Returns the number of available features of a part, and the names of the others if they are few.
    fn count(&self, part: &str) -> String {
        let there = self.of(part).filter(|feature| feature.state == "yes").count();
        let others: Vec<String> = self
            .of(part)
            .filter(|feature| feature.state != "yes")
            .map(|feature| match feature.state {
                "no" => format!("no {}", feature.name),
                _ if feature.name == "all" => feature.remark(),
                state => format!("{} {state}", feature.name),
            })
            .collect();
        match (there, others.is_empty()) {
            (_, true) => there.to_string(),
            (0, false) => others.join(", "),
            (_, false) => format!("{there}; {}", others.join(", ")),
        }
    }

    fn summary(&self, screen: Screen) -> String {
        let mut kernel = Block::new("Kernel");
        kernel.line("Release", &self.kernel_release).line("Architecture", &self.architecture);
        for setting in self.of("setting") {
            kernel.line(&setting.name, setting.detail.as_deref().unwrap_or_default());
        }
        let mut offers = Block::new("What Programs Can Use");
        for (part, words) in COUNTED {
            offers.line(words, self.count(part));
        }
        let mut daemon = Block::new("What the Daemon Uses");
        let there = |part| self.of(part).filter(|feature| feature.state == "yes");
        let names = |part| there(part).map(|feature| feature.name.clone()).collect::<Vec<_>>().join(", ");
        daemon
            .line("Types", names("type"))
            .lines("Refused Types", self.missing("type"))
            .line("Features", names("probe"))
            .lines("Done Without", self.missing("probe"));
        [kernel, offers, daemon].iter().map(|block| block.render(screen)).collect()
    }
}

impl CommandOutput for FeatureList {
    fn table(&self, screen: Screen) -> String {
        if !self.item_by_item {
            return self.summary(screen);
        }
        let mut table = TextTable::new(&["Part", "Name", "There", "Remark"]);
        for feature in &self.features {
            let part = feature.part.replace('_', " ");
            table.row(vec![part, feature.name.clone(), feature.state.to_owned(), feature.remark()]);
        }
        table.render(screen) + "\n"
    }

    fn ids(&self) -> Vec<String> {
        self.features.iter().map(|feature| feature.name.clone()).collect()
    }
}
