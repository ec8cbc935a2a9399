//! A bounded run of the fuzzer: host and kernel agree about every input, and what is forwarded keeps the rules.

#[expect(dead_code, reason = "shared with the fixtures, which use the rest")]
mod kernel_fixtures {
    pub mod bed;
    pub mod extras;
    pub mod fuzz;
    pub mod routes;
}

use anyhow::ensure;
use kernel_fixtures::fuzz::with_kernel;
use lb_common::abi::{ForwardReason, verdict_name};
use lb_tests::fixtures::World;
use lb_tests::fuzz::{
    Campaign, FaultKind, Host, Kernel, Limit, Plan, Reaction, Setting, Subject, Totals, Trial,
};
use std::collections::BTreeSet;

/// Inputs of the run, the corpus among them.
const INPUTS: u64 = 200_000;

/// Verdicts that it need not see: what a missing program, no head room and full-nat lead to.
const UNSEEN: usize = 7;

/// Seed of the run.
const SEED: u64 = 2026;

#[test]
fn host_and_kernel_agree_about_mutated_packets() {
    let directory = tempfile::tempdir().unwrap();
    let plan = Plan { seed: SEED, limit: Limit::Inputs(INPUTS), directory: directory.path().to_owned() };
    let campaign = Campaign::new(plan).unwrap();
    with_kernel(|world, kernel| campaign.work(world, kernel)).unwrap();
    let summary = campaign.summary(1);
    if let Some(file) = &summary.fault_file {
        panic!("{}", std::fs::read_to_string(file).unwrap());
    }
    assert_eq!(summary.inputs, INPUTS);
    // Inputs have to get far: each way to forward is taken, by many of them.
    let of_sessions = [ForwardReason::FullNat, ForwardReason::FullNatReply];
    // The fixtures' world has no frontend of full-nat.
    for reason in ForwardReason::ALL.iter().filter(|reason| !of_sessions.contains(reason)) {
        let count = summary.verdicts.get(&format!("forward {}", reason.name())).copied().unwrap_or(0);
        assert!(
            count >= 100,
            "only {count} inputs were forwarded by {}: {:?}",
            reason.name(),
            summary.verdicts
        );
    }
    let known = (0..u8::MAX).filter(|number| verdict_name(*number).is_some()).count();
    assert!(summary.verdicts.len() + UNSEEN >= known, "most verdicts are seen: {:?}", summary.verdicts);
}

/// The kernel with a fault planted in what it says.
struct Faulty<'k, F> {
    kernel: &'k mut Kernel,
    plant: F,
}

impl<F: FnMut(&mut Vec<u8>, &mut Reaction)> Subject for Faulty<'_, F> {
    fn reset(&mut self, setting: Setting) -> anyhow::Result<()> {
        self.kernel.reset(setting)
    }

    fn run(&mut self, frame: &[u8], guess: u8, out: &mut Vec<u8>) -> anyhow::Result<Reaction> {
        let mut reaction = self.kernel.run(frame, guess, out)?;
        (self.plant)(out, &mut reaction);
        Ok(reaction)
    }

    fn totals(&mut self) -> anyhow::Result<Totals> {
        self.kernel.totals()
    }
}

/// The first fault that is found while the kernel says something else than it should.
fn found(
    world: &World,
    kernel: &mut Kernel,
    plant: impl FnMut(&mut Vec<u8>, &mut Reaction),
) -> anyhow::Result<Option<FaultKind>> {
    let corpus = lb_tests::fuzz::Corpus::new()?;
    let frames: Vec<&[u8]> = corpus.entries().iter().map(|entry| entry.frame.as_slice()).collect();
    let mut faulty = Faulty { kernel, plant };
    let fault = Trial::new(Host::new(world), &mut faulty).run(Setting::default(), &frames)?;
    Ok(fault.map(|(_, fault)| fault.kind))
}

#[test]
fn a_kernel_that_differs_in_one_byte_or_one_verdict_is_found() {
    with_kernel(|world, kernel| {
        ensure!(found(world, kernel, |_, _| {})?.is_none(), "nothing is found where nothing is");
        let mut kinds = BTreeSet::new();
        let mut frames = 0;
        let kind = found(world, kernel, |frame, _| {
            frames += 1;
            if frames == 300 {
                frame[13] ^= 1;
            }
        })?;
        kinds.extend(kind.map(|kind| format!("{kind:?}")));
        let kind = found(world, kernel, |_, reaction| {
            reaction.number = reaction.number.map(|number| if number == 130 { 128 } else { number });
        })?;
        kinds.extend(kind.map(|kind| format!("{kind:?}")));
        let kind = found(world, kernel, |_, reaction| {
            reaction.action = if reaction.action == 4 { 3 } else { reaction.action };
        })?;
        kinds.extend(kind.map(|kind| format!("{kind:?}")));
        ensure!(kinds.iter().eq(["Action", "Frame", "Verdict"]), "{kinds:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn state_that_only_one_side_has_is_found() {
    with_kernel(|world, kernel| {
        let corpus = lb_tests::fuzz::Corpus::new()?;
        let frame = &corpus.entries().last().map(|entry| entry.frame.clone()).unwrap_or_default();
        let mut host = Host::new(world);
        host.reset(Setting::default());
        let mut out = Vec::new();
        // One packet more than the host has seen.
        kernel.reset(Setting::default())?;
        kernel.run(frame, 0, &mut out)?;
        ensure!(kernel.totals()? != host.totals(), "a packet leaves something behind");
        kernel.reset(Setting::default())?;
        ensure!(kernel.totals()? == host.totals(), "a reset takes it away");
        Ok(())
    })
    .unwrap();
}
