//! Probes: one question to one target, one answer.
//!
//! Role: the IO of the checks. One module a kind; a new kind is a module and an arm in [`Prober::probe`]. Imports `model`
//! and `finding`.
//! Always holds: a probe ends within the check's timeout, holds one socket at most, and starts no task or process that
//! outlives it (dropping the future closes the socket; of a command only the reaping of what was killed is left); what a prober keeps between two probes goes when it is dropped.

mod agent;
mod connect;
mod datagram;
mod dns;
mod error;
mod exec;
mod grpc;
mod http;
mod mysql;
mod question;
mod tcp;
mod text;
mod tls;
mod udp;

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::finding::Answer;
use super::group::Ask;
use crate::model::{Check, CheckKind};

pub use error::{ProbeError, Stage};
use question::Question;

/// Asks one address what a check says, again and again.
pub struct Prober {
    address: SocketAddr,
    check: Arc<Check>,
    /// TLS as the check wants it, once it was needed.
    tls: tls::Connector,
    /// The connection to a database.
    database: mysql::Session,
}

impl Prober {
    /// One that has not asked yet. `address` is used as it is: a port override of the check is for the caller to apply.
    pub fn new(address: SocketAddr, check: Arc<Check>) -> Self {
        Self { address, check, tls: tls::Connector::default(), database: mysql::Session::default() }
    }

    /// Asks once. `interval`, `rise` and `fall` of the check mean nothing here.
    ///
    /// # Errors
    /// Any [`ProbeError`]; [`ProbeError::is_inconclusive`] tells those that say nothing about the target.
    pub async fn probe(&mut self) -> Result<Answer, ProbeError> {
        let question = Question::new(self.address, self.check.source, self.check.timeout);
        match &self.check.kind {
            CheckKind::Tcp => tcp::probe(&question).await,
            CheckKind::Http(http) => http::probe(&question, http, &mut self.tls).await,
            CheckKind::Udp(udp) => udp::probe(&question, udp).await,
            CheckKind::Dns(dns) => dns::probe(&question, dns).await,
            CheckKind::Grpc(grpc) => grpc::probe(&question, grpc, &mut self.tls).await,
            CheckKind::Mysql(mysql) => mysql::probe(&question, mysql, &mut self.database).await,
            CheckKind::Exec(exec) => exec::probe(&question, exec).await,
            CheckKind::Agent(agent) => agent::probe(&question, agent).await,
        }
    }
}

impl Ask for Prober {
    fn ask(&mut self) -> BoxFuture<'_, Result<Answer, ProbeError>> {
        self.probe().boxed()
    }
}

#[cfg(test)]
mod tests;
