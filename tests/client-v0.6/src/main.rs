//! Tests every call of a running `bpfmand` with the client crate that was published for bpfman v0.6.0.
//!
//!     client-v0-6 SOCKET OBJECT INTERFACE [IMAGE]
//!
//! OBJECT is examples/xdp-counter; INTERFACE is in the daemon's network namespace, without XDP programs; IMAGE, if given,
//! contains the same object, and the daemon can pull it. Prints one line per step; the first failure ends the program
//! with status 1.

mod calls;
mod steps;

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (socket, object, interface, image) = match arguments.as_slice() {
        [socket, object, interface] => (socket, object, interface, None),
        [socket, object, interface, image] => (socket, object, interface, Some(image)),
        _ => {
            eprintln!("usage: client-v0-6 SOCKET OBJECT INTERFACE [IMAGE]");
            return ExitCode::from(2);
        }
    };
    let result = async {
        let mut calls = calls::Calls::connect(socket).await?;
        steps::programs(&mut calls, object, interface).await?;
        steps::refusals(&mut calls, object, interface).await?;
        steps::images(&mut calls, image.map(String::as_str)).await
    };
    match result.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("FAILED {error:#}");
            ExitCode::FAILURE
        }
    }
}
