//! Runs a sequence: the real agent's work on the real pipeline's tables, in a world and at times of our making.

use crate::case::{Action, BACKENDS, Case, Change, Setup};
use crate::clients::Clients;
use crate::packet::BackendId;
use crate::spy::{Amid, Spy};
use crate::tally::Tally;
use crate::world::{Scene, World, bit};
use lb_common::abi::{Slot, address};
use lb_common::hash::HashKey;
use lb_userspace::dataplane::{Capacity, Dataplane as _, FakeDataplane, Region};
use lb_userspace::keeper::{KeepError, Keeper};
use std::collections::{BTreeMap, BTreeSet};

/// How often the agent looks when nothing keeps it.
const LOOK_MS: u64 = 500;
/// Looks in one step at most; in longer ones the agent looks less often.
const MOST_LOOKS: u64 = 50;
/// What is waited for at the end, besides twice `flow_timeout`.
const CALM_MS: u64 = 15_000;

/// A sequence under way.
pub struct Simulation {
    setup: Setup,
    world: World,
    keeper: Keeper,
    spy: Spy,
    next_look_ms: u64,
    look_ms: u64,
}

/// Runs a sequence. The error says what was wrong.
pub fn run(case: &Case) -> Result<Tally, String> {
    let mut simulation = Simulation::new(&case.setup);
    simulation.work(None)?;
    for (at, action) in case.actions.iter().enumerate() {
        simulation.act(action).map_err(|wrong| format!("step {at}, {action:?}: {wrong}"))?;
    }
    simulation.come_to_rest().map_err(|wrong| format!("at rest: {wrong}"))?;
    let tally = simulation.spy.clients.borrow().tally;
    Ok(Tally { sequences: 1, ..tally })
}

/// A piece of the agent's work.
type Work = fn(&mut Keeper, &mut Spy, &World) -> Result<(), KeepError>;

fn reconcile(keeper: &mut Keeper, spy: &mut Spy, world: &World) -> Result<(), KeepError> {
    keeper.reconcile(spy, world, &world.model).map(|_| ())
}

fn look(keeper: &mut Keeper, spy: &mut Spy, world: &World) -> Result<(), KeepError> {
    // With many flows the agent counts less often than it looks.
    if (world.now_ms / LOOK_MS).is_multiple_of(3) {
        keeper.look(spy, world, &world.model)
    } else {
        // There are none; indexes are free only when that is known.
        while !keeper.sweep_sessions(spy, world, &world.model)? {}
        keeper.count(spy, world, &world.model)
    }
}

impl Simulation {
    fn new(setup: &Setup) -> Self {
        let capacity =
            Capacity { services: 16, backends: 32, slots: 4_096, flows: setup.flows, sessions: 64 };
        let mut world = World::new(setup);
        // Flows are stamped with whole seconds: where in one a sequence begins matters.
        world.now_ms += setup.key.0 % 1_000;
        let fake = FakeDataplane::new(capacity, HashKey(setup.key.0, setup.key.1));
        let next_look_ms = world.now_ms + LOOK_MS;
        let spy = Spy::new(fake, Clients::new(setup));
        Self { setup: setup.clone(), world, keeper: Keeper::default(), spy, next_look_ms, look_ms: LOOK_MS }
    }

    fn scenes(&self) -> Vec<Scene> {
        (0..).take(self.setup.pools).map(|pool| self.world.scene(pool)).collect()
    }

    fn set_clock(&mut self, now_ms: u64) {
        self.world.now_ms = now_ms;
        self.spy.clients.borrow_mut().now_ms = now_ms;
        self.spy.fake.tables.now_ms.set(now_ms - self.setup.lag_ms);
    }

    /// Lets the agent work: a reconcile unless it is something else.
    fn work(&mut self, work: Option<Work>) -> Result<(), String> {
        self.set_clock(self.world.now_ms);
        self.spy.clients.borrow_mut().changing(&self.scenes());
        let done = work.unwrap_or(reconcile)(&mut self.keeper, &mut self.spy, &self.world);
        done.map_err(|error| error.to_string())?;
        let wrong = self.spy.ended();
        self.spy.clients.borrow_mut().changed();
        wrong
    }

    fn act(&mut self, action: &Action) -> Result<(), String> {
        let tables = &self.spy.fake.tables;
        let mut clients = self.spy.clients.borrow_mut();
        match action {
            Action::Open { flow, every } => clients.open(tables, usize::from(*flow), *every),
            Action::Send { flow } => clients.go_on(tables, usize::from(*flow), false),
            Action::End { flow, resets } => clients.end(tables, usize::from(*flow), *resets),
            Action::Flood { opening, established, udp } => {
                clients.flood(tables, [*opening, *established, *udp])
            }
            Action::Amid { after, flow, opens } => {
                let amid = Amid { after: *after, flow: usize::from(*flow), opens: *opens };
                self.spy.amid.borrow_mut().push(amid);
                Ok(())
            }
            Action::Wait { thousandths, look_ms } => {
                drop(clients);
                let duration_ms = self.world.timeout_ms(0) * u64::from(*thousandths) / 1_000;
                self.wait(duration_ms, *look_ms)
            }
            Action::Change { pool, changes } => {
                drop(clients);
                self.change(self.pool(*pool), changes)
            }
            Action::Flap { pool, who, flow } => {
                drop(clients);
                let pool = self.pool(*pool);
                self.change(pool, &[Change::Undrain(*who), Change::Up(*who)])?;
                let flow = usize::from(*flow);
                self.spy.clients.borrow_mut().go_on(&self.spy.fake.tables, flow, true)?;
                self.change(pool, &[Change::Drain(*who)])
            }
            Action::Restart => {
                drop(clients);
                self.keeper = Keeper::default();
                self.work(None)
            }
        }
    }

    fn pool(&self, pick: u8) -> u8 {
        pick % u8::try_from(self.setup.pools).expect("one or two")
    }

    /// Lets time pass, with looks and with packets of flows that send by themselves.
    fn wait(&mut self, duration_ms: u64, look_ms: u64) -> Result<(), String> {
        let end_ms = self.world.now_ms + duration_ms;
        let look_ms = look_ms.max(duration_ms / MOST_LOOKS);
        if look_ms != self.look_ms {
            let mut clients = self.spy.clients.borrow_mut();
            clients.look_ms = clients.look_ms.max(look_ms);
            (self.look_ms, self.next_look_ms) = (look_ms, self.world.now_ms + look_ms);
        }
        loop {
            let packet = self.spy.clients.borrow().next_by_itself();
            let packet_ms = packet.map_or(u64::MAX, |(due_ms, _)| due_ms.max(self.world.now_ms));
            let next_ms = self.next_look_ms.min(packet_ms);
            if next_ms > end_ms {
                self.set_clock(end_ms);
                return Ok(());
            }
            self.set_clock(next_ms);
            if next_ms == self.next_look_ms {
                self.next_look_ms += self.look_ms;
                self.work(Some(look))?;
            } else if let Some((_, flow)) = packet {
                self.spy.clients.borrow_mut().go_on(&self.spy.fake.tables, flow, false)?;
            }
        }
    }

    fn change(&mut self, pool: u8, changes: &[Change]) -> Result<(), String> {
        let before = self.owners(pool);
        for change in changes {
            self.world.change(pool, *change);
        }
        self.work(None)?;
        let after = self.owners(pool);
        self.check_moves(&before, &after)
    }

    /// Who has the slots of a pool.
    fn owners(&self, pool: u8) -> Vec<u32> {
        let region = |value: &lb_common::abi::ServiceValue| {
            let start = value.slot_offset as usize;
            self.spy.fake.tables.slots.get(start..start + value.slot_count as usize)
        };
        let vip = address(crate::world::vips(&self.setup, pool)[0]);
        let mut services = self.spy.fake.tables.services.iter();
        // The address itself has an entry, too, which is no frontend.
        let frontend = services.find(|(key, _)| key.address == vip && key.protocol != 0);
        let slots = frontend.and_then(|(_, value)| region(value));
        slots.unwrap_or_default().iter().map(|slot| slot.current()).collect()
    }

    /// No slot moves that need not: one of N that changes moves its share.
    fn check_moves(&self, before: &[u32], after: &[u32]) -> Result<(), String> {
        let count = |owners: &[u32]| -> BTreeMap<u32, u32> {
            let mut counts = BTreeMap::new();
            for owner in owners {
                *counts.entry(*owner).or_default() += 1;
            }
            counts
        };
        if before.len() != after.len() || before.is_empty() {
            return Ok(());
        }
        let (counts, next) = (count(before), count(after));
        let moved = before.iter().zip(after).filter(|(before, after)| before != after).count();
        let gained: u32 =
            next.iter().map(|(owner, count)| count.saturating_sub(*counts.get(owner).unwrap_or(&0))).sum();
        if moved != gained as usize {
            return Err(format!("{moved} slots moved where {gained} had to: {counts:?}, {next:?}"));
        }
        let even = |counts: &BTreeMap<u32, u32>| {
            !counts.contains_key(&Slot::NOBODY)
                && counts
                    .values()
                    .max()
                    .zip(counts.values().min())
                    .is_some_and(|(most, least)| most - least <= 1)
        };
        let members: [BTreeSet<u32>; 2] = [counts.keys().copied().collect(), next.keys().copied().collect()];
        let [old, new] = &members;
        if even(&counts) && even(&next) && old.symmetric_difference(new).count() == 1 {
            self.spy.clients.borrow_mut().tally.single_changes += 1;
            // At most 1.1 times its share, and one for rounding.
            let most = before.len() * 11 / (10 * old.len().max(new.len())) + 1;
            if moved > most {
                return Err(format!("{moved} slots moved for one of {}", old.len().max(new.len())));
            }
        }
        Ok(())
    }

    /// After a time without changes and packets, nothing is remembered.
    fn come_to_rest(&mut self) -> Result<(), String> {
        self.spy.amid.borrow_mut().clear();
        let timeouts_ms = (0..).take(self.setup.pools).map(|pool| self.world.timeout_ms(pool));
        let longest_ms = timeouts_ms.max().unwrap_or(0);
        // Weights that still grow are changes.
        let calm_ms = self.setup.slow_start_ms + 2 * longest_ms + CALM_MS;
        let end_ms = self.world.now_ms + calm_ms;
        let step_ms = LOOK_MS.max(calm_ms / MOST_LOOKS);
        while self.world.now_ms < end_ms {
            self.set_clock(self.world.now_ms + step_ms);
            self.work(Some(look))?;
        }
        let observed = self.spy.observe().map_err(|error| error.to_string())?;
        let entries = self.spy.fake.tables.flows.borrow().iter().count();
        if entries > 0 {
            return Err(format!("{entries} flows are still remembered"));
        }
        let restless = |(region, slots): (&Region, &Vec<Slot>)| {
            slots.iter().find(|slot| !slot.is_stable()).map(|slot| (*region, *slot))
        };
        if let Some(slot) = observed.tables.iter().find_map(restless) {
            return Err(format!("not stable: {slot:?}"));
        }
        let configured: BTreeSet<_> = (0..)
            .zip(self.scenes())
            .flat_map(|(pool, scene)| {
                (0..BACKENDS)
                    .filter(move |number| scene.configured & bit(*number) != 0)
                    .map(move |number| BackendId { pool, number })
            })
            .map(|id| address(id.address(self.setup.v6)))
            .collect();
        let ghost = observed.backends.iter().find(|(_, (_, entry))| !configured.contains(&entry.address));
        match ghost {
            Some((index, _)) => Err(format!("index {index} of a removed backend is not free")),
            None => Ok(()),
        }
    }
}
