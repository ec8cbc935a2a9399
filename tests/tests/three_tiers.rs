//! The site of `examples/site.toml` with a failure in each tier, unattended. Needs root, nginx and MariaDB.

use anyhow::Result;
use lb_tests::three_tiers::check;
use lb_tests::unbroken::Progress;

#[test]
fn a_failure_in_each_tier_is_seen_in_time_and_costs_only_what_was_under_way() -> Result<()> {
    let summary = check::run(&Progress::default())?;
    println!("{summary:#?}");
    summary.expect_ok()
}
