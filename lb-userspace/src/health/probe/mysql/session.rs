//! The check with an account: a connection that is kept, and what is asked on it.
//!
//! Always holds: a kept connection is idle, and its last exchange went well; one that the server ended meanwhile costs a
//! fresh login within the same probe, not a bad result.

use std::path::Path;
use std::time::Duration;

use tokio::io::AsyncReadExt;

use super::super::{ProbeError, Question, Stage};
use super::failure::Failure;
use super::greeting::Greeting;
use super::login::{self, Credentials};
use super::query::{Row, query};
use super::replica::Replication;
use super::wire::Wire;
use super::{read_only, refusal, replica};
use crate::health::finding::Database;
use crate::model::{MysqlAccount, Role};

/// Most bytes that are read of a password file.
const MAX_PASSWORD_FILE_BYTES: u64 = 4 * 1024;

/// What is kept between two probes of one server.
#[derive(Default)]
pub(in super::super) struct Session {
    idle: Option<Connection>,
}

impl Session {
    /// What the server is, if it may serve.
    pub(super) async fn ask(
        &mut self,
        question: &Question,
        account: &MysqlAccount,
    ) -> Result<Database, ProbeError> {
        if let Some(connection) = self.idle.take() {
            match self.look(question, account, connection).await? {
                Err(failure) if failure.is_stale() => {}
                done => return done.map_err(|failure| failure.name(question, Stage::Answer)),
            }
        }
        let connection = open(question, account).await?;
        let done = self.look(question, account, connection).await?;
        done.map_err(|failure| failure.name(question, Stage::Answer))
    }

    /// Asks on a connection; keeps it if that went well.
    async fn look(
        &mut self,
        question: &Question,
        account: &MysqlAccount,
        mut connection: Connection,
    ) -> Result<Result<Database, Failure>, ProbeError> {
        let found = question.bound(Stage::Answer, async { Ok(connection.look(account).await) }).await?;
        match &found {
            // The server is as it should not be; the connection is all right.
            Ok(_) | Err(Failure::Says(_)) => self.idle = Some(connection),
            // A new login sees what is granted meanwhile.
            Err(Failure::Server(_)) => connection.wire.quit(),
            Err(_) => {}
        }
        Ok(found)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(connection) = self.idle.take() {
            connection.wire.quit();
        }
    }
}

/// A connection that is logged in, and what was learned of the server's language.
struct Connection {
    wire: Wire,
    /// How it is asked whether it may be written to.
    read_only: &'static str,
    /// How it is asked for its status as a replica: the first, or what to try next.
    status: &'static [&'static str],
}

/// Connects and logs in.
async fn open(question: &Question, account: &MysqlAccount) -> Result<Connection, ProbeError> {
    // First the server: if it is dead, that is what counts, whatever is wrong with the password.
    let (mut wire, greeting) = super::meet(question).await?;
    let password = question.bound(Stage::Answer, async { Ok(password(account).await) }).await?;
    let password = password.map_err(|failure| failure.name(question, Stage::Answer))?;
    let who = Credentials { user: &account.user, password: &password };
    let work = login::log_in(&mut wire, &greeting, &who);
    let done = question.bound(Stage::Answer, async { Ok(work.await) }).await?;
    done.map_err(|failure| failure.name(question, Stage::Answer))?;
    Ok(Connection::new(wire, &greeting))
}

/// The password; empty for none.
async fn password(account: &MysqlAccount) -> Result<Vec<u8>, Failure> {
    let Some(file) = &account.password_file else {
        return Ok(account.password.clone().unwrap_or_default().into_bytes());
    };
    let text = read(file).await.map_err(|error| {
        Failure::NotAsked(format!("password_file {}: {error} (lbd must be able to read it)", file.display()))
    })?;
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(line.strip_suffix(b"\r").unwrap_or(line).to_vec())
}

async fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    // Looked at before it is opened: opening a named pipe would wait for its writer.
    if !tokio::fs::metadata(file).await?.is_file() {
        return Err(std::io::Error::other("it is not a file"));
    }
    let mut text = Vec::new();
    tokio::fs::File::open(file).await?.take(MAX_PASSWORD_FILE_BYTES).read_to_end(&mut text).await?;
    Ok(text)
}

impl Connection {
    fn new(wire: Wire, greeting: &Greeting) -> Self {
        let status = if greeting.is_mariadb() { replica::MARIADB } else { replica::MYSQL };
        Self { wire, read_only: read_only::BOTH, status }
    }

    /// What the server is. Whether that is wanted is for the policy, but for how far it is behind.
    async fn look(&mut self, account: &MysqlAccount) -> Result<Database, Failure> {
        let writable = self.is_writable().await?;
        let may_follow = match account.role {
            Role::Primary => false,
            // A writable server is no replica, however it follows.
            Role::Replica => !writable,
            Role::Any => account.max_lag.is_some(),
        };
        let replication = if may_follow { self.replication().await? } else { Replication::None };
        let lag = match replication {
            Replication::Behind(lag) => Some(lag),
            Replication::Stopped(why) => {
                return Err(Failure::Says(format!("replication is stopped ({why})")));
            }
            // Some replicas follow by other means, such as shared storage; but then they have no lag to look at.
            Replication::None if account.role == Role::Replica && !writable && account.max_lag.is_some() => {
                return Err(Failure::Says("it follows no source, so that it has no lag".to_owned()));
            }
            Replication::None => None,
        };
        refuse_lag(lag, account.max_lag)?;
        Ok(Database { writable, lag })
    }

    async fn is_writable(&mut self) -> Result<bool, Failure> {
        let rows = match query(&mut self.wire, self.read_only).await {
            Err(Failure::Server(refusal)) if refusal.code() == refusal::UNKNOWN_VARIABLE => {
                self.read_only = read_only::ONE;
                query(&mut self.wire, self.read_only).await?
            }
            answer => answer?,
        };
        rows.first()
            .and_then(read_only::is_writable)
            .ok_or_else(|| Failure::Malformed("no value of read_only".to_owned()))
    }

    async fn replication(&mut self) -> Result<Replication, Failure> {
        replica::read(&self.status_rows().await?).map_err(Failure::Malformed)
    }

    async fn status_rows(&mut self) -> Result<Vec<Row>, Failure> {
        while let [statement, others @ ..] = self.status {
            match query(&mut self.wire, statement).await {
                Err(Failure::Server(refusal)) if refusal.code() == refusal::SYNTAX && !others.is_empty() => {
                    self.status = others;
                }
                answer => return answer,
            }
        }
        Ok(Vec::new())
    }
}

fn refuse_lag(lag: Option<Duration>, max_lag: Option<Duration>) -> Result<(), Failure> {
    match (lag, max_lag) {
        (Some(lag), Some(max)) if lag > max => Err(Failure::Says(format!(
            "replica is {} s behind its source; the check allows {} s",
            lag.as_secs(),
            max.as_secs()
        ))),
        _ => Ok(()),
    }
}
