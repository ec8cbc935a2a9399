//! `lbctl backend list`.

use super::look::Look;
use super::table::{self, Field, Kind, Tone};
use super::units;
use crate::api::edit::BackendAddress;
use crate::api::types::{AdminState, BackendInfo, HealthInfo, HealthState, NextHop};

/// A row for each backend.
pub(in crate::cli) fn render(backends: &[BackendInfo], look: Look) -> String {
    if backends.is_empty() {
        return "no backends\n".to_owned();
    }
    let columns = [
        ("BACKEND", Kind::Whole),
        ("ADDRESS", Kind::Whole),
        ("WEIGHT", Kind::Number),
        ("SHARE", Kind::Spare),
        ("STATE", Kind::Whole),
        ("HEALTH", Kind::Text),
        ("FLOWS", Kind::Spare),
        ("LATENCY", Kind::Spare),
        ("NEW", Kind::Spare),
        ("PACKETS", Kind::Spare),
        ("BYTES", Kind::Spare),
        ("NEXT HOP", Kind::Text),
    ];
    table::render(look, columns, backends.iter().map(row))
}

fn row(backend: &BackendInfo) -> [Field; 12] {
    let address = BackendAddress { ip: backend.address, port: backend.port };
    let latency = backend.health.last_latency_us.map_or_else(|| table::NONE.to_owned(), units::latency);
    let flows = match backend.remembered_flows {
        0 => table::NONE.to_owned(),
        flows => units::count(flows),
    };
    [
        format!("{}/{}", backend.pool, backend.name).into(),
        address.to_string().into(),
        backend.weight.to_string().into(),
        units::percent(backend.slot_share_percent).into(),
        state(backend),
        health(&backend.health),
        flows.into(),
        latency.into(),
        units::count(backend.new_connections).into(),
        units::count(backend.packets).into(),
        units::bytes(backend.bytes).into(),
        next_hop(&backend.next_hop),
    ]
}

/// What the operator wants, and for a drain how far it is.
pub(super) fn state(backend: &BackendInfo) -> Field {
    match backend.admin_state {
        AdminState::Active => "active".into(),
        AdminState::Drain if backend.drained => Field::toned("drained", Tone::Good),
        AdminState::Drain => Field::toned("draining", Tone::Warning),
        AdminState::Maintenance => Field::toned("maintenance", Tone::Warning),
    }
}

/// `up 12s`, `up 12s: read-only`, `down 4s: connection refused`, and for how long it is kept out if it is.
pub(super) fn health(health: &HealthInfo) -> Field {
    let (word, tone) = match health.state {
        HealthState::Up => ("up", Tone::Good),
        HealthState::Down => ("down", Tone::Bad),
        HealthState::Unknown => ("unknown", Tone::Warning),
    };
    let age = units::age(health.since_seconds);
    let mut text = match health.reason.as_ref().or(health.detail.as_ref()) {
        Some(why) => format!("{word} {age}: {why}"),
        None => format!("{word} {age}"),
    };
    if health.held_seconds > 0 {
        text = format!("{text} (kept out for {}, went down too often)", units::age(health.held_seconds));
    }
    Field::toned(&text, tone)
}

pub(super) fn next_hop(next_hop: &NextHop) -> Field {
    match next_hop {
        NextHop::Resolved { mac, interface } => format!("{mac} {interface}").into(),
        NextHop::Unresolved { error } => Field::toned(&format!("unresolved: {error}"), Tone::Bad),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn a_drain_shows_the_flows_that_remain_until_there_are_none() {
        let backends = samples::backends_that_go();
        let text = render(&backends, Look::default());
        let words = |text: &str| -> Vec<String> {
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
        };
        let wanted = [
            "BACKEND ADDRESS WEIGHT SHARE STATE HEALTH FLOWS",
            "web/web1 10.0.0.11:80 100 0.0 % draining up 12s 37",
            "web/web2 10.0.0.11:80 100 0.0 % drained up 12s -",
            "web/web3 10.0.0.11:80 100 0.0 % maintenance unknown 12s -",
        ];
        for (line, wanted) in words(&text).iter().zip(wanted) {
            assert!(line.starts_with(wanted), "{wanted:?} in\n{text}");
        }
        // In the steady state there is nothing to count.
        assert!(!render(&backends[1..], Look::default()).contains("FLOWS"));
    }

    #[test]
    fn a_backend_is_a_row() {
        let wanted = "\
BACKEND   ADDRESS       WEIGHT   SHARE  STATE     HEALTH                          LATENCY   NEW  PACKETS   BYTES  NEXT HOP
web/web1  10.0.0.11:80     100  66.7 %  active    up 12s                           850 µs  9999    1.2 M  3.4 GB  02:00:00:00:00:0b eth0
web/web2  10.0.0.12:80     100   0.0 %  active    down 3m 5s: connection refused        -     2       17  1.5 kB  02:00:00:00:00:0b eth0
web/web3  fd00::13          50  33.3 %  draining  up 12s                           850 µs  9999    1.2 M  3.4 GB  unresolved: no route to fd00::13
";
        let text = render(&samples::backends(), Look::default());
        assert_eq!(text, wanted, "got:\n{text}");
    }

    #[test]
    fn what_a_check_found_is_told_unless_something_is_wrong() {
        let [mut web1, mut web2, _] = samples::backends().try_into().unwrap();
        for backend in [&mut web1, &mut web2] {
            backend.health.detail = Some("read-only, 2 s behind its source".into());
        }
        web1.health.held_seconds = 75;
        let text = render(&[web1, web2], Look::default());
        let kept_out =
            "up 12s: read-only, 2 s behind its source (kept out for 1m 15s, went down too often)  ";
        assert!(text.contains(kept_out), "{text}");
        assert!(text.contains("down 3m 5s: connection refused  "), "{text}");
    }

    #[test]
    fn on_a_narrow_terminal_only_words_are_folded() {
        let text = render(&samples::backends(), Look { colour: false, width: Some(80) });
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.contains("10.0.0.11:80"), "{text}");
    }

    #[test]
    fn nothing_is_said_in_words() {
        assert_eq!(render(&[], Look::default()), "no backends\n");
    }
}
