//! Which change comes next: kinds in random order from a seed, each turned into one that is possible.
//!
//! Role: pure. Imports `members`, `lane`.
//! Always holds: every lane keeps [`MIN_ACTIVE`] backends that take new flows; the same seed gives the same changes.

use super::lane::Lane;
use super::members::{Member, Members};

/// Backends that take new flows in every lane at least: a flap takes away one more for a while.
const MIN_ACTIVE: usize = 3;

/// Changes between a drain and the removal that follows.
const CHANGES_DRAINED: u32 = 3;

/// Weights that backends are given.
const WEIGHTS: std::ops::RangeInclusive<u32> = 25..=300;

/// Kinds of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A backend that was not there.
    Add,
    /// A backend gets no new flows any more.
    Drain,
    /// A drained backend is taken away.
    RemoveDrained,
    /// A backend is taken away with all its flows.
    Remove,
    /// Another weight.
    Weight,
    /// A server's check fails for a while.
    Flap,
    /// The file is edited by hand, several backends at once.
    Reload,
    /// A drained backend gets new flows again.
    Undrain,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Add,
        Self::Drain,
        Self::RemoveDrained,
        Self::Remove,
        Self::Weight,
        Self::Flap,
        Self::Reload,
        Self::Undrain,
    ];

    /// For the summary.
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Drain => "drain",
            Self::RemoveDrained => "remove_drained",
            Self::Remove => "remove",
            Self::Weight => "weight",
            Self::Flap => "flap",
            Self::Reload => "reload",
            Self::Undrain => "undrain",
        }
    }
}

/// A change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Of one backend, by a command.
    Backend {
        /// What.
        kind: Kind,
        /// Where.
        lane: Lane,
        /// Which.
        web: usize,
        /// Its weight, where that is what changes or it is new.
        weight: u32,
    },
    /// A web server's check fails for so many milliseconds after it was noticed.
    Flap {
        /// Which.
        web: usize,
        /// How long.
        hold_ms: u64,
    },
    /// The file as it is to be.
    Reload {
        /// Whose pool is changed.
        lane: Lane,
        /// All of it.
        members: Members,
    },
}

impl Change {
    /// What it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Backend { kind, .. } => *kind,
            Self::Flap { .. } => Kind::Flap,
            Self::Reload { .. } => Kind::Reload,
        }
    }
}

/// Thinks of changes.
pub(super) struct Planner {
    random: fastrand::Rng,
    kinds: Vec<Kind>,
    webs: usize,
    number: u32,
}

impl Planner {
    /// For `changes` changes of a site with `webs` web servers.
    pub fn new(seed: u64, changes: u32, webs: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut kinds: Vec<Kind> = Kind::ALL.into_iter().cycle().take(changes as usize).collect();
        random.shuffle(&mut kinds);
        Self { random, kinds, webs, number: 0 }
    }

    /// The next change; none after the last.
    pub fn next(&mut self, members: &Members) -> Option<Change> {
        let kind = self.kinds.pop()?;
        self.number += 1;
        Some(self.possible(kind, members))
    }

    /// Number of the last change.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// A change of this kind, or what has to come before it, or else another weight.
    fn possible(&mut self, kind: Kind, members: &Members) -> Change {
        let instead = match kind {
            Kind::Add => &[Kind::Add, Kind::Remove][..],
            Kind::Drain => &[Kind::Drain, Kind::Add],
            Kind::RemoveDrained => &[Kind::RemoveDrained, Kind::Drain, Kind::Add],
            Kind::Remove => &[Kind::Remove, Kind::Add],
            Kind::Undrain => &[Kind::Undrain, Kind::Drain, Kind::Add],
            Kind::Weight => &[],
            Kind::Flap => {
                return Change::Flap {
                    web: self.random.usize(..self.webs),
                    hold_ms: self.random.u64(..2_000),
                };
            }
            Kind::Reload => return self.reload(members),
        };
        for kind in instead.iter().copied() {
            let candidates = self.candidates(kind, members);
            if let Some((lane, web)) = self.random.choice(candidates) {
                let weight = self.random.u32(WEIGHTS);
                return Change::Backend { kind, lane, web, weight };
            }
        }
        let all = members.lanes().flat_map(|lane| members.active(lane).map(move |web| (lane, web)));
        let (lane, web) = self.random.choice(all.collect::<Vec<_>>()).unwrap_or((FALLBACK_LANE, 0));
        Change::Backend { kind: Kind::Weight, lane, web, weight: self.random.u32(WEIGHTS) }
    }

    /// Whom a change of this kind may be of.
    fn candidates(&self, kind: Kind, members: &Members) -> Vec<(Lane, usize)> {
        let number = self.number;
        let in_lane = |lane: Lane| -> Vec<usize> {
            let spare = members.active(lane).count() > MIN_ACTIVE;
            match kind {
                Kind::Add => (0..self.webs).filter(|web| !members.has(lane, *web)).collect(),
                Kind::Drain | Kind::Remove if spare => members.active(lane).collect(),
                Kind::RemoveDrained => {
                    let long =
                        |(web, since): (usize, u32)| (since + CHANGES_DRAINED <= number).then_some(web);
                    members.drained(lane).filter_map(long).collect()
                }
                Kind::Undrain => members.drained(lane).map(|(web, _)| web).collect(),
                _ => Vec::new(),
            }
        };
        members.lanes().flat_map(|lane| in_lane(lane).into_iter().map(move |web| (lane, web))).collect()
    }

    /// New weights for two backends of a lane and one less, or one more. Not both: a new backend is served when its check
    /// has succeeded, so that would be two changes of the table.
    fn reload(&mut self, members: &Members) -> Change {
        let lane = self.random.choice(members.lanes().collect::<Vec<_>>()).unwrap_or(FALLBACK_LANE);
        let mut members = members.clone();
        let active: Vec<usize> = members.active(lane).collect();
        let absent: Vec<usize> = (0..self.webs).filter(|web| !members.has(lane, *web)).collect();
        if (active.len() <= MIN_ACTIVE || self.random.bool())
            && let Some(web) = self.random.choice(absent)
        {
            members.put(lane, web, Member::default());
            return Change::Reload { lane, members };
        }
        for web in self.random.choose_multiple(active.iter().copied(), 2) {
            let weight = self.random.u32(WEIGHTS);
            members.change(lane, web, |member| member.weight = weight);
        }
        if active.len() > MIN_ACTIVE
            && let Some(web) = self.random.choice(active)
        {
            members.remove(lane, web);
        }
        Change::Reload { lane, members }
    }
}

/// A lane for members that have none, which cannot be.
const FALLBACK_LANE: Lane = Lane { mode: crate::site::Mode::Nat, v6: false };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::Mode;
    use crate::unbroken::lanes_of;

    const WEBS: usize = 8;

    fn apply(change: &Change, members: &mut Members, number: u32) {
        match change {
            Change::Backend { kind, lane, web, weight } => match kind {
                Kind::Add => members.put(*lane, *web, Member { weight: *weight, drained_at: None }),
                Kind::Drain => members.change(*lane, *web, |member| member.drained_at = Some(number)),
                Kind::Undrain => members.change(*lane, *web, |member| member.drained_at = None),
                Kind::Remove | Kind::RemoveDrained => members.remove(*lane, *web),
                _ => {}
            },
            Change::Flap { .. } => {}
            Change::Reload { members: new, .. } => *members = new.clone(),
        }
    }

    #[test]
    fn every_kind_comes_up_and_every_lane_keeps_enough_backends() {
        for seed in 0..50 {
            let mut members = Members::new(&lanes_of(&Mode::ALL), 6);
            let mut planner = Planner::new(seed, 60, WEBS);
            let mut seen = std::collections::BTreeSet::new();
            while let Some(change) = planner.next(&members) {
                seen.insert(change.kind());
                apply(&change, &mut members, planner.number());
                for lane in members.lanes() {
                    assert!(members.active(lane).count() >= MIN_ACTIVE, "seed {seed}: {change:?}");
                }
            }
            assert_eq!(planner.number(), 60);
            assert_eq!(seen.len(), Kind::ALL.len(), "seed {seed}: {seen:?}");
        }
    }

    #[test]
    fn a_seed_gives_the_same_changes() {
        let members = Members::new(&lanes_of(&[Mode::Nat]), 6);
        let first = || Planner::new(7, 60, WEBS).next(&members);
        assert_eq!(first(), first());
    }
}
