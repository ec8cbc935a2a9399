//! The first packet of a server: its greeting (protocol 10), or why it does not want to talk.

use mysql_common::constants::CapabilityFlags;

use super::failure::Failure;
use super::refusal::{self, Refusal};

/// Version of the protocol that every server speaks since MySQL 3.21.
const PROTOCOL: u8 = 10;

/// Length of the server's random bytes, without the zero at their end.
const NONCE_BYTES: usize = 20;

/// Length of the first part of them.
const NONCE_HEAD_BYTES: usize = 8;

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    /// Its version; MariaDB's name is in it.
    pub(super) version: String,
    /// What it can do.
    pub(super) capabilities: CapabilityFlags,
    /// Its random bytes.
    pub(super) nonce: Vec<u8>,
    /// How it would have passwords told.
    pub(super) auth_plugin: Vec<u8>,
}

impl Greeting {
    /// Reads the first packet.
    pub(super) fn parse(packet: &[u8]) -> Result<Self, Failure> {
        match packet.split_first() {
            Some((&PROTOCOL, rest)) => Self::parse_v10(rest)
                .ok_or_else(|| Failure::Malformed("the greeting ends in the middle".to_owned())),
            Some((&refusal::HEADER, _)) => Err(Failure::Server(Refusal::parse(packet))),
            Some((version, _)) => {
                Err(Failure::Malformed(format!("a greeting of protocol {version}, not of {PROTOCOL}")))
            }
            None => Err(Failure::Malformed("an empty greeting".to_owned())),
        }
    }

    /// What follows the version of the protocol. Servers leave out of the end what they know nothing of.
    fn parse_v10(mut rest: &[u8]) -> Option<Self> {
        let version = take_up_to_zero(&mut rest)?;
        let _connection_id = take(&mut rest, 4)?;
        let mut nonce = take(&mut rest, NONCE_HEAD_BYTES)?.to_vec();
        let _filler = take(&mut rest, 1)?;
        let low = take_u16(&mut rest)?;
        let (mut high, mut auth_plugin) = (0, Vec::new());
        if !rest.is_empty() {
            let _collation_and_status = take(&mut rest, 3)?;
            high = take_u16(&mut rest)?;
            let _nonce_length_and_reserved = take(&mut rest, 11)?;
            nonce.extend(take(&mut rest, NONCE_BYTES - NONCE_HEAD_BYTES)?);
            let _zero = take(&mut rest, 1)?;
            // Old servers forget the zero at its end.
            auth_plugin = rest.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
        }
        nonce.resize(NONCE_BYTES, 0);
        let bits = u32::from(low) | u32::from(high) << 16;
        Some(Self {
            version: String::from_utf8_lossy(version).into_owned(),
            capabilities: CapabilityFlags::from_bits_truncate(bits),
            nonce,
            auth_plugin,
        })
    }

    /// Whether it calls itself MariaDB. (A configuration may give it another name.)
    pub(super) fn is_mariadb(&self) -> bool {
        self.version.to_ascii_lowercase().contains("mariadb")
    }
}

fn take<'a>(rest: &mut &'a [u8], bytes: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(bytes)?;
    *rest = left;
    Some(taken)
}

fn take_u16(rest: &mut &[u8]) -> Option<u16> {
    take(rest, 2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_le_bytes)
}

/// Takes a text and the zero at its end; the text.
fn take_up_to_zero<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest.iter().position(|byte| *byte == 0)?;
    let taken = take(rest, end);
    take(rest, 1)?;
    taken
}
