//! `lbctl events --follow`.
//!
//! Role: prints the last events, then new ones as they come. Imports `api` only.
//! Always holds: each event is printed once and whole, in the order of the agent; an agent that is gone is asked again
//! every [`PAUSE`] for as long as nobody interrupts; the end of the reader is noticed within [`WAIT`] and one call.

use std::io::{self, Write};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::time::Instant;

use super::args::Output;
use super::drain::may_pass;
use super::exit::{CliError, to_stderr};
use super::render::events;
use super::render::text::plain;
use crate::api::client::Client;
use crate::api::control::Seen;
use crate::api::types::Event;

/// Time that the agent is asked to wait for an event.
pub const WAIT: Duration = Duration::from_secs(5);

/// Time before an agent that did not answer, or that did not wait, is asked again.
pub const PAUSE: Duration = Duration::from_secs(1);

/// An empty answer that comes sooner than this is one of an agent that does not wait, for it is about to end.
const SOON: Duration = Duration::from_millis(100);

/// Where events go.
pub trait Screen {
    /// Prints results. False if nobody reads them any more.
    ///
    /// # Errors
    /// When they cannot be written for another reason.
    fn print(&mut self, text: &str) -> Result<bool, CliError>;

    /// Whether somebody reads them still.
    fn is_read(&self) -> bool;

    /// Tells what is not a result.
    fn tell(&mut self, text: &str);
}

/// Stdout and stderr of this process.
pub struct Terminal;

impl Screen for Terminal {
    fn print(&mut self, text: &str) -> Result<bool, CliError> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(CliError::Output(error)),
        }
    }

    fn is_read(&self) -> bool {
        let stdout = io::stdout();
        let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
        // What cannot be asked is found out at the next line.
        let asked = poll(&mut watched, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        asked.is_err() || !watched[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
    }

    fn tell(&mut self, text: &str) {
        to_stderr(text);
    }
}

/// Prints the last `limit` events and then new ones, until nobody reads them any more.
///
/// # Errors
/// When the agent cannot be reached at the start, or refuses, or the events cannot be written.
pub async fn follow(
    client: &Client,
    limit: u32,
    output: Output,
    screen: &mut dyn Screen,
) -> Result<(), CliError> {
    let first = client.events(limit).await?;
    let mut follower = Follower { output, screen, seen: Seen::default(), is_away: false };
    if !follower.begin(&first)? {
        return Ok(());
    }
    loop {
        let asked = Instant::now();
        match client.events_after(follower.seen, WAIT).await.map_err(CliError::from) {
            Ok(events) => {
                follower.is_back();
                if !follower.go_on(&events)? {
                    return Ok(());
                }
                if events.is_empty() && asked.elapsed() < SOON {
                    tokio::time::sleep(PAUSE).await;
                }
            }
            Err(error) if may_pass(&error) => {
                follower.lost(&error);
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(error),
        }
        if !follower.screen.is_read() {
            return Ok(());
        }
    }
}

/// What was printed, and how.
struct Follower<'a> {
    output: Output,
    screen: &'a mut dyn Screen,
    seen: Seen,
    /// Whether the agent did not answer when it was last asked.
    is_away: bool,
}

impl Follower<'_> {
    fn begin(&mut self, first: &[Event]) -> Result<bool, CliError> {
        match self.output {
            Output::Table => Ok(self.screen.print(&events::head())? && self.print(first)?),
            Output::Json => self.print(first),
        }
    }

    /// Prints what came after what was seen. False if nobody reads it.
    fn go_on(&mut self, events: &[Event]) -> Result<bool, CliError> {
        let before = self.seen.number;
        match events.first().map(|event| event.sequence) {
            Some(first) if first <= before => self.tell("lbd was started anew; its events begin again"),
            Some(first) if before > 0 && first > before + 1 => {
                let missed = first - before - 1;
                self.tell(&format!("{missed} events were forgotten by lbd before they could be shown"));
            }
            Some(_) | None => {}
        }
        self.print(events)
    }

    fn print(&mut self, events: &[Event]) -> Result<bool, CliError> {
        let Some(last) = events.last() else { return Ok(true) };
        let mut text = String::new();
        for event in events {
            match self.output {
                Output::Table => text += &events::line(event),
                Output::Json => text = text + &serde_json::to_string(event)? + "\n",
            }
        }
        self.seen = Seen { number: last.sequence, unix_time_ms: Some(last.unix_time_ms) };
        self.screen.print(&text)
    }

    fn lost(&mut self, error: &CliError) {
        if std::mem::replace(&mut self.is_away, true) {
            return;
        }
        match self.output {
            Output::Table => {
                self.tell(&format!("{error}; trying again every {}", humantime::format_duration(PAUSE)));
            }
            Output::Json => self.screen.tell(&error.render(Output::Json)),
        }
    }

    fn is_back(&mut self) {
        if std::mem::replace(&mut self.is_away, false) {
            self.tell("lbd answers again");
        }
    }

    /// A sentence for people. Programs see from the numbers of the events what it would say.
    fn tell(&mut self, sentence: &str) {
        if self.output == Output::Table {
            self.screen.tell(&format!("warning: {}\n", plain(sentence)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::EventLevel;

    /// Remembers what is printed; nobody reads more than `reads` pieces.
    struct Paper {
        printed: String,
        told: String,
        reads: usize,
    }

    impl Screen for Paper {
        fn print(&mut self, text: &str) -> Result<bool, CliError> {
            self.printed += text;
            self.reads = self.reads.saturating_sub(1);
            Ok(self.reads > 0)
        }

        fn is_read(&self) -> bool {
            self.reads > 0
        }

        fn tell(&mut self, text: &str) {
            self.told += text;
        }
    }

    fn events(sequences: impl IntoIterator<Item = u64>) -> Vec<Event> {
        let event = |sequence| Event {
            sequence,
            unix_time_ms: 1_000 + sequence,
            level: EventLevel::Info,
            kind: "agent".into(),
            subject: None,
            message: format!("number {sequence}"),
        };
        sequences.into_iter().map(event).collect()
    }

    fn on_paper(output: Output, steps: impl FnOnce(&mut Follower<'_>)) -> (String, String) {
        let mut paper = Paper { printed: String::new(), told: String::new(), reads: usize::MAX };
        steps(&mut Follower { output, screen: &mut paper, seen: Seen::default(), is_away: false });
        (paper.printed, paper.told)
    }

    #[test]
    fn events_are_lines_under_one_head() {
        let (printed, told) = on_paper(Output::Table, |follower| {
            assert!(follower.begin(&events(1..=2)).unwrap());
            assert!(follower.go_on(&[]).unwrap());
            assert!(follower.go_on(&events([3])).unwrap());
            assert_eq!(follower.seen, Seen { number: 3, unix_time_ms: Some(1_003) });
        });
        let messages: Vec<&str> =
            printed.lines().map(|line| line.rsplit_once("  ").unwrap().1.trim()).collect();
        assert_eq!(messages, ["MESSAGE", "number 1", "number 2", "number 3"]);
        assert_eq!(told, "");
    }

    #[test]
    fn in_json_each_event_is_a_line() {
        let (printed, told) = on_paper(Output::Json, |follower| {
            assert!(follower.begin(&events([1])).unwrap());
            assert!(follower.go_on(&events([1, 2])).unwrap());
        });
        let read: Vec<Event> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read, events([1, 1, 2]));
        assert_eq!(told, "");
    }

    #[test]
    fn a_new_life_of_the_agent_and_a_gap_are_told() {
        let (_, told) = on_paper(Output::Table, |follower| {
            follower.begin(&events([7])).unwrap();
            follower.go_on(&events([8])).unwrap();
            follower.go_on(&events([1, 2])).unwrap();
            follower.go_on(&events([6])).unwrap();
        });
        let wanted = "warning: lbd was started anew; its events begin again\n\
                      warning: 3 events were forgotten by lbd before they could be shown\n";
        assert_eq!(told, wanted);
    }

    #[test]
    fn an_agent_that_is_gone_is_told_of_once() {
        let gone = CliError::Client(crate::api::client::ClientError::NoSocket { socket: "/s".into() });
        let (_, told) = on_paper(Output::Table, |follower| {
            follower.is_back();
            follower.lost(&gone);
            follower.lost(&gone);
            follower.is_back();
            follower.is_back();
        });
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines.len(), 2, "{told}");
        assert!(lines[0].starts_with("warning: lbd is not running (no socket at /s)"), "{told}");
        assert!(lines[0].ends_with("trying again every 1s"), "{told}");
        assert_eq!(lines[1], "warning: lbd answers again");

        let (_, told) = on_paper(Output::Json, |follower| {
            follower.lost(&gone);
            follower.is_back();
        });
        assert!(told.contains("\"code\": \"agent_unreachable\""), "{told}");
    }

    #[test]
    fn nothing_is_printed_for_nobody() {
        let mut paper = Paper { printed: String::new(), told: String::new(), reads: 1 };
        let mut follower =
            Follower { output: Output::Table, screen: &mut paper, seen: Seen::default(), is_away: false };
        assert!(!follower.begin(&events([1])).unwrap());
        assert_eq!(paper.printed.lines().count(), 1);
    }
}
