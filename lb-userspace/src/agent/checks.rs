//! What the agent tells about a backend's check and its results.

use crate::api::types::{CheckInfo, CheckResult, CheckVerdict};
use crate::health::machine::{Counts, Event};
use crate::health::{LastResult, Streak, TargetStatus};
use crate::model::{CheckKind, HttpCheck, Model};
use std::time::{Duration, Instant, UNIX_EPOCH};

/// The check of `pool`, if it has one, as it went for one of its backends.
pub fn info(model: &Model, pool: &str, target: Option<&TargetStatus>) -> Option<CheckInfo> {
    let pool = model.pools.get(pool)?;
    let (name, check) = (pool.check.as_ref()?, model.check_of(pool)?);
    let status = target.map(|target| &target.status);
    let (good_in_a_row, bad_in_a_row) = match status.map_or(Streak::None, |status| status.streak) {
        Streak::None => (0, 0),
        Streak::Good(count) => (count, 0),
        Streak::Bad(count) => (0, count),
    };
    let counts = status.map_or(Counts::default(), |status| status.counts);
    Some(CheckInfo {
        name: name.clone(),
        kind: kind(&check.kind).to_owned(),
        address: target.map(|target| target.address),
        interval_ms: milliseconds(check.interval),
        timeout_ms: milliseconds(check.timeout),
        rise: check.rise,
        fall: check.fall,
        good_in_a_row,
        bad_in_a_row,
        good: counts.good,
        bad: counts.bad,
        inconclusive: counts.inconclusive,
        certificate_expires_unix_seconds: status
            .and_then(|status| status.findings.certificate_expires)
            .map(|at| at.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs())),
    })
}

/// The kind by which the configuration calls it.
fn kind(kind: &CheckKind) -> &'static str {
    match kind {
        CheckKind::Tcp => "tcp",
        CheckKind::Http(HttpCheck { tls: None, .. }) => "http",
        CheckKind::Http(HttpCheck { tls: Some(_), .. }) => "https",
        CheckKind::Udp(_) => "udp",
        CheckKind::Dns(_) => "dns",
        CheckKind::Grpc(_) => "grpc",
        CheckKind::Mysql(_) => "mysql",
        CheckKind::Exec(_) => "exec",
        CheckKind::Agent(_) => "agent",
    }
}

/// One result as it is told at `now`.
pub fn result(result: &LastResult, now: Instant) -> CheckResult {
    let (verdict, latency) = match &result.event {
        Event::Good(answer) => (CheckVerdict::Good, Some(answer.latency)),
        Event::Bad(_) => (CheckVerdict::Bad, None),
        Event::Inconclusive(_) => (CheckVerdict::Inconclusive, None),
    };
    CheckResult {
        ago_ms: milliseconds(now.saturating_duration_since(result.at)),
        verdict,
        latency_us: latency.map(|latency| u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)),
        message: result.event.to_string(),
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::sample_tests as sample;
    use crate::health::Health;
    use crate::health::machine::Machine;
    use crate::health::probe::ProbeError;

    const FILE: &str = r#"
        [node]
        interfaces = ["eth0"]
        [checks.web]
        kind = "https"
        interval = "2s"
        [pools.web]
        mode = "nat"
        check = "web"
        backends = [{ name = "a", address = "10.0.0.1:443" }]
        [pools.bare]
        mode = "nat"
        backends = [{ name = "a", address = "10.0.0.2:80" }]
    "#;

    #[test]
    fn a_check_is_told_with_how_it_went() {
        let model = sample::model(FILE);
        assert_eq!(info(&model, "bare", None), None);
        let unasked = info(&model, "web", None).unwrap();
        assert_eq!((unasked.name.as_str(), unasked.kind.as_str()), ("web", "https"));
        assert_eq!((unasked.interval_ms, unasked.address, unasked.good), (2_000, None, 0));

        let address = "10.0.0.1:443".parse().unwrap();
        let start = Instant::now();
        let mut machine = Machine::new(2, 3, Health::Unknown, start);
        let at = |ms| start + Duration::from_millis(ms);
        machine.on_event(Event::Good(Duration::from_micros(850).into()), at(0));
        machine.on_event(Event::Bad(ProbeError::Refused { address }), at(1_000));
        machine.on_event(Event::Bad(ProbeError::Refused { address }), at(2_000));
        let target = TargetStatus { address, status: machine.status().clone() };
        let asked = info(&model, "web", Some(&target)).unwrap();
        assert_eq!((asked.good_in_a_row, asked.bad_in_a_row, asked.good, asked.bad), (0, 2, 1, 2));
        assert_eq!((asked.address, asked.certificate_expires_unix_seconds), (Some(address), None));

        let results: Vec<CheckResult> =
            machine.history().map(|last| super::result(last, at(2_500))).collect();
        let told: Vec<_> = results.iter().map(|one| (one.ago_ms, one.verdict, one.latency_us)).collect();
        let wanted = [
            (2_500, CheckVerdict::Good, Some(850)),
            (1_500, CheckVerdict::Bad, None),
            (500, CheckVerdict::Bad, None),
        ];
        assert_eq!(told, wanted);
        assert!(results[2].message.contains("refused the connection"), "{}", results[2].message);
    }
}
