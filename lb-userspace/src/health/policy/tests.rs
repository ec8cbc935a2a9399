//! Whom a pool serves, case by case.

use super::*;
use Health::{Down, Unknown, Up};

fn judge(policy: &Policy, role: Option<Role>, members: &[Member]) -> (Vec<bool>, Reason) {
    let Admission { served, reason, .. } = admit(policy, role, members);
    (served, reason)
}

fn by_health(policy: &Policy, healths: &[(Health, bool)]) -> (Vec<bool>, Reason) {
    let members: Vec<Member> = healths.iter().map(|(health, serves)| Member::new(*health, *serves)).collect();
    judge(policy, None, &members)
}

fn with(on_all_down: OnAllDown) -> Policy {
    Policy { on_all_down, ..Policy::default() }
}

#[test]
fn the_healthy_are_served_and_unknown_is_not_down() {
    let policy = Policy::default();
    assert_eq!(by_health(&policy, &[(Up, true), (Down, true)]), (vec![true, false], Reason::Healthy));
    let (served, _) = by_health(&policy, &[(Up, true), (Unknown, true), (Unknown, false)]);
    assert_eq!(served, [true, true, false], "a new one waits for its first result");
    let (served, _) = by_health(&policy, &[(Unknown, false), (Unknown, false)]);
    assert_eq!(served, [true, true], "unless nobody has been asked");
    let (served, reason) = by_health(&policy, &[(Down, true), (Unknown, false)]);
    assert_eq!((served, reason), (vec![false, false], Reason::Dropped), "who is new may not run yet");
    assert_eq!(by_health(&policy, &[]), (vec![], Reason::Empty));
}

#[test]
fn without_anybody_healthy_the_policy_decides() {
    let all_down = [(Down, true), (Down, false)];
    assert_eq!(by_health(&with(OnAllDown::Drop), &all_down), (vec![false, false], Reason::Dropped));
    assert_eq!(by_health(&with(OnAllDown::FailOpen), &all_down), (vec![true, true], Reason::FailOpen));
    let fallback = with(OnAllDown::Fallback { pool: "spare".to_owned(), or_open: false });
    let reason = Reason::Fallback("spare".to_owned());
    assert_eq!(by_health(&fallback, &all_down), (vec![false, false], reason));
}

#[test]
fn failing_open_prefers_those_who_answer_at_all() {
    let open = with(OnAllDown::FailOpen);
    let sick = Member::new(Down, true);
    let dead = Member { answers: false, ..sick };
    assert_eq!(judge(&open, None, &[sick, dead]), (vec![true, false], Reason::FailOpen));
    assert_eq!(judge(&open, None, &[dead, dead]), (vec![true, true], Reason::FailOpen));
}

#[test]
fn a_new_backend_does_not_take_a_fallback_away() {
    let fallback = with(OnAllDown::Fallback { pool: "spare".to_owned(), or_open: false });
    let reason = Reason::Fallback("spare".to_owned());
    assert_eq!(by_health(&fallback, &[(Down, false), (Unknown, false)]).1, reason);
}

#[test]
fn fewer_than_min_healthy_count_as_none() {
    let policy = Policy { min_healthy: 2, ..Policy::default() };
    assert_eq!(by_health(&policy, &[(Up, true), (Down, true), (Down, true)]).1, Reason::Dropped);
    assert_eq!(by_health(&policy, &[(Up, true), (Up, true), (Down, true)]).1, Reason::Healthy);
    let unwritten = Policy { min_healthy: 0, ..Policy::default() };
    assert_eq!(by_health(&unwritten, &[(Down, true)]).1, Reason::Dropped, "0 counts as 1");
}

#[test]
fn below_the_panic_threshold_health_is_ignored() {
    let policy = Policy { panic_percent: 50, ..Policy::default() };
    let (served, reason) = by_health(&policy, &[(Up, true), (Down, true), (Down, true)]);
    assert_eq!((served, reason), (vec![true, true, true], Reason::Panic));
    assert_eq!(by_health(&policy, &[(Up, true), (Down, true)]).1, Reason::Healthy, "half is not below half");
    let none = [(Down, true), (Down, true)];
    assert_eq!(by_health(&policy, &none), (vec![true, true], Reason::Panic), "none left is few, too");
    let fallback = Policy {
        on_all_down: OnAllDown::Fallback { pool: "x".to_owned(), or_open: false },
        ..policy.clone()
    };
    assert_eq!(
        by_health(&fallback, &none).1,
        Reason::Fallback("x".to_owned()),
        "unless the pool says what then"
    );
    let (_, reason) = by_health(&policy, &[(Unknown, true), (Unknown, true), (Down, true)]);
    assert_eq!(reason, Reason::Healthy, "unknown is not down");
}

#[test]
fn who_goes_down_too_often_waits_while_enough_others_serve() {
    let policy = Policy::default();
    let held = Member { held: true, ..Member::new(Up, false) };
    let steady = Member::new(Up, true);
    assert_eq!(judge(&policy, None, &[held, steady]).0, [false, true]);
    assert_eq!(judge(&policy, None, &[held, Member::new(Down, true)]).0, [true, false]);
    let two = Policy { min_healthy: 2, ..Policy::default() };
    assert_eq!(judge(&two, None, &[held, steady]).0, [true, true]);
    let fleet = [held, held, held, steady];
    assert_eq!(judge(&policy, None, &fleet).0, [true; 4], "where most flap, one would not bear the load");
}

#[test]
fn who_asks_not_to_be_served_is_not_whatever_the_policy() {
    let wish = |weight_percent, state| Member {
        wish: Some(Wish { weight_percent, state }),
        ..Member::new(Up, true)
    };
    let ready = wish(100, WishedState::Ready);
    for away in
        [wish(0, WishedState::Ready), wish(100, WishedState::Drain), wish(100, WishedState::Maintenance)]
    {
        assert_eq!(judge(&Policy::default(), None, &[ready, away]).0, [true, false]);
        let open = with(OnAllDown::FailOpen);
        let down = Member::new(Down, true);
        assert_eq!(judge(&open, None, &[down, away]), (vec![true, false], Reason::FailOpen));
    }
}

fn database(health: Health, serves: bool, writable: bool) -> Member {
    Member { database: Some(Database { writable, lag: None }), ..Member::new(health, serves) }
}

#[test]
fn one_writable_backend_is_the_primary() {
    let judge = |members: &[Member]| judge(&Policy::default(), Some(Role::Primary), members);
    let (old, new) = (database(Up, true, false), database(Up, false, true));
    assert_eq!(judge(&[old, new]), (vec![false, true], Reason::Healthy), "it was promoted");
    assert_eq!(judge(&[database(Down, true, true), new]), (vec![false, true], Reason::Healthy));
    let nobody = [database(Up, true, false), database(Up, false, false)];
    assert_eq!(judge(&nobody), (vec![false, false], Reason::Dropped));
}

#[test]
fn of_two_writable_backends_the_current_one_stays() {
    let judge = |members: &[Member]| judge(&Policy::default(), Some(Role::Primary), members);
    let (current, other) = (database(Up, true, true), database(Up, false, true));
    assert_eq!(judge(&[other, current]), (vec![false, true], Reason::TwoPrimaries));
    assert_eq!(
        judge(&[other, other]),
        (vec![true, false], Reason::TwoPrimaries),
        "there was none: the first"
    );
    // It failed a check and is not down yet: that is no second one that says so.
    let failing = Member { answers: false, ..current };
    assert_eq!(judge(&[other, failing]), (vec![false, true], Reason::Healthy));
    // Not asked yet after a start: it serves.
    let unasked = Member { answers: false, ..Member::new(Unknown, true) };
    assert_eq!(judge(&[other, unasked]), (vec![false, true], Reason::Healthy));
    // A pool that was one of replicas until now.
    let replicas = [Member::new(Unknown, true), Member::new(Unknown, true), other];
    assert_eq!(judge(&replicas), (vec![false, false, true], Reason::Healthy));
}

#[test]
fn who_had_the_role_before_the_agent_started_again_keeps_it_until_its_first_answer() {
    let (served, other) = (Member::new(Up, true), Member::new(Up, false));
    for role in [Role::Primary, Role::Replica] {
        let judged = judge(&Policy::default(), Some(role), &[served, other]);
        assert_eq!(judged, (vec![true, false], Reason::Healthy), "{role:?}");
    }
}

#[test]
fn a_primary_is_never_guessed() {
    let judge = |policy: &Policy, members: &[Member]| judge(policy, Some(Role::Primary), members);
    let unknown = Member::new(Unknown, false);
    assert_eq!(judge(&Policy::default(), &[unknown, unknown]), (vec![false, false], Reason::Unasked));
    let read_only = database(Up, false, false);
    assert_eq!(judge(&Policy::default(), &[unknown, read_only]).1, Reason::Dropped);
    let open = Policy { panic_percent: 100, ..with(OnAllDown::FailOpen) };
    let replicas = [database(Up, false, false), database(Down, true, true)];
    assert_eq!(judge(&open, &replicas), (vec![false, false], Reason::Dropped));
}

#[test]
fn replicas_are_those_that_cannot_be_written_to() {
    let judge = |policy: &Policy, members: &[Member]| judge(policy, Some(Role::Replica), members);
    let members = [database(Up, true, true), database(Up, true, false), Member::new(Unknown, false)];
    assert_eq!(judge(&Policy::default(), &members), (vec![false, true, false], Reason::Healthy));
    let lagging = [database(Up, true, true), database(Down, true, false)];
    assert_eq!(judge(&Policy::default(), &lagging).1, Reason::Dropped);
    let open = with(OnAllDown::FailOpen);
    assert_eq!(judge(&open, &lagging), (vec![true, true], Reason::FailOpen), "reads may go to the primary");
}
