//! When operators hear that sessions find no room: at once, then now and then while it goes on.

use lb_common::abi::DropReason;
use std::collections::BTreeMap;
use std::time::Duration;

/// While it goes on, it is told again after this time.
const AGAIN: Duration = Duration::from_mins(1);
/// Share of the table, in percent, from which it counts as nearly full.
const NEARLY_PERCENT: u64 = 90;
/// Share below which it no longer does: lower, so that a table on the brink is not told of again and again.
const RELIEF_PERCENT: u64 = 80;

/// How full the table is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fill {
    /// There is room.
    #[default]
    Room,
    /// Nine tenths are in use.
    Nearly,
    /// Sessions are turned away.
    Full,
}

/// A look at the table.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// Sessions there are.
    pub sessions: u64,
    /// Sessions that there may be.
    pub capacity: u64,
    /// Packets by verdict number.
    pub verdicts: &'a BTreeMap<u8, u64>,
    /// The time, on the monotonic clock.
    pub now_ms: u64,
}

/// What was told, and what happened since.
#[derive(Debug, Default)]
pub struct Alarms {
    fill: Fill,
    exhausted: Growth,
    full: Growth,
}

impl Alarms {
    /// What there is to tell, with whether it is bad news.
    pub fn look(&mut self, look: &Look<'_>) -> Vec<(bool, String)> {
        let count = |reason: DropReason| look.verdicts.get(&reason.number()).copied().unwrap_or(0);
        let mut news = Vec::new();
        if let Some(packets) = self.exhausted.look(count(DropReason::PortsExhausted), look.now_ms) {
            news.push((
                true,
                format!(
                    "ports exhausted: {packets} packets of new connections found no free port to their backend; give the \
                     pool more addresses to send from"
                ),
            ));
        }
        let turned_away = self.full.look(count(DropReason::SessionsFull), look.now_ms);
        if let Some(packets) = turned_away {
            news.push((
                true,
                format!(
                    "the session table is full: {packets} packets of new connections were dropped; raise \
                     node.limits.sessions"
                ),
            ));
        }
        let fill = self.next_fill(look, turned_away.is_some());
        match (self.fill, fill) {
            (Fill::Room, Fill::Nearly) => {
                let Look { sessions, capacity, .. } = look;
                news.push((true, format!("the session table is nearly full: {sessions} of {capacity}")));
            }
            (Fill::Nearly | Fill::Full, Fill::Room) => {
                news.push((false, "there is room again in the session table".to_owned()));
            }
            _ => {}
        }
        self.fill = fill;
        news
    }

    fn next_fill(&self, look: &Look<'_>, turned_away: bool) -> Fill {
        let share = |percent: u64| u128::from(look.capacity) * u128::from(percent);
        let used = u128::from(look.sessions) * 100;
        if turned_away {
            Fill::Full
        } else if used < share(RELIEF_PERCENT) || look.capacity == 0 {
            Fill::Room
        } else if used >= share(NEARLY_PERCENT) && self.fill == Fill::Room {
            Fill::Nearly
        } else {
            self.fill
        }
    }
}

/// A counter, and how far it was told of.
#[derive(Debug, Default)]
struct Growth {
    /// What was told of so far, and when; nothing before the first look, which finds what happened before the agent.
    told: Option<(u64, Option<u64>)>,
}

impl Growth {
    /// How much there is to tell at `now_ms`, if it is time.
    fn look(&mut self, count: u64, now_ms: u64) -> Option<u64> {
        let Some((told, told_ms)) = self.told else {
            self.told = Some((count, None));
            return None;
        };
        // One that went back belongs to maps made anew.
        let grown = count.checked_sub(told).unwrap_or(count);
        let again_ms = u64::try_from(AGAIN.as_millis()).unwrap_or(u64::MAX);
        let is_time = told_ms.is_none_or(|told_ms| now_ms >= told_ms.saturating_add(again_ms));
        if grown == 0 || !is_time {
            return None;
        }
        self.told = Some((count, Some(now_ms)));
        Some(grown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at a table of 1,000 and says what is told.
    struct Bed {
        alarms: Alarms,
        verdicts: BTreeMap<u8, u64>,
        sessions: u64,
    }

    impl Bed {
        fn new() -> Self {
            Self { alarms: Alarms::default(), verdicts: BTreeMap::new(), sessions: 0 }
        }

        fn drop(&mut self, reason: DropReason, packets: u64) {
            *self.verdicts.entry(reason.number()).or_default() += packets;
        }

        fn look(&mut self, now_s: u64) -> Vec<(bool, String)> {
            let Self { alarms, verdicts, sessions } = self;
            alarms.look(&Look { sessions: *sessions, capacity: 1_000, verdicts, now_ms: now_s * 1_000 })
        }
    }

    #[test]
    fn what_happened_before_the_agent_is_no_news() {
        let mut bed = Bed::new();
        bed.drop(DropReason::PortsExhausted, 5);
        assert!(bed.look(0).is_empty());
        assert!(bed.look(100).is_empty());
    }

    #[test]
    fn exhausted_ports_are_told_at_once_and_then_once_a_minute() {
        let mut bed = Bed::new();
        bed.look(0);
        let mut told = Vec::new();
        for second in (5..=125).step_by(5) {
            bed.drop(DropReason::PortsExhausted, 10);
            told.extend(bed.look(second).into_iter().map(|(bad, says)| (second, bad, says)));
        }
        assert_eq!(told.iter().map(|(second, ..)| *second).collect::<Vec<_>>(), [5, 65, 125]);
        assert!(told[1].1 && told[1].2.contains("120 packets"), "{told:?}");
    }

    #[test]
    fn a_table_that_fills_is_told_of_once_each_way() {
        let mut bed = Bed::new();
        for (sessions, news) in [(899, 0), (900, 1), (880, 0), (990, 0), (850, 0), (799, 1), (900, 1)] {
            bed.sessions = sessions;
            assert_eq!(bed.look(sessions).len(), news, "{sessions} sessions");
        }
    }

    #[test]
    fn a_full_table_is_told_of_and_its_relief_too() {
        let mut bed = Bed::new();
        bed.look(0);
        bed.sessions = 1_000;
        bed.drop(DropReason::SessionsFull, 3);
        let news = bed.look(5);
        assert!(matches!(&news[..], [(true, says)] if says.contains("3 packets")), "{news:?}");
        bed.sessions = 10;
        let news = bed.look(10);
        assert!(matches!(&news[..], [(false, says)] if says.contains("room again")), "{news:?}");
    }

    #[test]
    fn counters_that_begin_anew_make_no_nonsense() {
        let mut bed = Bed::new();
        bed.drop(DropReason::PortsExhausted, 50);
        bed.look(0);
        bed.verdicts.clear();
        assert!(bed.look(5).is_empty());
        bed.drop(DropReason::PortsExhausted, 60);
        let news = bed.look(10);
        assert_eq!(news.len(), 1);
    }
}
