//! Runs as they must be, and every way in which one must not be.

use super::super::sample::Failure;
use super::*;

/// Requests of a lane.
const PLANNED: u32 = 500;

/// Of a lane, those before the kill and those between kill and deadline.
const BEFORE: u32 = 200;
const BETWEEN: u32 = 100;

/// The second server is killed after 2 s.
const KILL: Kill = Kill { web: 1, killed: Duration::from_secs(2), deadline: Duration::from_secs(3) };

const BEFORE_KILL: Duration = Duration::from_secs(1);
const AT_ONCE: Duration = Duration::from_millis(2_100);
const LATE: Duration = Duration::from_millis(2_900);
const AFTER: Duration = Duration::from_secs(4);

fn sample(lane: usize, started: Duration, outcome: Outcome) -> Sample {
    Sample { lane, started, ended: started + Duration::from_millis(1), outcome }
}

fn failed(server_gone: bool) -> Outcome {
    Outcome::Failed(Failure { server_gone, text: "connecting".to_owned() })
}

/// A run as it must be: shares are even, and half of what is sent before the deadline finds the share already moved.
fn good_run() -> Vec<Sample> {
    let mut samples = Vec::new();
    for lane in 0..LANE_COUNT {
        for number in 0..PLANNED {
            let web = usize::try_from(number % u32::from(WEBS)).unwrap();
            let live = if number % 2 == 0 { 0 } else { 2 };
            samples.push(match number {
                _ if number < BEFORE => sample(lane, BEFORE_KILL, Outcome::Answered(web)),
                _ if number < BEFORE + BETWEEN / 2 && web == KILL.web => sample(lane, AT_ONCE, failed(true)),
                _ if number < BEFORE + BETWEEN / 2 => sample(lane, AT_ONCE, Outcome::Answered(web)),
                _ if number < BEFORE + BETWEEN => sample(lane, LATE, Outcome::Answered(live)),
                _ => sample(lane, AFTER, Outcome::Answered(live)),
            });
        }
    }
    samples
}

/// Changes the first `count` samples of one lane that began at `started` and that `which` accepts.
fn change(
    samples: &mut [Sample],
    count: usize,
    started: Duration,
    outcome: &Outcome,
    which: fn(&Outcome) -> bool,
) {
    let of_lane = samples.iter_mut().filter(|sample| sample.lane == 2 && sample.started == started);
    let mut changed = 0;
    for sample in of_lane.filter(|sample| which(&sample.outcome)).take(count) {
        sample.outcome = outcome.clone();
        changed += 1;
    }
    assert_eq!(changed, count, "the run has not so many samples to change");
}

fn any(_: &Outcome) -> bool {
    true
}

fn findings(samples: &[Sample]) -> Vec<String> {
    judge(samples, &KILL, PLANNED).findings
}

/// Asserts that the lane and nothing but it (and the sum) is complained about in these words.
fn assert_found(samples: &[Sample], words: &str) {
    let found = findings(samples);
    assert!(found.iter().any(|text| text.starts_with("dsr-l2 IPv4: ") && text.contains(words)), "{found:#?}");
    let strangers: Vec<_> = found
        .iter()
        .filter(|text| !text.starts_with("dsr-l2 IPv4: ") && !text.starts_with("all: "))
        .collect();
    assert!(strangers.is_empty(), "{strangers:#?}");
}

#[test]
fn a_good_run_has_no_findings_and_every_request_is_counted_once() {
    let verdict = judge(&good_run(), &KILL, PLANNED);
    assert_eq!(verdict.findings, [""; 0]);
    for tally in &verdict.lanes {
        assert_eq!(tally.requests, tally.answered() + tally.excused + tally.unexpected);
        assert_eq!((tally.requests, tally.during, tally.unexpected), (PLANNED, BETWEEN, 0));
        assert!(tally.excused > 0);
    }
    let all = Tally::sum(&verdict.lanes);
    assert_eq!(all.requests, PLANNED * u32::from(LANES));
    assert_eq!(verdict.last_excused_after, Some(AT_ONCE.saturating_sub(KILL.killed)));
}

#[test]
fn a_request_in_flight_when_the_server_was_killed_is_excused() {
    let mut samples = good_run();
    let started = KILL.killed.saturating_sub(Duration::from_millis(1));
    samples[0] = Sample { lane: 0, started, ended: KILL.killed, outcome: failed(true) };
    assert_eq!(findings(&samples), [""; 0]);
}

#[test]
fn one_failure_that_was_over_before_the_kill_is_a_finding() {
    let mut samples = good_run();
    change(&mut samples, 1, BEFORE_KILL, &failed(true), any);
    assert_found(&samples, "1 requests failed without excuse");
}

#[test]
fn one_failure_that_began_at_the_deadline_is_a_finding() {
    let mut samples = good_run();
    let last = samples.iter_mut().rfind(|sample| sample.lane == 2).unwrap();
    *last = sample(2, KILL.deadline, failed(true));
    assert_found(&samples, "1 requests failed without excuse");
}

#[test]
fn a_failure_unlike_a_dead_servers_is_a_finding_even_at_that_time() {
    let mut samples = good_run();
    change(&mut samples, 1, AT_ONCE, &failed(false), any);
    assert_found(&samples, "1 requests failed without excuse");
}

#[test]
fn more_failures_than_the_killed_servers_share_are_a_finding() {
    let mut samples = good_run();
    // 17 of 100 fail in the good run; the share is 33 and chance may add 24.
    change(&mut samples, 33, LATE, &failed(true), any);
    assert_eq!(findings(&samples), [""; 0]);
    change(&mut samples, 10, LATE, &failed(true), |outcome| matches!(outcome, Outcome::Answered(_)));
    assert_found(&samples, "59 of 100 requests failed after the kill");
}

#[test]
fn a_small_excess_of_failures_in_every_lane_is_a_finding_of_the_sum() {
    let mut samples = good_run();
    let late = |sample: &&mut Sample| sample.started == LATE;
    for (number, sample) in samples.iter_mut().filter(late).enumerate() {
        if number % 2 == 0 || number % 5 == 1 {
            sample.outcome = failed(true);
        }
    }
    let found = findings(&samples);
    assert!(found.iter().all(|text| text.starts_with("all: ")) && found.len() == 1, "{found:#?}");
}

#[test]
fn one_answer_of_the_killed_server_after_the_deadline_is_a_finding() {
    let mut samples = good_run();
    change(&mut samples, 1, AFTER, &Outcome::Answered(KILL.web), any);
    assert_found(&samples, "web2 answered 1 requests after its checks failed");
}

#[test]
fn a_server_that_serves_nothing_before_the_kill_is_a_finding() {
    let mut samples = good_run();
    change(&mut samples, 66, BEFORE_KILL, &Outcome::Answered(0), |outcome| *outcome == Outcome::Answered(2));
    assert_found(&samples, "web3 served 0 of 200 before the kill");
}

#[test]
fn a_live_server_that_serves_too_little_after_the_detection_is_a_finding() {
    let mut samples = good_run();
    change(&mut samples, 40, AFTER, &Outcome::Answered(2), |outcome| *outcome == Outcome::Answered(0));
    assert_found(&samples, "web1 served 60 of 200 after the detection");
    assert_found(&samples, "web3 served 140 of 200 after the detection");
}

#[test]
fn a_small_bias_of_every_lane_is_a_finding_of_the_sum() {
    let mut samples = good_run();
    let after = |sample: &&mut Sample| sample.started == AFTER;
    let of_first = |sample: &&mut Sample| sample.outcome == Outcome::Answered(0);
    for sample in samples.iter_mut().filter(after).filter(of_first).step_by(5) {
        sample.outcome = Outcome::Answered(2);
    }
    let found = findings(&samples);
    assert!(found.iter().all(|text| text.starts_with("all: ")) && found.len() == 2, "{found:#?}");
}

#[test]
fn a_request_that_was_not_sent_is_a_finding() {
    let mut samples = good_run();
    let last = samples.iter().rposition(|sample| sample.lane == 2).unwrap();
    samples.remove(last);
    assert_found(&samples, "499 requests were sent, not 500");
}

#[test]
fn a_phase_with_too_few_answers_is_not_passed_over() {
    let mut samples = good_run();
    for sample in samples.iter_mut().filter(|sample| sample.lane == 2 && sample.started == AFTER).skip(50) {
        sample.started = LATE;
        sample.ended = LATE;
    }
    assert_found(&samples, "50 answers after the detection are too few");
}

#[test]
fn an_empty_run_is_no_success() {
    assert!(!findings(&[]).is_empty());
}
