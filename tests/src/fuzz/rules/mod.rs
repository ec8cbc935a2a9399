//! What holds for every packet, whatever the pipeline thinks: judged from the world, the frame that came in and the one
//! that went out.
//!
//! Role: the branches are here; `nat`, `dsr`, `errors` and `answers` know what each way of forwarding makes of a packet,
//! `frontends` and `ways` what the world says, `memory` what came before. Imports `anatomy`, `fib`, `fixtures`, `sums` and
//! etherparse; of lb-common the world's types and the verdicts, nothing that decides.
//! Always holds: a new way to forward does not compile until it has an arm in [`Rules::forwarded`].

mod answers;
mod dsr;
mod errors;
mod frontends;
mod memory;
mod nat;
mod relayed;
mod ways;

use super::anatomy::Anatomy;
use super::fib::Fib;
use crate::fixtures::{INGRESS, World};
use answers::Says;
use etherparse::{NetSlice, SlicedPacket};
use lb_common::abi::{
    Backend, BackendFlags, DropReason, ForwardMode, ForwardReason, PassReason, ServiceValue, ip_address,
};
use lb_common::pipeline::Verdict;
use memory::{Kind, Memory};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// A rule that is broken, or none.
type Judgement = Result<(), String>;

/// VLAN tags that frames may have.
const TAGS_MOST: usize = 2;

/// A packet before and after.
#[derive(Clone, Copy, Debug)]
pub struct Passage<'a> {
    /// The frame that came in.
    pub input: &'a [u8],
    /// Where its headers are.
    pub before: Anatomy,
    /// The frame that went out.
    pub output: &'a [u8],
    /// Where its headers are.
    pub after: Anatomy,
}

impl<'a> Passage<'a> {
    /// Both frames have to be sound: nothing malformed is forwarded, and nothing that is forwarded is malformed.
    fn new(input: &'a [u8], output: &'a [u8]) -> Result<Self, String> {
        let before = sound(input).map_err(|error| format!("a malformed packet was forwarded: {error}"))?;
        let after = sound(output).map_err(|error| format!("a malformed packet was made: {error}"))?;
        if before.tags > TAGS_MOST {
            return Err(format!("a frame with {} tags was forwarded", before.tags));
        }
        Ok(Self { input, before, output, after })
    }

    /// The IP packet that came in, and what is behind it.
    fn packet_before(&self) -> &'a [u8] {
        self.input.get(self.before.network..).unwrap_or_default()
    }

    /// The IP packet that went out, and what is behind it.
    fn packet_after(&self) -> &'a [u8] {
        self.output.get(self.after.network..).unwrap_or_default()
    }

    /// The packet that came in, in the frame that went out.
    fn expected(&self) -> Vec<u8> {
        let header = self.output.get(..self.after.network).unwrap_or_default();
        [header, self.packet_before()].concat()
    }
}

/// Reads a frame that may be forwarded, with our own eyes and with etherparse's.
fn sound(frame: &[u8]) -> Result<Anatomy, String> {
    let anatomy = Anatomy::of(frame).ok_or("no IP header")?;
    anatomy.soundness(frame)?;
    if !anatomy.v4 && !anatomy.has_transport() {
        // etherparse takes what later fragments of IPv6 carry for headers.
        return Ok(anatomy);
    }
    let sliced = SlicedPacket::from_ethernet(frame).map_err(|error| format!("etherparse: {error}"))?;
    let addresses = match &sliced.net {
        Some(NetSlice::Ipv4(ip)) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        Some(NetSlice::Ipv6(ip)) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        _ => return Err("etherparse sees no IP".to_owned()),
    };
    if addresses != (anatomy.source(frame), anatomy.destination(frame)) {
        return Err(format!("etherparse sees the addresses {addresses:?}"));
    }
    Ok(anatomy)
}

/// What the world allows.
#[derive(Clone, Debug)]
pub struct Rules {
    world: World,
    fib: Fib,
    /// Backends that each frontend's slots lead to, or led to when a flow was remembered, by the frontend's index.
    backends: BTreeMap<u32, BTreeSet<u32>>,
    memory: RefCell<Memory>,
}

impl Rules {
    /// Those of a world.
    pub fn new(world: &World) -> Self {
        let mut rules = Self {
            world: world.clone(),
            fib: Fib::new(world),
            backends: BTreeMap::new(),
            memory: RefCell::new(Memory::of(world)),
        };
        let of_ranges = world.ranges.iter().map(|(.., value)| value);
        for value in world.services.values().chain(of_ranges) {
            let (offset, count) = (value.slot_offset as usize, value.slot_count as usize);
            let slots = world.slots.get(offset..offset + count).unwrap_or_default();
            rules
                .backends
                .entry(value.index)
                .or_default()
                .extend(slots.iter().flat_map(|slot| slot.led_to()));
        }
        for (flow, value) in &world.flows {
            let place = (
                ip_address(flow.destination),
                u16::from_be(flow.destination_port),
                u8::try_from(flow.protocol).unwrap_or_default(),
            );
            if let Some(service) = rules.frontend(place) {
                rules.backends.entry(service.index).or_default().insert(value.backend());
            }
        }
        rules
    }

    /// Forgets all packets.
    pub fn forget(&self) {
        self.memory.replace(Memory::of(&self.world));
    }

    /// Judges what became of a packet, and remembers what later ones have to follow.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn check(&self, input: &[u8], verdict: Verdict, output: &[u8]) -> Judgement {
        match verdict {
            Verdict::Pass(reason @ (PassReason::NeighbourMissing | PassReason::ToFragment)) => {
                self.for_the_stack(&Passage::new(input, output)?, reason)
            }
            Verdict::Pass(_) | Verdict::Drop(_) if input != output => {
                Err("a packet that stays here was changed".to_owned())
            }
            Verdict::Pass(PassReason::NoService) => self.not_served(input),
            Verdict::Drop(DropReason::FragmentEarly) => self.early(input),
            Verdict::Pass(_) | Verdict::Drop(_) => Ok(()),
            Verdict::Transmit(reason) => self.forwarded(input, reason, INGRESS, output),
            Verdict::Redirect(_, INGRESS) => Err("a redirect to where the packet came from".to_owned()),
            Verdict::Redirect(reason, ifindex) => self.forwarded(input, reason, ifindex, output),
        }
    }

    /// A packet that left: one arm for each way to forward.
    fn forwarded(&self, input: &[u8], reason: ForwardReason, ifindex: u32, output: &[u8]) -> Judgement {
        let passage = Passage::new(input, output)?;
        match reason {
            ForwardReason::Nat => nat::request(self, &passage, ifindex),
            ForwardReason::NatReply => nat::reply(self, &passage, ifindex),
            ForwardReason::DsrL2 => self.served_directly(&passage, ifindex, ForwardMode::DsrL2),
            ForwardReason::DsrIpip => self.served_directly(&passage, ifindex, ForwardMode::DsrIpip),
            ForwardReason::DsrGue => self.served_directly(&passage, ifindex, ForwardMode::DsrGue),
            ForwardReason::FullNat => nat::full_request(self, &passage, Some(ifindex)),
            ForwardReason::FullNatReply => nat::full_reply(self, &passage, Some(ifindex)),
            ForwardReason::IcmpError => errors::to_backend(self, &passage, ifindex),
            ForwardReason::IcmpErrorReply => errors::to_client(self, &passage, ifindex),
            ForwardReason::EchoReply => answers::echo(self, &passage, ifindex),
            ForwardReason::TooBigAnswer if errors::is_icmp(&passage) => {
                relayed::too_big(self, &passage, ifindex)
            }
            ForwardReason::TooBigAnswer => answers::error(self, &passage, ifindex, Says::TooBig),
            ForwardReason::ExpiredAnswer => answers::error(self, &passage, ifindex, Says::Expired),
        }?;
        match Kind::of(reason) {
            Some(kind) => self.memory.borrow_mut().follows(&passage, kind),
            None => Ok(()),
        }
    }

    /// A packet for a backend that has the VIP itself.
    fn served_directly(&self, passage: &Passage<'_>, ifindex: u32, mode: ForwardMode) -> Judgement {
        self.explained_by_a_backend(passage, mode, |backend| {
            match mode {
                ForwardMode::DsrIpip => dsr::in_tunnel(self, passage, backend, false)?,
                ForwardMode::DsrGue => dsr::in_tunnel(self, passage, backend, true)?,
                _ => dsr::same_packet(passage)?,
            }
            self.way_to_backend(backend)?.took(passage, ifindex)
        })
    }

    /// A packet that was rewritten and left to the stack to send.
    fn for_the_stack(&self, passage: &Passage<'_>, reason: PassReason) -> Judgement {
        if errors::is_icmp(passage) && passage.before.has_transport() {
            return errors::for_the_stack(self, passage);
        }
        match reason {
            PassReason::ToFragment => nat::has_to_be_fragmented(self, passage)?,
            _ => nat::lacks_a_neighbour(self, passage)?,
        }
        nat::for_the_stack(self, passage)?;
        self.memory.borrow_mut().follows(passage, Kind::Rewritten)
    }

    /// A packet that is said to be for no frontend.
    fn not_served(&self, input: &[u8]) -> Judgement {
        let place = Anatomy::of(input).and_then(|anatomy| {
            let (_, to, protocol) = anatomy.tuple(input)?;
            Some((to.ip(), to.port(), protocol))
        });
        match place.filter(|place| self.frontend(*place).is_some()) {
            Some(place) => Err(format!("{place:?} is a frontend")),
            None => Ok(()),
        }
    }

    /// A fragment that is said to have come before its first one.
    fn early(&self, input: &[u8]) -> Judgement {
        let Ok(passage) = Passage::new(input, input) else { return Ok(()) };
        if self.memory.borrow().has_first(&passage) {
            return Err("a fragment was dropped whose first one was forwarded".to_owned());
        }
        Ok(())
    }

    /// The frontends that a client's packet may be for: of a later fragment more than one, of other packets none or one.
    fn frontends_of(&self, passage: &Passage<'_>) -> Result<Vec<ServiceValue>, String> {
        let Passage { input, before, .. } = passage;
        if !before.has_transport() {
            return Ok(self.frontends_at(before.destination(input)));
        }
        let (_, to, protocol) = before.tuple(input).ok_or("neither TCP nor UDP")?;
        Ok(self.frontend((to.ip(), to.port(), protocol)).into_iter().collect())
    }

    /// Whether one of the backends that a client's packet may go to, in that mode, explains what went out.
    fn explained_by_a_backend(
        &self,
        passage: &Passage<'_>,
        mode: ForwardMode,
        explains: impl Fn(&Backend) -> Judgement,
    ) -> Judgement {
        let mut services = self.frontends_of(passage)?;
        services.retain(|service| service.mode == mode as u8);
        if services.is_empty() {
            let destination = passage.before.destination(passage.input);
            return Err(format!("no frontend of {mode:?} at {destination}"));
        }
        self.one_of_the_backends(&services, explains)
    }

    /// Whether one of the frontends' backends explains what went out.
    fn one_of_the_backends(
        &self,
        services: &[ServiceValue],
        explains: impl Fn(&Backend) -> Judgement,
    ) -> Judgement {
        let mut errors = Vec::new();
        let indexes: BTreeSet<u32> = services
            .iter()
            .filter_map(|service| self.backends.get(&service.index))
            .flatten()
            .copied()
            .collect();
        for index in indexes {
            let Some(backend) = self.world.backends.get(index as usize) else { continue };
            if backend.flags & BackendFlags::VALID == 0 || backend.flags & BackendFlags::DEAD != 0 {
                continue;
            }
            match explains(backend) {
                Ok(()) => return Ok(()),
                Err(error) => errors.push(format!("{}: {error}", ip_address(backend.address))),
            }
        }
        errors.truncate(3);
        Err(format!("no backend of the frontend explains it: {}", errors.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{Fixture, all, world};
    use crate::fuzz::anatomy::UDP;
    use crate::fuzz::sums::{Sum, header_sum, repair_header, repair_transport, transport_sum};
    use lb_common::pipeline::process;
    use lb_common::wire::BufferPacket;

    #[test]
    fn every_fixture_keeps_the_rules() {
        let (world, rules) = (world(), Rules::new(&world()));
        for fixture in all() {
            before(&rules, &world, &fixture);
            let judged = rules.check(&fixture.packet, fixture.verdict, &fixture.expected);
            assert_eq!(judged, Ok(()), "{}", fixture.name);
        }
    }

    /// Lets the rules see what comes before a fixture's packet.
    fn before(rules: &Rules, world: &World, fixture: &Fixture) {
        rules.forget();
        let tables = world.tables(fixture.recording, fixture.answers);
        for frame in &fixture.before {
            let mut packet = BufferPacket::new(frame, INGRESS);
            let verdict = process(&mut packet, &tables);
            assert_eq!(rules.check(frame, verdict, packet.frame()), Ok(()), "before: {}", fixture.name);
        }
    }

    /// Whether the fixture's checksums are right before: a wrong one may be wrong in another way afterwards.
    fn is_right(frame: &[u8]) -> bool {
        Anatomy::of(frame)
            .is_some_and(|it| header_sum(frame, &it) != Sum::Wrong && transport_sum(frame, &it) != Sum::Wrong)
    }

    #[test]
    fn one_wrong_bit_in_a_forwarded_frame_breaks_a_rule() {
        let rules = Rules::new(&world());
        let forwarded = all().into_iter().filter(|it| {
            matches!(it.verdict, Verdict::Transmit(_) | Verdict::Redirect(..)) && is_right(&it.packet)
        });
        let mut tried = 0;
        for fixture in forwarded.step_by(7) {
            before(&rules, &world(), &fixture);
            // A flow keeps its tunnel: without a packet before it, any will do.
            assert_eq!(rules.check(&fixture.packet, fixture.verdict, &fixture.expected), Ok(()));
            for at in 0..fixture.expected.len().min(120) {
                let mut frame = fixture.expected.clone();
                frame[at] ^= 1 << (at % 8);
                tried += 1;
                let judged = rules.check(&fixture.packet, fixture.verdict, &frame);
                assert!(judged.is_err(), "{}: byte {at}", fixture.name);
            }
        }
        assert!(tried > 1_000, "only {tried}");
    }

    #[test]
    fn a_sound_packet_to_somebody_else_s_backend_breaks_a_rule() {
        let (world, mut seen) = (world(), 0);
        let rules = Rules::new(&world);
        for fixture in all().into_iter().filter(|it| it.verdict == Verdict::Transmit(ForwardReason::Nat)) {
            let mut frame = fixture.expected.clone();
            let anatomy = Anatomy::of(&frame).unwrap();
            let (_, destination) = anatomy.addresses();
            let last = destination + if anatomy.v4 { 3 } else { 15 };
            // An address that no backend has.
            frame[last] = 250;
            repair_header(&mut frame, &anatomy);
            if anatomy.protocol != UDP || transport_sum(&frame, &anatomy) != Sum::Absent {
                repair_transport(&mut frame, &anatomy);
            }
            seen += 1;
            assert!(rules.check(&fixture.packet, fixture.verdict, &frame).is_err(), "{}", fixture.name);
        }
        assert!(seen > 100, "only {seen}");
    }

    #[test]
    fn a_malformed_packet_may_not_be_forwarded_nor_a_dropped_one_changed() {
        let rules = Rules::new(&world());
        let fixtures = all();
        let nat = fixtures.iter().find(|it| it.verdict == Verdict::Transmit(ForwardReason::Nat)).unwrap();
        let mut short = nat.packet.clone();
        short.truncate(40);
        let judged = rules.check(&short, nat.verdict, &nat.expected[..40]);
        assert!(judged.is_err_and(|error| error.contains("malformed")));
        let dropped = fixtures.iter().find(|it| matches!(it.verdict, Verdict::Drop(_))).unwrap();
        let mut changed = dropped.packet.clone();
        changed[20] ^= 1;
        assert!(rules.check(&dropped.packet, dropped.verdict, &changed).is_err());
    }
}
