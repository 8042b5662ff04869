use bpfman_proto::ext::v1 as ext;

use super::connect;
use crate::args::Global;
use crate::args::features::{FeaturePart, ShowFeatures};
use crate::error::CliError;
use crate::show;
use crate::show::features::FeatureList;

pub async fn run(global: &Global, command: ShowFeatures) -> Result<(), CliError> {
    let answer = connect(global).await?.ext.features(ext::FeaturesRequest {}).await?.into_inner();
    let mut list = FeatureList::new(&answer);
    list.features.retain(|feature| {
        command.part.is_none_or(|part| feature.part == part_name(part))
            && (!command.missing || feature.is_missing())
    });
    list.item_by_item = command.part.is_some() || command.missing;
    show::answer(global, &list)
}

const fn part_name(part: FeaturePart) -> &'static str {
    match part {
        FeaturePart::Probes => "probe",
        FeaturePart::Types => "type",
        FeaturePart::ProgramTypes => "program_type",
        FeaturePart::MapTypes => "map_type",
        FeaturePart::LinkTypes => "link_type",
        FeaturePart::AttachTypes => "attach_type",
        FeaturePart::Commands => "command",
        FeaturePart::Helpers => "helper",
        FeaturePart::Kfuncs => "kfunc",
        FeaturePart::Settings => "setting",
    }
}
