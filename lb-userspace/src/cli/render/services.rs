//! `lbctl service list`.

use super::look::Look;
use super::table::{self, Field, Kind, Tone};
use super::units;
use crate::api::types::{ForwardMode, Protocol, ServiceInfo};

/// A row for each service, its frontends one below the other.
pub(in crate::cli) fn render(services: &[ServiceInfo], look: Look) -> String {
    if services.is_empty() {
        return "no services\n".to_owned();
    }
    let columns = [
        ("SERVICE", Kind::Whole),
        ("PROTOCOL", Kind::Whole),
        ("FRONTENDS", Kind::Whole),
        ("POOL", Kind::Whole),
        ("MODE", Kind::Whole),
        ("UP", Kind::Number),
        ("NEW", Kind::Spare),
        ("PACKETS", Kind::Spare),
        ("BYTES", Kind::Spare),
        ("NEW/S", Kind::Spare),
        ("PACKETS/S", Kind::Spare),
        ("BYTES/S", Kind::Spare),
    ];
    table::render(look, columns, services.iter().map(row))
}

fn row(service: &ServiceInfo) -> [Field; 12] {
    let rate = |value: Option<String>| Field::from(value.unwrap_or_else(|| table::NONE.to_owned()));
    let rates = service.rates;
    [
        (&service.name).into(),
        protocol(service.protocol).into(),
        table::lines(service.frontends.iter().cloned()),
        (&service.pool).into(),
        mode(service.mode).into(),
        up(service),
        units::count(service.new_connections).into(),
        units::count(service.packets).into(),
        units::bytes(service.bytes).into(),
        rate(rates.map(|rates| units::count(rates.new_connections_per_second))),
        rate(rates.map(|rates| units::count(rates.packets_per_second))),
        rate(rates.map(|rates| units::bytes(rates.bytes_per_second))),
    ]
}

fn up(service: &ServiceInfo) -> Field {
    let tone = match (service.backends_up, service.backends_total) {
        (0, _) => Tone::Bad,
        (up, total) if up < total => Tone::Warning,
        _ => Tone::Good,
    };
    Field::toned(&format!("{}/{}", service.backends_up, service.backends_total), tone)
}

fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

fn mode(mode: ForwardMode) -> &'static str {
    match mode {
        ForwardMode::Nat => "nat",
        ForwardMode::DsrL2 => "dsr-l2",
        ForwardMode::DsrIpip => "dsr-ipip",
        ForwardMode::DsrGue => "dsr-gue",
        ForwardMode::FullNat => "full-nat",
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn a_service_is_a_row_with_its_frontends_one_below_the_other() {
        let wanted = "\
SERVICE  PROTOCOL  FRONTENDS          POOL       MODE       UP   NEW  PACKETS   BYTES  NEW/S  PACKETS/S  BYTES/S
web      tcp       203.0.113.10:80    web        nat       1/3  9999    1.2 M  3.4 GB     40     12.3 k   1.5 kB
                   [2001:db8::10]:80
dns      udp       203.0.113.11:53    resolvers  dsr-ipip  2/2     0        0     0 B      -          -        -
";
        let text = render(&samples::services(), Look::default());
        assert_eq!(text, wanted, "got:\n{text}");
    }

    #[test]
    fn nothing_is_said_in_words() {
        assert_eq!(render(&[], Look::default()), "no services\n");
    }
}
