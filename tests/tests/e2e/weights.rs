//! Weights are shares of new flows.

use anyhow::{Context, Result, ensure};
use lb_tests::site::Mode;

use super::bed::Bed;

/// Requests that shares are measured with.
const REQUESTS: u32 = 1_500;

/// Standard deviations that a share may be off: an honest one fails once in a million times.
const SIGMAS: f64 = 5.0;

/// Differences between a backend's slots and its weight's due (the table is as good as its size).
const TABLE_ERROR: f64 = 0.01;

/// The VIP's answers are spread like these weights, by server name.
fn expect_shares(bed: &Bed, weights: &[(&str, u32)]) -> Result<()> {
    let answers = bed.answers(Mode::Nat.vip_v4().into(), REQUESTS as usize)?;
    let sum: u32 = weights.iter().map(|(_, weight)| weight).sum();
    for (name, weight) in weights {
        let due = f64::from(*weight) / f64::from(sum);
        let count = u32::try_from(answers.get(*name).copied().unwrap_or(0))?;
        let share = f64::from(count) / f64::from(REQUESTS);
        let allowed = SIGMAS * (due * (1.0 - due) / f64::from(REQUESTS)).sqrt() + TABLE_ERROR * due;
        ensure!((share - due).abs() <= allowed, "{name}: share {share}, due {due} ± {allowed}: {answers:?}");
        let slots = bed.backend("nat-v4", name)?.slot_share_percent / 100.0;
        ensure!((slots - due).abs() <= TABLE_ERROR, "{name}: {slots} of the slots, due {due}");
    }
    let known = answers.keys().find(|name| !weights.iter().any(|(known, _)| *name == known));
    ensure!(known.is_none(), "{answers:?}");
    Ok(())
}

#[test]
fn weights_set_by_lbctl_are_the_shares_that_clients_see() -> Result<()> {
    let bed = Bed::shared(3)?;
    let _lbd = bed.start()?;
    bed.wait_up()?;
    expect_shares(&bed, &[("web1", 100), ("web2", 100), ("web3", 100)])?;
    let said = bed.edit("backend weight nat-v4/web3 200")?;
    ensure!(said.starts_with("nat-v4/web3 weight set to 200"), "{said}");
    expect_shares(&bed, &[("web1", 100), ("web2", 100), ("web3", 200)])?;
    bed.edit("backend weight nat-v4/web1 0")?;
    expect_shares(&bed, &[("web2", 100), ("web3", 200)])?;
    let text = bed.text()?;
    let pool = text.split("[pools.nat-v4]").nth(1).context("no pool")?;
    ensure!(pool.contains("weight = 0") && pool.contains("weight = 200"), "{text}");
    Ok(())
}

#[test]
fn with_affinity_all_connections_of_a_client_find_one_server() -> Result<()> {
    let bed = Bed::shared(3)?;
    bed.replace("[pools.nat-v4]\n", "[pools.nat-v4]\naffinity = \"source\"\n")?;
    let _lbd = bed.start()?;
    bed.wait_up()?;
    let vip = Mode::Nat.vip_v4().into();
    let answers = bed.answers(vip, 30)?;
    ensure!(answers.len() == 1, "{answers:?}");
    let server = answers.keys().next().context("no answer")?;
    // Without its server the client gets another one, and later its own again: its slot remembers who had it.
    bed.edit(&format!("backend drain nat-v4/{server}"))?;
    let others = bed.answers(vip, 30)?;
    ensure!(others.len() == 1 && !others.contains_key(server), "{others:?} instead of {answers:?}");
    bed.edit(&format!("backend undrain nat-v4/{server}"))?;
    let again = bed.answers(vip, 30)?;
    ensure!(again.keys().eq(answers.keys()), "{again:?}");
    Ok(())
}
