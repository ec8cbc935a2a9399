//! The TCP check: a connection is accepted.
//!
//! It sends nothing and ends the connection with a reset (see [`connect`]); the server sees a connection that
//! goes away before its first byte.

use super::connect::connect;
use super::{ProbeError, Question};
use crate::health::finding::Answer;

/// Good once the three-way handshake is done; the latency is that of the handshake.
pub(super) async fn probe(question: &Question) -> Result<Answer, ProbeError> {
    let _closed_on_return = connect(question).await?;
    Ok(question.elapsed().into())
}
