//! Sizes of the maps, and which limit of the configuration each follows from.

use super::super::{Capacity, DataplaneError};
use super::{KernelError, Pins};
use aya::maps::MapInfo;
use lb_common::abi::{SNAT_ADDRESSES, names, place};

/// The size of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// Name of the map.
    pub(super) map: &'static str,
    /// Its entries.
    pub(super) entries: u32,
    /// The limit that it is so many times as large as; none where the number is rounded, or fixed.
    limit: Option<Limit>,
}

/// One of `node.limits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limit {
    name: &'static str,
    value: u32,
}

/// Sizes that the configuration sets, those first that say the limit exactly. The return path has an entry for each frontend
/// and backend of a nat pool.
pub(super) fn sizes(capacity: Capacity) -> [Size; 13] {
    let Capacity { services, backends, slots, flows, sessions } = capacity;
    let of = |map, entries, name, value| Size { map, entries, limit: Some(Limit { name, value }) };
    let rounded = |map, entries| Size { map, entries, limit: None };
    [
        of(names::RANGES, capacity.ranges(), "services", services),
        of(names::NETWORKS, services, "services", services),
        of(names::SERVICE_COUNTERS, services, "services", services),
        of(names::REVERSE_RANGES, capacity.reverse_ranges(), "backends", backends),
        of(names::BACKENDS, backends, "backends", backends),
        of(names::IDENTITIES, backends, "backends", backends),
        of(names::BACKEND_COUNTERS, backends, "backends", backends),
        of(names::SLOTS, slots, "slots", slots),
        of(names::FLOWS, flows, "flows", flows),
        of(names::SESSIONS, sessions.saturating_mul(2), "sessions", sessions),
        rounded(names::SERVICES, place::places(capacity.service_keys())),
        rounded(names::REVERSE, place::places(capacity.reverse())),
        rounded(names::SNAT, SNAT_ADDRESSES),
    ]
}

impl Size {
    /// What to say of a pinned map that has `found` entries.
    fn mismatch(&self, found: u32) -> KernelError {
        let was = |limit: Limit| {
            let factor = self.entries.checked_div(limit.value).filter(|factor| *factor > 0)?;
            Some((limit, found / factor)).filter(|(_, was)| *was != limit.value && was * factor == found)
        };
        match self.limit.and_then(was) {
            Some((limit, was)) => KernelError::Resized { limit: limit.name, found: was, wanted: limit.value },
            None => KernelError::OtherSize { map: self.map, found, wanted: self.entries },
        }
    }
}

/// Whether the maps that are pinned have the sizes of `capacity`.
///
/// # Errors
/// [`KernelError::Resized`] or [`KernelError::OtherSize`] with the first that has not.
pub(super) fn check(pins: &Pins, capacity: Capacity) -> Result<(), KernelError> {
    for size in sizes(capacity) {
        let path = pins.map(size.map);
        if path.exists() {
            let failed = |source| DataplaneError::Map { action: "inspect", map: size.map, source };
            let found = MapInfo::from_pin(&path).map_err(failed)?.max_entries();
            if found != size.entries {
                return Err(size.mismatch(found));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: Capacity =
        Capacity { services: 8_192, backends: 300, slots: 4_096, flows: 1_000, sessions: 2_000 };

    /// What is said first when maps that were made for `former` are met with [`CAPACITY`].
    fn said(former: Capacity) -> String {
        let pairs = sizes(CAPACITY).into_iter().zip(sizes(former));
        let mut differing = pairs.filter(|(now, before)| now.entries != before.entries);
        let (now, before) = differing.next().expect("a difference");
        assert_eq!(now.map, before.map);
        now.mismatch(before.entries).to_string()
    }

    #[test]
    fn a_limit_that_changed_is_named_with_the_number_that_it_was() {
        let cases = [
            (Capacity { services: 4_096, ..CAPACITY }, "node.limits.services was 4096"),
            (Capacity { backends: 301, ..CAPACITY }, "node.limits.backends was 301"),
            (Capacity { slots: 1_024, ..CAPACITY }, "node.limits.slots was 1024"),
            (Capacity { flows: 7, ..CAPACITY }, "node.limits.flows was 7"),
            (Capacity { sessions: 1, ..CAPACITY }, "node.limits.sessions was 1 "),
        ];
        for (former, expected) in cases {
            let said = said(former);
            assert!(said.contains(expected), "{said}");
        }
    }

    #[test]
    fn a_size_that_no_limit_explains_is_told_as_it_is() {
        let ranges = sizes(CAPACITY)[0];
        assert!(matches!(
            ranges.mismatch(ranges.entries + 1),
            KernelError::OtherSize { map: names::RANGES, .. }
        ));
        assert!(matches!(sizes(CAPACITY)[12].mismatch(1), KernelError::OtherSize { map: names::SNAT, .. }));
    }
}
