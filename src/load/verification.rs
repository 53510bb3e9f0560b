//! The verification alone, for `benches/`.

use super::connection::Connection;
use super::counts::WorkerCounts;
use super::payload::PayloadBlock;

/// A connection that gets the same echo again and again.
#[derive(Debug)]
pub struct Verification {
    block: PayloadBlock,
    connection: Connection,
    counts: WorkerCounts,
    echo: Vec<u8>,
}

impl Verification {
    /// For echoes of so many bytes, at most 256 KiB.
    #[must_use]
    pub fn new(len: usize) -> Self {
        let block = PayloadBlock::new(1);
        let mut connection = Connection::new(true, 0);
        connection.base = PayloadBlock::base(1, 1);
        let echo = block.slice(u64::from(connection.base), len).to_vec();
        connection.sent = u64::try_from(echo.len()).unwrap_or(0);
        Self { block, connection, counts: WorkerCounts::new(false), echo }
    }

    /// Verifies one echo; returns the bytes verified so far.
    pub fn verify(&mut self) -> u64 {
        self.connection.position = 0;
        self.connection.receive(&self.echo, &self.block, true, &mut self.counts);
        self.counts.verified
    }
}
