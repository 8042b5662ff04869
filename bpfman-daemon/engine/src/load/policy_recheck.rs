//! Checks whether bytecode that passed the policy once may run again under the current policy.

use bpfmand_kernel::Kernel;

use bpfman_model::Reason;

use crate::error::ImageFailure;
use crate::state::records::ProgramRecord;
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// Refuses to restore a version that the current policy would not load.
    pub(crate) fn check_restorable(&self, record: &ProgramRecord) -> Result<(), EngineError> {
        match self.options.images.refusal_now(record)? {
            None => Ok(()),
            Some(why) => {
                Err(refused(format!("the earlier version of \"{}\" may not come back: {why}", record.name)))
            }
        }
    }

    /// Refuses a revoked program, which would otherwise run until the next policy check.
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
    let hint = Some("replace the program by a version that is trusted".into());
    EngineError::Image(ImageFailure { kind: Reason::Signature, message, hint })
}
