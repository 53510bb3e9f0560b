//! What types promise: checked by the compiler, here and for good.

use std::fmt::Debug;

use netgrace::{
    ByteCounts, Cause, CloseReason, Closed, Config, ConnectionCounts, Drain, Error, ErrorKind,
    EventLoop, EventLoopBuilder, Grade, HalfOpen, HostWaker, ListenSocket, ListenerId, Observer,
    Ownership, Phase, PhaseTimes, Readiness, Report, Server, ShutdownHandle, Stats, TokenRange,
    TurnTimes,
};

const fn is_send<T: Send + 'static>() {}
const fn is_shared<T: Send + Sync + 'static>() {}
const fn is_cloned<T: Clone + Send + Sync + Debug + 'static>() {}
const fn is_copied<T: Copy + Eq + Send + Sync + Debug + 'static>() {}
const fn is_error<T: std::error::Error + Send + Sync + 'static>() {}
const fn is_debug<T: Debug>() {}

const _: () = {
    is_send::<Server>();
    is_send::<EventLoop>();
    is_debug::<Server>();
    is_debug::<EventLoop>();
    is_cloned::<ShutdownHandle>();
    is_cloned::<HostWaker>();
    is_cloned::<EventLoopBuilder>();
    is_send::<ListenSocket>();
    is_debug::<ListenSocket>();
    is_cloned::<Report>();
    is_cloned::<Config>();
    is_cloned::<Cause>();
    is_error::<Error>();
    is_shared::<std::io::Error>();
    is_copied::<ErrorKind>();
    is_copied::<Stats>();
    is_copied::<Closed>();
    is_copied::<TokenRange>();
    is_copied::<ListenerId>();
    is_copied::<Ownership>();
    is_copied::<HalfOpen>();
    is_copied::<TurnTimes>();
    is_copied::<Readiness>();
    is_copied::<Phase>();
    is_copied::<PhaseTimes>();
    is_copied::<Grade>();
    is_copied::<CloseReason>();
    is_copied::<ByteCounts>();
    is_copied::<ConnectionCounts>();
    is_copied::<Drain>();
};

#[cfg(feature = "signals")]
const _: () = {
    is_send::<netgrace::Signals>();
    is_debug::<netgrace::Signals>();
};

#[test]
fn an_observer_may_be_a_trait_object_that_does_nothing() {
    struct Nothing;
    impl Observer for Nothing {}
    let observer: Box<dyn Observer + Send> = Box::new(Nothing);
    drop(observer);
}

#[test]
fn an_error_becomes_an_io_error_of_the_same_kind() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let error = Server::bind(taken.local_addr().unwrap(), Config::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bind);
    let text = error.to_string();
    assert!(text.contains(&taken.local_addr().unwrap().to_string()), "{text}");
    assert!(std::error::Error::source(&error).is_some());
    let kind = error.io_error().map(std::io::Error::kind);
    assert_eq!(kind, Some(std::io::ErrorKind::AddrInUse));
    let error = std::io::Error::from(error);
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert_eq!(error.to_string(), text);

    let error = Server::bind("127.0.0.1:0".parse().unwrap(), Config::new().max_connections(0));
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("max_connections 0"), "{error}");
    assert!(error.io_error().is_none());
    assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::InvalidInput);
}

#[test]
fn what_is_printed_of_the_public_values_is_one_line() {
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), Config::new()).unwrap();
    let handle = server.shutdown_handle(HostWaker::none());
    for text in [format!("{server:?}"), format!("{handle:?}"), format!("{:?}", server.report())] {
        assert!(!text.is_empty() && !text.contains('\n'), "{text}");
    }
    let event_loop = EventLoop::new(server).unwrap();
    assert!(format!("{event_loop:?}").contains("Running"));
}
