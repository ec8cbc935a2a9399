//! What a good answer says of a target beside that it is good.
//!
//! Role: plain data between the probes, which find, and the policy, which judges. Imports nothing of ours.

use std::fmt;
use std::time::{Duration, SystemTime};

/// A good answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Time from the start of the probe to the answer.
    pub latency: Duration,
    /// What it says.
    pub findings: Findings,
}

impl From<Duration> for Answer {
    /// An answer that says nothing more.
    fn from(latency: Duration) -> Self {
        Self { latency, findings: Findings::default() }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "answered in {:.1?}", self.latency)?;
        if self.findings != Findings::default() {
            write!(out, ": {}", self.findings)?;
        }
        Ok(())
    }
}

/// What a good answer says of a target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// When the server's certificate expires, if it has one.
    pub certificate_expires: Option<SystemTime>,
    /// What a database is.
    pub database: Option<Database>,
    /// What an agent wishes.
    pub wish: Option<Wish>,
}

impl Findings {
    /// Whether `other` leads to the same decision: a lag that grows within its limit does, a new role does not.
    pub fn decides_as(&self, other: &Self) -> bool {
        let writable = |findings: &Self| findings.database.map(|database| database.writable);
        writable(self) == writable(other) && self.wish == other.wish
    }
}

/// A weight that an agent changes by less than this, in percent of the whole, stays as it was: a load that goes up and down
/// must not move flows at each answer.
const LEAST_STEP_PERCENT: u8 = 5;

impl Findings {
    /// These, after `former`: with the former weight if the new one hardly differs.
    #[must_use]
    pub fn steadied(&self, former: &Self) -> Self {
        let mut findings = self.clone();
        if let (Some(wish), Some(before)) = (&mut findings.wish, former.wish)
            && wish.weight_percent.abs_diff(before.weight_percent) < LEAST_STEP_PERCENT
            && !matches!(wish.weight_percent, 0 | 100)
            && before.weight_percent != 0
        {
            wish.weight_percent = before.weight_percent;
        }
        findings
    }

    /// Whether `other` is worth an event of its own after these: a weight alone is not.
    pub fn tells_as(&self, other: &Self) -> bool {
        let told = |findings: &Self| {
            (findings.database.map(|database| database.writable), findings.wish.map(|wish| wish.state))
        };
        told(self) == told(other)
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        words.extend(self.database.map(|database| database.to_string()));
        words.extend(self.wish.map(|wish| wish.to_string()));
        words.extend(self.certificate_expires.map(|at| {
            // To the second: that is how certificates have it.
            format!("its certificate expires at {}", humantime::format_rfc3339_seconds(at))
        }));
        out.write_str(&words.join(", "))
    }
}

/// What a database is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Database {
    /// Whether clients may write: neither `read_only` nor `super_read_only` is on.
    pub writable: bool,
    /// How far it is behind its source, if it follows one.
    pub lag: Option<Duration>,
}

impl fmt::Display for Database {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.writable { "writable" } else { "read-only" })?;
        match self.lag {
            Some(lag) => write!(out, ", {} s behind its source", lag.as_secs()),
            None => Ok(()),
        }
    }
}

/// What an agent wishes for its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Share of its weight that it wants, in percent; 0 to 100.
    pub weight_percent: u8,
    /// What it wants to be.
    pub state: WishedState,
}

/// What an agent wants its server to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WishedState {
    /// Served.
    Ready,
    /// Given no new flows.
    Drain,
    /// Given no traffic.
    Maintenance,
}

impl fmt::Display for Wish {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.state {
            WishedState::Ready => write!(out, "wants {} % of its weight", self.weight_percent),
            WishedState::Drain => out.write_str("wants no new flows"),
            WishedState::Maintenance => out.write_str("is in maintenance"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_decides_and_a_lag_does_not() {
        let database = |writable, lag_s| Findings {
            database: Some(Database { writable, lag: Some(Duration::from_secs(lag_s)) }),
            ..Findings::default()
        };
        assert!(database(false, 0).decides_as(&database(false, 3)));
        assert!(!database(false, 0).decides_as(&database(true, 0)));
        assert!(!database(false, 0).decides_as(&Findings::default()));
    }

    #[test]
    fn an_agents_weight_moves_in_steps_that_are_worth_it_and_is_no_news() {
        let wish = |weight_percent| Findings {
            wish: Some(Wish { weight_percent, state: WishedState::Ready }),
            ..Findings::default()
        };
        let after = |before: u8, now: u8| wish(now).steadied(&wish(before)).wish.unwrap().weight_percent;
        assert_eq!((after(50, 53), after(50, 46), after(50, 55), after(50, 45)), (50, 50, 55, 45));
        assert_eq!((after(98, 100), after(2, 0), after(0, 2)), (100, 0, 2), "the ends are meant");
        assert!(wish(50).tells_as(&wish(90)));
        let drain = Findings {
            wish: Some(Wish { weight_percent: 50, state: WishedState::Drain }),
            ..Findings::default()
        };
        assert!(!wish(50).tells_as(&drain));
    }

    #[test]
    fn an_answer_tells_what_it_found() {
        let latency = Duration::from_millis(3);
        assert_eq!(Answer::from(latency).to_string(), "answered in 3.0ms");
        let findings = Findings {
            database: Some(Database { writable: false, lag: Some(Duration::from_secs(2)) }),
            wish: Some(Wish { weight_percent: 75, state: WishedState::Ready }),
            certificate_expires: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)),
        };
        let wanted = "answered in 3.0ms: read-only, 2 s behind its source, wants 75 % of its weight, its certificate expires at \
                      2023-11-14T22:13:20Z";
        assert_eq!(Answer { latency, findings }.to_string(), wanted);
    }
}
