use std::error::Error as StdError;

use kube::runtime::watcher::Error;

/// Returns the problem, and a remedy if one is known.
#[must_use]
pub fn why(error: &Error) -> String {
    let cause = match error {
        Error::InitialListFailed(cause) | Error::WatchStartFailed(cause) | Error::WatchFailed(cause) => cause,
        Error::WatchError(status) => return of_status(status.code, &status.message),
        Error::NoResourceVersion => return "the API server cannot watch this kind".to_owned(),
    };
    match cause {
        kube::Error::Api(status) => of_status(status.code, &status.message),
        kube::Error::SerdeError(error) => format!(
            "the API server answered what this program cannot read: {error}; are the custom resource definitions of \
             another version?"
        ),
        error => {
            format!("the API server does not answer: {}", innermost(error))
        }
    }
}

/// Returns the innermost cause, which is the actual problem; the outer ones name the operation.
#[must_use]
pub fn innermost<'a>(error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}

fn of_status(code: u16, message: &str) -> String {
    match code {
        404 => {
            "the API server knows no such kind: are the custom resource definitions of bpfman.io/v1alpha1 \
                installed? `bpfman-operator crds` prints them"
                .to_owned()
        }
        401 => format!("the API server does not accept the token: {message}"),
        403 => format!(
            "the API server denies access: {message}; it does so for seconds while it starts: if it stays, bind the packaged \
             roles to this account"
        ),
        410 => format!(
            "the API server has no history to continue from, as after a restart, and is listed again: {message}"
        ),
        _ => format!("the API server answers {code}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn missing_definitions_and_permissions_are_reported_with_advice() {
        let error = |code, message: &str| {
            let status = Status { code, message: message.to_owned(), ..Status::default() };
            why(&Error::InitialListFailed(kube::Error::Api(Box::new(status))))
        };
        assert!(error(404, "404 page not found").contains("`bpfman-operator crds` prints them"));
        let denied = error(403, "nodes is forbidden: User \"x\" cannot list");
        assert!(
            denied.contains("User \"x\" cannot list; it does so for seconds while it starts"),
            "{denied}"
        );
        assert!(error(410, "too old resource version: 5 (7)").contains("as after a restart"));
        assert_eq!(error(500, "etcd"), "the API server answers 500: etcd");
    }
}
