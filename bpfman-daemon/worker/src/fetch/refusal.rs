use bpfman_image_format::{REFUSAL_LIMIT, RegistryAnswer};
use reqwest::Response;

use bpfmand_image::Limits;

use super::pace::TransferPace;

/// Reads a refusal. If the body does not arrive, the status suffices.
pub(crate) async fn read(mut response: Response, limits: &Limits) -> RegistryAnswer {
    let (mut body, mut pace) = (Vec::new(), TransferPace::new(limits));
    while let Ok(Some(piece)) = response.chunk().await {
        body.extend_from_slice(&piece);
        if body.len() > REFUSAL_LIMIT || !pace.keeps_up(piece.len()) {
            break;
        }
    }
    RegistryAnswer::new(response.status(), response.headers(), &body)
}
