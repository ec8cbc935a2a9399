//! What ends a conversation, before it has an address and a time.
//!
//! Always holds: what the server said is told as it said it, by `refusal`.

use std::io;

use mysql_common::proto::codec::error::PacketCodecError;

use super::super::{ProbeError, Question, Stage};
use super::refusal::Refusal;

/// What ended a conversation.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection broke.
    Io(io::Error),
    /// What came is no answer to what was sent: it was on its way before.
    OutOfOrder,
    /// What came is not of the protocol, or too much of it.
    Malformed(String),
    /// The server answered with an error.
    Server(Refusal),
    /// The server answered, and that means no.
    Says(String),
    /// The node lacks something.
    NotAsked(String),
}

impl Failure {
    /// In the words of the check.
    pub(super) fn name(self, question: &Question, stage: Stage) -> ProbeError {
        match self {
            Self::Io(error) => question.io_error(stage, &error),
            Self::OutOfOrder => question.malformed("packets out of order"),
            Self::Malformed(detail) => question.malformed(detail),
            Self::Server(refusal) => question.says(refusal.to_string()),
            Self::Says(says) => question.says(says),
            Self::NotAsked(detail) => question.not_asked(detail),
        }
    }

    /// Whether a connection that was idle may fail like this only because the server had ended it meanwhile.
    pub(super) fn is_stale(&self) -> bool {
        match self {
            // MySQL says why before it ends an idle session.
            Self::Io(_) | Self::OutOfOrder => true,
            Self::Server(refusal) => refusal.ends_session(),
            Self::Malformed(_) | Self::Says(_) | Self::NotAsked(_) => false,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<PacketCodecError> for Failure {
    fn from(error: PacketCodecError) -> Self {
        match error {
            PacketCodecError::Io(error) => Self::Io(error),
            PacketCodecError::PacketsOutOfSync => Self::OutOfOrder,
            error => Self::Malformed(error.to_string()),
        }
    }
}
