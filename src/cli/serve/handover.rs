//! How a process passes its listening sockets to its successor: over a socket pair, one end of
//! which is the standard input of the successor.
//!
//! The predecessor sends the sockets, then one line of JSON with a label for each. After that each
//! message is one byte, with the meaning described in the module `transfer`.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde_json::{Value, json};

use crate::cli::serve::unix_socket::Identity;

/// A variable in the successor's environment.
pub(crate) const VARIABLE: &str = "NETGRACE_HANDOVER";

/// Sent by the successor when it serves.
pub(crate) const READY: u8 = b'R';
/// Sent by the successor when it has accepted the offer.
pub(crate) const ACCEPTED: u8 = b'A';
/// Sent by the predecessor: the offer of the queues.
pub(crate) const OFFER: u8 = b'O';
/// Sent by the predecessor: there will be no offer.
pub(crate) const WITHDRAWAL: u8 = b'W';

const SCHEMA: &str = "netgrace-handover/2";
/// Its predecessor makes no offer: it closes its end when it has closed its copies.
const OLD_SCHEMA: &str = "netgrace-handover/1";
/// Before each batch of sockets.
const SOCKETS: u8 = b'S';
/// Before the line of JSON.
const LABELS: u8 = b'L';
/// Sockets in one batch: below what any kernel takes in one message.
const BATCH: usize = 64;
/// The longest line that is accepted.
const LINE_BYTES_MAX: usize = 1 << 20;

/// What a socket is used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    /// As the user wrote it: the same in the predecessor's arguments and in the successor's.
    pub(crate) wanted: String,
    /// As in the port file.
    pub(crate) name: String,
    pub(crate) is_unix: bool,
    /// The file of a Unix socket, if the program is to remove it.
    pub(crate) file: Option<Identity>,
}

impl Label {
    fn to_json(&self) -> Value {
        let file = self
            .file
            .map(|file| json!([file.device, file.inode, file.modified.0, file.modified.1]));
        json!({
            "wanted": self.wanted, "name": self.name, "is_unix": self.is_unix,
            "file": file,
        })
    }

    fn from_json(value: &Value) -> Option<Self> {
        let text = |key: &str| Some(value.get(key)?.as_str()?.to_owned());
        let file = |file: &Value| {
            Some(Identity {
                device: file.get(0)?.as_u64()?,
                inode: file.get(1)?.as_u64()?,
                modified: (file.get(2)?.as_i64()?, file.get(3)?.as_i64()?),
            })
        };
        Some(Self {
            wanted: text("wanted")?,
            name: text("name")?,
            is_unix: value.get("is_unix")?.as_bool()?,
            file: value.get("file").and_then(file),
        })
    }
}

/// A socket that was handed over.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) label: Label,
    pub(crate) socket: OwnedFd,
}

/// Writes all sockets and labels into the channel, whose buffer keeps them for the successor.
///
/// # Errors
///
/// If they do not fit, or the kernel refuses.
pub(crate) fn send(channel: impl AsFd, sockets: &[(Label, BorrowedFd<'_>)]) -> io::Result<()> {
    let channel = channel.as_fd();
    for batch in sockets.chunks(BATCH) {
        let descriptors: Vec<BorrowedFd<'_>> = batch.iter().map(|(_, socket)| *socket).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        sendmsg(channel, &[IoSlice::new(&[SOCKETS])], &mut ancillary, SendFlags::empty())?;
    }
    let labels: Vec<Value> = sockets.iter().map(|(label, _)| label.to_json()).collect();
    let text = json!({"schema": SCHEMA, "sockets": labels}).to_string();
    let mut line = vec![LABELS];
    line.extend_from_slice(text.as_bytes());
    line.push(b'\n');
    let mut nothing = SendAncillaryBuffer::default();
    let sent = sendmsg(channel, &[IoSlice::new(&line)], &mut nothing, SendFlags::empty())?;
    if sent == line.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Reads all sockets and labels from the channel.
///
/// # Errors
///
/// If something else arrives, or nothing does.
pub(crate) fn receive(channel: impl AsFd) -> io::Result<Vec<Handed>> {
    let channel = channel.as_fd();
    let mut sockets = Vec::new();
    loop {
        match receive_byte(channel, &mut sockets)? {
            SOCKETS => {}
            LABELS => break,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
    let mut line = Vec::new();
    loop {
        match receive_byte(channel, &mut sockets)? {
            b'\n' => break,
            _ if line.len() >= LINE_BYTES_MAX => return Err(io::ErrorKind::InvalidData.into()),
            byte => line.push(byte),
        }
    }
    let labels = labels(&line).filter(|labels| labels.len() == sockets.len());
    let labels = labels.ok_or(io::ErrorKind::InvalidData)?;
    let both = labels.into_iter().zip(sockets);
    Ok(both.map(|(label, socket)| Handed { label, socket }).collect())
}

fn labels(line: &[u8]) -> Option<Vec<Label>> {
    let value: Value = serde_json::from_slice(line).ok()?;
    if ![SCHEMA, OLD_SCHEMA].contains(&value.get("schema")?.as_str()?) {
        return None;
    }
    value.get("sockets")?.as_array()?.iter().map(Label::from_json).collect()
}

/// Reads one byte, and the sockets that came with it.
fn receive_byte(channel: BorrowedFd<'_>, sockets: &mut Vec<OwnedFd>) -> io::Result<u8> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut buffer = [IoSliceMut::new(&mut byte)];
    let message = recvmsg(channel, &mut buffer, &mut ancillary, RecvFlags::empty())?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            for descriptor in descriptors {
                // Otherwise the next successor would have it twice.
                fcntl_setfd(&descriptor, FdFlags::CLOEXEC)?;
                sockets.push(descriptor);
            }
        }
    }
    match (message.bytes, byte) {
        (1, [byte]) => Ok(byte),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::TcpListener;
    use std::os::unix::net::UnixStream;

    #[test]
    fn everything_arrives_in_order() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let file = Identity { device: u64::MAX, inode: 7, modified: (-1, 999_999_999) };
        let labels: Vec<Label> = (0..100)
            .map(|number| Label {
                wanted: format!("unix:/tmp/ü\n{number}"),
                name: "n".repeat(number),
                is_unix: number % 2 == 0,
                file: (number % 5 == 0).then_some(file),
            })
            .collect();
        let sockets: Vec<_> =
            labels.iter().map(|label| (label.clone(), listener.as_fd())).collect();
        for count in [0, 1, 64, 65, 100] {
            let (here, there) = UnixStream::pair().expect("a pair");
            send(&here, &sockets[..count]).expect("sent");
            let received = receive(&there).expect("received");
            let received: Vec<_> = received.into_iter().map(|handed| handed.label).collect();
            assert_eq!(received, labels[..count]);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for bytes in
            [&b""[..], b"x", b"S", b"L{}\n", b"L\n", b"L[1", b"SSL{\"schema\":\"other\"}\n"]
        {
            let (mut here, there) = UnixStream::pair().expect("a pair");
            here.write_all(bytes).expect("sent");
            drop(here);
            assert!(receive(&there).is_err(), "{bytes:?}");
        }
    }
}
