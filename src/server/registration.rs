//! The way onto a poll and off it again.

use mio::Registry;

use super::Server;
use crate::config::MAX_CONNECTIONS;
use crate::error::{Error, ErrorKind};
use crate::token::TokenRange;

impl Server {
    /// Registers the listeners, and connections that are open, with a poll.
    ///
    /// `tokens` is what the server may take: one for each listener ever given to it, the rest for
    /// connections, of which there are then no more than that. The range is the server's until
    /// [`deregister`](Self::deregister) or its drop, even after the stop. Two servers on one poll
    /// need ranges that do not overlap; nobody checks that.
    ///
    /// Reserves a slot of 56 bytes (on 64-bit systems) for each connection there may be, up to
    /// 2²⁰; the system gives the memory only as they fill. Costs one system call for each
    /// listener and each open connection. A stop that was asked for before begins with the next
    /// [`end_turn`](Self::end_turn), which is to be called before the first sleep.
    ///
    /// # Errors
    /// [`ErrorKind::TokenRange`] if the range is too small for the listeners and one connection,
    /// for [`max_connections`](crate::Config::max_connections), or for the slots of connections
    /// that are open, or if it goes beyond `usize::MAX`; [`ErrorKind::Register`] if the server is
    /// registered already, with this poll or another, or the poll refuses. After an error the
    /// server is as it was before.
    pub fn register(&mut self, registry: &Registry, tokens: TokenRange) -> Result<(), Error> {
        self.check_unregistered("register the server")?;
        tokens.check()?;
        let connections = self.capacity_in(tokens)?;
        self.driver
            .register(registry, tokens, connections)
            .map_err(|error| Error::io(ErrorKind::Register, "register with the poll", error))
    }

    /// Takes every socket of the server off the poll, so that it can be
    /// [`register`](Self::register)ed with another one, or with other tokens. Does nothing when it
    /// is not registered.
    ///
    /// To be called at any time after which the host handles no event of this poll for the server
    /// any more: until it is registered again, all are answered `false`. Connections stay open and
    /// clients wait in the queue; nothing is served, and no connection is closed for being idle. A
    /// stop's budget runs on: one that is asked for in between drains once the server is
    /// registered again, and forces when the budget ends first. Costs one system call for each
    /// listener and connection.
    ///
    /// # Errors
    /// [`ErrorKind::Register`] if `registry` is not that of the poll it is registered with; it
    /// stays registered there.
    pub fn deregister(&mut self, registry: &Registry) -> Result<(), Error> {
        self.driver
            .deregister(registry)
            .map_err(|error| Error::io(ErrorKind::Register, "deregister from the poll", error))
    }

    /// The tokens that it was registered with; `None` while it is not.
    #[must_use]
    pub fn tokens(&self) -> Option<TokenRange> {
        self.driver.tokens()
    }

    /// The number of connections for which there are to be slots.
    fn capacity_in(&self, tokens: TokenRange) -> Result<usize, Error> {
        let listeners = self.driver.acceptor.tokens();
        let room = tokens.len().saturating_sub(listeners);
        let open = self.driver.engine.slots();
        let (what, needed) = match self.config.max_connections {
            _ if room == 0 => ("at least one connection", 1),
            _ if open > room => ("the slots of the connections that are open", open),
            Some(most) if most > room => ("max_connections", most),
            Some(most) => return Ok(most),
            None => return Ok(room.min(MAX_CONNECTIONS)),
        };
        Err(Error::new(
            ErrorKind::TokenRange,
            format!(
                "token range of {}: beside {listeners} listeners it holds {room} connections, and \
                 {needed} are needed: {what}",
                tokens.len()
            ),
        ))
    }

    pub(super) fn check_unregistered(&self, attempt: &str) -> Result<(), Error> {
        match self.driver.tokens() {
            None => Ok(()),
            Some(_) => {
                Err(Error::new(ErrorKind::Register, format!("{attempt}: already registered")))
            }
        }
    }
}
