//! Registering a server with a poll, and deregistering it.

use mio::Registry;

use super::{Server, Service};
use crate::config::MAX_CONNECTIONS;
use crate::error::{Error, ErrorKind};
use crate::token::TokenRange;

impl<P: Service> Server<P> {
    /// Registers the listeners, and connections that are open, with a poll.
    ///
    /// `tokens` is the range that the server may use: one for each listener ever added to it, the
    /// rest for connections, whose number it limits. The range is the server's until
    /// [`deregister`](Self::deregister) or its drop, even after the stop. Two servers on one poll
    /// need ranges that do not overlap; this is not checked.
    ///
    /// Reserves a slot of 56 bytes (on 64-bit systems) for each connection there may be, up to
    /// 2²⁰; the system provides the memory as they fill. Costs one system call for each
    /// listener and each open connection. A stop that was requested before begins with the next
    /// [`end_turn`](Self::end_turn), which is to be called before the first sleep.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TokenRange`] if the range is too small for the listeners and one connection,
    /// for [`max_connections`](crate::Config::max_connections), or for the slots of connections
    /// that are open; [`ErrorKind::Register`] if the server is registered already, with this poll
    /// or another, or the poll refuses. After an error the server is as it was before.
    pub fn register(
        &mut self,
        registry: &Registry,
        tokens: impl Into<TokenRange>,
    ) -> Result<(), Error> {
        self.check_unregistered("register the server")?;
        let tokens = tokens.into();
        let connections = self.capacity_in(tokens)?;
        self.core
            .register(registry, tokens, connections)
            .map_err(|error| Error::io(ErrorKind::Register, "register with the poll", error))
    }

    /// Deregisters every socket of the server, so that it can be
    /// [`register`](Self::register)ed with another poll, or with other tokens. Does nothing if it
    /// is not registered.
    ///
    /// At any time. Until the server is registered again it takes no event
    /// ([`handle_event`](Self::handle_event) returns `false`), connections stay open, clients wait
    /// in the accept queue, and no idle timeout closes a connection. The budget of a stop runs on:
    /// a stop that is requested meanwhile drains once the server is registered again, and forces
    /// if the budget ends first. Costs one system call for each listener and connection.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Register`] if `registry` is not that of the poll it is registered with; it
    /// stays registered there.
    pub fn deregister(&mut self, registry: &Registry) -> Result<(), Error> {
        self.core
            .deregister(registry)
            .map_err(|error| Error::io(ErrorKind::Register, "deregister from the poll", error))
    }

    /// Returns the tokens that the server was registered with; `None` while it is not.
    #[must_use]
    pub fn tokens(&self) -> Option<TokenRange> {
        self.core.tokens()
    }

    /// Returns the number of connections for which there are to be slots.
    fn capacity_in(&self, tokens: TokenRange) -> Result<usize, Error> {
        let listeners = self.core.acceptor.tokens();
        let room = tokens.len().saturating_sub(listeners);
        let open = self.core.engine.slots();
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
                "token range {tokens}: beside {listeners} listeners it has {room} tokens for \
                 connections, and {needed} are needed: {what}"
            ),
        ))
    }

    pub(super) fn check_unregistered(&self, attempt: &str) -> Result<(), Error> {
        match self.core.tokens() {
            None => Ok(()),
            Some(_) => {
                Err(Error::new(ErrorKind::Register, format!("{attempt}: already registered")))
            }
        }
    }
}
