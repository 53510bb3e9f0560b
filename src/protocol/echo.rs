//! The echo: as the engine's own service, and as a protocol like any other.

use std::net::SocketAddr;

use crate::protocol::context::Context;
use crate::protocol::contract::Protocol;
use crate::protocol::input::Input;
use crate::protocol::next::Next;
use crate::protocol::output::Output;

/// The echo service (RFC 862), which the engine serves by itself: whatever comes is sent back
/// without any protocol seeing it, and streams go through a pipe of the kernel's uncopied.
///
/// It is therefore not a [`Protocol`]. A protocol that wraps another one wraps [`Repeat`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

/// The same service as a [`Protocol`]. It counts no requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Repeat;

impl Protocol for Repeat {
    type State = ();

    fn name(&self) -> &'static str {
        "repeat"
    }

    fn open(&mut self, _: Option<SocketAddr>, _: Context) {}

    fn input(
        &mut self,
        (): &mut (),
        input: &mut Input<'_>,
        output: &mut Output<'_>,
        _: Context,
    ) -> Next {
        let count = output.put_some(input.bytes());
        input.consume(count);
        Next::Idle
    }
}
