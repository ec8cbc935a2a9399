//! Replicas that do not follow, or too far behind, leave their pool: scenario 51.

use anyhow::{Result, ensure};

use super::bed::{Bed, KEEP, REPLICAS};

/// Far more than the check allows.
const DELAY_S: u32 = 3_600;

#[test]
fn a_replica_that_does_not_keep_up_leaves_and_comes_back() -> Result<()> {
    let bed = Bed::new()?;
    let (primary, replica) = (&bed.databases[0], &bed.databases[2]);

    replica.stop_replication()?;
    bed.wait_down(REPLICAS, "web3", "replication is stopped (IO thread: No, SQL thread: No")?;
    bed.wait_serving(REPLICAS, &["web2"])?;
    ensure!(bed.server_of(REPLICAS)? == 2);
    replica.start_replication()?;
    bed.wait_serving(REPLICAS, &["web2", "web3"])?;

    replica.follow(primary, DELAY_S)?;
    bed.ask(KEEP, "INSERT INTO app.notes VALUES ('late')")?.success()?;
    bed.wait_down(REPLICAS, "web3", "behind its source; the check allows 5 s")?;
    bed.wait_serving(REPLICAS, &["web2"])?;

    // Nobody is left: the pool drops, as it says.
    bed.databases[1].stop_replication()?;
    bed.wait_serving(REPLICAS, &[])?;
    ensure!(!bed.ask(REPLICAS, "SELECT 1")?.status.success());
    bed.databases[1].start_replication()?;
    replica.follow(primary, 0)?;
    bed.wait_serving(REPLICAS, &["web2", "web3"])
}
