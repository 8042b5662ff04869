use super::{LoadTarget, TypeScope};

/// Properties of a program type.
#[derive(Clone, Copy, Debug)]
pub(super) struct TypeRow {
    pub name: &'static str,
    pub kernel: u32,
    pub scope: TypeScope,
    pub load_target: Option<LoadTarget>,
    pub attach_type: Option<u32>,
    pub on_return: bool,
    pub sections: &'static [&'static str],
    pub section_option: Option<SectionOption>,
    pub hook: Option<&'static str>,
    pub manifest: Option<&'static str>,
    pub block: Option<&'static str>,
    pub since: (u16, u16),
    pub proof: Option<TypeProof>,
    pub needs: &'static [&'static str],
}

/// Option after a dot in a section name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionOption {
    /// `.s`: the program may sleep.
    Sleepable,
    /// `.frags`: the program takes packets in several pieces.
    Frags,
}

/// Enumeration and value in the kernel's BTF that prove support for an attachment.
pub type TypeProof = (&'static str, &'static str);

/// Returns a row with defaults: no target at load, no sections, no name in manifests.
pub(super) const fn row(name: &'static str, kernel: u32, scope: TypeScope) -> TypeRow {
    TypeRow {
        name,
        kernel,
        scope,
        load_target: None,
        attach_type: None,
        on_return: false,
        sections: &[],
        section_option: None,
        hook: None,
        manifest: None,
        block: None,
        since: (0, 0),
        proof: None,
        needs: &[],
    }
}

impl TypeRow {
    /// Sets the kind of target at load.
    pub const fn loaded_for(self, target: LoadTarget) -> Self {
        Self { load_target: Some(target), ..self }
    }

    /// Sets the expected attach type of `BPF_PROG_LOAD`.
    pub const fn expects(self, attach_type: u32) -> Self {
        Self { attach_type: Some(attach_type), ..self }
    }

    /// Marks a probe that fires when a function returns.
    pub const fn on_return(self) -> Self {
        Self { on_return: true, ..self }
    }

    /// Sets the section names of libbpf and aya, up to the first slash.
    pub const fn sections(self, names: &'static [&'static str]) -> Self {
        Self { sections: names, ..self }
    }

    /// Allows `.s` in section names.
    pub const fn sleepable(self) -> Self {
        Self { section_option: Some(SectionOption::Sleepable), ..self }
    }

    /// Allows `.frags` in section names.
    pub const fn frags(self) -> Self {
        Self { section_option: Some(SectionOption::Frags), ..self }
    }

    /// Sets the form of attach points as users write them.
    pub const fn hook(self, form: &'static str) -> Self {
        Self { hook: Some(form), ..self }
    }

    /// Sets the name in manifests, and the block with the attach points.
    pub const fn manifest(self, name: &'static str, block: &'static str) -> Self {
        Self { manifest: Some(name), block: Some(block), ..self }
    }

    /// Sets the name in manifests of a type that is loaded only.
    pub const fn manifest_without_block(self, name: &'static str) -> Self {
        Self { manifest: Some(name), ..self }
    }

    /// Sets the first Linux version with the links that the daemon uses.
    pub const fn since(self, major: u16, minor: u16) -> Self {
        Self { since: (major, minor), ..self }
    }

    /// Sets the value of `enum bpf_link_type` that proves support.
    pub const fn link(self, value: &'static str) -> Self {
        Self { proof: Some(("bpf_link_type", value)), ..self }
    }

    /// Sets the value of `enum bpf_attach_type` that proves support.
    pub const fn attach(self, value: &'static str) -> Self {
        Self { proof: Some(("bpf_attach_type", value)), ..self }
    }

    /// Sets the kernel features without which programs can be loaded, but not attached.
    pub const fn needs(self, features: &'static [&'static str]) -> Self {
        Self { needs: features, ..self }
    }
}
