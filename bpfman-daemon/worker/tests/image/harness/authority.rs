use std::sync::atomic::{AtomicU64, Ordering};

use bpfman_registry::SigningKey;

use super::der::{self, extension, object_id, sequence, tlv};

pub const CODE_SIGNING: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 3, 3];
pub const SERVER: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 3, 1];
pub const TIME_STAMPING: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 3, 8];
const ECDSA_SHA256: &[u64] = &[1, 2, 840, 10045, 4, 3, 2];

pub struct Authority {
    key: SigningKey,
    name: Vec<u8>,
    certificate: Vec<u8>,
}

pub struct Claims<'a> {
    pub name: Vec<u8>,
    pub issuer: Option<&'a str>,
    pub usage: &'a [u64],
    pub valid: (i64, i64),
}

pub fn email(text: &str) -> Vec<u8> {
    tlv(0x81, text.as_bytes())
}

pub fn uri(text: &str) -> Vec<u8> {
    tlv(0x86, text.as_bytes())
}

pub fn address(ip: [u8; 4]) -> Vec<u8> {
    tlv(0x87, &ip)
}

pub fn now() -> i64 {
    i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs())
        .unwrap()
}

fn serial() -> Vec<u8> {
    static NEXT: AtomicU64 = AtomicU64::new(0x1000_0000_0000_0000);
    tlv(2, &NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes())
}

fn common_name(text: &str) -> Vec<u8> {
    let part = sequence(&[&object_id(&[2, 5, 4, 3]), &der::utf8(text)]);
    sequence(&[&tlv(0x31, &part)])
}

fn certificate(
    key: &SigningKey,
    issuer: &[u8],
    subject: &[u8],
    spki: &[u8],
    valid: (i64, i64),
    extensions: &[Vec<u8>],
) -> Vec<u8> {
    let algorithm = sequence(&[&object_id(ECDSA_SHA256)]);
    let validity = sequence(&[&der::time(valid.0), &der::time(valid.1)]);
    let extensions = tlv(0xa3, &sequence(&[&extensions.concat()]));
    let version = tlv(0xa0, &tlv(2, &[2]));
    let body = sequence(&[&version, &serial(), &algorithm, issuer, &validity, subject, spki, &extensions]);
    sequence(&[&body, &algorithm, &der::bit_string(&key.sign(&body).unwrap())])
}

pub fn spki(key: &SigningKey) -> Vec<u8> {
    der::from_pem(&key.public_key().unwrap().to_pem())
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let (key, name) = (SigningKey::generate().unwrap(), common_name(name));
        let extensions = [
            extension(&[2, 5, 29, 19], true, &sequence(&[&[1, 1, 0xff]])),
            extension(&[2, 5, 29, 15], true, &tlv(3, &[1, 0x06])),
            extension(&[2, 5, 29, 14], false, &tlv(4, &key_id(&key))),
        ];
        let valid = (now() - 10 * 365 * 86_400, now() + 365 * 86_400);
        let certificate = certificate(&key, &name, &name, &spki(&key), valid, &extensions);
        Self { key, name, certificate }
    }

    pub fn der(&self) -> &[u8] {
        &self.certificate
    }

    pub fn pem(&self) -> String {
        der::pem("CERTIFICATE", &self.certificate)
    }

    pub fn issue(&self, spki: &[u8], claims: &Claims<'_>) -> Vec<u8> {
        let mut extensions = vec![
            extension(&[2, 5, 29, 15], true, &tlv(3, &[7, 0x80])),
            // RFC 3161 requires the extension to be critical for timestamps.
            extension(&[2, 5, 29, 37], claims.usage == TIME_STAMPING, &sequence(&[&object_id(claims.usage)])),
            extension(&[2, 5, 29, 35], false, &sequence(&[&tlv(0x80, &key_id(&self.key))])),
            extension(&[2, 5, 29, 17], true, &sequence(&[&claims.name])),
        ];
        if let Some(issuer) = claims.issuer {
            extensions.push(extension(&[1, 3, 6, 1, 4, 1, 57264, 1, 1], false, issuer.as_bytes()));
            extensions.push(extension(&[1, 3, 6, 1, 4, 1, 57264, 1, 8], false, &der::utf8(issuer)));
        }
        certificate(&self.key, &self.name, &sequence(&[]), spki, claims.valid, &extensions)
    }
}

fn key_id(key: &SigningKey) -> Vec<u8> {
    bpfman_image_format::Digest::of(&spki(key)).bytes()[..20].to_vec()
}
