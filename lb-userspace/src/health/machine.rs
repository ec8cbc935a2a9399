//! The health of one target as a state machine with hysteresis.
//!
//! Role: turns probe results into transitions. Does no IO and reads no clock: time is an argument. Imports the
//! probes' error type, `finding` and `damping` only.
//! Always holds: a state changes only at an event; a change is reported exactly once, as a [`Transition`].
//!
//! | state   | good                         | bad                            | inconclusive |
//! |---------|------------------------------|--------------------------------|--------------|
//! | unknown | up at once                   | down at `fall` bad in a row    | stays        |
//! | up      | stays                        | down at `fall` bad in a row    | stays        |
//! | down    | up at `rise` good in a row   | stays                          | stays        |
//!
//! Unknown goes up at the first good result so that a starting node serves at once, and needs `fall` bad ones
//! to go down so that one lost packet at the start takes nothing out of service. An inconclusive result (the
//! node could not ask, see [`ProbeError::is_inconclusive`]) says nothing about the target: it neither counts
//! nor breaks a run.
//!
//! Beside that table, who goes down again and again is marked as held ([`Status::held_until`]): the machine goes on as
//! above, and whoever asks it gives such a target no flows as long as there are others.

use std::fmt;
use std::time::{Duration, Instant};

use super::damping::Damper;
use super::finding::{Answer, Findings};
use super::history::History;
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
    /// The target answered as it should.
    Good(Answer),
    /// The target did not answer as it should.
    Bad(ProbeError),
    /// The node could not ask.
    Inconclusive(ProbeError),
}

impl From<Result<Answer, ProbeError>> for Event {
    fn from(result: Result<Answer, ProbeError>) -> Self {
        match result {
            Ok(answer) => Self::Good(answer),
            Err(error) if error.is_inconclusive() => Self::Inconclusive(error),
            Err(error) => Self::Bad(error),
        }
    }
}

impl Event {
    /// Whether it shows that the target answers; what is inconclusive shows nothing and counts as such.
    pub fn answers(&self) -> bool {
        match self {
            Self::Good(_) | Self::Inconclusive(_) => true,
            Self::Bad(error) => error.is_an_answer(),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good(answer) => answer.fmt(out),
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

/// What one result changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The state.
    pub transition: Option<Transition>,
    /// What a good answer says of the target, where that decides whether it is served ([`Findings::decides_as`]); in words.
    pub became: Option<Became>,
}

/// What a target has become by its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Became {
    /// All that it says.
    pub says: String,
    /// Whether operators want to hear of it; a weight alone is none of their business.
    pub is_news: bool,
}

impl Change {
    /// Whether nothing changed.
    pub fn is_none(&self) -> bool {
        self.transition.is_none() && self.became.is_none()
    }
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
    /// What the latest good result said beside that it was good.
    pub findings: Findings,
    /// Until when it is held for having gone down too often; none, or past, if it is not.
    pub held_until: Option<Instant>,
    /// Results in a row that said nothing about the target, up to now.
    pub inconclusive_in_a_row: u32,
}

impl Status {
    /// Time for which it is still held; zero if it is not.
    pub fn held_for(&self, now: Instant) -> Duration {
        self.held_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }
}

/// The state machine of one target.
#[derive(Clone, Debug)]
pub struct Machine {
    rise: u32,
    fall: u32,
    damper: Option<Damper>,
    history: History,
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
            findings: Findings::default(),
            held_until: None,
            inconclusive_in_a_row: 0,
        };
        Self { rise: rise.max(1), fall: fall.max(1), damper: None, history: History::default(), status }
    }

    /// The same with flap damping.
    #[must_use]
    pub fn damped(mut self, now: Instant) -> Self {
        self.damper = Some(Damper::new(now));
        self
    }

    /// The same in another state.
    #[must_use]
    pub fn with_health(mut self, health: Health) -> Self {
        self.status.health = health;
        self
    }

    /// The same, new as it is, in the state of one before it for the same target; with that one's falls and, if the question
    /// is of the same kind, with what its answers said.
    #[must_use]
    pub fn after(mut self, former: &Self, same_kind: bool, now: Instant) -> Self {
        self.status.health = former.status.health;
        if self.damper.is_some() && former.damper.is_some() {
            self.damper = former.damper;
            self.status.held_until = former.status.held_until.filter(|until| *until > now);
        }
        if same_kind {
            self.status.findings = former.status.findings.clone();
        }
        self
    }

    /// The state.
    pub fn health(&self) -> Health {
        self.status.health
    }

    /// All that is known.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Its latest results, the oldest first.
    pub fn history(&self) -> impl Iterator<Item = &LastResult> {
        self.history.iter()
    }

    /// Takes one result in; returns what it changes.
    pub fn on_event(&mut self, event: Event, now: Instant) -> Change {
        self.count(&event);
        let to = self.next_health(&event);
        let transition = (to != self.status.health).then(|| self.change(to, &event, now));
        let became = if let Event::Good(answer) = &event { self.learn(&answer.findings) } else { None };
        let result = LastResult { at: now, event };
        self.history.push(result.clone());
        self.status.last_result = Some(result);
        Change { transition, became }
    }

    /// Takes in what a good answer says of the target; in words if that decides.
    fn learn(&mut self, findings: &Findings) -> Option<Became> {
        let findings = findings.steadied(&self.status.findings);
        let former = std::mem::replace(&mut self.status.findings, findings.clone());
        let is_news = !former.tells_as(&findings);
        (!former.decides_as(&findings)).then(|| Became { says: findings.to_string(), is_news })
    }

    fn count(&mut self, event: &Event) {
        let status = &mut self.status;
        status.inconclusive_in_a_row = match event {
            Event::Inconclusive(_) => status.inconclusive_in_a_row.saturating_add(1),
            Event::Good(_) | Event::Bad(_) => 0,
        };
        match (event, status.streak) {
            (Event::Good(answer), streak) => {
                let run = if let Streak::Good(run) = streak { run } else { 0 };
                status.streak = Streak::Good(run.saturating_add(1));
                status.counts.good += 1;
                status.last_latency = Some(answer.latency);
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
    fn next_health(&self, event: &Event) -> Health {
        match (self.status.health, event, self.status.streak) {
            (Health::Unknown, Event::Good(_), _) => Health::Up,
            (Health::Down, Event::Good(_), Streak::Good(run)) if run >= self.rise => Health::Up,
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
            self.status.held_until = damper.fell(now);
        }
        let held_for = self.status.held_for(now);
        if held_for > Duration::ZERO {
            let held_s = held_for.as_secs() + 1;
            reason =
                format!("{reason}; it went down too often and is kept out for {held_s} s while others serve");
        }
        let from = std::mem::replace(&mut self.status.health, to);
        let since = std::mem::replace(&mut self.status.since, now);
        Transition { from, to, reason, at: now, lasted: now.saturating_duration_since(since) }
    }
}

#[cfg(test)]
mod tests;
