//! What a reader is asked.

use bpfmand_object::BtfFeatures;
use serde::{Deserialize, Serialize};

/// Bytes of a sentence about what is wrong.
const SENTENCE: usize = 4 << 10;

/// A question to a reader. What may be wrong with the object is answered as `Err` and a sentence.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ReaderQuestion {
    /// The object follows as content, once. [`crate::sent_facts::SentFacts`], and the maps' contents as content.
    Read,
    /// The object's own types, for such a kernel: whether there are any, which follow as content.
    Btf(SentFeatures),
    /// Whether a program needs the kernel's types.
    NeedsKernelTypes { program: String },
    /// Whether it needs those of modules.
    Exceeds { program: String },
    /// Types of so many modules, which follow: the name as a message, the types as content.
    Modules { count: usize },
    /// A program, linked: [`crate::sent_program::SentProgram`], and what it announces as content.
    Link { program: String, with_kernel: bool, features: SentFeatures },
}

/// What the kernel takes in BTF.
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

/// As much of a sentence as is told: it goes into errors, and into what callers and the log are told.
pub(crate) fn cut(sentence: String) -> String {
    cut_to(sentence, SENTENCE)
}

/// No more than so many bytes of a text.
pub(crate) fn cut_to(mut text: String, bytes: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes));
    text
}
