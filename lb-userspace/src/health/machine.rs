//! The health of one target as a state machine with hysteresis.
//!
//! Role: turns probe results into transitions. Does no IO and reads no clock: time is an argument. Imports the
//! probes' error type only.
//! Always holds: a state changes only at an event; a change is reported exactly once, as a [`Transition`].
//!
//! | state   | good                         | bad                            | inconclusive |
//! |---------|------------------------------|--------------------------------|--------------|
//! | unknown | up at once                   | down at `fall` bad in a row    | stays        |
//! | up      | stays                        | down at `fall` bad in a row    | stays        |
//! | down    | up at `rise` good in a row   | stays                          | stays        |
//! | held    | stays                        | stays                          | stays        |
//!
//! Held is down after too many falls ([`Damper`]): when it is over, the machine is down as any other, and its next good
//! result finds the run that it has.
//!
//! Unknown goes up at the first good result so that a starting node serves at once, and needs `fall` bad ones
//! to go down so that one lost packet at the start takes nothing out of service. An inconclusive result (the
//! node could not ask, see [`ProbeError::is_inconclusive`]) says nothing about the target: it neither counts
//! nor breaks a run.

use std::fmt;
use std::time::{Duration, Instant};

use super::damping::Damper;
use super::probe::ProbeError;

/// What is known about a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// Too few results to say. Never returned to once left; it is for the agent to decide what to do with it.
    Unknown,
    /// Serves.
    Up,
    /// Does not serve.
    Down,
}

impl fmt::Display for Health {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        })
    }
}

/// One result of a probe, as the machine sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The target answered as it should, after `latency`.
    Good {
        /// Time from the start of the probe to the answer.
        latency: Duration,
    },
    /// The target did not answer as it should.
    Bad(ProbeError),
    /// The node could not ask.
    Inconclusive(ProbeError),
}

impl From<Result<Duration, ProbeError>> for Event {
    fn from(result: Result<Duration, ProbeError>) -> Self {
        match result {
            Ok(latency) => Self::Good { latency },
            Err(error) if error.is_inconclusive() => Self::Inconclusive(error),
            Err(error) => Self::Bad(error),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good { latency } => write!(out, "answered in {latency:.1?}"),
            Self::Bad(error) | Self::Inconclusive(error) => error.fmt(out),
        }
    }
}

/// An event and when it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastResult {
    /// When the probe ended.
    pub at: Instant,
    /// What it found.
    pub event: Event,
}

/// A change of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The former state.
    pub from: Health,
    /// The new state; never equal to `from`.
    pub to: Health,
    /// Why, for people.
    pub reason: String,
    /// When the deciding result came in.
    pub at: Instant,
    /// Time spent in the former state.
    pub lasted: Duration,
}

/// Results of the same sense in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streak {
    /// No result yet.
    None,
    /// This many good results.
    Good(u32),
    /// This many bad results.
    Bad(u32),
}

/// Results since the machine was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Good results.
    pub good: u64,
    /// Bad results.
    pub bad: u64,
    /// Results that said nothing about the target.
    pub inconclusive: u64,
}

/// All that a machine knows; what is shown to operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The state.
    pub health: Health,
    /// Since when; the making of the machine if it never changed.
    pub since: Instant,
    /// Good or bad results in a row.
    pub streak: Streak,
    /// Results so far.
    pub counts: Counts,
    /// The latest result of any kind.
    pub last_result: Option<LastResult>,
    /// Latency of the latest good result.
    pub last_latency: Option<Duration>,
}

/// The state machine of one target.
#[derive(Clone, Debug)]
pub struct Machine {
    rise: u32,
    fall: u32,
    damper: Option<Damper>,
    status: Status,
}

impl Machine {
    /// A machine in state `initial` since `now`, with no results.
    ///
    /// `rise` good results in a row bring it up, `fall` bad ones take it down; 0 counts as 1.
    pub fn new(rise: u32, fall: u32, initial: Health, now: Instant) -> Self {
        let status = Status {
            health: initial,
            since: now,
            streak: Streak::None,
            counts: Counts::default(),
            last_result: None,
            last_latency: None,
        };
        Self { rise: rise.max(1), fall: fall.max(1), damper: None, status }
    }

    /// The same with flap damping.
    #[must_use]
    pub fn damped(mut self, now: Instant) -> Self {
        self.damper = Some(Damper::new(now));
        self
    }

    /// Time until it may come up again although it answers; zero if it is not held for flapping.
    pub fn held_for(&self, now: Instant) -> Duration {
        self.damper.map_or(Duration::ZERO, |damper| damper.held_for(now))
    }

    /// The state.
    pub fn health(&self) -> Health {
        self.status.health
    }

    /// All that is known.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Takes one result in; returns the change it makes, if any.
    pub fn on_event(&mut self, event: Event, now: Instant) -> Option<Transition> {
        self.count(&event);
        let to = self.next_health(&event, now);
        let transition = (to != self.status.health).then(|| self.change(to, &event, now));
        self.status.last_result = Some(LastResult { at: now, event });
        transition
    }

    fn count(&mut self, event: &Event) {
        let status = &mut self.status;
        match (event, status.streak) {
            (Event::Good { latency }, streak) => {
                let run = if let Streak::Good(run) = streak { run } else { 0 };
                status.streak = Streak::Good(run.saturating_add(1));
                status.counts.good += 1;
                status.last_latency = Some(*latency);
            }
            (Event::Bad(_), streak) => {
                let run = if let Streak::Bad(run) = streak { run } else { 0 };
                status.streak = Streak::Bad(run.saturating_add(1));
                status.counts.bad += 1;
            }
            (Event::Inconclusive(_), _) => status.counts.inconclusive += 1,
        }
    }

    /// The table at the head of this module.
    fn next_health(&mut self, event: &Event, now: Instant) -> Health {
        let is_held = self.damper.as_mut().is_some_and(|damper| damper.holds(now));
        match (self.status.health, event, self.status.streak) {
            (Health::Unknown, Event::Good { .. }, _) => Health::Up,
            (Health::Down, Event::Good { .. }, Streak::Good(run)) if run >= self.rise && !is_held => Health::Up,
            (Health::Unknown | Health::Up, Event::Bad(_), Streak::Bad(run)) if run >= self.fall => {
                Health::Down
            }
            (unchanged, _, _) => unchanged,
        }
    }

    fn change(&mut self, to: Health, event: &Event, now: Instant) -> Transition {
        let run = match self.status.streak {
            Streak::None => 0,
            Streak::Good(run) | Streak::Bad(run) => run,
        };
        let mut reason = match run {
            1 => event.to_string(),
            _ => format!("{run} results in a row, the last: {event}"),
        };
        if to == Health::Down
            && let Some(damper) = &mut self.damper
        {
            damper.fell(now);
            if damper.holds(now) {
                let wait_s = damper.held_for(now).as_secs();
                reason = format!("{reason}; it went down too often and is kept out for {wait_s} s");
            }
        }
        let from = std::mem::replace(&mut self.status.health, to);
        let since = std::mem::replace(&mut self.status.since, now);
        Transition { from, to, reason, at: now, lasted: now.saturating_duration_since(since) }
    }
}

#[cfg(test)]
mod tests;
