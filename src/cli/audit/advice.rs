//! What usually causes each class, and what avoids it.

use netgrace::audit::Class;

/// Returns a sentence on a class that is worth one.
pub(crate) fn sentence(class: Class) -> Option<&'static str> {
    Some(match class {
        Class::Declined => {
            "whole answers that ask to come back later: clients that honour Retry-After lose \
             nothing, others show an error"
        }
        Class::Refused => {
            "connects after the listener was closed: any client may repeat them; a successor on \
             the same port, or a balancer that was told before, avoids them"
        }
        Class::Unreachable => {
            "connects that nobody answered: a firewall, or an accept queue that is full or gated; \
             any client may repeat them, seconds later"
        }
        Class::Raced => {
            "requests that crossed the server's FIN on a reused connection: nobody's fault once, \
             but only idempotent ones may be repeated; 'Connection: close' on the answers before, \
             or waiting a moment before closing idle connections, avoids them"
        }
        Class::Swallowed => {
            "requests that the server's kernel had acknowledged when the connection was closed: \
             closed without reading what had arrived, or killed at work; reading once more before \
             closing, and waiting for busy connections, avoids it"
        }
        Class::ResetUnanswered => {
            "first requests of connections that were closed without an answer: mostly connections \
             left in the accept queue when the listener was closed; accepting until the queue is \
             empty before closing it avoids it"
        }
        Class::Truncated => {
            "answers that ended early in an orderly way, which some clients take for whole: the \
             process ended before its output was written; draining output before exiting avoids it"
        }
        Class::Cut => {
            "answers that a reset cut off: the process ended, or closed a connection with unread \
             input, while its output was on the way; draining output and lingering before the \
             close avoid it"
        }
        Class::Wrong => {
            "answers other than the right one: mostly errors made at the stop by a part that went \
             away too early, such as a database or an upstream"
        }
        Class::Hung => {
            "requests that were left without a byte: accepted by nobody, or held by a worker that \
             waits for something else; clients wait for their own timeout"
        }
        _ => return None,
    })
}
