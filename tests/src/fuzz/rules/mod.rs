//! What holds for every packet, whatever the pipeline thinks: judged from the world, the frame that came in and the one
//! that went out.
//!
//! Role: the branches are here; `nat` and `dsr` know what each way of forwarding makes of a packet. Imports `anatomy`,
//! `fib`, `fixtures`, `sums` and etherparse; of lb-common the world's types and the verdicts, nothing that decides.
//! Always holds: a new way to forward does not compile until it has an arm in [`Rules::forwarded`].

mod dsr;
mod nat;

use super::anatomy::Anatomy;
use super::fib::{Fib, macs};
use crate::fixtures::{EGRESS, INGRESS, NARROW_BYTES, Reach, WIDE_BYTES, World};
use etherparse::{NetSlice, SlicedPacket};
use lb_common::abi::{
    Backend, BackendFlags, ForwardMode, ForwardReason, PassReason, ReverseKey, ServiceKey, address,
    ip_address,
};
use lb_common::pipeline::Verdict;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A rule that is broken, or none.
type Judgement = Result<(), String>;

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
        Ok(Self { input, before, output, after })
    }
}

/// Reads a frame that may be forwarded, with our own eyes and with etherparse's.
fn sound(frame: &[u8]) -> Result<Anatomy, String> {
    let anatomy = Anatomy::of(frame).ok_or("no IP header")?;
    anatomy.soundness(frame)?;
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

/// How a frame may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Destination and source MAC.
    pub macs: [u8; 12],
    /// The interface.
    pub ifindex: u32,
    /// Longest IP packet.
    pub mtu_bytes: u16,
}

impl NextHop {
    /// Whether a frame left this way.
    fn took(&self, passage: &Passage<'_>, ifindex: u32) -> Judgement {
        if self.ifindex != ifindex {
            return Err(format!("it left by interface {ifindex}, not {}", self.ifindex));
        }
        if passage.output.get(..12) != Some(&self.macs) {
            return Err("the MACs are not those of the next hop".to_owned());
        }
        let length = passage.after.length();
        if length > usize::from(self.mtu_bytes) {
            return Err(format!("{length} bytes went a way that takes {}", self.mtu_bytes));
        }
        Ok(())
    }
}

/// What the world allows.
#[derive(Clone, Debug)]
pub struct Rules {
    world: World,
    fib: Fib,
    /// Backends that each frontend's slots lead to, or led to when a flow was remembered.
    backends: BTreeMap<ServiceKey, BTreeSet<u32>>,
}

impl Rules {
    /// Those of a world.
    pub fn new(world: &World) -> Self {
        let backends = world.services.iter().map(|(key, value)| {
            let (offset, count) = (value.slot_offset as usize, value.slot_count as usize);
            let slots = world.slots.get(offset..offset + count).unwrap_or_default();
            let flows = world.flows.iter().filter(|(flow, _)| {
                (flow.destination, flow.destination_port, flow.protocol)
                    == (key.address, key.port, u32::from(key.protocol))
            });
            let remembered = flows.map(|(_, flow)| flow.backend());
            (*key, slots.iter().flat_map(|slot| slot.led_to()).chain(remembered).collect())
        });
        Self { backends: backends.collect(), world: world.clone(), fib: Fib::new(world) }
    }

    /// Judges what became of a packet.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn check(&self, input: &[u8], verdict: Verdict, output: &[u8]) -> Judgement {
        match verdict {
            Verdict::Pass(PassReason::NeighbourMissing) => {
                let passage = Passage::new(input, output)?;
                nat::for_the_stack(self, &passage)
            }
            Verdict::Pass(_) | Verdict::Drop(_) if input == output => Ok(()),
            Verdict::Pass(_) | Verdict::Drop(_) => Err("a packet that stays here was changed".to_owned()),
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
            ForwardReason::DsrL2 => dsr::same_packet(self, &passage, ifindex),
            ForwardReason::DsrIpip => dsr::in_ip(self, &passage, ifindex),
        }
    }

    /// Whether one of the backends that a client's packet may go to, in that mode, explains what went out.
    fn explained_by_a_backend(
        &self,
        passage: &Passage<'_>,
        mode: ForwardMode,
        explains: impl Fn(&Backend) -> Judgement,
    ) -> Judgement {
        let Some((source_port, port)) = passage.before.ports(passage.input) else {
            return Err("neither TCP nor UDP".to_owned());
        };
        let destination = passage.before.destination(passage.input);
        let key = key(destination, port, passage.before.protocol);
        let Some(service) = self.world.services.get(&key) else {
            return Err(format!("no frontend at {destination}, port {port} (from port {source_port})"));
        };
        if service.mode != mode as u8 {
            return Err(format!("the frontend's mode is {}, not {}", service.mode, mode as u8));
        }
        let mut errors = Vec::new();
        for index in self.backends.get(&key).into_iter().flatten() {
            let Some(backend) = self.world.backends.get(*index as usize) else { continue };
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

    /// The way to a backend.
    fn hop_to_backend(&self, backend: &Backend) -> Result<NextHop, String> {
        if backend.flags & BackendFlags::RESOLVED == 0 {
            return self.hop_to(ip_address(backend.address));
        }
        let macs: [u8; 12] = bytemuck::cast(backend.ethernet);
        Ok(NextHop { macs, ifindex: backend.ifindex, mtu_bytes: backend.mtu_bytes })
    }

    /// The way that the routing table knows.
    fn hop_to(&self, destination: IpAddr) -> Result<NextHop, String> {
        let mtu_bytes = match self.world.routes.get(&destination) {
            Some(Reach::Neighbour) => WIDE_BYTES,
            Some(Reach::Narrow) => NARROW_BYTES,
            _ => return Err(format!("there is no way to {destination}")),
        };
        Ok(NextHop { macs: macs(destination), ifindex: EGRESS, mtu_bytes })
    }
}

/// The key of a frontend.
fn key(ip: IpAddr, port: u16, protocol: u8) -> ServiceKey {
    ServiceKey { address: address(ip), port: port.to_be(), protocol, zero: 0 }
}

/// The key of where a reply comes from.
fn reverse_key(ip: IpAddr, port: u16, protocol: u8) -> ReverseKey {
    ReverseKey { address: address(ip), port: port.to_be(), protocol, zero: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{all, world};
    use crate::fuzz::anatomy::UDP;
    use crate::fuzz::sums::{Sum, header_sum, repair_header, repair_transport, transport_sum};

    #[test]
    fn every_fixture_keeps_the_rules() {
        let rules = Rules::new(&world());
        for fixture in all() {
            let judged = rules.check(&fixture.packet, fixture.verdict, &fixture.expected);
            assert_eq!(judged, Ok(()), "{}", fixture.name);
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
