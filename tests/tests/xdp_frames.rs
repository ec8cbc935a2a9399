//! What the datapath relies on: hosts of the lab receive frames that XDP sends or redirects to them, although they run
//! no XDP program. The programs here are a few instructions each, loaded with bpf(2). Needs root.

use std::time::Duration;

use anyhow::Result;
use lb_tests::lab::{Direction, End, Host, Lab};
use lb_tests::xdp::{Instruction, attach};

/// Time for what should happen at once on an idle machine.
const SOON: Duration = Duration::from_secs(10);

/// The XDP action that sends a frame back.
const XDP_TX: i32 = 3;

/// Helper function `bpf_redirect`.
const BPF_REDIRECT: i32 = 23;

/// Instructions by what they do (RFC 9669: class, operation and source).
const MOVE_CONSTANT: u8 = 0xb7;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

const fn instruction(code: u8, register: u8, constant: i32) -> Instruction {
    Instruction { code, registers: register, offset: 0, constant }
}

fn interface_index(host: &Host, interface: &str) -> Result<u32> {
    host.enter(|| {
        let socket = std::net::UdpSocket::bind("[::]:0")?;
        Ok(rustix::net::netdevice::name_to_index(&socket, interface)?)
    })?
}

fn frame() -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 8, 2, 0, 0, 0, 0, 9, 0x88, 0xb5];
    frame.extend([0xa5; 200]);
    frame
}

fn is_ours(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[0x88, 0xb5])
}

#[test]
fn a_host_receives_what_xdp_sends_back_to_it() -> Result<()> {
    let lab = Lab::new("xdptx")?;
    let (a, b) = (lab.host("a")?, lab.host("b")?);
    let _link = lab.link(End::new(&a, "eth0"), End::new(&b, "eth0"))?;
    let index = interface_index(&b, "eth0")?;
    let program = [instruction(MOVE_CONSTANT, 0, XDP_TX), instruction(EXIT, 0, 0)];
    let _attached = b.enter(|| attach(&program, "frames", index))??;
    let capture = a.capture("eth0", is_ours)?;
    a.inject("eth0", &frame())?;
    let is_back = |seen: &lb_tests::lab::Frame| seen.direction == Direction::In && seen.bytes == frame();
    capture.wait_until(SOON, |frames| frames.iter().any(is_back))?;
    Ok(())
}

#[test]
fn a_host_receives_what_xdp_redirects_to_it_directly_and_through_a_bridge() -> Result<()> {
    let lab = Lab::new("xdpredirect")?;
    let (client, node, server) = (lab.host("client")?, lab.host("node")?, lab.host("server")?);
    let bridge = lab.bridge("bridge")?;
    let _front = lab.link(End::new(&client, "eth0"), End::new(&node, "front"))?;
    bridge.join(End::new(&node, "back"))?;
    bridge.join(End::new(&server, "eth0"))?;
    let (front, back) = (interface_index(&node, "front")?, interface_index(&node, "back")?);
    for (from, to, sender, sender_interface, receiver) in
        [(front, back, &client, "eth0", &server), (back, front, &server, "eth0", &client)]
    {
        let program = [
            instruction(MOVE_CONSTANT, 1, to.try_into()?),
            instruction(MOVE_CONSTANT, 2, 0),
            instruction(CALL, 0, BPF_REDIRECT),
            instruction(EXIT, 0, 0),
        ];
        let _attached = node.enter(|| attach(&program, "frames", from))??;
        let capture = receiver.capture("eth0", is_ours)?;
        sender.inject(sender_interface, &frame())?;
        let is_there = |seen: &lb_tests::lab::Frame| seen.direction == Direction::In && seen.bytes == frame();
        capture.wait_until(SOON, |frames| frames.iter().any(is_there))?;
    }
    Ok(())
}
