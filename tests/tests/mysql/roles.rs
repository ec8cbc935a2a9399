//! The pool of primaries follows the role: scenarios 48 to 50.

use anyhow::{Result, ensure};
use lb_tests::lab::wait_until;

use super::bed::{Bed, KEEP, REPLICAS, RESET, SOON, wait_note};
use super::conversation::Conversation;

#[test]
fn the_primary_is_followed_and_never_guessed() -> Result<()> {
    let bed = Bed::new()?;
    write_reaches_the_replicas(&bed)?;
    promotion_is_followed(&bed)?;
    of_two_primaries_the_current_one_stays(&bed)?;
    without_a_primary_nobody_serves(&bed)
}

fn write_reaches_the_replicas(bed: &Bed) -> Result<()> {
    bed.ask(KEEP, "INSERT INTO app.notes VALUES ('first')")?.success()?;
    for replica in &bed.databases[1..] {
        wait_note(replica, "first")?;
    }
    ensure!(bed.server_of(KEEP)? == 1 && bed.server_of(RESET)? == 1);
    let reader = bed.server_of(REPLICAS)?;
    ensure!([2, 3].contains(&reader), "{reader} serves reads");
    let refused = bed.ask(REPLICAS, "INSERT INTO app.notes VALUES ('lost')")?;
    ensure!(refused.stderr.contains("read-only"), "{refused:?}");
    Ok(())
}

/// web2 becomes the primary; the others follow it.
fn promotion_is_followed(bed: &Bed) -> Result<()> {
    let (mut kept, mut reset) = (Conversation::start(bed, KEEP)?, Conversation::start(bed, RESET)?);
    ensure!(kept.server()? == Some(1) && reset.server()? == Some(1));
    let [web1, web2, web3] = bed.databases.as_slice() else { anyhow::bail!("three databases") };
    web1.set_read_only(true)?;
    web2.promote()?;
    web1.follow(web2, 0)?;
    web3.follow(web2, 0)?;
    for pool in [KEEP, RESET] {
        bed.wait_serving(pool, &["web2"])?;
        ensure!(bed.server_of(pool)? == 2, "{pool}");
    }
    bed.wait_serving(REPLICAS, &["web1", "web3"])?;
    ensure!(kept.server()? == Some(1), "the old connection was not kept");
    ensure!(reset.server()?.is_none(), "the old connection was not reset");
    bed.ask(RESET, "INSERT INTO app.notes VALUES ('second')")?.success()?;
    wait_note(web1, "second")?;
    wait_note(web3, "second")
}

/// web1 can be written to again, by mistake.
fn of_two_primaries_the_current_one_stays(bed: &Bed) -> Result<()> {
    bed.databases[0].set_read_only(false)?;
    for pool in [KEEP, RESET] {
        bed.wait_event(pool, "2 backends say that they can be written to")?;
        bed.wait_serving(pool, &["web2"])?;
        ensure!(bed.server_of(pool)? == 2, "{pool}");
    }
    bed.databases[0].set_read_only(true)?;
    bed.wait_serving(REPLICAS, &["web1", "web3"])
}

fn without_a_primary_nobody_serves(bed: &Bed) -> Result<()> {
    bed.databases[1].set_read_only(true)?;
    for pool in [KEEP, RESET] {
        bed.wait_serving(pool, &[])?;
        bed.wait_event(pool, "new connections are refused")?;
        let refused = bed.ask(pool, "SELECT 1")?;
        ensure!(!refused.status.success(), "{pool}: {refused:?}");
    }
    bed.databases[1].set_read_only(false)?;
    wait_until("the primary is back", SOON, || Ok(bed.server_of(KEEP).ok().filter(|id| *id == 2)))?;
    bed.wait_serving(RESET, &["web2"])
}
