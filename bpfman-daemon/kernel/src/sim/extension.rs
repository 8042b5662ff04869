use super::errno::{EBUSY, EINVAL, ENOENT};
use super::objects::{Body, Key, PROGRAM, SimLinkTarget};
use super::{SimState, refuse};
use crate::{Extends, KernelError};

impl SimState {
    pub(super) fn extended(&self, extends: Extends) -> Result<Key, KernelError> {
        self.objects
            .find(PROGRAM, extends.program.0)
            .ok_or_else(|| refuse("open", format!("program {}, to be extended", extends.program), ENOENT))
    }

    pub(super) fn attach_replacement(&mut self, program: Key, extends: Extends) -> Result<Key, KernelError> {
        let Extends { program: extended, function } = extends;
        let fail = |number| {
            let subject = format!("a program in the place of function {function} of program {extended}");
            refuse("attach", subject, number)
        };
        let target = self.extended(extends)?;
        // Only BTF names functions.
        if !matches!(self.object(target)?.body, Body::Program { btf: Some(_), .. }) {
            return Err(fail(EINVAL));
        }
        let place = SimLinkTarget::Replacement { target, function };
        let taken = self
            .objects
            .all
            .values()
            .any(|object| matches!(&object.body, Body::Link { place: other, .. } if *other == place));
        if taken {
            return Err(fail(EBUSY));
        }
        Ok(self.objects.add(Body::Link { program, place }))
    }
}
