//! Certificates that are about to expire, or have: a sentence each, for as long as it is so.
//!
//! Always holds: whoever is told of has shown the certificate in a good answer; what fails the check says so itself.

use super::desired::check_id;
use crate::health::{BackendId, TargetStatus};
use crate::model::Model;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_hours(24);

/// Names of backends that are listed where many show one certificate.
const MAX_NAMES: usize = 3;

/// Who shows a certificate that expires within its check's `expiry_warning`: a sentence for each pool and certificate. The
/// text changes once a day.
pub fn expiring(model: &Model, checked: &BTreeMap<BackendId, TargetStatus>, now: SystemTime) -> Vec<String> {
    let mut found: BTreeMap<(&str, SystemTime), Vec<&str>> = BTreeMap::new();
    for (pool_name, pool) in &model.pools {
        let Some(tls) = model.check_of(pool).and_then(|check| check.tls()) else { continue };
        for backend in pool.own_backends() {
            let status = checked.get(&check_id(pool_name, backend)).map(|target| &target.status);
            let Some(expires) = status.and_then(|status| status.findings.certificate_expires) else {
                continue;
            };
            if !tls.expiry_warning.is_zero() && expires <= now + tls.expiry_warning {
                found.entry((pool_name, expires)).or_default().push(&backend.name);
            }
        }
    }
    found.iter().map(|((pool, expires), names)| sentence(pool, names, *expires, now)).collect()
}

fn sentence(pool: &str, names: &[&str], expires: SystemTime, now: SystemTime) -> String {
    let mut who = names.iter().take(MAX_NAMES).copied().collect::<Vec<_>>().join(", ");
    if names.len() > MAX_NAMES {
        who = format!("{who} and {} more", names.len() - MAX_NAMES);
    }
    let at = humantime::format_rfc3339_seconds(expires);
    match expires.duration_since(now) {
        Ok(left) => format!("pool {pool}: the certificate of {who} expires in {}, at {at}", days(left)),
        Err(over) => {
            format!("pool {pool}: the certificate of {who} expired {} ago, at {at}", days(over.duration()))
        }
    }
}

fn days(time: Duration) -> String {
    match time.as_secs() / DAY.as_secs() {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::sample_tests as sample;
    use crate::health::{Findings, Health};

    const FILE: &str = r#"
        [node]
        interfaces = ["eth0"]
        [checks.web]
        kind = "https"
        verify = false
        expiry_warning = "10days"
        [pools.web]
        mode = "nat"
        check = "web"
        backends = [{ name = "a", address = "10.0.0.1:443" }]
    "#;

    fn expiring_at(days_from_now: i64) -> Vec<String> {
        let model = sample::model(FILE);
        let now = SystemTime::UNIX_EPOCH + DAY * 20_000;
        let days = DAY * u32::try_from(days_from_now.abs()).unwrap();
        let expires = if days_from_now < 0 { now - days } else { now + days };
        let findings = Findings { certificate_expires: Some(expires), ..Findings::default() };
        let checked = [(sample::id("web/a"), sample::found(Health::Up, findings))].into();
        expiring(&model, &checked, now)
    }

    #[test]
    fn certificates_are_told_of_before_they_expire_and_after() {
        assert!(expiring_at(11).is_empty());
        assert_eq!(
            expiring_at(10),
            ["pool web: the certificate of a expires in 10 days, at 2024-10-14T00:00:00Z"]
        );
        assert_eq!(
            expiring_at(1),
            ["pool web: the certificate of a expires in 1 day, at 2024-10-05T00:00:00Z"]
        );
        assert_eq!(
            expiring_at(-3),
            ["pool web: the certificate of a expired 3 days ago, at 2024-10-01T00:00:00Z"]
        );
    }
}
