//! Bytes on their way through a connection: into a pipe, and out of what is held.

use crate::engine::buffer::Held;
use crate::engine::call::{Fault, fill};
use crate::engine::dialogue::{Flow, IoContext, Ledger};
use crate::engine::pipe::Pipes;
use crate::engine::stream::Stream;
use crate::protocol::Echo;

pub(super) type Io<'a, P> = IoContext<'a, P, Echo>;

/// Spliced bytes are charged a quarter of the budget.
const PIPE_BUDGET: usize = 4;

/// Moves at most `most` bytes into an empty pipe. Without any the pipe is given back, and nothing
/// is known of the queue.
pub(super) fn fill_pipe<S: Stream>(
    mut pipe: S::Pipe,
    stream: &mut S,
    ledger: &mut Ledger,
    most: usize,
    io: &mut Io<'_, S::Pipe>,
) -> Result<Option<Held<S::Pipe>>, Flow> {
    let len = match fill(stream, &mut pipe, most) {
        Ok(len) if len > 0 => len,
        other => {
            io.pipes.give(pipe, true);
            return other.map(|_| None).map_err(Flow::Close);
        }
    };
    let budget = io.budget;
    ledger.on_read(len, io);
    io.budget = budget.saturating_sub(len.div_ceil(PIPE_BUDGET));
    io.room = io.room.saturating_sub(len);
    Ok(Some(Held::Piped { pipe, len }))
}

/// Takes back the pipe of what was held.
pub(super) fn give_back<P>(held: Held<P>, pipes: &mut Pipes<P>) {
    if let Held::Piped { pipe, len } = held {
        pipes.give(pipe, len == 0);
    }
}

/// Writes what is held; an error where the peer does not take it all.
pub(super) fn write_held<S: Stream>(
    held: &mut Held<S::Pipe>,
    stream: &mut S,
    ledger: &mut Ledger,
    io: &mut Io<'_, S::Pipe>,
) -> Result<(), Flow> {
    while held.len() > 0 {
        match held.write_to(stream) {
            Ok(count) => {
                ledger.on_written(count, io);
                io.room = io.room.saturating_add(count);
                // Of a copy a short write has found the peer full; a pipe gives in pieces.
                if held.len() > 0 && matches!(held, Held::Bytes { .. }) {
                    return Err(Flow::Wait);
                }
            }
            Err(Fault::WouldBlock) => return Err(Flow::Wait),
            Err(Fault::Later) => return Err(Flow::Again),
            Err(Fault::Broken(reason)) => return Err(Flow::Close(reason)),
        }
    }
    Ok(())
}
