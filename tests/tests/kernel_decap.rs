//! The fixtures of decapsulation in the kernel: byte for byte through `BPF_PROG_TEST_RUN` on the built object. Needs root.

use anyhow::{Result, ensure};
use aya::programs::{TestRun as _, TestRunOptions};
use lb_common::decap::DecapVerdict;
use lb_tests::decap_fixtures::{ENDS, Fixture, SOURCES, Sources, VIPS, all};
use lb_tests::hex::hex;
use lb_userspace::decap::{Counters, DecapConfig, Decapsulator, Prefix};

/// Fewer would mean that a part of the table got lost.
const LEAST_FIXTURES: usize = 500;

/// XDP actions (`enum xdp_action`, include/uapi/linux/bpf.h).
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;

const fn action(verdict: DecapVerdict) -> u32 {
    match verdict {
        DecapVerdict::Drop(_) => XDP_DROP,
        DecapVerdict::Pass(_) | DecapVerdict::Deliver(_) => XDP_PASS,
    }
}

/// The programs of the fixtures' machine.
fn decapsulator(sources: Sources) -> Result<Decapsulator> {
    let prefixes = |list: &[(&str, u8)]| -> Result<Vec<Prefix>> {
        list.iter().map(|(address, length)| Ok(format!("{address}/{length}").parse()?)).collect()
    };
    let vips = prefixes(&VIPS)?;
    let sources = if sources == Sources::Some { prefixes(&SOURCES)? } else { Vec::new() };
    let mut decapsulator =
        Decapsulator::load(&DecapConfig { vips: &vips, sources: &sources, gue_port: 6_080 })?;
    let ends: Result<_, _> = ENDS.iter().map(|text| text.parse()).collect();
    ensure!(decapsulator.set_ends(&ends?)?, "there was no tunnel address before");
    Ok(decapsulator)
}

/// Runs one fixture; the error says what came out differently.
fn check(decapsulator: &mut Decapsulator, frags: bool, fixture: &Fixture) -> Result<()> {
    let mut expected = decapsulator.counters()?;
    let mut out = vec![0; fixture.packet.len()];
    let options = TestRunOptions {
        data_in: Some(&fixture.packet),
        data_out: Some(&mut out),
        ..TestRunOptions::default()
    };
    let result = decapsulator.program(frags)?.test_run(options)?;
    out.truncate(usize::try_from(result.data_size_out)?);
    let action = action(fixture.reason.verdict());
    ensure!(result.return_value == action, "XDP action {}, expected {action}", result.return_value);
    ensure!(out == fixture.expected, "frame    {}\n  expected {}", hex(&out), hex(&fixture.expected));
    expected.add(fixture.reason, 1);
    let after: Counters = decapsulator.counters()?;
    ensure!(after == expected, "counters {after:?}, expected {expected:?}");
    Ok(())
}

fn check_all(frags: bool) -> Result<()> {
    let fixtures = all();
    let (mut run, mut faults) = (0, Vec::new());
    for sources in [Sources::Any, Sources::Some] {
        let mut decapsulator = decapsulator(sources)?;
        let fits =
            |fixture: &&Fixture| if frags { fixture.fits_test_run() } else { fixture.fits_one_piece() };
        for fixture in fixtures.iter().filter(|fixture| fixture.sources == sources).filter(fits) {
            run += 1;
            if let Err(error) = check(&mut decapsulator, frags, fixture) {
                faults.push(format!("{}\n  {error:#}", fixture.name));
            }
        }
    }
    ensure!(run >= LEAST_FIXTURES, "only {run} fixtures");
    ensure!(faults.is_empty(), "{} of {run}:\n{}", faults.len(), faults.join("\n"));
    Ok(())
}

#[test]
fn every_fixture_gives_its_action_and_bytes_in_the_kernel() -> Result<()> {
    check_all(false)
}

#[test]
fn every_fixture_gives_the_same_with_frames_in_pieces_too() -> Result<()> {
    check_all(true)
}

#[test]
fn tunnel_addresses_follow_what_is_set() -> Result<()> {
    let mut decapsulator = decapsulator(Sources::Any)?;
    let both: std::collections::BTreeSet<_> =
        ENDS.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    ensure!(!decapsulator.set_ends(&both)?, "nothing changed");
    ensure!(decapsulator.set_ends(&[].into())?, "both went");
    let fixtures = all();
    let first = fixtures.iter().find(|fixture| matches!(fixture.reason.verdict(), DecapVerdict::Deliver(_)));
    let mut orphan = first.ok_or_else(|| anyhow::anyhow!("no fixture is delivered"))?.clone();
    orphan.expected = orphan.packet.clone();
    orphan.reason = lb_common::decap::DecapReason::OtherDestination;
    check(&mut decapsulator, false, &orphan)
}

#[test]
fn a_prefix_of_every_ipv6_source_lets_no_ipv4_tunnel_in() -> Result<()> {
    let vips: Vec<Prefix> = vec!["203.0.113.10".parse()?];
    let sources: Vec<Prefix> = vec!["::/0".parse()?];
    let mut decapsulator =
        Decapsulator::load(&DecapConfig { vips: &vips, sources: &sources, gue_port: 6_080 })?;
    decapsulator.set_ends(&ENDS.iter().map(|text| text.parse()).collect::<Result<_, _>>()?)?;
    let fixtures = all();
    let named = |name: &str| {
        fixtures
            .iter()
            .find(|fixture| fixture.name == name)
            .ok_or_else(|| anyhow::anyhow!("no fixture {name:?}"))
    };
    check(&mut decapsulator, false, named("IPv4 in IP over IPv6: Tcp with no tag")?)?;
    let mut refused = named("IPv4 in IP over IPv4: Tcp with no tag")?.clone();
    refused.expected = refused.packet.clone();
    refused.reason = lb_common::decap::DecapReason::SourceRefused;
    check(&mut decapsulator, false, &refused)
}
