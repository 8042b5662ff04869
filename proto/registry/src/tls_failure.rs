//! TLS failures within errors of the HTTP client.

use std::error::Error;
use std::io;

use bpfman_image_format::TlsFailure;

/// Returns the failure among an error and its causes, by their types.
#[must_use]
pub fn tls_failure(error: &(dyn Error + 'static)) -> Option<TlsFailure> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        match error.downcast_ref() {
            // `rustls` returns this error for a server that answers in HTTP.
            Some(rustls::Error::InvalidMessage(_)) => return Some(TlsFailure::NoTls),
            Some(rustls::Error::InvalidCertificate(_)) => return Some(TlsFailure::Certificate),
            _ => {}
        }
        // The error in an I/O error is not among its sources.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = wrapped.map(|wrapped| wrapped as &(dyn Error + 'static)).or_else(|| error.source());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_is_found_within_errors_of_any_depth() {
        let untrusted = || rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let garbled = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        assert_eq!(tls_failure(&untrusted()), Some(TlsFailure::Certificate));
        assert_eq!(tls_failure(&io::Error::other(untrusted())), Some(TlsFailure::Certificate));
        let nested = io::Error::other(io::Error::other(garbled));
        assert_eq!(tls_failure(&nested), Some(TlsFailure::NoTls));
        for other in ["certificate", "corrupt message of type InvalidContentType"] {
            assert_eq!(tls_failure(&io::Error::other(other)), None);
        }
    }
}
