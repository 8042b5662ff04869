//! Service `bpfman.ext.v1.BpfmanImages`.

use bpfman_model::{BytecodeSource, LinkId, Selector};
use bpfman_proto::ext::v1 as wire;
use bpfman_proto::ext::v1::bpfman_images_server::BpfmanImages;
use bpfmand_engine::{EngineError, FreezeExemption, ImageFailure, ProgramDetails, SourceRecord};
use bpfmand_kernel::Kernel;
use tonic::{Request, Response, Status};

use crate::server::{Api, Reply, caller, fail};
use crate::{audit, objects, parse, status};

/// Image that is ready for a request.
#[derive(Default)]
pub struct Prepared(Option<Box<dyn std::any::Any + Send>>);

impl Prepared {
    /// Holds a value that has to live as long as the image is needed.
    pub fn holding(what: impl Send + 'static) -> Self {
        Self(Some(Box::new(what)))
    }
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Prepared").field(&self.0.is_some()).finish()
    }
}

/// Operations of the crate `image` besides fetching, in types of the wire. Methods block, unless stated otherwise.
#[tonic::async_trait]
pub trait ImageService: Send + Sync {
    /// Returns the images in the cache. Fails if the cache cannot be read.
    fn list(&self) -> Result<Vec<wire::CachedImage>, ImageFailure>;

    /// Returns one image of the cache. Fails if the image is not in the cache.
    fn inspect(&self, image: &str) -> Result<wire::InspectImageResponse, ImageFailure>;

    /// Fetches and verifies an image for a user. While the returned value lives, [`Self::verify`] and the engine use
    /// the result without a registry. Does not block.
    async fn prepare(
        &self,
        source: &BytecodeSource,
        caller_uid: u32,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Prepared;

    /// Fetches and verifies an image for a user. Fails if the image cannot be fetched or verified.
    fn verify(
        &self,
        source: &BytecodeSource,
        caller_uid: u32,
    ) -> Result<wire::VerifyImageResponse, ImageFailure>;

    /// Removes images unused for this many seconds, except these digests. Fails if the cache cannot be written.
    fn prune(&self, keep: &[String], unused_seconds: u64) -> Result<wire::PruneImagesResponse, ImageFailure>;

    /// Imports a layout into the cache; with a name, one image of it under that name. Fails if the path is no valid
    /// layout, or has no image of that name.
    fn import(&self, path: &str, name: Option<&str>) -> Result<wire::ImportImagesResponse, ImageFailure>;

    /// Returns the reason why a program with this evidence should not run any more, and whether to detach its links.
    /// Fails if the policy cannot be read.
    fn recheck(&self, bytecode_sha256: &str, evidence: &str) -> Result<Option<(String, bool)>, ImageFailure>;
}

#[tonic::async_trait]
impl<K: Kernel> BpfmanImages for Api<K> {
    async fn list_images(
        &self,
        _request: Request<wire::ListImagesRequest>,
    ) -> Reply<wire::ListImagesResponse> {
        let permit = self.authorize(&[])?;
        let images = self
            .view(&permit, |api| {
                let mut images = api.image_service()?.list().map_err(refuse)?;
                let programs = api.image_programs()?;
                for image in &mut images {
                    image.program_ids = of_digest(&programs, &image.digest);
                }
                Ok(images)
            })
            .await?;
        Ok(Response::new(wire::ListImagesResponse { images }))
    }

    async fn inspect_image(
        &self,
        request: Request<wire::InspectImageRequest>,
    ) -> Reply<wire::InspectImageResponse> {
        let name = request.into_inner().image;
        let permit = self.authorize(&[])?;
        let shown = self
            .view(&permit, move |api| {
                let mut shown = api.image_service()?.inspect(&name).map_err(refuse)?;
                let programs = api.image_programs()?;
                if let Some(image) = &mut shown.image {
                    image.program_ids = of_digest(&programs, &image.digest);
                }
                Ok(shown)
            })
            .await?;
        Ok(Response::new(shown))
    }

    async fn verify_image(
        &self,
        request: Request<wire::VerifyImageRequest>,
    ) -> Reply<wire::VerifyImageResponse> {
        let caller = caller(request.extensions())?;
        let image = request.into_inner().image.ok_or_else(|| status::invalid("no image is named"))?;
        let source = parse::image_source(image)?;
        audit::source(&source);
        let permit = self.authorize(&[objects::source(&source)?])?;
        let image = self.prepare(&permit, &source).await;
        let verified = self
            .change_with(&permit, image, move |api| {
                api.image_service()?.verify(&source, caller).map_err(refuse)
            })
            .await?;
        Ok(Response::new(verified))
    }

    async fn prune_images(
        &self,
        request: Request<wire::PruneImagesRequest>,
    ) -> Reply<wire::PruneImagesResponse> {
        let unused = request.into_inner().unused_seconds;
        audit::object(format_args!("unused for {unused} s"));
        let permit = self.authorize(&[])?;
        let pruned = self
            .change(&permit, move |api| {
                let keep: Vec<String> = api.image_programs()?.into_iter().map(|(_, digest)| digest).collect();
                api.image_service()?.prune(&keep, unused).map_err(refuse)
            })
            .await?;
        Ok(Response::new(pruned))
    }

    async fn import_images(
        &self,
        request: Request<wire::ImportImagesRequest>,
    ) -> Reply<wire::ImportImagesResponse> {
        let wire::ImportImagesRequest { path, name } = request.into_inner();
        let name = (!name.is_empty()).then_some(name);
        match &name {
            Some(name) => audit::object(format_args!("layout {path} as {name}")),
            None => audit::object(format_args!("layout {path}")),
        }
        let permit = self.authorize(&[])?;
        let imported = self
            .change(&permit, move |api| api.image_service()?.import(&path, name.as_deref()).map_err(refuse))
            .await?;
        Ok(Response::new(imported))
    }

    async fn check_provenance(
        &self,
        _request: Request<wire::CheckProvenanceRequest>,
    ) -> Reply<wire::CheckProvenanceResponse> {
        let permit = self.authorize(&[])?;
        Ok(Response::new(self.change(&permit, Self::hold_against_policy).await?))
    }
}

impl<K: Kernel> Api<K> {
    /// Checks every program against the current policy, and detaches those that the policy wants detached.
    pub fn hold_against_policy(&self) -> Result<wire::CheckProvenanceResponse, Status> {
        let service = self.image_service()?;
        let mut answer = wire::CheckProvenanceResponse::default();
        for program in self.managed_programs()? {
            let Some(managed) = &program.managed else { continue };
            let (source, digest, evidence) = match &managed.record.source {
                SourceRecord::File { path } => (path.clone(), String::new(), ""),
                SourceRecord::Adopted { link, .. } => (format!("adopted link {link}"), String::new(), ""),
                SourceRecord::Image { url, digest, evidence, .. } => {
                    (url.clone(), digest.clone(), evidence.as_str())
                }
            };
            answer.checked += 1;
            let judged = service.recheck(managed.record.bytecode_sha256(), evidence).map_err(refuse)?;
            let Some((mut why, detach)) = judged else { continue };
            let mut detached = Vec::new();
            if detach {
                let left;
                (detached, left) = detach_all(&managed.links, |link| {
                    let ended = self.engine.detach(link);
                    let failed = ended.as_ref().err().map(status::from_engine);
                    self.note_revoked(link, &program, &why, failed.as_ref());
                    ended
                });
                why.push_str(&left);
            }
            tracing::warn!(
                program = program.id.0,
                name = managed.record.name,
                source,
                why,
                ?detached,
                "not to run any more"
            );
            answer.findings.push(wire::Finding {
                program_id: program.id.0,
                program_name: managed.record.name.clone(),
                source,
                digest,
                why,
                action: if detach { "detached" } else { "reported" }.to_owned(),
                detached_links: detached,
            });
        }
        Ok(answer)
    }

    fn image_service(&self) -> Result<&dyn ImageService, Status> {
        self.image_service.as_deref().ok_or_else(|| Status::unimplemented("this daemon has no image store"))
    }

    fn managed_programs(&self) -> Result<Vec<ProgramDetails>, Status> {
        self.engine.list(&Selector { managed_only: true, ..Selector::default() }).map_err(fail)
    }

    fn image_programs(&self) -> Result<Vec<(u32, String)>, Status> {
        let of_image = |program: ProgramDetails| {
            let digest = program.managed?.record.source.image_digest()?.to_owned();
            Some((program.id.0, digest))
        };
        Ok(self.managed_programs()?.into_iter().filter_map(of_image).collect())
    }
}

/// Detaches every link, also after a failure: no revoked program may stay attached. The text lists the rest.
fn detach_all(links: &[LinkId], detach: impl Fn(LinkId) -> Result<(), EngineError>) -> (Vec<u32>, String) {
    let (mut detached, mut left) = (Vec::new(), String::new());
    for link in links {
        // A freeze does not apply to revoked programs.
        match FreezeExemption::All.during(|| detach(*link)) {
            // Another call detached it first.
            Ok(()) | Err(EngineError::NoLink(_)) => detached.push(link.0),
            Err(error) => left.push_str(&format!("; link {} is still attached: {error}", link.0)),
        }
    }
    (detached, left)
}

fn of_digest(programs: &[(u32, String)], digest: &str) -> Vec<u32> {
    programs.iter().filter(|(_, of)| of == digest).map(|(id, _)| *id).collect()
}

fn refuse(failure: ImageFailure) -> Status {
    fail(EngineError::Image(failure))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_stays_does_not_keep_others_attached() {
        let links = [1, 2, 3, 4].map(LinkId);
        let (detached, left) = detach_all(&links, |link| match link.0 {
            1 | 3 => Err(EngineError::Invalid("its hook is held".to_owned())),
            2 => Err(EngineError::NoLink(link)),
            _ => Ok(()),
        });
        assert_eq!(detached, [2, 4]);
        assert!(
            left.contains("link 1 is still attached") && left.contains("link 3 is still attached"),
            "{left}"
        );
    }
}
