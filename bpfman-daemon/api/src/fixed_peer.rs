//! Services for callers that the daemon's sockets do not identify.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bpfman_model::Peer;
use http::{Request, Response};
use tower::{Layer, Service};

use crate::audit::Call;

/// Layer that attributes every call to one peer. The daemon's own socket identifies its callers; programs that serve
/// the services in another way name the peer here.
#[derive(Clone, Debug)]
pub struct FixedPeerLayer(pub Peer);

#[derive(Clone, Debug)]
pub struct Identified<S> {
    peer: Peer,
    inner: S,
}

impl<S> Layer<S> for FixedPeerLayer {
    type Service = Identified<S>;

    fn layer(&self, inner: S) -> Identified<S> {
        Identified { peer: self.0.clone(), inner }
    }
}

impl<S, A, B> Service<Request<A>> for Identified<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    B: 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        let call = Call::new(self.peer.clone(), request.uri().path(), Arc::default());
        request.extensions_mut().insert(self.peer.clone());
        Box::pin(call.scope(self.inner.call(request)))
    }
}
