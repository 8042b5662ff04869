//! Whether bytecode that was let in once may come back: the policy is asked again, as it is now.

use bpfmand_kernel::Kernel;

use crate::error::{ImageFailure, ImageFailureKind};
use crate::state::records::ProgramRecord;
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// Refuses an earlier version that would not be let in now: taking it back is as good as loading it.
    pub(crate) fn check_comes_back(&self, record: &ProgramRecord) -> Result<(), EngineError> {
        match self.options.images.refusal_now(record)? {
            None => Ok(()),
            Some(why) => {
                Err(refused(format!("the earlier version of \"{}\" may not come back: {why}", record.name)))
            }
        }
    }

    /// Refuses to attach a program, or to load it again, that was revoked, where the policy wants such programs detached:
    /// until the next look at the policy it would run.
    pub(crate) fn check_may_run(&self, record: &ProgramRecord) -> Result<(), EngineError> {
        match self.options.images.revocation(record)? {
            Some(revocation) if revocation.detach => {
                Err(refused(format!("\"{}\" was revoked: {}", record.name, revocation.why)))
            }
            _ => Ok(()),
        }
    }
}

fn refused(message: String) -> EngineError {
    let hint = Some("replace the program by a version that is trusted".to_owned());
    EngineError::Image(ImageFailure { kind: ImageFailureKind::Signature, message, hint })
}
