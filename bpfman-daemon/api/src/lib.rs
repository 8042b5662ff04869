//! gRPC to engine: peers, authorization, status codes
