use bpfmand_object::BtfFeatures;
use serde::{Deserialize, Serialize};

const SENTENCE: usize = 4 << 10;

/// Question to a reader. Errors of the object are answered as `Err` with a text.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ReaderQuestion {
    /// Sends the object once. The answer is [`crate::sent_facts::SentFacts`], then the maps' contents.
    Read,
    /// Sends the object, and links programs with the answer. Facts and contents are followed by the answer of
    /// [`Self::Btf`], and for each program by that of [`Self::NeedsKernelTypes`] and, if it needs none, of [`Self::Link`].
    ReadAhead { programs: Vec<String>, features: SentFeatures },
    /// Requests the object's BTF for a kernel: whether it has any; if so, it follows as content.
    Btf(SentFeatures),
    /// Queries whether a program needs the kernel's types.
    NeedsKernelTypes { program: String },
    /// Queries whether a program needs types of modules.
    NeedsModuleTypes { program: String },
    /// Sends the types of `count` modules: for each, the name as a message and the types as content.
    Modules { count: usize },
    /// Links a program: [`crate::sent_program::SentProgram`], followed by the content that it announces.
    Link { program: String, with_kernel: bool, features: SentFeatures },
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct SentFeatures {
    float: bool,
    decl_tag: bool,
    type_tag: bool,
    enum64: bool,
}

impl From<BtfFeatures> for SentFeatures {
    fn from(features: BtfFeatures) -> Self {
        let BtfFeatures { float, decl_tag, type_tag, enum64 } = features;
        Self { float, decl_tag, type_tag, enum64 }
    }
}

impl From<SentFeatures> for BtfFeatures {
    fn from(sent: SentFeatures) -> Self {
        let SentFeatures { float, decl_tag, type_tag, enum64 } = sent;
        Self { float, decl_tag, type_tag, enum64 }
    }
}

/// Cuts a text that becomes part of errors and of the log.
pub(crate) fn cut(sentence: String) -> String {
    cut_to(sentence, SENTENCE)
}

pub(crate) fn cut_to(mut text: String, bytes: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes));
    text
}
