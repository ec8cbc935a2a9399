//! The fixtures in the kernel: byte for byte through `BPF_PROG_TEST_RUN` on the built object.
//!
//! Each run has a network namespace of its own, whose routes and neighbours make `bpf_fib_lookup` give the answers
//! that the tables in memory give on the host, and a mount namespace, so that a bpffs mounted here is gone with it.

mod kernel_fixtures {
    pub mod bed;
    pub mod extras;
    pub mod largest;
    pub mod probe;
    pub mod routes;
    pub mod sessions;
    pub mod swap;
}

use anyhow::{Context as _, ensure};
use kernel_fixtures::bed::{Bed, in_own_namespaces};
use lb_common::abi::{DropReason, ForwardReason};
use lb_common::pipeline::Verdict;
use lb_tests::fixtures::{Counted, EGRESS, Fixture, JUMBO_BYTES, Service, all, all_in};
use lb_tests::hex::hex;
use lb_userspace::dataplane::kernel::LogLevel;
use lb_userspace::dataplane::kernel::probe::has_fragments;
use std::collections::BTreeSet;

/// Where notes begin: numbers that are counted beside a packet's verdict.
const NOTES: u8 = 192;

/// Fewer would mean that a part of the table got lost.
const LEAST_FIXTURES: usize = 500;

/// Length of an Ethernet header.
const ETHERNET_BYTES: usize = 14;

/// XDP actions (`enum xdp_action`, include/uapi/linux/bpf.h).
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;
const XDP_REDIRECT: u32 = 4;

const fn action(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Drop(_) => XDP_DROP,
        Verdict::Pass(_) => XDP_PASS,
        Verdict::Transmit(_) => XDP_TX,
        Verdict::Redirect(..) => XDP_REDIRECT,
    }
}

/// Runs one fixture; the error says what came out differently.
fn check(bed: &mut Bed, fixture: &Fixture) -> anyhow::Result<()> {
    bed.record(fixture.recording)?;
    bed.answer(fixture.answers)?;
    for frame in &fixture.before {
        bed.run(frame)?;
    }
    let before = bed.counters(fixture)?;
    let outcome = bed.run(&fixture.packet)?;
    let after = bed.counters(fixture)?;
    let action = action(fixture.verdict);
    ensure!(outcome.action == action, "XDP action {}, expected {action}", outcome.action);
    ensure!(
        outcome.frame == fixture.expected,
        "frame    {}\n  expected {}",
        hex(&outcome.frame),
        hex(&fixture.expected)
    );
    let mut verdicts = before.verdicts;
    *verdicts.entry(fixture.verdict.number()).or_default() += 1;
    // Notes are counted beside verdicts.
    verdicts.retain(|number, _| *number < NOTES);
    let mut counted = after.verdicts;
    counted.retain(|number, _| *number < NOTES);
    ensure!(counted == verdicts, "verdicts {counted:?}, expected {verdicts:?}");
    let (mut service, mut backend) = (before.service, before.backend);
    match fixture.counted {
        Counted::Nothing => {}
        Counted::Request { bytes, opens, .. } => {
            service.packets += 1;
            service.bytes += bytes;
            service.new_connections += u64::from(opens);
            backend.packets += 1;
            backend.bytes += bytes;
            backend.new_connections += u64::from(opens);
        }
        Counted::Reply { bytes, .. } => {
            service.reply_bytes += bytes;
            backend.reply_bytes += bytes;
        }
    }
    ensure!(after.service == service, "service counters {:?}, expected {service:?}", after.service);
    ensure!(after.backend == backend, "backend counters {:?}, expected {backend:?}", after.backend);
    Ok(())
}

/// Every fixture that a test run takes, at a level of the datapath's log, and by the programs for packets in several pieces or
/// for those in one.
fn check_all(log_level: LogLevel, in_pieces: bool) {
    in_own_namespaces(|| {
        let mut bed = Bed::new(log_level)?;
        bed.allow_redirects_to(EGRESS)?;
        if in_pieces {
            bed.in_pieces();
        }
        let takes = |fixture: &Fixture| match fixture.host_only() {
            None => true,
            // Pieces make room for long frames; nothing makes room for half an Ethernet header.
            Some(_) => in_pieces && fixture.packet.len() > ETHERNET_BYTES,
        };
        let fixtures: Vec<Fixture> = all_in(bed.world()).into_iter().filter(takes).collect();
        let (mut run, mut faults) = (0, Vec::new());
        for fixture in &fixtures {
            run += 1;
            if let Err(error) = check(&mut bed, fixture) {
                faults.push(format!("{}\n  {error:#}", fixture.name));
            }
        }
        ensure!(run >= LEAST_FIXTURES, "only {run} fixtures");
        ensure!(faults.is_empty(), "{} of {run}:\n{}", faults.len(), faults.join("\n"));
        bed.nothing_else_was_counted(&fixtures)
    });
}

#[test]
fn every_fixture_gives_its_verdict_and_bytes_in_the_kernel() {
    check_all(LogLevel::Off, false);
}

#[test]
fn every_fixture_gives_the_same_where_packets_may_come_in_pieces() {
    if has_fragments().expect("asking the kernel") {
        check_all(LogLevel::Off, true);
    } else {
        eprintln!(
            "this kernel has no multi-buffer XDP: interfaces with large MTUs run in generic mode on it"
        );
    }
}

#[test]
fn every_fixture_gives_the_same_with_the_log_at_debug() {
    check_all(LogLevel::Debug, false);
}

/// Fixtures that the kernel's test run does not take: frames without a whole Ethernet header, or longer than a page.
fn left_to_the_host() -> BTreeSet<String> {
    let mut names = BTreeSet::from([
        "a TCP segment of 65,535 bytes has no room for the length of an outer header".to_owned(),
        "a TCP segment over IPv6 with the longest payload is left to the stack".to_owned(),
    ]);
    for fixture in all() {
        if fixture.packet.len() > usize::from(JUMBO_BYTES) - 100 && fixture.packet.len() < 10_000 {
            names.insert(fixture.name);
        }
    }
    assert_eq!(names.len(), 2 + 16, "large packets: four sizes of each kind");
    for what in
        ["TCP segment over IPv4", "TCP segment over IPv6", "UDP datagram over IPv4", "UDP datagram over IPv6"]
    {
        for length in [0, 1, 6, 13] {
            names.insert(format!("a {what} cut after {length} bytes is left to the stack"));
        }
    }
    names
}

#[test]
fn nothing_but_frames_of_impossible_sizes_is_left_to_the_host() {
    let left: BTreeSet<String> =
        all().into_iter().filter(|it| it.host_only().is_some()).map(|it| it.name).collect();
    assert_eq!(left, left_to_the_host());
}

#[test]
fn a_redirect_to_an_interface_that_is_not_in_the_map_is_dropped() {
    in_own_namespaces(|| {
        let mut bed = Bed::new(LogLevel::Off)?;
        let fixtures = all_in(bed.world());
        let redirected = fixtures
            .iter()
            .find(|fixture| fixture.verdict == Verdict::Redirect(ForwardReason::Nat, EGRESS))
            .context("a fixture that redirects")?;
        let outcome = bed.run(&redirected.packet)?;
        ensure!(outcome.action == XDP_DROP, "XDP action {}", outcome.action);
        Ok(())
    });
}

#[test]
fn every_program_in_its_largest_configuration_passes_the_verifier() {
    in_own_namespaces(kernel_fixtures::largest::every_program_is_accepted);
}

#[test]
fn what_a_kernel_has_is_told_from_what_it_has_not() {
    in_own_namespaces(kernel_fixtures::probe::answers_are_right);
}

#[test]
fn a_thousand_table_swaps_under_load_mislead_no_packet() {
    in_own_namespaces(kernel_fixtures::swap::no_packet_goes_where_neither_table_leads);
}

#[test]
fn fifty_thousand_sessions_of_one_client_come_go_and_come_again() {
    in_own_namespaces(kernel_fixtures::sessions::fifty_thousand_sessions_come_go_and_come_again);
}

#[test]
fn a_service_that_is_deleted_is_no_longer_served() {
    in_own_namespaces(|| {
        let mut bed = Bed::new(LogLevel::Off)?;
        let fixtures = all_in(bed.world());
        let dropped = fixtures
            .iter()
            .find(|fixture| fixture.verdict == Verdict::Drop(DropReason::NoBackend))
            .context("a fixture that is dropped")?;
        ensure!(bed.run(&dropped.packet)?.action == XDP_DROP, "a service without slots drops");
        bed.delete(Service::Empty)?;
        let outcome = bed.run(&dropped.packet)?;
        ensure!(outcome.action == XDP_PASS, "XDP action {}", outcome.action);
        Ok(())
    });
}
