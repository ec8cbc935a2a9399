//! One connection of an application, statement by statement.

use std::fs::{self, File};
use std::io::Write as _;

use anyhow::{Context, Result, ensure};
use lb_tests::lab::{Process, wait_until};
use lb_tests::mariadb;

use super::bed::{Bed, SOON};

/// What the client says of a connection that has ended.
const LOST: [&str; 2] = ["ERROR 2006", "ERROR 2013"];

/// A client that is fed by a pipe and does not connect again.
pub struct Conversation {
    pool: String,
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
        Ok(Self { pool: pool.to_owned(), client, statements })
    }

    /// Asks which server this is; none when the connection has ended.
    pub fn server(&mut self) -> Result<Option<u32>> {
        let before = fs::read_to_string(self.client.stdout_path())?.lines().count();
        self.statements.write_all(b"SELECT @@server_id;\n")?;
        let what = format!("an answer of {} or the end", self.pool);
        wait_until(&what, SOON, || {
            let alive = self.client.is_alive();
            let text = fs::read_to_string(self.client.stdout_path())?;
            if let Some(answer) = text.lines().nth(before).filter(|_| text.ends_with('\n')) {
                return Ok(Some(Some(answer.trim().parse()?)));
            }
            // The client goes on reading statements although it has no connection any more.
            let error = fs::read_to_string(self.client.stderr_path())?;
            let lost = LOST.iter().any(|code| error.contains(code));
            ensure!(alive || lost, "ended otherwise: {error}");
            Ok(lost.then_some(None))
        })
        .with_context(|| self.client.log_tail())
    }
}
