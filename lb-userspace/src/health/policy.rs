//! Whom a pool serves, given the health of its backends: what it does where few or none are healthy.
//!
//! Role: pure; no IO, no clock. Imports `machine` for [`Health`] only.
//! Always holds: who is refused here is refused for a reason that is returned; a backend that the operator took out is no
//! member, and no policy brings it back.

use super::machine::Health;

/// What a pool does when too few of its backends are healthy to serve.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OnAllDown {
    /// New connections are refused.
    #[default]
    Drop,
    /// Everybody gets new connections as if all were healthy: the check may be what is wrong.
    FailOpen,
    /// New connections go to another pool.
    Fallback(String),
}

/// What an operator wants of a pool whose backends are not all healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What to do with fewer than `min_healthy`.
    pub on_all_down: OnAllDown,
    /// Fewer healthy backends than this count as none; 1 at least, which is the default.
    pub min_healthy: u32,
    /// With fewer percent of the backends healthy than this, health is ignored; 0 (the default, never) to 100.
    pub panic_percent: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self { on_all_down: OnAllDown::Drop, min_healthy: 1, panic_percent: 0 }
    }
}

/// A backend that takes new connections as far as its operator is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// What its check says; up without one.
    pub health: Health,
    /// Whether it serves already.
    pub serves: bool,
}

/// Why those are served who are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// They are healthy, or nobody knows better.
    Healthy,
    /// Fewer than `panic_percent` are: everybody.
    Panic,
    /// Too few are: everybody.
    FailOpen,
    /// Too few are: nobody.
    Dropped,
    /// Too few are: those of this pool.
    Fallback(String),
    /// There is nobody to serve.
    Empty,
}

/// Whom a pool serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Whether each member is served, in their order.
    pub served: Vec<bool>,
    /// Why.
    pub reason: Reason,
}

impl Policy {
    /// Whom to serve. `members` share a slot table.
    ///
    /// Unknown is not down: who serves already goes on until its first results, and where nobody is up, nobody has to wait
    /// for them.
    pub fn admit(&self, members: &[Member]) -> Admission {
        if members.is_empty() {
            return Admission { served: Vec::new(), reason: Reason::Empty };
        }
        let none_is_up = members.iter().all(|member| member.health != Health::Up);
        let may_serve = |member: &Member| match member.health {
            Health::Up => true,
            Health::Unknown => member.serves || none_is_up,
            Health::Down => false,
        };
        let served: Vec<bool> = members.iter().map(may_serve).collect();
        let everybody = |reason| Admission { served: vec![true; members.len()], reason };
        let nobody = |reason| Admission { served: vec![false; members.len()], reason };
        let count = served.iter().filter(|served| **served).count();
        if count < usize::try_from(self.min_healthy.max(1)).unwrap_or(usize::MAX) {
            return match &self.on_all_down {
                OnAllDown::Drop => nobody(Reason::Dropped),
                OnAllDown::FailOpen => everybody(Reason::FailOpen),
                OnAllDown::Fallback(pool) => nobody(Reason::Fallback(pool.clone())),
            };
        }
        let down = members.iter().filter(|member| member.health == Health::Down).count();
        let not_down = members.len() - down;
        if not_down * 100 < members.len() * usize::try_from(self.panic_percent).unwrap_or(100) {
            return everybody(Reason::Panic);
        }
        Admission { served, reason: Reason::Healthy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Health::{Down, Unknown, Up};

    fn admit(policy: &Policy, healths: &[(Health, bool)]) -> (Vec<bool>, Reason) {
        let members: Vec<Member> =
            healths.iter().map(|(health, serves)| Member { health: *health, serves: *serves }).collect();
        let Admission { served, reason } = policy.admit(&members);
        (served, reason)
    }

    #[test]
    fn the_healthy_are_served_and_unknown_is_not_down() {
        let policy = Policy::default();
        assert_eq!(admit(&policy, &[(Up, true), (Down, true)]), (vec![true, false], Reason::Healthy));
        let (served, _) = admit(&policy, &[(Up, true), (Unknown, true), (Unknown, false)]);
        assert_eq!(served, [true, true, false], "a new one waits for its first result");
        let (served, _) = admit(&policy, &[(Down, true), (Unknown, false)]);
        assert_eq!(served, [false, true], "unless nobody is up");
        assert_eq!(admit(&policy, &[]), (vec![], Reason::Empty));
    }

    #[test]
    fn without_anybody_healthy_the_policy_decides() {
        let all_down = [(Down, true), (Down, false)];
        let with = |on_all_down| Policy { on_all_down, ..Policy::default() };
        assert_eq!(admit(&with(OnAllDown::Drop), &all_down), (vec![false, false], Reason::Dropped));
        assert_eq!(admit(&with(OnAllDown::FailOpen), &all_down), (vec![true, true], Reason::FailOpen));
        let fallback = with(OnAllDown::Fallback("spare".to_owned()));
        assert_eq!(admit(&fallback, &all_down), (vec![false, false], Reason::Fallback("spare".to_owned())));
    }

    #[test]
    fn fewer_than_min_healthy_count_as_none() {
        let policy = Policy { min_healthy: 2, ..Policy::default() };
        assert_eq!(admit(&policy, &[(Up, true), (Down, true), (Down, true)]).1, Reason::Dropped);
        assert_eq!(admit(&policy, &[(Up, true), (Up, true), (Down, true)]).1, Reason::Healthy);
        let unwritten = Policy { min_healthy: 0, ..Policy::default() };
        assert_eq!(admit(&unwritten, &[(Down, true)]).1, Reason::Dropped, "0 counts as 1");
    }

    #[test]
    fn below_the_panic_threshold_health_is_ignored() {
        let policy = Policy { panic_percent: 50, ..Policy::default() };
        let (served, reason) = admit(&policy, &[(Up, true), (Down, true), (Down, true)]);
        assert_eq!((served, reason), (vec![true, true, true], Reason::Panic));
        assert_eq!(admit(&policy, &[(Up, true), (Down, true)]).1, Reason::Healthy, "half is not below half");
        let (_, reason) = admit(&policy, &[(Unknown, true), (Unknown, true), (Down, true)]);
        assert_eq!(reason, Reason::Healthy, "unknown is not down");
    }
}
