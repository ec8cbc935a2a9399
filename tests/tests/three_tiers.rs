//! The site of `examples/site.toml` with a failure in each tier, unattended. Needs root, nginx and MariaDB.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_tests::three_tiers::check;
use lb_tests::three_tiers::faults::{DATABASE_BOUND, PROMOTION_BOUND, SERVER_BOUND};
use lb_tests::unbroken::Progress;
use lb_userspace::model::Check;

/// Time within which a backend that does not answer any more is down.
fn until_down(check: &Check) -> Duration {
    check.interval * check.fall + check.timeout
}

#[test]
fn the_bounds_are_those_of_the_examples_checks() -> Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/site.toml");
    let (parsed, _) = lb_userspace::config::load(&file)?;
    for (pool, bound) in [
        ("web", SERVER_BOUND),
        ("app", SERVER_BOUND),
        ("db-primary", DATABASE_BOUND),
        ("db-replica", DATABASE_BOUND),
    ] {
        let check = parsed.model.check_of(&parsed.model.pools[pool]).context("no check")?;
        ensure!(until_down(check) == bound, "{pool}: {check:?}");
    }
    let primary = &parsed.model.pools["db-primary"];
    let check = parsed.model.check_of(primary).context("no check")?;
    ensure!(check.interval + check.timeout == PROMOTION_BOUND, "{check:?}");
    Ok(())
}

#[test]
fn a_failure_in_each_tier_is_seen_in_time_and_costs_only_what_was_under_way() -> Result<()> {
    let summary = check::run(&Progress::default())?;
    println!("{summary:#?}");
    summary.expect_ok()
}
