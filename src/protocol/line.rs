//! The line service: each line is a request, answered with itself.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::scan::find_line_feed;
use crate::protocol::context::Context;
use crate::protocol::contract::Protocol;
use crate::protocol::input::Input;
use crate::protocol::next::Next;
use crate::protocol::output::Output;

/// Every line is answered with itself, its end (LF or CRLF) included.
///
/// A line of more than 64 KiB ends its connection. One that the peer's FIN cuts off is not
/// answered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Line {
    delay: Duration,
}

impl Line {
    /// A service that answers at once.
    #[must_use]
    pub const fn new() -> Self {
        Self { delay: Duration::ZERO }
    }

    /// Has each line answered only after this time. The lines behind it wait for their turn.
    #[must_use]
    pub const fn with_delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

/// What a connection of [`Line`] is at.
#[derive(Debug)]
pub struct LineState {
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The line has not come as a whole; there is no line feed in its first `scanned` bytes.
    Search { scanned: u32 },
    /// The line of `left` bytes waits until `due`; `None` is for ever.
    Delay { due: Option<Instant>, left: u32 },
    /// So many bytes of the line are still to be answered.
    Copy { left: u32 },
}

impl Stage {
    fn next(&self) -> Next {
        match self {
            Self::Search { .. } => Next::Idle,
            Self::Delay { .. } => Next::Wait,
            // The line is here, in the input.
            Self::Copy { .. } => Next::Busy,
        }
    }
}

impl Line {
    /// Looks for the end of a line from `scanned` on. Returns what comes of it; `None` if the line
    /// is too long.
    fn search(&self, scanned: u32, input: &Input<'_>, now: Instant) -> Option<Stage> {
        let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        match find_line_feed(input.bytes(), scanned as usize) {
            Some(at) => {
                let left = narrow(at.saturating_add(1));
                let due = now.checked_add(self.delay);
                let at_once = self.delay.is_zero();
                Some(if at_once { Stage::Copy { left } } else { Stage::Delay { due, left } })
            }
            None if input.is_full() => None,
            None => Some(Stage::Search { scanned: narrow(input.len()) }),
        }
    }
}

/// Returns with the next bytes of a line. Returns how many are left.
fn copy(left: u32, input: &mut Input<'_>, output: &mut Output<'_>) -> u32 {
    let line = input.bytes().get(..left as usize).unwrap_or_default();
    let count = output.put_some(line);
    input.consume(count);
    left.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX))
}

impl Protocol for Line {
    type State = LineState;

    fn name(&self) -> &'static str {
        "line"
    }

    fn open(&mut self, _: Option<SocketAddr>, _: Context) -> LineState {
        LineState { stage: Stage::Search { scanned: 0 } }
    }

    fn input(
        &mut self,
        state: &mut LineState,
        input: &mut Input<'_>,
        output: &mut Output<'_>,
        context: Context,
    ) -> Next {
        while !input.is_empty() && output.room() > 0 {
            match state.stage {
                Stage::Search { scanned } => {
                    let Some(stage) = self.search(scanned, input, context.now) else {
                        return Next::Finish;
                    };
                    let is_whole = !matches!(stage, Stage::Search { .. });
                    state.stage = stage;
                    if !is_whole {
                        break;
                    }
                    output.begin_request();
                }
                Stage::Delay { .. } => break,
                Stage::Copy { left } => {
                    let left = copy(left, input, output);
                    state.stage = Stage::Copy { left };
                    if left == 0 {
                        output.end_answer();
                        state.stage = Stage::Search { scanned: 0 };
                    }
                }
            }
        }
        state.stage.next()
    }

    fn resume(&mut self, state: &mut LineState, _: &mut Output<'_>, context: Context) -> Next {
        if let Stage::Delay { due: Some(due), left } = state.stage
            && context.now >= due
        {
            state.stage = Stage::Copy { left };
        }
        state.stage.next()
    }

    fn deadline(&self, state: &LineState) -> Option<Instant> {
        match state.stage {
            Stage::Delay { due, .. } => due,
            Stage::Search { .. } | Stage::Copy { .. } => None,
        }
    }
}
