//! One connection of an application, statement by statement.

use std::fs::{self, File};
use std::io::Write as _;

use anyhow::{Result, ensure};
use lb_tests::lab::{Process, wait_until};
use lb_tests::mariadb;

use super::bed::{Bed, SOON};

/// A client that is fed by a pipe and does not connect again.
pub struct Conversation {
    client: Process,
    statements: File,
}

impl Conversation {
    pub fn start(bed: &Bed, pool: &str) -> Result<Self> {
        let pipe = bed.fleet.lab.dir().join(format!("statements-{pool}"));
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU)?;
        let source = format!("source {}", pipe.display());
        let client = bed.fleet.client.spawn(mariadb::client(Bed::vip(pool), &source))?;
        // For reading too, so that opening does not wait for the client.
        let statements = File::options().read(true).write(true).open(&pipe)?;
        Ok(Self { client, statements })
    }

    /// Asks which server this is; none when the connection has ended.
    pub fn server(&mut self) -> Result<Option<u32>> {
        let before = fs::read_to_string(self.client.stdout_path())?.lines().count();
        self.statements.write_all(b"SELECT @@server_id;\n")?;
        wait_until("an answer or the end", SOON, || {
            let alive = self.client.is_alive();
            let text = fs::read_to_string(self.client.stdout_path())?;
            let answer = text.lines().nth(before).filter(|_| text.ends_with('\n'));
            match answer.map(|line| line.trim().parse()) {
                Some(answer) => Ok(Some(Some(answer?))),
                None if alive => Ok(None),
                None => {
                    let error = fs::read_to_string(self.client.stderr_path())?;
                    ensure!(error.contains("2013") || error.contains("2006"), "ended otherwise: {error}");
                    Ok(Some(None))
                }
            }
        })
    }
}
