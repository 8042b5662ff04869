use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use super::{CertificateTerms, Generation};

pub(super) const SKEW: u64 = 3600;

/// Error of generating a certificate.
#[derive(Debug, thiserror::Error)]
#[error("a certificate for {names}: {source}")]
pub struct MakeError {
    names: String,
    source: rcgen::Error,
}

/// Makes a certificate for names or addresses; fails if a name is invalid.
pub fn make(names: &[String], now: u64, terms: CertificateTerms) -> Result<Generation, MakeError> {
    made(names, now, terms).map_err(|source| MakeError { names: names.join(", "), source })
}

fn made(names: &[String], now: u64, terms: CertificateTerms) -> Result<Generation, rcgen::Error> {
    let not_after = now + terms.seconds;
    let common =
        names.first().map_or("bpfman", |name| name.split_once('.').map_or(name.as_str(), |(label, _)| label));
    let at = |seconds| date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    let mut params = CertificateParams::default();
    // The authorities of two generations are both trusted for a while, so their names differ.
    params.distinguished_name.push(DnType::CommonName, format!("{common} {now}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    (params.not_before, params.not_after) = (at(now.saturating_sub(SKEW)), at(not_after));
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, common);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = (at(now.saturating_sub(SKEW)), at(not_after));
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &authority)?;
    Ok(Generation {
        created: now,
        not_after,
        authority: authority.pem(),
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}
