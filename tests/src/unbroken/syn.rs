//! A flood of SYNs from random addresses and ports, and its end: a program of a few instructions that writes each frame
//! anew and sends it out of an interface, run by the kernel as fast as it can; and one that drops such frames.
//!
//! The addresses are of 198.18.0.0/16 and `2001:2::/112` (RFC 2544 and RFC 5180: networks for benchmarks), 16 bits of them
//! and the 16 bits of the port random. Checksums stay right without computing one: what is added to a word of the address
//! or the port is taken from another word that the same sums cover and that means nothing in a SYN (the sequence number,
//! the IPv4 identification). Imports `bpf`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use etherparse::PacketBuilder;

use crate::bpf::{self, Instruction};

/// The first addresses that the SYNs come from: the random 16 bits are zero.
const FIRST_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
const FIRST_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0);

/// Hop limit of the frames.
const HOP_LIMIT: u8 = 64;

/// Receive window that the SYNs announce.
const WINDOW: u16 = 64_240;

/// Length of an Ethernet header, in bytes.
const ETHERNET_LEN: usize = 14;

/// Frames that the kernel handles together; at most 256.
const BATCH: u32 = 64;

/// Operations (RFC 9669: class, operation and source).
const MOVE: u8 = 0xbf;
const MOVE_CONSTANT: u8 = 0xb7;
const ADD_CONSTANT: u8 = 0x07;
const XOR_CONSTANT: u8 = 0xa7;
const SHIFT_RIGHT: u8 = 0x77;
const LOAD_32: u8 = 0x61;
const STORE_16: u8 = 0x6b;
const STORE_CONSTANT_16: u8 = 0x6a;
const LOAD_16: u8 = 0x69;
const LOAD_8: u8 = 0x71;
const JUMP: u8 = 0x05;
const JUMP_GREATER: u8 = 0x2d;
const JUMP_EQUAL: u8 = 0x15;
const JUMP_NOT_EQUAL: u8 = 0x55;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

/// Helper functions `bpf_get_prandom_u32` and `bpf_redirect`.
const PRANDOM: i32 = 7;
const REDIRECT: i32 = 23;

/// A frame and the program that sends it.
pub(super) struct SynFlood {
    program: OwnedFd,
    frame: Vec<u8>,
}

impl SynFlood {
    /// SYNs to `frontend`, from the interface with this index and MAC address to its neighbour's.
    pub(super) fn new(
        frontend: SocketAddr,
        interface_index: u32,
        source: [u8; 6],
        neighbour: [u8; 6],
    ) -> Result<Self> {
        let frame = frame(frontend, source, neighbour)?;
        let program = bpf::load_xdp(&program(&frame, frontend.is_ipv6(), interface_index)?, "syn_flood")?;
        Ok(Self { program, frame })
    }

    /// Sends so many SYNs. The calling thread has to be in the namespace of the interface.
    pub(super) fn send(&self, count: u32) -> Result<()> {
        bpf::inject(self.program.as_fd(), &self.frame, count, BATCH).context("injecting SYNs")
    }
}

/// The SYN whose random words are 0 (and their counterparts so that 0 is added to the sums).
fn frame(frontend: SocketAddr, source: [u8; 6], neighbour: [u8; 6]) -> Result<Vec<u8>> {
    let ethernet = PacketBuilder::ethernet2(source, neighbour);
    let ip = match frontend.ip() {
        IpAddr::V4(vip) => {
            let header = etherparse::Ipv4Header {
                identification: 0xffff,
                ..etherparse::Ipv4Header::new(
                    0,
                    HOP_LIMIT,
                    etherparse::IpNumber::TCP,
                    FIRST_V4.octets(),
                    vip.octets(),
                )?
            };
            ethernet.ip(etherparse::IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default()))
        }
        IpAddr::V6(vip) => ethernet.ipv6(FIRST_V6.octets(), vip.octets(), HOP_LIMIT),
    };
    let builder = ip.tcp(0, frontend.port(), u32::MAX, WINDOW).syn();
    let mut frame = Vec::with_capacity(builder.size(0));
    builder.write(&mut frame, &[])?;
    Ok(frame)
}

/// Writes the whole frame, since the kernel hands out again what a receiver may have changed; then the random words.
fn program(frame: &[u8], v6: bool, interface_index: u32) -> Result<Vec<Instruction>> {
    let (address, ip_len) = if v6 { (ETHERNET_LEN + 8 + 14, 40) } else { (ETHERNET_LEN + 12 + 2, 20) };
    let tcp = ETHERNET_LEN + ip_len;
    let (port, sequence_high, sequence_low) = (tcp, tcp + 4, tcp + 6);
    ensure!(frame.len() == tcp + 20, "a SYN of {} bytes", frame.len());
    // r2: the frame; r3: its end; r6: the context.
    let mut program = vec![
        op(MOVE, 6, 1, 0, 0),
        op(CALL, 0, 0, 0, PRANDOM),
        op(LOAD_32, 2, 6, 0, 0),
        op(LOAD_32, 3, 6, 4, 0),
        op(MOVE, 1, 2, 0, 0),
        op(ADD_CONSTANT, 1, 0, 0, frame.len().try_into()?),
    ];
    let mut writes = Vec::new();
    for (word, bytes) in frame.chunks_exact(2).enumerate() {
        let value = bytes.try_into().map(i16::from_ne_bytes)?;
        writes.push(op(STORE_CONSTANT_16, 2, 0, i16::try_from(word * 2)?, value.into()));
    }
    let store = |offset: usize, register: u8| -> Result<Instruction> {
        Ok(op(STORE_16, 2, register, offset.try_into()?, 0))
    };
    // r0: a random word, then another; r4: what cancels it out in the sums.
    writes.push(store(address, 0)?);
    writes.extend([op(MOVE, 4, 0, 0, 0), op(XOR_CONSTANT, 4, 0, 0, -1)]);
    writes.push(store(sequence_high, 4)?);
    if !v6 {
        writes.push(store(ETHERNET_LEN + 4, 4)?);
    }
    writes.push(op(SHIFT_RIGHT, 0, 0, 0, 16));
    writes.push(store(port, 0)?);
    writes.push(op(XOR_CONSTANT, 0, 0, 0, -1));
    writes.push(store(sequence_low, 0)?);
    // A frame that is too short ends the program with what r0 has, which is no action: the kernel drops it.
    program.push(op(JUMP_GREATER, 1, 3, i16::try_from(writes.len() + 3)?, 0));
    program.extend(writes);
    program.extend([
        op(MOVE_CONSTANT, 1, 0, 0, interface_index.try_into()?),
        op(MOVE_CONSTANT, 2, 0, 0, 0),
        op(CALL, 0, 0, 0, REDIRECT),
        op(EXIT, 0, 0, 0, 0),
    ]);
    Ok(program)
}

/// XDP actions.
const DROP: i32 = 1;
const PASS: i32 = 2;

/// Stand for the distance to the end of a program that drops, or passes, until that is known.
const TO_DROP: i16 = i16::MAX;
const TO_PASS: i16 = i16::MIN;

/// Ethernet types, and protocol numbers of tunnels.
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
const IPIP: i32 = 4;
const IPV6_IN_IPV6: i32 = 41;

/// Drops the SYNs of the flood, in a tunnel or not, on an interface of the calling thread's namespace, as long as the
/// result lives; everything else passes.
pub(super) fn attach_sink(interface_index: u32) -> Result<OwnedFd> {
    let program = bpf::load_xdp(&sink()?, "syn_sink")?;
    bpf::attach_xdp(program.as_fd(), interface_index)
}

/// The first bits of the sources are enough to tell them: nothing else of a lab begins so.
fn sink() -> Result<Vec<Instruction>> {
    let [a, b, ..] = FIRST_V4.octets();
    let v4_source = u16::from_ne_bytes([a, b]).into();
    let [a, b, c, d, ..] = FIRST_V6.octets();
    let v6_source = i32::from_ne_bytes([a, b, c, d]);
    // IPv4: the source, or the inner one of IPv4 in IPv4.
    let v4 = [
        op(JUMP_NOT_EQUAL, 5, 0, TO_PASS, u16::from_ne_bytes(IPV4).into()),
        op(LOAD_16, 5, 2, 26, 0),
        op(JUMP_EQUAL, 5, 0, TO_DROP, v4_source),
        op(LOAD_8, 5, 2, 23, 0),
        op(JUMP_NOT_EQUAL, 5, 0, TO_PASS, IPIP),
        op(LOAD_16, 5, 2, 46, 0),
        op(JUMP_EQUAL, 5, 0, TO_DROP, v4_source),
        op(JUMP, 0, 0, TO_PASS, 0),
    ];
    // IPv6: the same.
    let v6 = [
        op(LOAD_32, 5, 2, 22, 0),
        op(JUMP_EQUAL, 5, 0, TO_DROP, v6_source),
        op(LOAD_8, 5, 2, 20, 0),
        op(JUMP_NOT_EQUAL, 5, 0, TO_PASS, IPV6_IN_IPV6),
        op(MOVE, 4, 2, 0, 0),
        op(ADD_CONSTANT, 4, 0, 0, 94),
        op(JUMP_GREATER, 4, 3, TO_PASS, 0),
        op(LOAD_32, 5, 2, 62, 0),
        op(JUMP_EQUAL, 5, 0, TO_DROP, v6_source),
    ];
    // r2: the frame; r3: its end.
    let mut program = vec![
        op(LOAD_32, 2, 1, 0, 0),
        op(LOAD_32, 3, 1, 4, 0),
        op(MOVE, 4, 2, 0, 0),
        op(ADD_CONSTANT, 4, 0, 0, 54),
        op(JUMP_GREATER, 4, 3, TO_PASS, 0),
        op(LOAD_16, 5, 2, 12, 0),
        op(JUMP_EQUAL, 5, 0, v4.len().try_into()?, u16::from_ne_bytes(IPV6).into()),
    ];
    program.extend(v4);
    program.extend(v6);
    let pass = program.len();
    let ends = [op(MOVE_CONSTANT, 0, 0, 0, PASS), op(EXIT, 0, 0, 0, 0), op(MOVE_CONSTANT, 0, 0, 0, DROP)];
    program.extend(ends);
    program.push(op(EXIT, 0, 0, 0, 0));
    for (place, instruction) in program.iter_mut().enumerate() {
        let target = match instruction.offset {
            TO_PASS => pass,
            TO_DROP => pass + 2,
            _ => continue,
        };
        instruction.offset = i16::try_from(target - place - 1)?;
    }
    Ok(program)
}

const fn op(code: u8, destination: u8, source: u8, offset: i16, constant: i32) -> Instruction {
    Instruction { code, registers: destination | source << 4, offset, constant }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the program does to a frame, in the same words.
    fn randomised(mut frame: Vec<u8>, v6: bool, address: u16, port: u16) -> Vec<u8> {
        let tcp = if v6 { 54 } else { 34 };
        let mut put = |at: usize, word: u16| frame[at..at + 2].copy_from_slice(&word.to_ne_bytes());
        put(if v6 { 36 } else { 28 }, address);
        put(tcp + 4, !address);
        if !v6 {
            put(18, !address);
        }
        put(tcp, port);
        put(tcp + 6, !port);
        frame
    }

    #[test]
    fn checksums_are_right_whatever_the_random_words_are() {
        for vip in ["203.0.113.10:80", "[2001:db8:2::10]:80"] {
            let vip: SocketAddr = vip.parse().unwrap();
            let plain = frame(vip, [2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]).unwrap();
            for (address, port) in [(0, 0), (1, 0xffff), (0xffff, 1), (0x1234, 0xabcd), (0x8000, 0x00ff)] {
                let frame = randomised(plain.clone(), vip.is_ipv6(), address, port);
                let packet = etherparse::PacketHeaders::from_ethernet_slice(&frame).unwrap();
                let Some(etherparse::TransportHeader::Tcp(tcp)) = &packet.transport else { panic!() };
                assert!(tcp.syn && !tcp.ack && tcp.source_port == u16::from_be(port));
                let sum = match packet.net {
                    Some(etherparse::NetHeaders::Ipv4(ip, _)) => {
                        assert_eq!(ip.header_checksum, ip.calc_header_checksum(), "{address:#x} {port:#x}");
                        assert_eq!(ip.source[..2], [198, 18]);
                        tcp.calc_checksum_ipv4(&ip, &[])
                    }
                    Some(etherparse::NetHeaders::Ipv6(ip, _)) => tcp.calc_checksum_ipv6(&ip, &[]),
                    _ => panic!(),
                };
                assert_eq!(sum.unwrap(), tcp.checksum, "{vip} {address:#x} {port:#x}");
            }
        }
    }
}
