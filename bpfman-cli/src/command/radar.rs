use bpfman_model::Hint;
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::ext::v1::start_radar_request::Source;

use super::{connect, events};
use crate::args::Global;
use crate::args::radar::{Radar, RadarSwitch, StartRadar};
use crate::error::CliError;
use crate::show;
use crate::show::radar::{RadarJson, RadarStatusJson, RadarStopped};

pub async fn run(global: &Global, command: Radar) -> Result<(), CliError> {
    match command.switch {
        Some(RadarSwitch::Start(which)) => start(global, which).await,
        Some(RadarSwitch::Stop) => {
            let mut client = connect(global).await?;
            client.radar.stop_radar(ext::StopRadarRequest {}).await.map_err(older)?;
            show::answer(global, &RadarStopped { outcome: "stopped" })
        }
        None if command.show.follow => follow(global, &command).await,
        None => {
            let mut client = connect(global).await?;
            let answer = client.radar.survey_radar(ext::SurveyRadarRequest {}).await.map_err(older)?;
            show::answer(global, &RadarJson::new(&answer.into_inner()))
        }
    }
}

async fn start(global: &Global, StartRadar { image, file }: StartRadar) -> Result<(), CliError> {
    let source = match (image, file) {
        (Some(image), _) => Source::Image(image),
        (None, file) => {
            let file = file.unwrap_or_default();
            let path = std::path::absolute(&file).unwrap_or(file);
            Source::File(path.display().to_string())
        }
    };
    let mut client = connect(global).await?;
    let request = ext::StartRadarRequest { source: Some(source) };
    let answer = client.radar.start_radar(request).await.map_err(older)?.into_inner();
    show::answer(global, &RadarStatusJson::new(&answer.status.unwrap_or_default()))
}

async fn follow(global: &Global, command: &Radar) -> Result<(), CliError> {
    let mut client = connect(global).await?;
    // Warn a caller who would otherwise wait in vain.
    let answer = client.radar.survey_radar(ext::SurveyRadarRequest {}).await.map_err(older)?.into_inner();
    let status = answer.status.unwrap_or_default();
    if status.source == "off" {
        show::warn(&format!("the radar is off: {}", Hint::StartRadar));
    } else {
        show::note(&format!("the radar sees by {}", status.source));
    }
    drop(client);
    events::print_events(global, command.show.query(), true).await
}

fn older(status: tonic::Status) -> CliError {
    if status.code() == tonic::Code::Unimplemented
        && status.metadata().get(bpfman_proto::REASON_TRAILER).is_none()
    {
        return CliError::Invalid {
            what: "this daemon has no radar: it is older than this client".to_owned(),
            hint: Some(Hint::ListAllPrograms),
        };
    }
    status.into()
}
