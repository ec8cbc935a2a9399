//! Whom a pool serves, given what is known of its backends.
//!
//! Role: pure; no IO, no clock. Imports `machine` and `finding` for what is known, `model` for what is wanted.
//! Always holds: of a pool of primaries one backend at most is served, and only one that is known to be writable or served
//! already; who asks not to be served is not, whatever the policy.

use super::finding::{Database, Wish, WishedState};
use super::machine::Health;
use crate::model::{OnAllDown, Policy, Role};

/// A backend that takes new connections as far as its operator is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// What its check says; up without one.
    pub health: Health,
    /// Whether it serves already.
    pub serves: bool,
    /// Whether its latest result shows that something answers there, be it that it does not serve.
    pub answers: bool,
    /// Whether it is held for having gone down too often.
    pub held: bool,
    /// What it is, if it is a database.
    pub database: Option<Database>,
    /// What its agent wishes.
    pub wish: Option<Wish>,
}

impl Member {
    /// One of which no more is known than its health.
    pub const fn new(health: Health, serves: bool) -> Self {
        Self { health, serves, answers: true, held: false, database: None, wish: None }
    }

    /// Whether it asks not to be given new flows.
    fn steps_back(&self) -> bool {
        self.wish.is_some_and(|wish| wish.state != WishedState::Ready || wish.weight_percent == 0)
    }

    /// Whether it is what `role` asks for, by its latest good answer. Before there is one (the agent has just started again),
    /// who serves had the role.
    fn has_role(&self, role: Option<Role>) -> bool {
        match (role, self.database) {
            (None | Some(Role::Any), _) => true,
            (Some(Role::Primary), Some(database)) => database.writable,
            (Some(Role::Replica), Some(database)) => !database.writable,
            (Some(Role::Primary | Role::Replica), None) => self.serves,
        }
    }
}

/// Why those are served who are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// They are healthy, or nobody knows better.
    Healthy,
    /// More than one backend says that it is the primary: one of them.
    TwoPrimaries,
    /// Fewer than `panic_percent` are healthy: everybody who answers.
    Panic,
    /// Too few are healthy: everybody who answers, see [`everybody`].
    FailOpen,
    /// Too few are healthy: nobody.
    Dropped,
    /// Too few are healthy: those of this pool.
    Fallback(String),
    /// Nobody is known to be fit, and not everybody has been asked: nobody, for the moment.
    Unasked,
    /// There is nobody to serve.
    Empty,
}

/// Whom a pool serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Whether each member is served, in their order.
    pub served: Vec<bool>,
    /// How many of them are fit to be served by what is known of them.
    pub fit: usize,
    /// Why.
    pub reason: Reason,
}

/// Whom to serve of `members`, who share a slot table.
///
/// Unknown is not down: who serves already goes on until its first results, and where nobody was asked yet, nobody has to wait
/// for them; but a database is not guessed to have a role.
pub fn admit(policy: &Policy, role: Option<Role>, members: &[Member]) -> Admission {
    let fit_ones = fit(role, members);
    let fit = count(&fit_ones);
    let answer = |served, reason| Admission { served, fit, reason };
    let nobody = || vec![false; members.len()];
    if members.is_empty() {
        return answer(nobody(), Reason::Empty);
    }
    if fit == 0 && is_unasked(members) {
        return answer(nobody(), Reason::Unasked);
    }
    let panics = panics(policy, members);
    if fit < at_least(policy.min_healthy.max(1)) {
        return match &policy.on_all_down {
            OnAllDown::FailOpen if role != Some(Role::Primary) => {
                answer(everybody(members), Reason::FailOpen)
            }
            OnAllDown::Drop if panics && role != Some(Role::Primary) => {
                answer(everybody(members), Reason::Panic)
            }
            OnAllDown::Drop | OnAllDown::FailOpen => answer(nobody(), Reason::Dropped),
            OnAllDown::Fallback { pool, .. } => answer(nobody(), Reason::Fallback(pool.clone())),
        };
    }
    if role == Some(Role::Primary) {
        // Who does not answer at this moment says nothing, though it may go on serving.
        let says_so = fit_ones.iter().zip(members).filter(|(fit, member)| **fit && member.answers).count();
        let reason = if says_so > 1 { Reason::TwoPrimaries } else { Reason::Healthy };
        return answer(one_of(&fit_ones, members), reason);
    }
    if panics {
        return answer(everybody(members), Reason::Panic);
    }
    answer(without_held(policy, fit_ones, members), Reason::Healthy)
}

fn count(served: &[bool]) -> usize {
    served.iter().filter(|served| **served).count()
}

fn at_least(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Whether nobody has been asked yet who would take flows.
fn is_unasked(members: &[Member]) -> bool {
    let mut others = members.iter().filter(|member| !member.steps_back()).peekable();
    others.peek().is_some() && others.all(|member| member.health == Health::Unknown)
}

/// Whether so few are left that health is ignored.
fn panics(policy: &Policy, members: &[Member]) -> bool {
    let not_down = members.iter().filter(|member| member.health != Health::Down).count();
    not_down * 100 < members.len() * at_least(policy.panic_percent)
}

/// Those who are fit, without those who are held for having gone down too often; unless that would leave too few to bear the
/// load: then it is no single server that flaps.
fn without_held(policy: &Policy, fit: Vec<bool>, members: &[Member]) -> Vec<bool> {
    let steady: Vec<bool> = fit.iter().zip(members).map(|(fit, member)| *fit && !member.held).collect();
    let left = count(&steady);
    let enough = left >= at_least(policy.min_healthy.max(1))
        && left * 2 >= count(&fit)
        && left * 100 >= members.len() * at_least(policy.panic_percent);
    if enough { steady } else { fit }
}

/// Everybody who answers at all, however; if nobody does, everybody. Who steps back is not among them.
pub fn everybody(members: &[Member]) -> Vec<bool> {
    let somebody_answers = members.iter().any(|member| member.answers && !member.steps_back());
    let is_in = |member: &Member| !member.steps_back() && (member.answers || !somebody_answers);
    members.iter().map(is_in).collect()
}

/// Who may be served by what is known of them.
fn fit(role: Option<Role>, members: &[Member]) -> Vec<bool> {
    let may_guess = is_unasked(members) && matches!(role, None | Some(Role::Any));
    // A pool of primaries serves one. Several served ones are a pool that was something else a moment ago.
    let is_confused =
        role == Some(Role::Primary) && members.iter().filter(|member| member.serves).count() > 1;
    let is_fit = |member: &Member| match member.health {
        Health::Up if member.database.is_none() && is_confused => false,
        Health::Up => member.has_role(role),
        Health::Unknown => (member.serves && !is_confused) || may_guess,
        Health::Down => false,
    };
    members.iter().map(|member| !member.steps_back() && is_fit(member)).collect()
}

/// The one that serves already; else the first, in the order of the file.
fn one_of(fit: &[bool], members: &[Member]) -> Vec<bool> {
    let mut fit_ones = fit.iter().enumerate().filter(|(_, fit)| **fit).map(|(at, _)| at);
    let first = fit_ones.clone().next();
    let chosen = fit_ones.find(|at| members.get(*at).is_some_and(|member| member.serves)).or(first);
    (0..members.len()).map(|at| Some(at) == chosen).collect()
}

#[cfg(test)]
mod tests;
