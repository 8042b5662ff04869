//! A call of bpf(2) with the fields of its attribute.

use std::os::fd::OwnedFd;

use bpfman_model::IfIndex;
use bpfmand_calls::{AttrLayout, CallAttr, Errno, Field, FieldKind, FieldValue, command, is_of_interface};
use bpfmand_kernel::linux::brokered;

use crate::trivial::is_trivial;

/// A call, with the buffers and descriptors that its caller passed on.
pub struct BpfCall<'a> {
    pub layout: &'static AttrLayout,
    pub attr: CallAttr,
    fields: Vec<Field>,
    pub values: &'a [FieldValue],
    pub buffers: &'a [Vec<u8>],
    pub descriptors: &'a [OwnedFd],
    pub namespace: Option<&'a OwnedFd>,
}

impl<'a> BpfCall<'a> {
    pub fn new(
        layout: &'static AttrLayout,
        attr: CallAttr,
        values: &'a [FieldValue],
        (buffers, descriptors): (&'a [Vec<u8>], &'a [OwnedFd]),
        netns: Option<usize>,
    ) -> Result<Self, Errno> {
        let fields = layout.fields(&mut attr.clone())?;
        let namespace = netns.map(|index| descriptors.get(index).ok_or(Errno::BADF)).transpose()?;
        Ok(Self { layout, attr, fields, values, buffers, descriptors, namespace })
    }

    fn each(&self) -> impl Iterator<Item = (&Field, &'a FieldValue)> {
        self.fields.iter().zip(self.values)
    }

    /// Returns the descriptor of the field at an offset.
    pub fn descriptor(&self, at: usize) -> Option<&'a OwnedFd> {
        self.each().find_map(|(field, value)| match value {
            FieldValue::Descriptor(index) if field.at == at => self.descriptors.get(*index),
            _ => None,
        })
    }

    /// Returns names of functions, or of the tracepoint.
    pub fn texts(&self) -> Result<Vec<String>, Errno> {
        let is_tracepoint = self.layout.command == command::RAW_TRACEPOINT_OPEN;
        let mut texts = Vec::new();
        for (field, value) in self.each() {
            let FieldValue::Buffer(at) = value else { continue };
            let bytes = || self.buffers.get(*at).ok_or(Errno::INVAL);
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            match field.kind {
                FieldKind::TextList(_) => texts.extend(bytes()?.split(|byte| *byte == 0).map(text)),
                FieldKind::Text(_) if is_tracepoint => texts.push(text(bytes()?)),
                _ => {}
            }
        }
        Ok(texts)
    }

    /// Returns the name of the interface to which the call attaches, in the caller's namespace.
    pub fn interface(&self) -> Result<Option<String>, Errno> {
        let at = match self.layout.command {
            command::LINK_CREATE => 4,
            command::PROG_ATTACH | command::PROG_DETACH => 0,
            _ => return Ok(None),
        };
        if !is_of_interface(self.attr.word(8)) {
            return Ok(None);
        }
        let namespace = self.namespace.ok_or(Errno::INVAL)?;
        brokered::interface_name(namespace, IfIndex(self.attr.word(at))).map(Some).ok_or(Errno::NODEV)
    }

    /// Returns the instructions of a load.
    pub fn code(&self) -> Result<&'a [u8], Errno> {
        let code = self.each().find_map(|(field, value)| match (field.kind, value) {
            (FieldKind::Code(_), FieldValue::Buffer(at)) => self.buffers.get(*at),
            _ => None,
        });
        code.map(Vec::as_slice).ok_or(Errno::INVAL)
    }

    /// Returns whether the call loads a program that can do nothing.
    pub fn is_trivial(&self) -> bool {
        is_trivial(self.values, self.buffers)
    }
}
