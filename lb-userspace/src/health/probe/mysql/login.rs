//! Logging in.
//!
//! Knows the ways of MySQL (`caching_sha2_password`) and of MariaDB and older MySQL (`mysql_native_password`). A password is
//! never sent as it is: where the first way needs it whole, it goes encrypted with the server's RSA key. Nothing vouches
//! for that key, so who can pose as the server can learn the password: hence an account of its own for the check, with no
//! more rights than it needs.

use std::collections::HashMap;
use std::panic::catch_unwind;

use mysql_common::constants::CapabilityFlags;
use mysql_common::crypto;
use mysql_common::io::ParseBuf;
use mysql_common::packets::{AuthPlugin, AuthSwitchRequest, HandshakeResponse};
use mysql_common::proto::MySerialize;
use mysql_common::scramble::{scramble_native, scramble_sha256};

use super::failure::Failure;
use super::greeting::Greeting;
use super::refusal::{self, Refusal, printable};
use super::wire::Wire;

/// Packets of the server in one login: it may change the way, ask for the whole password, send its key, and say yes.
const MAX_PACKETS: usize = 8;

/// Longest packet of a server in a login, in bytes.
const MAX_PACKET_BYTES: usize = 16 * 1024;

/// Longest RSA key, as PEM, in bytes: room for 4,096 bits, and little enough to be encrypted with at once.
const MAX_KEY_BYTES: usize = 1_024;

/// First byte of a packet that says yes.
pub(super) const OK: u8 = 0x00;

/// First byte of a packet that belongs to the way of logging in.
const MORE: u8 = 0x01;

/// First byte of a packet that asks for another way.
const SWITCH: u8 = 0xfe;

/// What follows [`MORE`] when the server remembers the password.
const KNOWN: u8 = 0x03;

/// What follows [`MORE`] when the server needs the whole password.
const WHOLE: u8 = 0x04;

/// Asks for the server's key.
const ASK_KEY: [u8; 1] = [0x02];

/// What we can do, as far as the server can too. Not among it: the newer form of what ends a list, which `query` would have to
/// tell apart.
const CAPABILITIES: CapabilityFlags = CapabilityFlags::CLIENT_PROTOCOL_41
    .union(CapabilityFlags::CLIENT_SECURE_CONNECTION)
    .union(CapabilityFlags::CLIENT_LONG_PASSWORD)
    .union(CapabilityFlags::CLIENT_TRANSACTIONS)
    .union(CapabilityFlags::CLIENT_PLUGIN_AUTH)
    .union(CapabilityFlags::CLIENT_CONNECT_ATTRS);

/// Longest packet that we say we take, in bytes.
const MAX_ANNOUNCED_BYTES: u32 = 16 << 20;

/// Who logs in.
pub(super) struct Credentials<'a> {
    pub(super) user: &'a str,
    /// Empty for none.
    pub(super) password: &'a [u8],
}

/// How a password is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Native,
    CachingSha2,
}

impl Way {
    fn named(name: &[u8]) -> Option<Self> {
        match AuthPlugin::from_bytes(name) {
            AuthPlugin::MysqlNativePassword => Some(Self::Native),
            AuthPlugin::CachingSha2Password => Some(Self::CachingSha2),
            _ => None,
        }
    }

    fn plugin(self) -> AuthPlugin<'static> {
        match self {
            Self::Native => AuthPlugin::MysqlNativePassword,
            Self::CachingSha2 => AuthPlugin::CachingSha2Password,
        }
    }

    /// What proves the password; empty without one.
    fn proof(self, nonce: &[u8], password: &[u8]) -> Vec<u8> {
        match self {
            Self::Native => scramble_native(nonce, password).map(|proof| proof.to_vec()),
            Self::CachingSha2 => scramble_sha256(nonce, password).map(|proof| proof.to_vec()),
        }
        .unwrap_or_default()
    }
}

/// Answers a greeting, up to the server's yes.
pub(super) async fn log_in(
    wire: &mut Wire,
    greeting: &Greeting,
    who: &Credentials<'_>,
) -> Result<(), Failure> {
    let mut way = Way::named(&greeting.auth_plugin).unwrap_or(Way::Native);
    let mut nonce = greeting.nonce.clone();
    wire.send(&response(greeting, who.user, way, way.proof(&nonce, who.password))).await?;
    for _ in 0..MAX_PACKETS {
        let packet = wire.receive(MAX_PACKET_BYTES).await?;
        match packet.as_slice() {
            [OK, ..] => return Ok(()),
            [refusal::HEADER, ..] => return Err(Failure::Server(Refusal::parse(&packet))),
            [SWITCH, ..] => {
                (way, nonce) = switch(&packet, !who.password.is_empty())?;
                wire.send(&way.proof(&nonce, who.password)).await?;
            }
            [MORE, KNOWN] if way == Way::CachingSha2 => {}
            [MORE, WHOLE] if way == Way::CachingSha2 => wire.send(&ASK_KEY).await?,
            [MORE, key @ ..] if way == Way::CachingSha2 => {
                wire.send(&encrypt(key, &nonce, who.password)?).await?;
            }
            _ => return Err(Failure::Malformed("an answer to the login that is none".to_owned())),
        }
    }
    Err(Failure::Malformed(format!("a login of more than {MAX_PACKETS} packets")))
}

fn response(greeting: &Greeting, user: &str, way: Way, proof: Vec<u8>) -> Vec<u8> {
    let capabilities = CAPABILITIES & greeting.capabilities;
    let plugin = capabilities.contains(CapabilityFlags::CLIENT_PLUGIN_AUTH).then(|| way.plugin());
    let attributes = capabilities
        .contains(CapabilityFlags::CLIENT_CONNECT_ATTRS)
        .then(|| HashMap::from([("program_name".to_owned(), "lbd".to_owned())]));
    // The version decides the collation only; every server that is left takes the newer one.
    let version = (8, 0, 0);
    let response = HandshakeResponse::new(
        Some(proof),
        version,
        Some(user.as_bytes()),
        None::<&[u8]>,
        plugin,
        capabilities,
        attributes,
        MAX_ANNOUNCED_BYTES,
    );
    let mut packet = Vec::new();
    response.serialize(&mut packet);
    packet
}

/// Takes another way. One that we do not know will do where there is nothing to tell.
pub(super) fn switch(packet: &[u8], has_password: bool) -> Result<(Way, Vec<u8>), Failure> {
    let Ok(request) = ParseBuf(packet).parse::<AuthSwitchRequest<'_>>(()) else {
        return Err(Failure::Says("it asks for a password in the form of before MySQL 4.1".to_owned()));
    };
    let plugin = request.auth_plugin();
    let nonce = request.plugin_data().to_vec();
    match Way::named(plugin.as_bytes()) {
        Some(way) => Ok((way, nonce)),
        None if !has_password => Ok((Way::Native, nonce)),
        None => Err(Failure::Says(format!(
            "the check's account logs in with {}: give it mysql_native_password or caching_sha2_password",
            printable(&String::from_utf8_lossy(plugin.as_bytes()))
        ))),
    }
}

/// The whole password, for the owner of `key` only.
fn encrypt(key: &[u8], nonce: &[u8], password: &[u8]) -> Result<Vec<u8>, Failure> {
    let unusable = || Failure::Malformed("an RSA key that the password cannot be encrypted with".to_owned());
    if key.len() > MAX_KEY_BYTES || nonce.is_empty() {
        return Err(unusable());
    }
    let ended = password.iter().chain(&[0]);
    let masked: Vec<u8> = ended.zip(nonce.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    // mysql_common panics on what is no key, or too short a one.
    catch_unwind(|| crypto::encrypt(&masked, key)).map_err(|_| unusable())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_none_is_an_error() {
        let short =
            b"-----BEGIN PUBLIC KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAK==\n-----END PUBLIC KEY-----\n";
        for key in [&b""[..], b"nonsense", short, &[b'A'; 5_000]] {
            assert!(matches!(encrypt(key, &[1; 20], b"secret"), Err(Failure::Malformed(_))));
        }
    }

    #[test]
    fn a_password_is_encrypted_differently_each_time() {
        let key = include_bytes!("test_key.pem");
        let encrypted = [0; 2].map(|_| encrypt(key, &[1; 20], b"secret").unwrap());
        assert!(encrypted.iter().all(|it| it.len() == 256) && encrypted[0] != encrypted[1]);
    }

    #[test]
    fn a_way_that_is_not_ours_is_told_of_unless_there_is_no_password() {
        let packet = b"\xfeclient_ed25519\0\x01\x02";
        let Err(Failure::Says(says)) = switch(packet, true) else { panic!("accepted") };
        assert!(says.contains("client_ed25519"), "{says}");
        assert!(switch(packet, false).is_ok());
        assert!(matches!(switch(b"\xfe", true), Err(Failure::Says(_))));
    }
}
