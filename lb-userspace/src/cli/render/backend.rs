//! `lbctl backend show`.

use super::look::Look;
use super::table::{self, Field, Kind, Tone};
use super::text::plain;
use super::{backends, time, units};
use crate::api::edit::BackendAddress;
use crate::api::types::{BackendDetail, BackendInfo, CheckInfo, CheckResult, CheckVerdict};
use std::time::Duration;

/// Width of the names before the values.
const NAME_WIDTH: usize = 13;

/// A line for each thing that there is to say, then a row for each result.
pub(in crate::cli) fn render(detail: &BackendDetail, look: Look) -> String {
    let backend = &detail.backend;
    let mut lines = vec![line("backend", &format!("{}/{}", backend.pool, backend.name))];
    lines.extend(detail.standby_of.iter().map(|origin| line("standby of", origin)));
    lines.extend(standing(backend, detail.served));
    match &detail.check {
        Some(check) => lines.extend(check_lines(check)),
        None => lines.push(line("check", "none: it counts as up")),
    }
    lines.extend(traffic(backend));
    let results = results(&detail.results, look);
    let gap = if results.is_empty() { "" } else { "\n" };
    lines.concat() + gap + &results
}

fn line(name: &str, value: &str) -> String {
    format!("{name:NAME_WIDTH$}{}\n", plain(value))
}

fn standing(backend: &BackendInfo, served: bool) -> [String; 6] {
    let address = BackendAddress { ip: backend.address, port: backend.port };
    let share = units::percent(backend.slot_share_percent);
    [
        line("address", &address.to_string()),
        line("weight", &format!("{}, {share} of the slots", backend.weight)),
        line("state", &backends::state(backend).into_text()),
        line("health", &backends::health(&backend.health).into_text()),
        line("new flows", if served { "yes" } else { "no" }),
        line("next hop", &backends::next_hop(&backend.next_hop).into_text()),
    ]
}

fn check_lines(check: &CheckInfo) -> Vec<String> {
    let span = |ms| humantime::format_duration(Duration::from_millis(ms));
    let target = match check.address {
        Some(address) => format!("asks {address}"),
        None => "not asked now".to_owned(),
    };
    let what = format!(
        "{} ({}), {target} every {}, timeout {}, rise {}, fall {}",
        check.name,
        check.kind,
        span(check.interval_ms),
        span(check.timeout_ms),
        check.rise,
        check.fall,
    );
    let streak = match (check.good_in_a_row, check.bad_in_a_row) {
        (0, 0) => "none that counts yet".to_owned(),
        (0, bad) => format!("{bad} bad in a row"),
        (good, _) => format!("{good} good in a row"),
    };
    let sum =
        format!("{streak}; {} good, {} bad, {} inconclusive", check.good, check.bad, check.inconclusive);
    let mut lines = vec![line("check", &what), line("results", &sum)];
    lines.extend(
        check
            .certificate_expires_unix_seconds
            .map(|at| line("certificate", &format!("expires {}", time::seconds(at)))),
    );
    lines
}

fn traffic(backend: &BackendInfo) -> Vec<String> {
    let (new, packets, bytes) = (backend.new_connections, backend.packets, backend.bytes);
    let traffic = format!(
        "{} new connections, {} packets, {}",
        units::count(new),
        units::count(packets),
        units::bytes(bytes)
    );
    let mut lines = vec![line("traffic", &traffic)];
    if backend.remembered_flows > 0 {
        lines.push(line("flows", &units::flows_remain(backend.remembered_flows)));
    }
    lines
}

fn results(results: &[CheckResult], look: Look) -> String {
    let columns =
        [("AGO", Kind::Number), ("RESULT", Kind::Whole), ("LATENCY", Kind::Number), ("FOUND", Kind::Text)];
    table::render(look, columns, results.iter().map(row))
}

fn row(result: &CheckResult) -> [Field; 4] {
    let verdict = match result.verdict {
        CheckVerdict::Good => Field::toned("good", Tone::Good),
        CheckVerdict::Bad => Field::toned("bad", Tone::Bad),
        CheckVerdict::Inconclusive => Field::toned("inconclusive", Tone::Warning),
    };
    let latency = result.latency_us.map_or_else(|| table::NONE.to_owned(), units::latency);
    [units::ago(result.ago_ms).into(), verdict, latency.into(), (&result.message).into()]
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn a_backend_is_a_line_for_each_thing_and_a_row_for_each_result() {
        let wanted = "\
backend      web/web1
address      10.0.0.11:80
weight       100, 66.7 % of the slots
state        active
health       up 12s: its certificate expires at 2026-12-01T00:00:00Z
new flows    yes
next hop     02:00:00:00:00:0b eth0
check        front (https), asks 10.0.0.11:443 every 1s, timeout 500ms, rise 2, fall 3
results      12 good in a row; 120 good, 3 bad, 1 inconclusive
certificate  expires 2026-12-01T00:00:00Z
traffic      9999 new connections, 1.2 M packets, 3.4 GB

   AGO  RESULT        LATENCY  FOUND
 2.4 s  bad                 -  10.0.0.11:443 refused the connection
 1.4 s  inconclusive        -  10.0.0.11:443 was not asked
400 ms  good           850 µs  answered in 850.0µs
";
        let text = render(&samples::backend(), Look::default());
        assert_eq!(text, wanted, "got:\n{text}");
    }

    #[test]
    fn what_there_is_not_is_not_shown() {
        let detail = BackendDetail {
            standby_of: Some("spare/web1".into()),
            served: false,
            check: None,
            results: Vec::new(),
            ..samples::backend()
        };
        let text = render(&detail, Look::default());
        for wanted in
            ["standby of   spare/web1\n", "new flows    no\n", "check        none: it counts as up\n"]
        {
            assert!(text.contains(wanted), "{wanted:?} in\n{text}");
        }
        assert!(
            !text.contains("AGO") && !text.contains("certificate  ") && !text.contains("flows   37"),
            "{text}"
        );
    }

    #[test]
    fn one_in_maintenance_is_not_asked() {
        let mut detail = samples::backend();
        detail.check = detail.check.map(|check| CheckInfo {
            address: None,
            good_in_a_row: 0,
            certificate_expires_unix_seconds: None,
            ..check
        });
        detail.backend.remembered_flows = 37;
        let text = render(&detail, Look::default());
        for wanted in
            ["not asked now every 1s", "none that counts yet; 120 good", "flows        37 flows remain\n"]
        {
            assert!(text.contains(wanted), "{wanted:?} in\n{text}");
        }
    }

    #[test]
    fn what_a_server_says_cannot_steer_the_terminal() {
        let mut detail = samples::backend();
        detail.results[0].message = "\u{1b}[2J\nforged".into();
        detail.backend.health.detail = Some("\u{1b}[2J".into());
        let text = render(&detail, Look::default());
        assert!(!text.contains('\u{1b}') && text.contains("\\u{1b}[2J\\nforged"), "{text}");
    }
}
