//! Bytecode image format: one ELF object in one layer of an OCI image, with labels that name its programs and maps.
//!
//! The daemon uses it to read labels and check objects, the command line to build images. This crate has no network
//! client, loads no programs and verifies no signatures.

mod auth_file;
mod btf;
mod bytecode;
mod called;
mod causes;
mod challenge;
mod clock;
mod content_kind;
mod credential;
mod encode;
mod image;
mod labels;
pub mod layer;
mod layout;
mod link_header;
pub mod manifest;
pub mod media;
mod packing;
pub mod pem;
mod platform;
mod registry_answer;
mod registry_words;
mod simple_signing;
mod tls_failure;
mod transfer_progress;
mod unpacked_limit;
pub mod vocabulary;
mod zstd_reader;

pub use auth_file::{AuthFile, AuthFileError, HelperFailure};
pub use bpfman_image_name::{
    Digest, DigestError, Hasher, ImageReference, ReferenceError, RegistryHost, RegistryHostError,
};
pub use btf::BtfError;
pub use bytecode::{BytecodeError, BytecodeFile, ELF_LIMIT, check_object};
pub use causes::causes;
pub use challenge::Challenge;
pub use clock::{SourceDate, SourceDateError};
pub use content_kind::{TAR_HEADER, is_tar, kind_of};
pub use credential::{Credential, CredentialError};
pub use image::{BuildArgs, BuildError, BuiltImage, Input, PlatformInputs};
pub use labels::{LabelError, Labels};
pub use layout::{Descriptor, LayoutError, OciLayout, PlatformField, null_is_empty};
pub use link_header::next_page;
pub use packing::{UnsupportedPacking, unpacked};
pub use platform::{Endian, Platform, PlatformError};
pub use registry_answer::{RegistryAnswer, retry_after};
pub use registry_words::{REFUSAL_LIMIT, registry_words};
pub use simple_signing::{
    Critical, Image, SignedIdentity, SimpleSigningPayload, referrers_tag, signature_tag,
};
pub use tls_failure::TlsFailure;
pub use transfer_progress::TransferProgress;
