//! Learns the right answer of a target, before the load.

use std::io;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::time::Duration;
use std::time::Instant;

use super::error::Error;
use super::error::ErrorKind;
use super::expected::Expected;
use super::kind::Kind;
use super::plan::Plan;
use super::request::Form;
use super::request::Requests;
use super::response::Reading;
use super::response::Response;
use super::subject::Flow;
use super::subject::Progress;
use super::subject::Stage;
use super::subject::Subject;
use super::target::Protocol;

/// How often the same is asked.
const TIMES: usize = 2;

/// The subject is asked so often whether to go on.
const TICK: Duration = Duration::from_millis(100);

/// The least patience with an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Learns the right answer to every form of request that the plan needs.
pub(super) fn learn(
    plan: &Plan,
    address: SocketAddr,
    requests: &mut Requests,
    subject: &mut dyn Subject,
) -> Result<[Option<Expected>; Form::ALL.len()], Error> {
    let mut all = [const { None }; Form::ALL.len()];
    for (form, expected) in Form::ALL.into_iter().zip(&mut all) {
        let is_needed = |kind: &Kind| Form::of(*kind) == form && plan.count(*kind) > 0;
        if !Kind::ALL.iter().any(is_needed) {
            continue;
        }
        for _ in 0..TIMES {
            let request = requests.next(form);
            let mut lesson = Lesson { plan, address, subject: &mut *subject, request };
            let learned = match plan.target.protocol() {
                Protocol::Http => lesson.http(expected),
                Protocol::Line | Protocol::Echo => lesson.echo(),
            };
            learned?;
        }
    }
    Ok(all)
}

/// One request and its answer.
struct Lesson<'a> {
    plan: &'a Plan,
    address: SocketAddr,
    subject: &'a mut dyn Subject,
    request: Vec<u8>,
}

impl Lesson<'_> {
    fn http(&mut self, expected: &mut Option<Expected>) -> Result<(), Error> {
        let mut response = Response::new(expected.is_none());
        let known = expected.clone();
        self.talk(|bytes| match bytes {
            None => Ok(response.feed_fin(known.as_ref())),
            Some(bytes) => match response.feed(bytes, known.as_ref()) {
                Reading::More => Ok(false),
                Reading::Complete(0) => Ok(true),
                Reading::Complete(_) => Err("answered with more than its headers announced"),
                Reading::Broken => Err("did not answer in HTTP/1"),
            },
        })?;
        let found = response.found();
        if found.status >= 500 || found.status == 429 {
            let why = format!("answered with the status {}", found.status);
            return Err(self.no_answer(&why));
        }
        match expected {
            Some(expected) => expected.add(&found),
            None => *expected = Some(Expected::new(&found, response.take_learned())),
        }
        Ok(())
    }

    fn echo(&mut self) -> Result<(), Error> {
        let request = self.request.clone();
        let mut got = 0_usize;
        self.talk(|bytes| {
            let Some(bytes) = bytes else { return Ok(false) };
            let end = got.saturating_add(bytes.len());
            if request.get(got..end) != Some(bytes) {
                return Err("did not answer with what it was sent");
            }
            got = end;
            Ok(got == request.len())
        })
    }

    /// Sends the request on a new connection and passes on what comes, `None` for the FIN, until
    /// the answer is whole.
    fn talk(
        &mut self,
        mut take: impl FnMut(Option<&[u8]>) -> Result<bool, &'static str>,
    ) -> Result<(), Error> {
        let patience = self.plan.settle.max(PATIENCE);
        let mut stream = TcpStream::connect_timeout(&self.address, patience)
            .map_err(|error| self.no_answer(&format!("cannot be connected to: {error}")))?;
        let prepared = stream
            .set_nodelay(true)
            .and_then(|()| stream.set_read_timeout(Some(TICK)))
            .and_then(|()| stream.set_write_timeout(Some(patience)))
            .and_then(|()| stream.write_all(&self.request));
        prepared.map_err(|error| self.no_answer(&format!("took no request: {error}")))?;
        let began = Instant::now();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let input = match stream.read(&mut buffer) {
                Ok(0) => None,
                Ok(count) => Some(buffer.get(..count).unwrap_or_default()),
                Err(error) if is_in_time(&error) && began.elapsed() < patience => {
                    self.tick(began)?;
                    continue;
                }
                Err(error) if is_in_time(&error) => {
                    let seconds = patience.as_secs();
                    return Err(self.no_answer(&format!("did not answer within {seconds} s")));
                }
                Err(error) => return Err(self.no_answer(&format!("did not answer: {error}"))),
            };
            let is_fin = input.is_none();
            match take(input) {
                Ok(true) => break,
                Ok(false) if is_fin => {
                    return Err(self.no_answer("closed the connection without a whole answer"));
                }
                Ok(false) => {}
                Err(why) => return Err(self.no_answer(why)),
            }
        }
        if let Err(error) = stream.shutdown(Shutdown::Write) {
            log::debug!("half-close: {error}");
        }
        Ok(())
    }

    fn tick(&mut self, began: Instant) -> Result<(), Error> {
        let progress = Progress {
            stage: Stage::Learning,
            elapsed: began.elapsed(),
            answered: 0,
            in_flight: 1,
            lost: 0,
            raced: 0,
        };
        if self.subject.tick(&progress) == Flow::Stop {
            return Err(Error::new(ErrorKind::Interrupted, "interrupted before the load began"));
        }
        Ok(())
    }

    fn no_answer(&mut self, why: &str) -> Error {
        if self.subject.is_gone() == Some(true) {
            let message = "the server ended by itself before it was stopped";
            return Error::new(ErrorKind::Ended, message);
        }
        let target = &self.plan.target;
        let message = format!("{target} {why}; is the target right, and the server ready?");
        Error::new(ErrorKind::NoAnswer, message)
    }
}

fn is_in_time(error: &io::Error) -> bool {
    use io::ErrorKind::Interrupted;
    use io::ErrorKind::TimedOut;
    use io::ErrorKind::WouldBlock;
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}
