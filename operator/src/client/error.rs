use bpfman_proto::Reason;
use thiserror::Error;

/// Exit code if no server answers, as of `bpfman` without a daemon.
const UNREACHABLE: u8 = 3;

/// Reason for which a command failed.
#[derive(Debug, Error)]
pub enum ClientError {
    #[error(
        "no way to an API server: {0}\nSet --kubeconfig, KUBECONFIG or --context; `kubectl config get-contexts` lists what there is."
    )]
    Configuration(String),
    #[error("the API server did not answer when asked to {0}: {1}\nCheck with `kubectl get --raw /readyz`.")]
    Away(String, String),
    #[error(
        "you may not {0}: {1}\nAsk for the ClusterRole that has it; `kubectl auth can-i --list` shows what you have."
    )]
    Denied(String, String),
    #[error(
        "the API server knows no account of your login when asked to {0}: {1}\nLog in to the cluster again, and start the command again."
    )]
    LoggedOut(String, String),
    #[error(
        "the cluster does not know {0}: its definitions are not installed\nInstall them: `bpfman-operator crds | kubectl apply --server-side -f -`."
    )]
    NoDefinitions(String),
    #[error("the API server refused to {0}: {1}")]
    Refused(String, String),
    #[error(
        "no application `{name}`, neither of the cluster nor in namespace `{namespace}`{others}\n`kubectl bpfman status -A` lists all there are."
    )]
    NoApplication { name: String, namespace: String, others: String },
    #[error(
        "there is a ClusterBpfApplication `{0}` and a BpfApplication `{0}` in namespace `{1}`\nSay which: `cluster/{0}` or `namespaced/{0}`."
    )]
    TwoApplications(String, String),
    #[error("no node `{0}`\n`kubectl get nodes` lists them.")]
    NoNode(String),
    #[error(
        "no pod of an agent (app.kubernetes.io/name=bpfman-agent) is in namespace `{0}`\n`kubectl get pods -A` lists pods; --operator-namespace sets where to look."
    )]
    NoAgents(String),
    #[error(
        "no pod with the label app.kubernetes.io/name={0} runs on a node\nApply examples/{0}/app.yaml and examples/{0}/cluster.yaml; --namespace sets where to look."
    )]
    NoObservers(&'static str),
    #[error(
        "no node has answered\n`kubectl get pods -A -l app.kubernetes.io/name={0}` shows how their pods are."
    )]
    AllSilent(&'static str),
    #[error(
        "application `{0}` has no spec.rollout: every node acts on its spec at once, and there is nothing to {1}\nSee docs/rollout.md."
    )]
    NoRollout(String, &'static str),
    #[error(
        "the kubeconfig has no token that could be passed on to the controller\nMake one of an account that may see the fleet, `kubectl create token ACCOUNT > FILE`, and say --token-file FILE."
    )]
    NoToken,
    #[error(
        "no token that could be passed on to the controller: {0}\nLog in to the cluster again, and start the command again; or write a new token to the file that --token-file names."
    )]
    Token(String),
    #[error("cannot listen on {0}: {1}\n--listen 127.0.0.1:0 takes a free port.")]
    Listen(std::net::SocketAddr, std::io::Error),
    #[error("no node runs kernel `{0}`\nKernels here: {1}.")]
    NoKernel(String, String),
    #[error("{0}: {1}\n`kubectl bpfman check` takes a manifest of one application.")]
    Manifest(String, String),
    #[error(
        "application `{0}` is for no node: none has the labels of its spec.nodeSelector and kubernetes.io/hostname\n`kubectl get nodes --show-labels` shows what they have."
    )]
    NoNodes(String),
    #[error("the answer cannot be written: {0}")]
    Output(String),
    #[error("interrupted; what was written for the rehearsal is removed")]
    Interrupted,
}

impl ClientError {
    /// Returns the exit code: `bpfman` has the same for such failures.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Configuration(_) | Self::Away(..) | Self::AllSilent(_) => UNREACHABLE,
            Self::Denied(..) | Self::LoggedOut(..) | Self::NoToken | Self::Token(_) => {
                Reason::Denied.exit_code()
            }
            Self::NoDefinitions(_)
            | Self::NoApplication { .. }
            | Self::NoNode(_)
            | Self::NoAgents(_)
            | Self::NoObservers(_)
            | Self::NoKernel(..)
            | Self::NoNodes(_) => Reason::NotFound.exit_code(),
            Self::Refused(..) | Self::TwoApplications(..) | Self::Manifest(..) => Reason::Invalid.exit_code(),
            Self::NoRollout(..) => Reason::Conflict.exit_code(),
            Self::Listen(..) | Self::Output(_) | Self::Interrupted => 1,
        }
    }

    /// Converts an error. `what` is the attempted action; `kind` is named if the server lacks the resource.
    pub(super) fn of(error: kube::Error, what: &str, kind: &str) -> Self {
        let what = what.to_owned();
        match error {
            kube::Error::Api(status) => match status.code {
                401 => Self::LoggedOut(what, status.message),
                403 => Self::Denied(what, status.message),
                404 if status.message.contains("could not find the requested resource")
                    || status.message.contains("page not found") =>
                {
                    Self::NoDefinitions(kind.to_owned())
                }
                _ => Self::Refused(what, status.message),
            },
            error => Self::Away(what, chain(&error)),
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
