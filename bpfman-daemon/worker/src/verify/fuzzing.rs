//! Entry points for fuzzers of the image parsers (feature `fuzzing`, tests/fuzz).

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bpfman_image_format::manifest::{self, ImageConfig};
use bpfman_image_format::{Digest, Labels, check_object, layer, media};
use bpfman_registry::SigningKey;
use bpfmand_image::messages::Material;
use bpfmand_image::{Signers, TrustRoot, TrustedIdentity, TrustedKey};

use super::trust_root::VerifyingRule;
use super::{bundle, simple_signing};

/// Parses a manifest, an index, a configuration with labels, or a label.
pub fn document(bytes: &[u8]) {
    let _malformed = manifest::parse(bytes);
    let _malformed = ImageConfig::parse(bytes).map(|config| Labels::read(&config.labels()));
    let text = String::from_utf8_lossy(bytes).into_owned();
    for label in [media::LABEL_PROGRAMS, media::LABEL_MAPS] {
        let _malformed = Labels::read(&BTreeMap::from([(label.to_owned(), text.clone())]));
    }
}

/// Decodes a layer and checks the object in it.
pub fn layer(bytes: &[u8]) {
    let _malformed = layer::decode(bytes);
    let _malformed = check_object("x.o", bytes);
}

struct Trust {
    key: SigningKey,
    digest: Digest,
    rule: Signers,
}

static TRUST: LazyLock<Trust> = LazyLock::new(|| {
    let make = || -> Option<Trust> {
        let key = SigningKey::generate().ok()?;
        let trusted = TrustedKey::from_pem(&key.public_key().ok()?.to_pem()).ok()?;
        let rule = Signers {
            keys: vec![trusted],
            identities: vec![TrustedIdentity::new("*", "*").ok()?],
            minimum: 1,
            root: Some(TrustRoot::PublicGood),
            ..Signers::default()
        };
        Some(Trust { key, digest: Digest::of(b"image"), rule })
    };
    make().unwrap_or_else(|| panic!("no key can be made"))
});

/// Verifies a Sigstore bundle; panics if it is accepted as a valid signature.
pub fn bundle(bytes: &[u8]) {
    assert!(bundle::verify(bytes, TRUST.digest, &VerifyingRule::new(&TRUST.rule)).is_err());
}

/// Verifies a signed payload; panics if it is accepted for an image that it does not name.
pub fn payload(bytes: &[u8]) {
    let Ok(signature) = TRUST.key.sign(bytes) else { return };
    let good = simple_signing::verify(
        bytes,
        &signature,
        &Material::default(),
        TRUST.digest,
        &VerifyingRule::new(&TRUST.rule),
    );
    let named = String::from_utf8_lossy(bytes).contains(&TRUST.digest.hex());
    assert!(named || good.is_err());
}

/// Verifies a certificate and the log entry of a signature; panics if a forged one is valid.
pub fn certificate(certificate: &str, log: &str) {
    let material = Material {
        certificate: Some(certificate.to_owned()),
        log: Some(log.to_owned()),
        ..Material::default()
    };
    assert!(
        simple_signing::verify(
            b"{}",
            b"no signature",
            &material,
            TRUST.digest,
            &VerifyingRule::new(&TRUST.rule)
        )
        .is_err()
    );
}
