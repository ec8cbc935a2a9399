//! How fast the services' counters grow.
//!
//! Pure; time is an argument. Always holds: a counter that went back (maps made anew) gives 0, never a huge number.

use crate::api::types::Rates;
use lb_common::abi::ServiceCounters;
use std::collections::BTreeMap;
use std::time::Instant;

/// Counters of services by name.
pub type Counters = BTreeMap<String, ServiceCounters>;

/// Two looks at the counters, and what lies between them.
#[derive(Debug, Default)]
pub struct RateMeter {
    before: Option<(Instant, Counters)>,
    rates: BTreeMap<String, Rates>,
}

impl RateMeter {
    /// Takes a look at the counters.
    pub fn look(&mut self, now: Instant, counters: Counters) {
        if let Some((at, before)) = &self.before {
            let milliseconds = now.duration_since(*at).as_millis().max(1);
            let known = counters.iter().filter_map(|(name, after)| Some((name, before.get(name)?, after)));
            self.rates = known
                .map(|(name, before, after)| (name.clone(), rates(*before, *after, milliseconds)))
                .collect();
        }
        self.before = Some((now, counters));
    }

    /// Averages between the last two looks; none for a service that only the last one met.
    pub fn of(&self, service: &str) -> Option<Rates> {
        self.rates.get(service).copied()
    }
}

fn rates(before: ServiceCounters, after: ServiceCounters, milliseconds: u128) -> Rates {
    let per_second = |before: u64, after: u64| {
        let growth = u128::from(after.saturating_sub(before)) * 1000 / milliseconds;
        u64::try_from(growth).unwrap_or(u64::MAX)
    };
    Rates {
        packets_per_second: per_second(before.packets, after.packets),
        bytes_per_second: per_second(before.bytes, after.bytes),
        new_connections_per_second: per_second(before.new_connections, after.new_connections),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn counters(packets: u64) -> Counters {
        let counters = ServiceCounters { packets, bytes: packets * 100, new_connections: 7, reply_bytes: 0 };
        BTreeMap::from([("web".to_owned(), counters)])
    }

    #[test]
    fn rates_are_averages_between_two_looks() {
        let (mut meter, start) = (RateMeter::default(), Instant::now());
        meter.look(start, counters(1_000));
        assert_eq!(meter.of("web"), None);
        meter.look(start + Duration::from_secs(10), counters(6_000));
        let wanted =
            Rates { packets_per_second: 500, bytes_per_second: 50_000, new_connections_per_second: 0 };
        assert_eq!(meter.of("web"), Some(wanted));
        assert_eq!(meter.of("other"), None);
    }

    #[test]
    fn counters_that_begin_anew_and_looks_at_the_same_moment_give_no_nonsense() {
        let (mut meter, start) = (RateMeter::default(), Instant::now());
        meter.look(start, counters(1_000));
        meter.look(start, counters(10));
        assert_eq!(meter.of("web").map(|rates| rates.packets_per_second), Some(0));
        meter.look(start + Duration::from_secs(1), BTreeMap::new());
        assert_eq!(meter.of("web"), None);
    }
}
