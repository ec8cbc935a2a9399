//! The agent dies, stops, starts, and is taken away; what packets see of it.

use std::io;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use lb_common::abi::names::PINNED;
use lb_tests::bpf;
use lb_tests::lab::wait_until;
use lb_tests::site::{Mode, NODE_BACK, NODE_FRONT};
use lb_userspace::api::types::{HealthState, ServiceInfo};

use super::bed::{Bed, SOON, all_vips, vip_of_each_mode};
use super::load::{Load, expect_unbroken};
use super::lookups::{add_udp_services, servers_by_port};
use super::{kernel, load};

/// Answers of each VIP that show that traffic goes on.
const ANSWERS: usize = 100;

/// Restarts for an upgrade, one after the other.
const RESTARTS: usize = 5;

fn links(bed: &Bed) -> Result<Vec<u32>> {
    let id = |interface| kernel::id_of_pin("link", &kernel::link_pin(&bed.bpffs, interface)?);
    Ok(vec![id(NODE_FRONT)?, id(NODE_BACK)?])
}

fn packets(bed: &Bed) -> Result<Vec<(String, u64)>> {
    let services: Vec<ServiceInfo> = bed.show("service list")?;
    Ok(services.into_iter().map(|service| (service.name, service.packets)).collect())
}

/// Scenario 1.
#[test]
fn traffic_does_not_notice_that_lbd_is_killed_and_the_next_lbd_takes_over_what_it_finds() -> Result<()> {
    let bed = Bed::alone(3)?;
    add_udp_services(&bed)?;
    let first = bed.start()?;
    bed.wait_up()?;
    let load = Load::start(&bed.fleet.client, &vip_of_each_mode(), SOON);
    load.wait_for_answers(ANSWERS, Instant::now())?;
    ensure!(bed.status()?.interfaces.iter().all(|interface| !interface.adopted), "nothing to adopt yet");
    let (links_before, servers_before) = (links(&bed)?, servers_by_port(&bed)?);
    let packets_before = packets(&bed)?;

    first.kill()?;
    load.wait_for_answers(ANSWERS, Instant::now())?;
    ensure!(servers_by_port(&bed)? == servers_before, "flows go elsewhere while no lbd runs");

    let _second = bed.start()?;
    load.wait_for_answers(ANSWERS, Instant::now())?;
    let status = bed.status()?;
    ensure!(status.interfaces.len() == 2, "{:?}", status.interfaces);
    ensure!(status.interfaces.iter().all(|interface| interface.adopted), "{:?}", status.interfaces);
    ensure!(links(&bed)? == links_before, "the links were made anew");
    ensure!(servers_by_port(&bed)? == servers_before, "flows go elsewhere after the restart");
    expect_unbroken(&load.stop()?)?;
    for ((name, before), (_, after)) in packets_before.iter().zip(packets(&bed)?) {
        // Those without load had at least the lookups over UDP, or stand still.
        ensure!(after >= *before, "{name}: the counter fell from {before} to {after}");
    }
    let grown = packets_before.iter().zip(packets(&bed)?).filter(|((_, before), (_, after))| after > before);
    ensure!(grown.count() >= 3, "counters stand still");
    Ok(())
}

#[test]
fn no_request_fails_while_lbd_is_restarted_five_times() -> Result<()> {
    let bed = Bed::alone(3)?;
    let mut lbd = bed.start()?;
    bed.wait_up()?;
    let load = Load::start(&bed.fleet.client, &vip_of_each_mode(), SOON);
    for _ in 0..RESTARTS {
        let status = lbd.terminate()?;
        ensure!(status.success(), "lbd ended with {status}: {}", lbd.log_tail());
        load.wait_for_answers(ANSWERS, Instant::now())?;
        lbd = bed.start()?;
        load.wait_for_answers(ANSWERS, Instant::now())?;
    }
    let requests = load.stop()?;
    let slowest = requests.iter().map(load::Request::elapsed).max().unwrap_or_default();
    println!("{} requests over {RESTARTS} restarts, the slowest took {slowest:?}", requests.len());
    expect_unbroken(&requests)
}

#[test]
fn a_stopped_lbd_leaves_the_datapath_at_work_and_remove_takes_all_of_it_away() -> Result<()> {
    let bed = Bed::shared(3)?;
    let lbd = bed.start()?;
    bed.wait_up()?;
    let refused = bed.refusal("remove")?;
    ensure!(refused.contains(&format!("pid {}", lbd.pid())), "{refused}");
    lbd.terminate()?;
    ensure!(!bed.socket.exists(), "the control socket is left behind");
    bed.expect_servers(&["web1", "web2", "web3"])?;

    let maps = kernel::pins(&bed.bpffs)?.into_iter().filter(|pin| !is_link(pin));
    let maps = maps.map(|pin| kernel::id_of_pin("map", &pin)).collect::<Result<Vec<_>>>()?;
    // Besides those that every agent shares, the table of stages of this one's programs.
    ensure!(maps.len() == PINNED.len() + 1, "{} maps are pinned", maps.len());
    bed.run(bed.lbd("remove")?)?.success()?;
    expect_nothing_left(&bed)?;
    wait_until("the maps are gone", SOON, || {
        let left = maps.iter().map(|id| bpf::map_exists(*id)).collect::<io::Result<Vec<_>>>()?;
        Ok((!left.contains(&true)).then_some(()))
    })?;
    // Once more finds nothing to do.
    bed.run(bed.lbd("remove")?)?.success()?;
    // And the node can serve again.
    let _lbd = bed.start()?;
    bed.expect_servers(&["web1", "web2", "web3"])
}

fn is_link(pin: &Path) -> bool {
    pin.file_name().is_some_and(|name| name.to_string_lossy().starts_with("link-"))
}

/// No program, no pin and no VIP on the node.
pub fn expect_nothing_left(bed: &Bed) -> Result<()> {
    for interface in [NODE_FRONT, NODE_BACK] {
        let program = kernel::program_id(&bed.fleet.node, interface)?;
        ensure!(program.is_none(), "{interface} has program {program:?}");
        let addresses = kernel::addresses(&bed.fleet.node, interface)?;
        let vip = all_vips().map(|vip| vip.to_string()).find(|vip| addresses.contains(vip));
        ensure!(vip.is_none(), "{interface} has the VIP {vip:?}");
    }
    let pins = kernel::pins(&bed.bpffs)?;
    ensure!(pins.is_empty(), "{pins:?}");
    Ok(())
}

#[test]
fn a_second_lbd_is_refused_with_the_pid_of_the_first() -> Result<()> {
    let bed = Bed::shared(2)?;
    let lbd = bed.start()?;
    let refused = bed.refusal("run")?;
    ensure!(refused.contains(&format!("another lbd is running (pid {})", lbd.pid())), "{refused}");
    ensure!(bed.status()?.pid == lbd.pid(), "the first one does not answer any more");
    bed.expect_servers(&["web1", "web2"])
}

/// Scenario 44: what was down stays down, and what was up is not taken for down.
#[test]
fn a_backend_that_was_down_gets_nothing_when_lbd_restarts() -> Result<()> {
    let mut bed = Bed::alone(3)?;
    let lbd = bed.start()?;
    bed.wait_up()?;
    bed.fleet.webs[1].kill_server()?;
    bed.wait_moved("web2")?;
    let load = Load::start(&bed.fleet.client, &vip_of_each_mode(), SOON);
    load.wait_for_answers(ANSWERS, Instant::now())?;
    lbd.terminate()?;
    load.wait_for_answers(ANSWERS, Instant::now())?;
    let _second = bed.start()?;
    let web2 = bed.backend("nat-v4", "web2")?;
    ensure!(web2.health.state == HealthState::Down, "{web2:?}");
    load.wait_for_answers(ANSWERS, Instant::now())?;
    let requests = load.stop()?;
    expect_unbroken(&requests)?;
    let shares = |name: &str| requests.iter().filter(|request| request.served_by(name)).count();
    ensure!(shares("web1") > 0 && shares("web3") > 0, "{} and {}", shares("web1"), shares("web3"));
    Ok(())
}

/// Scenario 64: maps pinned, link gone (somebody took the program off).
#[test]
fn maps_without_a_link_are_taken_over() -> Result<()> {
    let bed = Bed::shared(3)?;
    add_udp_services(&bed)?;
    let lbd = bed.start()?;
    bed.wait_up()?;
    let (before, servers) = (packets(&bed)?, servers_by_port(&bed)?);
    lbd.terminate()?;
    for interface in [NODE_FRONT, NODE_BACK] {
        std::fs::remove_file(kernel::link_pin(&bed.bpffs, interface)?)?;
    }
    wait_until("the program is off", SOON, || {
        Ok(kernel::program_id(&bed.fleet.node, NODE_FRONT)?.is_none().then_some(()))
    })?;
    let lbd = bed.start()?;
    lbd.wait_for_output("maps of an earlier lbd taken over", SOON)?;
    ensure!(servers_by_port(&bed)? == servers, "the hash key is another one");
    let fell = before.iter().zip(packets(&bed)?).find(|((_, before), (_, after))| after < before);
    ensure!(fell.is_none(), "{fell:?}");
    bed.expect_servers(&["web1", "web2", "web3"])
}

/// An agent that comes up after its interfaces were made anew (a driver reloaded, a virtual card replaced).
#[test]
fn an_interface_that_was_made_anew_gets_the_program_again() -> Result<()> {
    let bed = Bed::shared(2)?;
    let lbd = bed.start()?;
    lbd.terminate()?;
    let pin = kernel::link_pin(&bed.bpffs, NODE_FRONT)?;
    let stale = kernel::id_of_pin("link", &pin)?;
    // The kernel detaches a link whose interface goes; another namespace is as good as gone.
    bed.fleet.node.ip("link add spare type veth peer name spare2")?;
    bed.replace("interfaces = [\"front\", \"back\"]", "interfaces = [\"front\", \"back\", \"spare\"]")?;
    let lbd = bed.start()?;
    lbd.terminate()?;
    bed.fleet.node.ip("link delete spare")?;
    bed.fleet.node.ip("link add spare type veth peer name spare2")?;
    let _lbd = bed.start()?;
    let status = bed.status()?;
    let spare = status.interfaces.iter().find(|interface| interface.name == "spare").context("no spare")?;
    ensure!(!spare.adopted, "{spare:?}");
    ensure!(kernel::program_id(&bed.fleet.node, "spare")? == Some(spare.program_id.into()), "{spare:?}");
    ensure!(kernel::id_of_pin("link", &pin)? == stale, "the link of front was made anew");
    let nat = Mode::Nat.vip_v4().into();
    bed.expect_servers_of(nat, &["web1", "web2"])
}
