//! The recent events of the agent, in memory.
//!
//! Role: remembers what an operator asks about first: what changed, when, and why. Time is an argument. Imports
//! nothing of ours.
//! Always holds: at most [`MAX_EVENTS`] events of bounded size, oldest first; numbers grow by one without gaps,
//! so that a reader knows what it missed.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// Events that are remembered; an older one makes room for a newer.
pub const MAX_EVENTS: usize = 1_024;

/// Longest subject or message, in bytes; the rest is cut off and replaced by an ellipsis.
pub const MAX_TEXT_BYTES: usize = 1_024;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EventKind {
    /// The agent started or is about to end.
    Agent,
    /// A backend was found to serve.
    BackendUp,
    /// A backend was found not to serve.
    BackendDown,
    /// A backend tells something else of itself, such as that it can be written to now.
    BackendChanged,
    /// A pool serves as it should again.
    PoolServes,
    /// A configuration took effect.
    ConfigApplied,
    /// A configuration was refused; the former one stays in effect.
    ConfigRefused,
    /// The datapath was attached, adopted, replaced or removed.
    Datapath,
    /// Something needs an operator.
    Alarm,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Number of the event, from 1, since the agent started.
    pub number: u64,
    /// When, in milliseconds since 1970-01-01 UTC.
    pub time_unix_ms: u64,
    /// What it is about.
    pub kind: EventKind,
    /// Who or what it happened to, such as `web/web-1` or `eth0`.
    pub subject: String,
    /// What happened and why, for people.
    pub message: String,
}

/// The ring of recent events, shared by whoever has something to tell.
#[derive(Default)]
pub struct EventLog {
    ring: Mutex<Ring>,
    /// Wakes those who wait for an event.
    news: Notify,
}

#[derive(Default)]
struct Ring {
    events: VecDeque<Event>,
    last_number: u64,
}

impl fmt::Debug for EventLog {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "EventLog {{ last_number: {} }}", self.ring().last_number)
    }
}

impl EventLog {
    /// An empty ring.
    pub fn new() -> Self {
        Self::default()
    }

    /// Remembers one event; returns its number.
    pub fn push(&self, now: SystemTime, kind: EventKind, subject: &str, message: &str) -> u64 {
        let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut ring = self.ring();
        ring.last_number += 1;
        let event = Event {
            number: ring.last_number,
            time_unix_ms: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
            kind,
            subject: bounded(subject),
            message: bounded(message),
        };
        while ring.events.len() >= MAX_EVENTS {
            ring.events.pop_front();
        }
        ring.events.push_back(event);
        let number = ring.last_number;
        drop(ring);
        self.news.notify_waiters();
        number
    }

    /// The events that are still remembered with a number above `number`, oldest first; 0 gives all.
    pub fn after(&self, number: u64) -> Vec<Event> {
        self.ring().events.iter().filter(|event| event.number > number).cloned().collect()
    }

    /// The events that a reader has not seen who has seen those up to number `seen`, which happened at `unix_time_ms` if it
    /// knows that; oldest first. All of them if there is no event of that number, or another: then the reader has seen
    /// those of an earlier life of the agent.
    pub fn unseen(&self, seen: u64, unix_time_ms: Option<u64>) -> Vec<Event> {
        let ring = self.ring();
        let last_seen = ring.events.iter().find(|event| event.number == seen);
        let is_another = last_seen.zip(unix_time_ms).is_some_and(|(event, time)| event.time_unix_ms != time);
        let from = if seen > ring.last_number || is_another { 0 } else { seen };
        ring.events.iter().filter(|event| event.number > from).cloned().collect()
    }

    /// The same; waits where there is none yet.
    pub async fn next(&self, seen: u64, unix_time_ms: Option<u64>) -> Vec<Event> {
        loop {
            // Made before the look, so that no event falls between the two.
            let news = self.news.notified();
            let events = self.unseen(seen, unix_time_ms);
            if !events.is_empty() {
                return events;
            }
            news.await;
        }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bounded(text: &str) -> String {
    const ELLIPSIS: &str = "…";
    if text.len() <= MAX_TEXT_BYTES {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(MAX_TEXT_BYTES - ELLIPSIS.len());
    text[..end].to_owned() + ELLIPSIS
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn push(log: &EventLog, message: &str) -> u64 {
        let now = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        log.push(now, EventKind::BackendDown, "web/web-1", message)
    }

    #[test]
    fn the_newest_events_are_kept_in_order() {
        let log = EventLog::new();
        let pushed = MAX_EVENTS as u64 + 10;
        for number in 1..=pushed {
            assert_eq!(push(&log, &format!("event {number}")), number);
        }
        let numbers: Vec<u64> = log.after(0).iter().map(|event| event.number).collect();
        assert_eq!(numbers, (11..=pushed).collect::<Vec<_>>());
        assert_eq!(log.after(0)[0].message, "event 11");
    }

    #[test]
    fn a_reader_goes_on_from_the_last_number_it_saw() {
        let log = EventLog::new();
        let seen = push(&log, "first");
        assert_eq!(log.after(seen), []);
        push(&log, "second");
        let new = log.after(seen);
        assert_eq!((new.len(), new[0].message.as_str()), (1, "second"));
        assert_eq!(log.after(u64::MAX), []);
    }

    #[test]
    fn a_reader_from_an_earlier_life_gets_everything() {
        let log = EventLog::new();
        let numbers = |events: Vec<Event>| events.iter().map(|event| event.number).collect::<Vec<_>>();
        assert_eq!(log.unseen(7, Some(1)), [], "there is nothing yet");
        assert_eq!((0..3).map(|_| push(&log, "x")).last(), Some(3));
        let time = Some(log.after(0)[0].time_unix_ms);
        assert_eq!(numbers(log.unseen(2, time)), [3]);
        assert_eq!(numbers(log.unseen(2, None)), [3]);
        assert_eq!(numbers(log.unseen(3, time)), [0; 0]);
        assert_eq!(numbers(log.unseen(0, None)), [1, 2, 3]);
        assert_eq!(numbers(log.unseen(4, None)), [1, 2, 3], "its number is yet to come");
        assert_eq!(numbers(log.unseen(2, Some(5))), [1, 2, 3], "its number happened at another time");
        let last = (0..MAX_EVENTS).map(|_| push(&log, "x")).last();
        assert_eq!(last, Some(3 + MAX_EVENTS as u64));
        assert_eq!(log.unseen(2, time).len(), MAX_EVENTS, "its last one is forgotten");
    }

    #[tokio::test]
    async fn one_who_waits_gets_what_comes_next() {
        let log = std::sync::Arc::new(EventLog::new());
        push(&log, "first");
        assert_eq!(log.next(0, None).await.len(), 1);
        let waiting = tokio::spawn({
            let log = log.clone();
            async move { log.next(1, None).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        push(&log, "second");
        assert_eq!(waiting.await.unwrap()[0].message, "second");
    }

    #[test]
    fn json_has_the_fields_that_readers_rely_on_and_comes_back_whole() {
        let log = EventLog::new();
        push(&log, "refused");
        let events = log.after(0);
        let json = serde_json::to_value(&events[0]).unwrap();
        let expected = serde_json::json!({
            "number": 1, "time_unix_ms": 1_700_000_000_123_u64, "kind": "backend-down",
            "subject": "web/web-1", "message": "refused",
        });
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_value::<Event>(json).unwrap(), events[0]);
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let log = EventLog::new();
        push(&log, &"ä".repeat(MAX_TEXT_BYTES));
        push(&log, &"x".repeat(MAX_TEXT_BYTES));
        let events = log.after(0);
        assert!(events[0].message.len() <= MAX_TEXT_BYTES && events[0].message.ends_with("ä…"));
        assert_eq!(events[1].message, "x".repeat(MAX_TEXT_BYTES), "as long as may be");
    }

    #[test]
    fn threads_share_one_numbering() {
        let log = EventLog::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..100).map(|_| push(&log, "x")).max());
            }
        });
        let numbers: Vec<u64> = log.after(0).iter().map(|event| event.number).collect();
        assert_eq!(numbers, (1..=400).collect::<Vec<_>>());
    }
}
