//! The site carries what every forward mode needs of it, without a load balancer yet. Needs root.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use etherparse::{EtherType, IpNumber, NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use lb_tests::http;
use lb_tests::lab::{Direction, Frame};
use lb_tests::site::{HTTP_PORT, Mode, NODE_BACK, NODE_FRONT, WebFleet};

/// Time for what should happen at once on an idle machine.
const SOON: Duration = Duration::from_secs(10);

/// Port of the hand-made connections.
const CLIENT_PORT: u16 = 40_123;

/// Sequence number of the hand-made SYN.
const SEQUENCE: u32 = 7_000;

const CLIENT_V4: [u8; 4] = [198, 51, 100, 10];
const CLIENT_V6: [u8; 16] = [0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10];

/// A TCP packet as far as the tests look at it.
#[derive(Debug, PartialEq, Eq)]
struct Segment {
    source: SocketAddr,
    destination: SocketAddr,
    syn: bool,
    ack: bool,
    acknowledged: u32,
}

fn segment(frame: &[u8]) -> Option<Segment> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let Some(TransportSlice::Tcp(tcp)) = packet.transport else { return None };
    let (source, destination): (IpAddr, IpAddr) = match packet.net? {
        NetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Arp(_) => return None,
    };
    Some(Segment {
        source: SocketAddr::new(source, tcp.source_port()),
        destination: SocketAddr::new(destination, tcp.destination_port()),
        syn: tcp.syn(),
        ack: tcp.ack(),
        acknowledged: tcp.acknowledgment_number(),
    })
}

/// A SYN of the client to the VIP, without Ethernet header.
fn client_syn(vip: IpAddr) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match vip {
        IpAddr::V4(vip) => PacketBuilder::ipv4(CLIENT_V4, vip.octets(), 64)
            .tcp(CLIENT_PORT, HTTP_PORT, SEQUENCE, 65_535)
            .syn()
            .write(&mut bytes, &[])?,
        IpAddr::V6(vip) => PacketBuilder::ipv6(CLIENT_V6, vip.octets(), 64)
            .tcp(CLIENT_PORT, HTTP_PORT, SEQUENCE, 65_535)
            .syn()
            .write(&mut bytes, &[])?,
    }
    Ok(bytes)
}

/// The packet in a tunnel from the node to the first web server, on Ethernet.
fn encapsulated(fleet: &WebFleet, inner: &[u8]) -> Result<Vec<u8>> {
    let web = &fleet.webs[0];
    let mut bytes = Vec::new();
    let (node_mac, web_mac) = (fleet.node_back.macs().0, web.link.macs().0);
    let ethernet = PacketBuilder::ethernet2(node_mac, web_mac);
    match inner.first().map(|byte| byte >> 4) {
        Some(4) => {
            ethernet.ipv4([10, 0, 0, 2], web.v4.octets(), 64).write(&mut bytes, IpNumber::IPV4, inner)?;
        }
        Some(6) => {
            let node: std::net::Ipv6Addr = "2001:db8:3::2".parse()?;
            ethernet.ipv6(node.octets(), web.v6.octets(), 64).write(&mut bytes, IpNumber::IPV6, inner)?;
        }
        version => bail!("IP version {version:?}"),
    }
    Ok(bytes)
}

/// The answer to [`client_syn`], as the client sees it.
fn expected_answer(vip: IpAddr) -> Segment {
    let client = if vip.is_ipv4() { IpAddr::from(CLIENT_V4) } else { IpAddr::from(CLIENT_V6) };
    Segment {
        source: SocketAddr::new(vip, HTTP_PORT),
        destination: SocketAddr::new(client, CLIENT_PORT),
        syn: true,
        ack: true,
        acknowledged: SEQUENCE + 1,
    }
}

#[test]
fn every_web_server_answers_the_client_by_way_of_the_node() -> Result<()> {
    let mut fleet = WebFleet::new(3)?;
    fleet.start_servers()?;
    let is_answer =
        |frame: &[u8]| segment(frame).is_some_and(|tcp| tcp.source.port() == HTTP_PORT && tcp.syn);
    let at_node = fleet.node.capture(NODE_BACK, is_answer)?;
    for web in &fleet.webs {
        for address in [IpAddr::from(web.v4), web.v6.into()] {
            let response = fleet.get(address, SOON)?;
            assert_eq!(response.backend.as_deref(), Some(web.host.name()));
        }
    }
    at_node.wait_until(SOON, |frames| frames.len() == 6)?;
    Ok(())
}

#[test]
fn a_web_server_answers_for_a_dsr_l2_vip_without_the_node() -> Result<()> {
    let mut fleet = WebFleet::new(2)?;
    fleet.start_servers()?;
    // The node as a plain router does to the frame what dsr-l2 does: a new destination MAC (and TTL).
    let web = &fleet.webs[1];
    for (vip, node, web) in [
        (IpAddr::from(Mode::DsrL2.vip_v4()), IpAddr::from([203, 0, 113, 2]), IpAddr::from(web.v4)),
        (Mode::DsrL2.vip_v6().into(), "2001:db8:2::2".parse()?, web.v6.into()),
    ] {
        let host_prefix = if vip.is_ipv4() { 32 } else { 128 };
        fleet.edge.route(&format!("{vip}/{host_prefix}"), node)?;
        fleet.node.route(&format!("{vip}/{host_prefix}"), web)?;
        let returned = fleet
            .node
            .capture(NODE_BACK, move |frame| segment(frame).is_some_and(|tcp| tcp.source.ip() == vip))?;
        let response = fleet.get(vip, SOON)?;
        assert_eq!(response.backend.as_deref(), Some("web2"));
        assert_eq!(returned.stop().len(), 0, "answers of {vip} pass the node");
    }
    Ok(())
}

#[test]
fn a_web_server_takes_packets_out_of_tunnels_and_answers_the_client_directly() -> Result<()> {
    let mut fleet = WebFleet::new(1)?;
    fleet.start_servers()?;
    for vip in Mode::DsrIpip.vips() {
        let expected = expected_answer(vip);
        let at_client =
            fleet.client.capture("eth0", move |frame| segment(frame).as_ref() == Some(&expected))?;
        fleet.node.inject(NODE_BACK, &encapsulated(&fleet, &client_syn(vip)?)?)?;
        let answers = at_client
            .wait_until(SOON, |frames| frames.iter().any(|frame| frame.direction == Direction::In))
            .with_context(|| format!("no SYN+ACK from {vip}"))?;
        let ether_type = if vip.is_ipv4() { EtherType::IPV4 } else { EtherType::IPV6 };
        assert_eq!(answers[0].bytes[12..14], ether_type.0.to_be_bytes());
    }
    Ok(())
}

#[test]
fn a_tunnelled_packet_with_a_wrong_checksum_is_not_answered() -> Result<()> {
    let mut fleet = WebFleet::new(1)?;
    fleet.start_servers()?;
    let vip = Mode::DsrIpip.vip_v4().into();
    let at_client = fleet
        .client
        .capture("eth0", move |frame| segment(frame).is_some_and(|tcp| tcp.source.ip() == vip))?;
    let mut bad = client_syn(vip)?;
    *bad.last_mut().context("a packet")? ^= 0xff;
    fleet.node.inject(NODE_BACK, &encapsulated(&fleet, &bad)?)?;
    // The good one comes after the bad one by the same way, so that one answer means that the bad one got none.
    let mut good = client_syn(vip)?;
    set_source_port(&mut good, CLIENT_PORT + 1)?;
    fleet.node.inject(NODE_BACK, &encapsulated(&fleet, &good)?)?;
    let to_good =
        |frame: &Frame| segment(&frame.bytes).is_some_and(|tcp| tcp.destination.port() == CLIENT_PORT + 1);
    let frames = at_client.wait_until(SOON, |frames| frames.iter().any(to_good))?;
    assert!(frames.iter().filter(|frame| frame.direction == Direction::In).all(to_good));
    Ok(())
}

/// Another source port in an IPv4 packet without options, with the checksum to match.
fn set_source_port(packet: &mut [u8], port: u16) -> Result<()> {
    let (ip, mut tcp) = {
        let sliced = SlicedPacket::from_ip(packet)?;
        match (sliced.net, sliced.transport) {
            (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(tcp))) => {
                (ip.header().to_header(), tcp.to_header())
            }
            other => bail!("not TCP over IPv4: {other:?}"),
        }
    };
    tcp.source_port = port;
    tcp.checksum = tcp.calc_checksum_ipv4(&ip, &[])?;
    packet[20..].copy_from_slice(&tcp.to_bytes());
    Ok(())
}

#[test]
fn the_node_is_where_the_edge_looks_for_a_vip() -> Result<()> {
    let fleet = WebFleet::new(1)?;
    let vip = Mode::Nat.vip_v4();
    let server = SocketAddr::new(vip.into(), HTTP_PORT);
    fleet.node.address(NODE_FRONT, &format!("{vip}/32"))?;
    fleet.node.address(NODE_FRONT, &format!("{}/128", Mode::Nat.vip_v6()))?;
    for vip in Mode::Nat.vips() {
        fleet.client.ping(vip, SOON)?;
    }
    let refused = fleet.client.enter(|| http::get(server, "/", None, SOON))?.unwrap_err();
    let kind = refused.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    assert_eq!(kind, Some(std::io::ErrorKind::ConnectionRefused), "{refused:#}");
    Ok(())
}
