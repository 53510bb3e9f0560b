//! The discard service.

use std::net::SocketAddr;

use crate::protocol::context::Context;
use crate::protocol::contract::Protocol;
use crate::protocol::input::Input;
use crate::protocol::next::Next;
use crate::protocol::output::Output;

/// Throws away whatever comes (RFC 863). It counts no requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl Protocol for Discard {
    type State = ();

    fn name(&self) -> &'static str {
        "discard"
    }

    fn open(&mut self, _: Option<SocketAddr>, _: Context) {}

    fn input(
        &mut self,
        (): &mut (),
        input: &mut Input<'_>,
        _: &mut Output<'_>,
        _: Context,
    ) -> Next {
        input.consume(input.len());
        Next::Idle
    }
}
