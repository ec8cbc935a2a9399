//! Errors of a server, and what to do about them.
//!
//! The numbers are those of MySQL's and MariaDB's server error references; both use the same for what is here.

use std::fmt;

/// First byte of an error packet.
pub(super) const HEADER: u8 = 0xff;

/// Longest text of a server that is told, in characters.
const MAX_TEXT_CHARS: usize = 400;

/// Errors that a wrong account explains: the server listens, reads and answers.
///
/// Access denied (1045; 1698 without a password), a way to tell passwords that is not ours (1251) or not loaded (1524), no
/// TLS (3159), a password that has to be changed (1862), an account that is locked (3118; MariaDB's 4151).
const DENIALS: [u16; 8] = [1045, 1698, 1251, 1524, 3159, 1862, 3118, 4151];

/// Errors that a server sends when it ends a session by itself: shut down (1053), killed (MariaDB's 1927), idle for
/// `wait_timeout` (MySQL's 4031).
const ENDS: [u16; 3] = [1053, 1927, 4031];

/// No such system variable.
pub(super) const UNKNOWN_VARIABLE: u16 = 1193;

/// The statement is not known to the server.
pub(super) const SYNTAX: u16 = 1064;

/// An error of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    code: u16,
    text: String,
}

impl Refusal {
    /// Reads an error packet, as much of it as is there. Before the greeting MySQL leaves the SQL state out.
    pub(super) fn parse(packet: &[u8]) -> Self {
        let rest = packet.get(1..).unwrap_or_default();
        let (code, rest) = rest.split_at_checked(2).unwrap_or((&[0, 0], &[]));
        let code = code.iter().rev().fold(0, |code, byte| code << 8 | u16::from(*byte));
        let text = if let [b'#', _, _, _, _, _, text @ ..] = rest { text } else { rest };
        Self { code, text: printable(&String::from_utf8_lossy(text)) }
    }

    pub(super) fn code(&self) -> u16 {
        self.code
    }

    /// Whether it says no more than that this account may not log in.
    pub(super) fn is_denial(&self) -> bool {
        DENIALS.contains(&self.code)
    }

    /// Whether it says that this session has ended.
    pub(super) fn ends_session(&self) -> bool {
        ENDS.contains(&self.code)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "error {}: {}", self.code, self.text)?;
        match self.code {
            1129 => out.write_str(
                " (connections of this node broke off before a login more than max_connect_errors times: run FLUSH HOSTS or \
                 mysqladmin flush-hosts on the server, and find what breaks them)",
            ),
            1130 => out.write_str(" (no account may log in from this node's address: create one for it)"),
            1227 => out.write_str(
                " (grant the check's account REPLICATION CLIENT on MySQL, SLAVE MONITOR since MariaDB 10.5: GRANT … ON *.* \
                 TO …)",
            ),
            3159 => out.write_str(" (the check speaks no TLS)"),
            _ => Ok(()),
        }
    }
}

/// One line without control characters, cut.
pub(super) fn printable(text: &str) -> String {
    let words = text.split(|char: char| char.is_control()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ").chars().take(MAX_TEXT_CHARS).collect()
}
