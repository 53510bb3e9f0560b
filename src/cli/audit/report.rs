//! The report for people.

use std::time::Duration;

use super::advice;
use super::outcome::Outcome;
use super::server::Stop;
use crate::cli::units;
use netgrace::audit::Audit;
use netgrace::audit::Class;
use netgrace::audit::Counts;
use netgrace::audit::KindCounts;
use netgrace::audit::Verdict;

/// Columns of text.
const WIDTH: usize = 96;
/// Where the second column begins.
const INDENT: usize = 11;

/// Returns the whole report.
pub(crate) fn report(outcome: &Outcome) -> String {
    let mut lines = vec![format!("netgrace audit   {}", header(outcome)), String::new()];
    if let Some(audit) = &outcome.audit {
        for kind in &audit.kinds {
            lines.push(kind_line(kind));
        }
        lines.push(times(outcome, audit));
        notes(outcome, audit, &mut lines);
        lines.push(String::new());
        result(outcome, audit, &mut lines);
    }
    for failure in outcome.failures() {
        paragraph("Failed", &failure, &mut lines);
    }
    if outcome.is_interrupted {
        paragraph("Ended", "interrupted; the counts are of what had been seen by then", &mut lines);
    }
    if let Some(error) = &outcome.error {
        paragraph("Error", error, &mut lines);
    }
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

fn header(outcome: &Outcome) -> String {
    let stop = match &outcome.stop {
        Stop::Signal(signal) => format!("stopped by {signal}"),
        Stop::Command(command) => format!("stopped by '{command}'"),
    };
    let times = match outcome.repeat {
        1 => String::new(),
        repeat => format!("   {} of {repeat} stops", outcome.stops),
    };
    format!("{}   {stop}{times}", outcome.target)
}

/// `new        1203 started: 1193 answered, 10 refused`.
fn kind_line(kind: &KindCounts) -> String {
    let name = kind.kind.name();
    let classes = classes(&kind.classes);
    let separator = if classes.is_empty() { "" } else { ": " };
    format!("{name:INDENT$}{:>7} requests{separator}{classes}", kind.started)
}

/// The classes that are not zero.
fn classes(counts: &Counts) -> String {
    let some = Class::ALL.into_iter().filter(|class| counts.get(*class) > 0);
    some.map(|class| format!("{} {class}", counts.get(class))).collect::<Vec<_>>().join(", ")
}

fn times(outcome: &Outcome, audit: &Audit) -> String {
    let since = |time: Option<Duration>, never: &str| match time {
        Some(time) => format!("+{}", units::approximate_duration(time)),
        None => never.to_owned(),
    };
    let times = &audit.times;
    let exit = match (times.exit, outcome.is_watched) {
        (None, false) => "not watched".to_owned(),
        (exit, _) => since(exit, "not yet"),
    };
    let code = match outcome.exit_code {
        Some(code) => format!(" (code {code})"),
        None => String::new(),
    };
    format!(
        "{:INDENT$}listener closed {}, last answer {}, gap {}, exit {exit}{code}",
        "times",
        since(times.listener_closed, "never"),
        since(times.last_answer, "none"),
        units::approximate_duration(times.gap),
    )
}

fn notes(outcome: &Outcome, audit: &Audit, lines: &mut Vec<String>) {
    let mut note = |text: &str| paragraph("note", text, lines);
    if [audit.announced, audit.closed_idle, audit.reset_idle].iter().any(|count| *count > 0) {
        note(&format!(
            "{} answers announced the end; without a request {} connections were closed and {} \
             reset",
            audit.announced, audit.closed_idle, audit.reset_idle
        ));
    }
    if audit.before.total() > 0 {
        note(&format!("before the stop already: {}", classes(&audit.before)));
    }
    let unusual = audit.statuses.iter().any(|status| *status != 200);
    if unusual {
        let statuses: Vec<_> = audit.statuses.iter().map(u16::to_string).collect();
        note(&format!("the right answer has the status {}", statuses.join(" or ")));
    }
    if audit.bodies_differ {
        note("the body differs from answer to answer: status and framing alone were compared");
    }
    if audit.is_queue_left_out {
        note("no queued clients: the process cannot be frozen by us");
    }
    if !audit.paused.is_zero() {
        let paused = units::approximate_duration(audit.paused);
        note(&format!(
            "the audit itself stood still for {paused}, which no time above contains; {} failed \
             requests of that time are not counted",
            audit.left_out
        ));
    }
    if outcome.repeat > 1 {
        note("counts are sums of all stops, times are the worst of them");
    }
}

fn result(outcome: &Outcome, audit: &Audit, lines: &mut Vec<String>) {
    let verdict = audit.verdict();
    let name = verdict.name().to_uppercase();
    let all: u64 = audit.kinds.iter().fold(0, |sum, kind| sum.saturating_add(kind.started));
    let text = match verdict {
        Verdict::Lossless => format!("{name}: of {all} requests none was lost and none raced"),
        Verdict::Racy => {
            format!("{name}: of {all} requests none was lost, {} raced", audit.raced())
        }
        _ => format!("{name}: {} of {all} requests lost, {} raced", audit.lost(), audit.raced()),
    };
    paragraph("Result", &text, lines);
    if let Some(bound) = outcome.bound() {
        let percent = format!("{:.3}", bound * 100.0);
        let percent = percent.trim_end_matches('0').trim_end_matches('.');
        let text = format!(
            "0 of {} stops lost or raced a request: at most {percent} % of all stops do, at 95 % \
             confidence",
            outcome.stops
        );
        paragraph("", &text, lines);
    }
    let counts = audit.classes();
    for class in Class::ALL {
        if let Some(sentence) = advice::sentence(class).filter(|_| counts.get(class) > 0) {
            paragraph("", &format!("{} {class}: {sentence}", counts.get(class)), lines);
        }
    }
}

/// Adds a text with its name in the first column, broken into lines.
fn paragraph(name: &str, text: &str, lines: &mut Vec<String>) {
    let mut line = format!("{name:INDENT$}");
    let mut is_empty = true;
    for word in text.split_whitespace() {
        let length = line.chars().count().saturating_add(word.chars().count());
        if !is_empty && length >= WIDTH {
            lines.push(line.trim_end().to_owned());
            line = " ".repeat(INDENT);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    lines.push(line);
}
