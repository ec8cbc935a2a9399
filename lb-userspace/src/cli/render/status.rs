//! `lbctl status`.

use super::look::Look;
use super::table::{self, Field, Kind, Tone};
use super::text::plain;
use super::{time, units};
use crate::api::types::{
    AttachMode, BackendCounts, CheckLoad, ConfigInfo, FlowTableInfo, SessionTableInfo, Status, VerdictKind,
};

/// Share of a capacity, in percent, from which it is marked.
const NEARLY_FULL_PERCENT: u64 = 90;

/// A paragraph of sentences, then a table for each list that is not empty.
pub(in crate::cli) fn render(status: &Status, look: Look) -> String {
    let mut parts = vec![summary(status)];
    parts.extend([
        interfaces(status, look),
        vips(status, look),
        limits(status, look),
        verdicts(status, look),
    ]);
    parts.retain(|part| !part.is_empty());
    parts.join("\n")
}

fn summary(status: &Status) -> String {
    let mut lines = vec![
        format!(
            "lbd {}, pid {}, up {}, map ABI {}",
            plain(&status.version),
            status.pid,
            units::age(status.uptime_seconds),
            status.abi_version,
        ),
        config(&status.config),
        format!("services {}", status.service_count),
        backends(status.backends),
    ];
    lines.extend(flow_table(&status.flows));
    lines.extend(session_table(&status.sessions));
    lines.extend(changing_slots(&status.flows));
    lines.extend(late_checks(status.checks));
    lines.extend(status.warnings.iter().map(|warning| format!("warning: {}", plain(warning))));
    lines.join("\n") + "\n"
}

fn config(config: &ConfigInfo) -> String {
    format!(
        "config {}, generation {}, loaded {}, hash {}",
        plain(&config.path),
        config.generation,
        time::seconds(config.loaded_unix_seconds),
        plain(&config.hash),
    )
}

fn backends(counts: BackendCounts) -> String {
    format!(
        "backends {}: {} up, {} down, {} draining, {} in maintenance, {} unknown",
        counts.total, counts.up, counts.down, counts.draining, counts.maintenance, counts.unknown,
    )
}

/// `flows 37 of 524288 remembered, 1204 recorded, 12.3 k hits, 3 evicted, refused 120 opening`; counters of what did
/// not happen are left out. Nothing without a table.
fn flow_table(flows: &FlowTableInfo) -> Option<String> {
    if flows.capacity == 0 {
        return None;
    }
    let mut parts = vec![format!("flows {} of {} remembered", flows.entries, flows.capacity)];
    parts.extend(counted(&[(flows.recorded, "recorded"), (flows.hits, "hits"), (flows.evicted, "evicted")]));
    let refused = counted(&[
        (flows.refused_opening, "opening"),
        (flows.refused_established, "established"),
        (flows.refused_udp, "udp"),
    ]);
    if !refused.is_empty() {
        parts.push(format!("refused {}", refused.join(" + ")));
    }
    Some(parts.join(", "))
}

/// `sessions 50000 of 1000000, 3 opening, 12.3 k expired`; nothing where there never were any.
fn session_table(sessions: &SessionTableInfo) -> Option<String> {
    let SessionTableInfo { capacity, entries, opening, expired } = *sessions;
    let mut parts = vec![format!("sessions {entries} of {capacity}")];
    parts.extend(counted(&[(opening, "opening"), (expired, "expired")]));
    (entries > 0 || expired > 0).then(|| parts.join(", "))
}

/// What happened, and how often.
fn counted(counters: &[(u64, &str)]) -> Vec<String> {
    let happened = counters.iter().filter(|(value, _)| *value > 0);
    happened.map(|(value, what)| format!("{} {what}", units::count(*value))).collect()
}

/// `slots 120 learning, 4 tracked`; nothing while no slot changes hands.
fn changing_slots(flows: &FlowTableInfo) -> Option<String> {
    let (learning, tracked) = (flows.slots_learning, flows.slots_tracked);
    (learning > 0 || tracked > 0).then(|| format!("slots {learning} learning, {tracked} tracked"))
}

/// `checks 12 late of 34567, the latest by 230 ms`; nothing while all start in time.
fn late_checks(checks: CheckLoad) -> Option<String> {
    let CheckLoad { started, late, worst_late_ms, .. } = checks;
    (late > 0).then(|| format!("checks {late} late of {started}, the latest by {worst_late_ms} ms"))
}

fn interfaces(status: &Status, look: Look) -> String {
    let columns = [
        ("INTERFACE", Kind::Whole),
        ("INDEX", Kind::Number),
        ("MODE", Kind::Whole),
        ("PROGRAM", Kind::Number),
        ("LINK", Kind::Whole),
    ];
    let rows = status.interfaces.iter().map(|interface| {
        let mode = match interface.mode {
            AttachMode::Native => Field::toned("native", Tone::Good),
            AttachMode::Generic => Field::toned("generic", Tone::Warning),
        };
        let link = if interface.adopted { "adopted" } else { "new" };
        [
            (&interface.name).into(),
            interface.ifindex.to_string().into(),
            mode,
            interface.program_id.to_string().into(),
            link.into(),
        ]
    });
    table::render(look, columns, rows)
}

fn vips(status: &Status, look: Look) -> String {
    let columns = [("VIP", Kind::Whole), ("INTERFACE", Kind::Whole), ("ASSIGNED BY", Kind::Text)];
    let rows = status.vips.iter().map(|vip| {
        let by = match (vip.owned, &vip.interface, vip.prefix_bits) {
            (_, _, Some(_)) => "routes",
            (true, ..) => "lbd",
            (false, Some(_), None) => "others",
            (false, None, None) => "nobody",
        };
        let address = match (vip.prefix_bits, vip.sends) {
            (Some(bits), _) => format!("{}/{bits}", vip.address),
            (None, true) => format!("{} (snat)", vip.address),
            (None, false) => vip.address.to_string(),
        };
        [address.into(), vip.interface.as_deref().unwrap_or(table::NONE).into(), by.into()]
    });
    table::render(look, columns, rows)
}

fn limits(status: &Status, look: Look) -> String {
    let columns =
        [("LIMIT", Kind::Whole), ("USED", Kind::Number), ("CAPACITY", Kind::Number), ("USE", Kind::Number)];
    let rows = status.limits.iter().map(|limit| {
        let nearly_full =
            u128::from(limit.used) * 100 >= u128::from(limit.capacity) * u128::from(NEARLY_FULL_PERCENT);
        let tone = if nearly_full { Tone::Warning } else { Tone::Neutral };
        [
            (&limit.name).into(),
            limit.used.to_string().into(),
            limit.capacity.to_string().into(),
            Field::toned(&units::use_of(limit.used, limit.capacity), tone),
        ]
    });
    table::render(look, columns, rows)
}

fn verdicts(status: &Status, look: Look) -> String {
    let columns = [("VERDICT", Kind::Whole), ("REASON", Kind::Whole), ("PACKETS", Kind::Number)];
    let rows = status.verdicts.iter().map(|verdict| {
        let kind = match verdict.kind {
            VerdictKind::Drop => "drop",
            VerdictKind::Pass => "pass",
            VerdictKind::Forward => "forward",
            VerdictKind::Note => "note",
        };
        [kind.into(), (&verdict.name).into(), units::count(verdict.packets).into()]
    });
    table::render(look, columns, rows)
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn a_status_is_a_paragraph_and_a_table_for_each_list() {
        let wanted = "\
lbd 0.1.0, pid 4711, up 2h 5m, map ABI 1
config /etc/lb/lb.toml, generation 12, loaded 2026-11-22T10:00:00Z, hash 9f3ac2
services 1
backends 3: 1 up, 1 down, 1 draining, 0 in maintenance, 0 unknown
flows 0 of 524288 remembered
warning: eth1: generic mode, because its driver has no XDP

INTERFACE  INDEX  MODE     PROGRAM  LINK
eth0           2  native        41  adopted
eth1           3  generic       42  new

VIP           INTERFACE  ASSIGNED BY
203.0.113.10  eth0       lbd
2001:db8::10  -          nobody

LIMIT     USED  CAPACITY     USE
services     1      4096   0.0 %
backends  3900      4096  95.2 %

VERDICT  REASON      PACKETS
forward  nat           1.2 M
drop     no_backend       17
";
        let text = render(&samples::status(), Look::default());
        assert_eq!(text, wanted, "got:\n{text}");
    }

    #[test]
    fn of_the_flow_table_what_happened_is_shown() {
        let status = Status { flows: samples::flows(), ..samples::status() };
        let wanted = "
flows 37 of 524288 remembered, 1204 recorded, 12.3 k hits, 3 evicted, refused 120.0 k opening + 2 established
slots 120 learning, 4 tracked
warning: ";
        let text = render(&status, Look::default());
        assert!(text.contains(wanted), "got:\n{text}");
    }

    #[test]
    fn sessions_are_shown_where_there_are_any() {
        let status = Status { sessions: samples::sessions(), ..samples::status() };
        let text = render(&status, Look::default());
        assert!(text.contains("\nsessions 50000 of 1000000, 3 opening, 12.3 k expired\n"), "got:\n{text}");
    }

    #[test]
    fn lists_that_are_empty_leave_no_trace() {
        let mut status = samples::status();
        (status.interfaces, status.vips, status.limits, status.verdicts) = (vec![], vec![], vec![], vec![]);
        status.warnings.clear();
        status.flows.capacity = 0;
        assert_eq!(render(&status, Look::default()).lines().count(), 4);
    }
}
