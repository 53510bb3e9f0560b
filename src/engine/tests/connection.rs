//! A connection against the model: one step from each state with every answer, and long lives.

use proptest::prelude::*;

use super::model::{BUFFER, Model};
use super::script::{Actor, Answer, Script};
use crate::engine::closing::{Proof, Settlement};
use crate::engine::connection::Connection;
use crate::engine::deadline::Tick;
use crate::engine::dialogue::{Flow, IoContext, Shared};
use crate::engine::echo::Open;
use crate::engine::lists::Place;
use crate::engine::pipe::Pipes;
use crate::engine::report::{ByteCounts, CloseReason};
use crate::protocol::Echo;
use crate::token::Readiness;

const ANSWERS: [Answer; 9] = [
    Answer::Some(3),
    Answer::All,
    Answer::Zero,
    Answer::Block,
    Answer::Interrupt,
    Answer::NoBuffers,
    Answer::Reset,
    Answer::Lost,
    Answer::Some(BUFFER - 1),
];

/// Every combination of what a poll can say.
fn all_readiness() -> impl Iterator<Item = Readiness> {
    let flags = [
        Readiness::READABLE,
        Readiness::WRITABLE,
        Readiness::CLOSED,
        Readiness::ERROR,
        Readiness::PRIORITY,
    ];
    (0..1 << flags.len()).map(move |bits: u32| {
        let said = flags.into_iter().enumerate().filter(|(place, _)| bits & (1 << place) != 0);
        said.fold(Readiness::NONE, |all, (_, flag)| all | flag)
    })
}

/// A connection and its model, side by side.
struct Pair {
    connection: Connection<Actor<false>>,
    model: Model,
    bytes: ByteCounts,
    pipes: Pipes<Vec<u8>>,
    shared: Shared<Echo>,
}

#[derive(Clone, Copy, Debug)]
struct Pump {
    said: Readiness,
    probe: bool,
    budget: usize,
    room: usize,
}

const PLENTY: Pump =
    Pump { said: Readiness::READABLE, probe: false, budget: 1 << 20, room: usize::MAX };

impl Pair {
    fn new() -> Self {
        let actor = Actor::new(Script::default());
        Self {
            connection: Connection::new(
                actor,
                1,
                0,
                Tick::default(),
                Open::new(Place::SERVED, false),
            ),
            model: Model::new(),
            bytes: ByteCounts::default(),
            pipes: Pipes::new(),
            shared: Shared::new(Echo),
        }
    }

    fn play(&mut self, reads: &[Answer], writes: &[Answer]) -> Script {
        let reads = reads.iter().copied().collect();
        let writes = writes.iter().copied().collect();
        let script = Script { reads, writes, ..Script::default() };
        self.connection.stream_mut().script = script.clone();
        script
    }

    fn work<T>(
        &mut self,
        budget: usize,
        room: usize,
        act: impl FnOnce(&mut Connection<Actor<false>>, &mut IoContext<'_, Vec<u8>, Echo>) -> T,
    ) -> T {
        let mut io = IoContext {
            buffer: &mut [0; BUFFER],
            pipes: &mut self.pipes,
            budget,
            room,
            segment: 0,
            mark: Tick::default(),
            bytes: &mut self.bytes,
            requests: &mut None,
            shared: &mut self.shared,
        };
        act(&mut self.connection, &mut io)
    }

    #[track_caller]
    fn pump(&mut self, pump: Pump, mut script: Script) -> Flow {
        let Pump { said, probe, budget, room } = pump;
        let flow = self.work(budget, room, |connection, io| connection.pump(said, probe, io));
        assert_eq!(flow, self.model.pump(said, probe, budget, room, &mut script), "{pump:?}");
        self.compare(&script, flow);
        flow
    }

    #[track_caller]
    fn finish(&mut self, mut script: Script) -> Flow {
        let reason = CloseReason::Drained;
        let flow = self.work(64, usize::MAX, |connection, io| connection.finish(reason, io));
        assert_eq!(flow, self.model.finish(64, &mut script));
        self.compare(&script, flow);
        flow
    }

    #[track_caller]
    fn compare(&mut self, script: &Script, flow: Flow) {
        if !matches!(flow, Flow::Close(_) | Flow::Ended) {
            let paid = self.model.is_open() && self.model.owed == 0;
            assert_eq!(self.connection.is_flushed(), paid);
            assert_eq!(self.connection.is_dry(), paid && self.model.is_dry);
        }
        self.compare_streams(script);
    }

    /// Whether both asked for the same, and nothing was made up.
    #[track_caller]
    fn compare_streams(&mut self, script: &Script) {
        let actor = self.connection.stream_mut();
        assert_eq!((&actor.script.reads, &actor.script.writes), (&script.reads, &script.writes));
        assert!(actor.is_echo());
    }

    #[track_caller]
    fn close(mut self, reason: CloseReason) {
        let proof = if reason == CloseReason::ForcedLossy { Proof::Reset } else { Proof::None };
        let closing = {
            let settlement = Settlement {
                bytes: &mut self.bytes,
                requests: &mut None,
                shared: &mut self.shared,
                pipes: &mut self.pipes,
                kernel: &mut (),
            };
            self.connection.close(0, reason, proof, settlement)
        };
        let (bytes, reset) = self.model.close(reason);
        let actor = self.connection.stream_mut();
        let total = ByteCounts { written: self.bytes.written, ..bytes };
        assert_eq!((closing.bytes, self.bytes), (bytes, total), "{reason}");
        assert_eq!(self.bytes.written, bytes.written);
        assert_eq!(bytes.read, bytes.written + bytes.late + bytes.unsent + bytes.peer_aborted);
        let taken = bytes.written + closing.destroyed;
        assert_eq!((actor.given as u64, actor.taken.len() as u64), (bytes.read, taken));
        assert_eq!(actor.is_reset, reset);
        assert_eq!(self.connection.place(), Place::CLOSED);
        let script = self.play(&[], &[]);
        assert_eq!(self.pump(PLENTY, script), Flow::Wait);
    }
}

/// Every state in which a connection rests between two calls.
fn states() -> Vec<fn() -> Pair> {
    let ready = || {
        let mut pair = Pair::new();
        assert_eq!(pair.pump(Pump { budget: 0, ..PLENTY }, Script::default()), Flow::Again);
        pair
    };
    let dry_and_owing = || {
        let mut pair = Pair::new();
        let script = pair.play(&[Answer::Some(5)], &[Answer::Block]);
        assert_eq!(pair.pump(PLENTY, script), Flow::Wait);
        pair
    };
    let ready_and_owing = || {
        let mut pair = Pair::new();
        let script = pair.play(&[Answer::Some(5)], &[Answer::Some(1)]);
        assert_eq!(pair.pump(Pump { said: Readiness::CLOSED, ..PLENTY }, script), Flow::Wait);
        pair
    };
    let lingering = || {
        let mut pair = Pair::new();
        assert_eq!(pair.finish(Script::default()), Flow::Wait);
        pair
    };
    let late = || {
        let mut pair = Pair::new();
        pair.pump(Pump { budget: 0, ..PLENTY }, Script::default());
        let script = pair.play(&[Answer::Some(5)], &[]);
        assert_eq!(pair.finish(script), Flow::Wait);
        pair
    };
    vec![Pair::new, ready, dry_and_owing, ready_and_owing, lingering, late]
}

/// An answer as a script plays it: an interruption only counts if it goes on.
fn go_on(answer: Answer) -> Vec<Answer> {
    vec![answer; if answer == Answer::Interrupt { 8 } else { 1 }]
}

#[test]
fn every_state_meets_every_event_and_every_answer() {
    for state in states() {
        for said in all_readiness() {
            for probe in [false, true] {
                for (budget, room) in [(64, usize::MAX), (0, usize::MAX), (64, 0), (1, 1 << 20)] {
                    for read in ANSWERS {
                        for write in ANSWERS {
                            let mut pair = state();
                            let script = pair.play(&go_on(read), &go_on(write));
                            let flow = pair.pump(Pump { said, probe, budget, room }, script);
                            match flow {
                                Flow::Close(reason) => pair.close(reason),
                                Flow::Ended => pair.close(CloseReason::PeerClosed),
                                _ => pair.close(CloseReason::IdleTimeout),
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn every_state_is_finished_and_cut_with_every_answer() {
    for state in states() {
        for read in ANSWERS {
            for write in ANSWERS {
                state().close(CloseReason::ForcedLossy);
                let mut pair = state();
                let mut script = pair.play(&go_on(read), &[]);
                if !matches!(write, Answer::Block | Answer::Interrupt | Answer::NoBuffers) {
                    script.shutdown = Some(write);
                    pair.connection.stream_mut().script.shutdown = Some(write);
                }
                if let Flow::Close(reason) = pair.finish(script) {
                    pair.close(reason);
                }
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Pump(Pump),
    Finish,
    Cut,
}

fn answers(zero: bool) -> impl Strategy<Value = Vec<Answer>> {
    let one = prop_oneof![
        6 => (1..BUFFER).prop_map(Answer::Some),
        6 => Just(Answer::All),
        4 => Just(Answer::Block),
        3 => Just(Answer::Interrupt),
        1 => Just(Answer::NoBuffers),
        1 => prop_oneof![
            Just(Answer::Reset),
            Just(Answer::Lost),
            Just(if zero { Answer::Zero } else { Answer::All }),
        ],
    ];
    prop::collection::vec(one, 0..12)
}

fn steps() -> impl Strategy<Value = (Step, Vec<Answer>, Vec<Answer>)> {
    let said = prop::sample::select(all_readiness().collect::<Vec<_>>());
    let room = prop_oneof![5 => Just(usize::MAX), 1 => Just(0)];
    let pump = (said, any::<bool>(), 0_usize..40, room)
        .prop_map(|(said, probe, budget, room)| Step::Pump(Pump { said, probe, budget, room }));
    let step = prop_oneof![20 => pump, 1 => Just(Step::Finish), 1 => Just(Step::Cut)];
    (step, answers(true), answers(false))
}

proptest! {
    // A failure prints its steps; nothing is to be left behind in the tree.
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 1_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_life_goes_as_the_model_says(life in prop::collection::vec(steps(), 0..40)) {
        let mut pair = Pair::new();
        for (step, reads, writes) in life {
            let script = pair.play(&reads, &writes);
            let flow = match step {
                Step::Pump(pump) => pair.pump(pump, script),
                Step::Finish => pair.finish(script),
                Step::Cut => Flow::Close(CloseReason::ForcedLossy),
            };
            match flow {
                Flow::Close(reason) => {
                    pair.close(reason);
                    return Ok(());
                }
                Flow::Finish(_) => panic!("the echo never ends a connection"),
                Flow::Ended => {
                    pair.close(CloseReason::PeerClosed);
                    return Ok(());
                }
                Flow::Wait | Flow::Again | Flow::Pause => {}
            }
        }
        pair.close(CloseReason::IdleTimeout);
    }
}
