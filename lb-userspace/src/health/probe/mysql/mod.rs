//! The MySQL check: a server lets clients in (without an account), and what it is (with one).
//!
//! Role: `wire` moves packets, `greeting` and `refusal` read what any server says first, `login` and `query` hold the
//! conversation, `read_only` and `replica` read what it tells; this module puts them together. The formats are
//! `mysql_common`'s; the connection is our own, so that it has the check's source address and deadline and leaves no task.
//! Always holds: whatever a server sends is bounded and never ends the process; after a probe that failed no connection is
//! kept; the role is found here and judged by the policy of the pool.
//!
//! # Why a check without an account logs in
//!
//! MySQL and MariaDB count, by address, connections that end before the client's answer to the greeting (closed, reset or
//! with another packet, all the same); after `max_connect_errors` of them in a row (100 by default) they refuse that
//! address with error 1129 until someone says `FLUSH HOSTS`. (They do not with `skip_name_resolve`, nor where the address
//! has no name.) A check that connects, reads the greeting and closes locks its own node out within minutes, and with
//! full-nat, where clients come from the node's address, everybody. A login that is refused is not counted: so a check
//! without an account answers the greeting as the user [`NOBODY`] without a password, takes "access denied" for what it is,
//! a server that listens, and closes then. The price is a line for each in a log that notes refused logins, which an account
//! without any rights under that name spares. The greeting is what decides: a server that takes its time to deny (as the
//! plugin `connection_control` makes it) is good.
//!
//! A server that has all its connections takes one more as far as to the login, for an administrator: without that account
//! error 1040 is seen only while that place is taken too, which is soon where clients try again and again.

mod failure;
mod greeting;
mod login;
mod query;
mod read_only;
mod refusal;
mod replica;
mod session;
mod wire;

use std::time::Duration;

use super::connect::connect;
use super::{ProbeError, Question, Stage};
use crate::health::finding::{Answer, Findings};
use crate::model::MysqlCheck;

use failure::Failure;
use greeting::Greeting;
use login::Credentials;
pub(super) use session::Session;
use wire::Wire;

/// Who a check without an account says it is. No account of this name is needed.
const NOBODY: &str = "lbd-check";

/// Longest first packet of a server, in bytes: its greeting or an error.
const MAX_GREETING_BYTES: usize = 64 * 1024;

/// Good once the server has greeted and, with an account, has told that it may serve; the latency is that of the greeting
/// or of the last answer.
pub(super) async fn probe(
    question: &Question,
    check: &MysqlCheck,
    session: &mut Session,
) -> Result<Answer, ProbeError> {
    match &check.account {
        None => greet(question).await.map(Answer::from),
        Some(account) => {
            let database = session.ask(question, account).await?;
            let findings = Findings { database: Some(database), ..Findings::default() };
            Ok(Answer { latency: question.elapsed(), findings })
        }
    }
}

/// Connects and reads the greeting.
async fn meet(question: &Question) -> Result<(Wire, Greeting), ProbeError> {
    let mut wire = Wire::new(connect(question).await?);
    let met = async {
        let packet = wire.receive(MAX_GREETING_BYTES).await?;
        Greeting::parse(&packet)
    };
    let met = question.bound(Stage::Greeting, async { Ok(met.await) }).await?;
    let greeting = met.map_err(|failure| failure.name(question, Stage::Greeting))?;
    Ok((wire, greeting))
}

/// The check without an account.
async fn greet(question: &Question) -> Result<Duration, ProbeError> {
    let (mut wire, greeting) = meet(question).await?;
    let latency = question.elapsed();
    let nobody = Credentials { user: NOBODY, password: b"" };
    // That no answer comes within the check's time is no news: the greeting has decided.
    let work = login::log_in(&mut wire, &greeting, &nobody);
    match tokio::time::timeout_at(question.end(), work).await {
        Ok(Err(Failure::Server(refusal))) if !refusal.is_denial() => {
            Err(Failure::Server(refusal).name(question, Stage::Answer))
        }
        Ok(Ok(())) => {
            wire.quit();
            Ok(latency)
        }
        Ok(Err(_)) | Err(_) => Ok(latency),
    }
}

#[cfg(test)]
mod tests;
