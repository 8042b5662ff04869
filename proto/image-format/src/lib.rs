//! Bytecode image format: one ELF object in one layer of an OCI image, with labels that name its programs and maps.
//!
//! The daemon uses it to read labels and check objects, the command line to build, push and sign images. This crate
//! neither loads programs nor verifies signatures.

mod auth_file;
mod authorization;
mod btf;
mod bytecode;
mod called;
mod causes;
mod challenge;
mod clock;
mod content_kind;
mod cosign_key;
mod credential;
mod encode;
mod fetch;
mod image;
mod key;
mod labels;
pub mod layer;
mod layout;
pub mod manifest;
pub mod media;
mod oci_failure;
mod oci_transfer;
mod packing;
mod pem;
mod platform;
mod push;
mod registry;
mod registry_access;
mod registry_answer;
mod registry_connection;
mod registry_error;
mod registry_words;
mod save;
mod sign;
mod tls_failure;
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
pub use cosign_key::CosignKeyError;
pub use credential::{Credential, CredentialError};
pub use fetch::{FetchError, FetchedLabels, FetchedObject, fetch_labels, fetch_object};
pub use image::{BuildArgs, BuildError, BuiltImage, Input, PlatformInputs};
pub use key::{KeyError, PublicKey, SigningKey};
pub use labels::{LabelError, Labels};
pub use layout::{Descriptor, LayoutError, OciLayout, PlatformField, null_is_empty};
pub use packing::{UnsupportedPacking, unpacked};
pub use platform::{Endian, Platform, PlatformError};
pub use push::{PushError, push};
pub use registry::TransferProgress;
pub use registry_access::RegistryAccess;
pub use registry_answer::RegistryAnswer;
pub use registry_connection::TokenAnswer;
pub use registry_error::RegistryError;
pub use registry_words::REFUSAL_LIMIT;
pub use save::{SaveError, Saved, archive, save};
pub use sign::{
    Critical, Image, SignError, SignOutcome, SignProgress, SignStep, SignedIdentity, SignedImage,
    SimpleSigningPayload, referrers_tag, sign, sign_in_steps, signature_tag,
};
pub use tls_failure::TlsFailure;
