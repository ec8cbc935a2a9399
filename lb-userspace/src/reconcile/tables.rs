//! Slot tables: who should have which slot, what the slots remember, and where the tables lie.
//!
//! Always holds: a slot changes by the rules of [`Slot`] only; a table whose slots change hands is written into a free
//! region and goes live by one store for each frontend; one whose phases alone change is written where it is, a slot
//! a store.

use super::backends::{Entries, identity};
use super::clearing::gone;
use super::{
    BackendName, Desired, FULL_SHARE, ReconcileError, Served, TableKey, frontends, used_tables, value_of,
};
use crate::dataplane::{Indexes, Observed, Op, Region};
use crate::model::{AdminState, Backend, ForwardMode, Model, Pool};
use lb_common::abi::{self, BackendFlags, Slot};
use lb_common::maglev::{self, Member};
use std::collections::{BTreeMap, BTreeSet};

/// Members of a table: who may take new flows, with what weight. Backends that nothing can be sent to are left out as long
/// as there is another one.
fn members(table: TableKey<&str>, pool: &Pool, desired: &Desired<'_>, entries: &Entries) -> Vec<Member> {
    let takes_flows = |backend: &&Backend| {
        table.families.admit(backend.address)
            && backend.state == AdminState::Active
            && backend.weight > 0
            && desired.healthy.contains(&BackendName::of(table.pool, backend))
    };
    let member = |backend: &Backend| {
        let identity = identity(table.pool, backend).identity;
        let (index, entry) = entries.get(&identity)?;
        let share = desired.shares.get(&BackendName::of(table.pool, backend)).copied().unwrap_or(FULL_SHARE);
        let weight = backend.weight.saturating_mul(share.min(FULL_SHARE));
        Some((Member { identity, index: *index, weight }, can_be_sent_to(pool.mode, entry)))
    };
    let candidates: Vec<(Member, bool)> =
        pool.backends.iter().filter(takes_flows).filter_map(member).collect();
    let any = candidates.iter().any(|(_, reachable)| *reachable);
    candidates.into_iter().filter(|(_, reachable)| *reachable || !any).map(|(member, _)| member).collect()
}

/// Whether a packet for the backend finds its way: where addresses are rewritten, through the kernel's tables if need be.
fn can_be_sent_to(mode: ForwardMode, entry: &abi::Backend) -> bool {
    let needed = match mode {
        ForwardMode::Nat | ForwardMode::FullNat => BackendFlags::VALID,
        ForwardMode::DsrL2 | ForwardMode::DsrIpip | ForwardMode::DsrGue => {
            BackendFlags::VALID | BackendFlags::RESOLVED
        }
    };
    entry.flags & needed == needed
}

/// Who should have a table's slots, and what that was worked out from.
struct Built {
    members: Vec<Member>,
    owners: Vec<u32>,
}

/// Works tables out, and remembers them: that is the only part of a plan that takes milliseconds.
#[derive(Default)]
pub(super) struct Builder {
    built: BTreeMap<TableKey, Built>,
}

impl Builder {
    /// Who should have the slots of a table: as in `former`, with as few changes as the members ask for.
    fn owners(
        &mut self,
        key: &TableKey,
        slot_count: u32,
        members: Vec<Member>,
        former: Option<&[Slot]>,
    ) -> &[u32] {
        let in_force = |built: &Built| match former {
            Some(former) => {
                former.len() == built.owners.len()
                    && former.iter().zip(&built.owners).all(|(slot, owner)| slot.current() == *owner)
            }
            None => built.owners.len() == slot_count as usize,
        };
        if !self.built.get(key).is_some_and(|built| built.members == members && in_force(built)) {
            let owners = match former {
                Some(former) if members.is_empty() => vec![Slot::NOBODY; former.len()],
                Some(former) => maglev::rebuild(former, &members),
                None => maglev::build(&members, slot_count),
            };
            self.built.insert(key.clone(), Built { members, owners });
        }
        self.built.get(key).map_or(&[], |built| &built.owners)
    }
}

/// A table as it shall be.
pub(super) struct Table {
    /// Where. With no slots, the pool has nobody and had nobody.
    pub region: Region,
    /// What it holds.
    pub slots: Vec<Slot>,
}

/// All tables.
pub(super) struct Placed<'a> {
    /// Frontends without one keep what they have.
    pub tables: BTreeMap<TableKey<&'a str>, Table>,
    /// Slots that begin to learn, by table.
    pub learning: BTreeMap<TableKey<&'a str>, Vec<u32>>,
    /// Whether every table has its place.
    pub complete: bool,
}

/// What a plan of tables is made from.
struct Sources<'a> {
    desired: &'a Desired<'a>,
    observed: &'a Observed,
    /// Indexes of backends whose flows are given up.
    dead: Indexes,
}

/// Finds or makes every table that a service uses.
pub(super) fn plan_tables<'a>(
    builder: &mut Builder,
    desired: &Desired<'a>,
    observed: &Observed,
    entries: &Entries,
    ops: &mut Vec<Op>,
) -> Result<Placed<'a>, ReconcileError> {
    let mut placed = Placed { tables: BTreeMap::new(), learning: BTreeMap::new(), complete: true };
    let mut taken: BTreeSet<Region> = observed.tables.keys().copied().collect();
    let mut refused = None;
    let used = used_tables(desired.model);
    let keys: BTreeSet<TableKey> = used.keys().map(|key| key.owned()).collect();
    builder.built.retain(|key, _| keys.contains(key));
    let sources = Sources { desired, observed, dead: dead(desired, entries, observed) };
    for (key, pool) in used {
        let former = former_table(&sources, key, pool, entries);
        let former_slots = former.map(|(_, slots)| slots);
        let members = members(key, pool, desired, entries);
        let owners = builder.owners(&key.owned(), pool.slots, members, former_slots);
        let (slots, learning) = next_slots(former_slots, owners, &sources.dead);
        let region = match place(&sources, key, former, &slots) {
            Place::In(region) => region,
            Place::Over(region) => {
                ops.push(Op::WriteSlots { offset: region.offset, slots: slots.clone() });
                region
            }
            Place::Anew => {
                let Some(region) = free_region(&taken, pool.slots, observed.capacity.slots) else {
                    refused = Some((key, pool.slots));
                    placed.complete = false;
                    continue;
                };
                taken.insert(region);
                ops.push(Op::WriteSlots { offset: region.offset, slots: slots.clone() });
                region
            }
        };
        placed.tables.insert(key, Table { region, slots });
        if !learning.is_empty() {
            placed.learning.insert(key, learning);
        }
    }
    match refused {
        Some((key, count)) if !frees_a_region(desired.model, observed, &placed) => {
            let capacity = observed.capacity.slots;
            Err(ReconcileError::NoRoom { table: key.owned(), count, capacity })
        }
        _ => Ok(placed),
    }
}

/// Indexes of backends whose flows are given up: of the model's backends as they shall be, of those that are gone as
/// they are.
fn dead(desired: &Desired<'_>, entries: &Entries, observed: &Observed) -> Indexes {
    let mut dead = Indexes::new(observed.capacity.backends);
    for (index, entry) in entries.values() {
        if !entry.keeps_flows() {
            dead.insert(*index);
        }
    }
    for gone in gone(entries, observed) {
        if !gone.entry.keeps_flows() || desired.given_up.contains(&gone.identity.identity) {
            dead.insert(gone.index);
        }
    }
    dead
}

/// Every slot after its owner got it, and the places of those that begin to learn.
fn next_slots(former: Option<&[Slot]>, owners: &[u32], dead: &Indexes) -> (Vec<Slot>, Vec<u32>) {
    let Some(former) = former else {
        return (owners.iter().map(|owner| Slot::stable(*owner)).collect(), Vec::new());
    };
    let mut learning = Vec::new();
    let next = |(at, (slot, owner)): (u32, (&Slot, &u32))| {
        let bury = |slot: Slot| {
            if slot.has_base() && dead.contains(slot.base()) { slot.tracked() } else { slot }
        };
        // First the death, then the move: from when a base is marked dead until the slots are written, new flows go to the
        // current backend without being recorded; if the slot leaves that one, they have to be learnt.
        let slot = bury(*slot);
        let next = bury(slot.moved_to(*owner));
        if next.has_base() && !slot.has_base() {
            learning.push(at);
        }
        next
    };
    let slots = (0..).zip(former.iter().zip(owners)).map(next).collect();
    (slots, learning)
}

/// The table that the frontends of a table point to now, unless it has another number of slots than the pool shall have:
/// then its flows fall on other slots, and it says nothing of them. A frontend that comes from another pool still points
/// to that one's table; a table that leads to backends of this pool goes before it.
fn former_table<'a>(
    sources: &Sources<'a>,
    key: TableKey<&str>,
    pool: &Pool,
    entries: &Entries,
) -> Option<(Region, &'a [Slot])> {
    let identities = pool.backends.iter().map(|backend| identity(key.pool, backend).identity);
    let mut own = Indexes::new(sources.observed.capacity.backends);
    identities.filter_map(|identity| entries.get(&identity)).for_each(|(index, _)| own.insert(*index));
    let regions = regions_in_use(sources.desired.model, key, sources.observed);
    let tables: Vec<(Region, &[Slot])> = regions
        .filter(|region| region.count == pool.slots)
        .filter_map(|region| Some((region, sources.observed.tables.get(&region)?.as_slice())))
        .collect();
    let is_own = |slots: &[Slot]| slots.iter().any(|slot| slot.led_to().any(|index| own.contains(index)));
    tables.iter().find(|(_, slots)| is_own(slots)).or(tables.first()).copied()
}

/// Where a table goes.
enum Place {
    /// It is there.
    In(Region),
    /// There, over slots with the same owners.
    Over(Region),
    /// In a free region.
    Anew,
}

fn place(
    sources: &Sources<'_>,
    key: TableKey<&str>,
    former: Option<(Region, &[Slot])>,
    slots: &[Slot],
) -> Place {
    if slots.is_empty() {
        return Place::In(Region { offset: 0, count: 0 });
    }
    let holds_it =
        |region: &Region| sources.observed.tables.get(region).is_some_and(|table| table.as_slice() == slots);
    if let Some(region) = regions_in_use(sources.desired.model, key, sources.observed).find(holds_it) {
        return Place::In(region);
    }
    match former {
        Some((region, former))
            if former.iter().zip(slots).all(|(before, after)| before.current() == after.current()) =>
        {
            Place::Over(region)
        }
        _ => Place::Anew,
    }
}

/// Whether carrying out what was placed leaves a region free that is in use now: then another round has more room.
fn frees_a_region(model: &Model, observed: &Observed, placed: &Placed<'_>) -> bool {
    let stays = |served: Served<'_>| match placed.tables.get(&served.table()) {
        Some(table) => Some(table.region),
        None => value_of(observed, &served.frontend).map(Region::of),
    };
    let staying: BTreeSet<Region> = frontends(model).filter_map(stays).collect();
    observed.tables.keys().any(|region| !staying.contains(region))
}

/// The regions that the frontends of a table point to.
fn regions_in_use<'a>(
    model: &'a Model,
    key: TableKey<&'a str>,
    observed: &'a Observed,
) -> impl Iterator<Item = Region> + 'a {
    frontends(model)
        .filter(move |served| served.table() == key)
        .filter_map(|served| value_of(observed, &served.frontend))
        .map(Region::of)
}

/// The first free run of `count` slots.
pub(super) fn free_region(taken: &BTreeSet<Region>, count: u32, capacity: u32) -> Option<Region> {
    let mut offset = 0_u32;
    for region in taken {
        if region.offset >= offset && region.offset - offset >= count {
            break;
        }
        offset = offset.max(region.offset.checked_add(region.count)?);
    }
    (offset.checked_add(count)? <= capacity).then_some(Region { offset, count })
}
