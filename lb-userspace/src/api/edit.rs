//! Changes that a client may ask for, and how they are answered.
//!
//! Role: bodies of the editing requests, and the two notations that operators type: `POOL/NAME` and
//! `ADDRESS[:PORT]`. Imports the types of this room only.
//! Always holds: a request with an unknown field is refused, so that a mistyped field is never silently ignored.
//! Ranges and names are judged by the configuration, not here: there is one copy of those rules.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::types::AdminState;

/// Which backend: a pool and a name in it. Written `POOL/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BackendId {
    /// Name of the pool.
    pub pool: String,
    /// Name of the backend in the pool.
    pub name: String,
}

/// Why a text is no `POOL/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendIdError {
    /// There is no slash.
    #[error("write POOL/NAME, such as web/web1: there is no slash in it")]
    NoSlash,
    /// There are two slashes or more.
    #[error("write POOL/NAME, such as web/web1: there is more than one slash in it")]
    ManySlashes,
    /// The pool or the name is missing.
    #[error("write POOL/NAME, such as web/web1: the {0} is missing")]
    Empty(&'static str),
}

impl FromStr for BackendId {
    type Err = BackendIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (pool, name) = text.split_once('/').ok_or(BackendIdError::NoSlash)?;
        if name.contains('/') {
            return Err(BackendIdError::ManySlashes);
        }
        if pool.is_empty() {
            return Err(BackendIdError::Empty("pool"));
        }
        if name.is_empty() {
            return Err(BackendIdError::Empty("name"));
        }
        Ok(Self { pool: pool.into(), name: name.into() })
    }
}

impl BackendId {
    /// Reads `POOL/NAME` where the name may be that of a standby: the pool that it comes from, a slash, and its own.
    ///
    /// # Errors
    /// When there is no slash or more than two, or nothing before or after one.
    pub fn with_standbys(text: &str) -> Result<Self, BackendIdError> {
        let (pool, name) = text.split_once('/').ok_or(BackendIdError::NoSlash)?;
        let Some((origin, own)) = name.split_once('/') else { return text.parse() };
        if own.contains('/') {
            return Err(BackendIdError::ManySlashes);
        }
        if pool.is_empty() || origin.is_empty() {
            return Err(BackendIdError::Empty("pool"));
        }
        if own.is_empty() {
            return Err(BackendIdError::Empty("name"));
        }
        Ok(Self { pool: pool.into(), name: name.into() })
    }
}

impl fmt::Display for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.pool, self.name)
    }
}

/// Where a backend listens. Written `10.0.0.11`, `10.0.0.11:80`, `fd00::11` or `[fd00::11]:80`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendAddress {
    /// Address of the server.
    pub ip: IpAddr,
    /// Port of the server, not 0; none means the service's own.
    pub port: Option<u16>,
}

/// Why a text is no address of a backend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendAddressError {
    /// It is neither an address nor an address with a port.
    #[error("write an IP address with or without a port: 10.0.0.11:80, 10.0.0.11, [fd00::11]:80, fd00::11")]
    NotAnAddress,
    /// Nobody listens on port 0.
    #[error("port 0 cannot be connected to; leave the port out to use the service's own")]
    PortZero,
    /// A zone (`%eth0`) means something on one machine only.
    #[error("an address with a zone (%) cannot be a backend; use a global or unique local address")]
    Zone,
}

impl FromStr for BackendAddress {
    type Err = BackendAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains('%') {
            return Err(BackendAddressError::Zone);
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self { ip, port: None });
        }
        let socket: SocketAddr = text.parse().map_err(|_| BackendAddressError::NotAnAddress)?;
        match socket.port() {
            0 => Err(BackendAddressError::PortZero),
            port => Ok(Self { ip: socket.ip(), port: Some(port) }),
        }
    }
}

impl fmt::Display for BackendAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

impl Serialize for BackendAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BackendAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Body of `POST /v1/pools/{pool}/backends`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddBackend {
    /// Name, new in the pool.
    pub name: String,
    /// Where it listens.
    pub address: BackendAddress,
    /// Its weight; none means the configuration's default.
    #[serde(default)]
    pub weight: Option<u32>,
    /// Whether it takes flows at once; `active` by default.
    #[serde(default)]
    pub state: AdminState,
}

/// Body of `PUT /v1/pools/{pool}/backends/{name}/weight`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetWeight {
    /// The new weight.
    pub weight: u32,
}

/// Body of `PUT /v1/pools/{pool}/backends/{name}/state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetState {
    /// The new state.
    pub state: AdminState,
    /// Whether to do it even if the pool has no other backend that takes new flows.
    #[serde(default)]
    pub force: bool,
}

/// The answer to an edit and to a reload that succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditResult {
    /// Generation of the configuration now in force.
    pub generation: u64,
    /// Whether anything is different from before.
    pub changed: bool,
    /// What the operator should know, a sentence each.
    #[serde(default)]
    pub warnings: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pool_and_name_are_parted_at_the_only_slash() {
        let id: BackendId = "web/web-1.a".parse().unwrap();
        assert_eq!(id, BackendId { pool: "web".into(), name: "web-1.a".into() });
        assert_eq!(id.to_string(), "web/web-1.a");
    }

    #[test]
    fn what_is_no_pool_and_name_is_refused_with_the_reason() {
        let error = |text: &str| text.parse::<BackendId>().unwrap_err();
        assert_eq!(error("web1"), BackendIdError::NoSlash);
        assert_eq!(error(""), BackendIdError::NoSlash);
        assert_eq!(error("a/b/c"), BackendIdError::ManySlashes);
        assert_eq!(error("/web1"), BackendIdError::Empty("pool"));
        assert_eq!(error("web/"), BackendIdError::Empty("name"));
        assert_eq!(error("web/").to_string(), "write POOL/NAME, such as web/web1: the name is missing");
    }

    #[test]
    fn a_standby_has_the_pool_that_it_comes_from_in_its_name() {
        let read = BackendId::with_standbys;
        assert_eq!(read("web/web1"), "web/web1".parse());
        let standby = BackendId { pool: "web".into(), name: "spare/web1".into() };
        assert_eq!(read("web/spare/web1"), Ok(standby));
        assert_eq!(read("web"), Err(BackendIdError::NoSlash));
        assert_eq!(read("a/b/c/d"), Err(BackendIdError::ManySlashes));
        assert_eq!(read("web//web1"), Err(BackendIdError::Empty("pool")));
        assert_eq!(read("/spare/web1"), Err(BackendIdError::Empty("pool")));
        assert_eq!(read("web/spare/"), Err(BackendIdError::Empty("name")));
        assert_eq!(read("web/"), Err(BackendIdError::Empty("name")));
    }

    #[test]
    fn addresses_are_read_and_written_in_every_notation() {
        for text in ["10.0.0.11", "10.0.0.11:80", "fd00::11", "[fd00::11]:443"] {
            assert_eq!(text.parse::<BackendAddress>().unwrap().to_string(), text);
        }
        assert_eq!("[fd00::11]:443".parse::<BackendAddress>().unwrap().port, Some(443));
        assert_eq!("fd00::11".parse::<BackendAddress>().unwrap().port, None);
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        let error = |text: &str| text.parse::<BackendAddress>().unwrap_err();
        assert_eq!(error("web1.example:80"), BackendAddressError::NotAnAddress);
        assert_eq!(error("10.0.0.256"), BackendAddressError::NotAnAddress);
        assert_eq!(error("10.0.0.1:65536"), BackendAddressError::NotAnAddress);
        assert_eq!(error("10.0.0.1:0"), BackendAddressError::PortZero);
        assert_eq!(error("[fe80::1%2]:80"), BackendAddressError::Zone);
    }

    #[test]
    fn a_request_survives_json_and_fills_in_what_is_left_out() {
        let request: AddBackend =
            serde_json::from_str(r#"{"name":"web4","address":"10.0.0.14:80"}"#).unwrap();
        assert_eq!((request.weight, request.state), (None, AdminState::Active));
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(text, r#"{"name":"web4","address":"10.0.0.14:80","weight":null,"state":"active"}"#);
        assert_eq!(serde_json::from_str::<AddBackend>(&text).unwrap(), request);
    }

    #[test]
    fn a_state_is_set_without_force_unless_it_says_so() {
        let read = |text: &str| serde_json::from_str::<SetState>(text).unwrap();
        assert_eq!(
            read(r#"{"state":"maintenance"}"#),
            SetState { state: AdminState::Maintenance, force: false }
        );
        assert!(read(r#"{"state":"drain","force":true}"#).force);
    }

    #[test]
    fn an_unknown_field_is_refused() {
        let error = serde_json::from_str::<SetWeight>(r#"{"weight":1,"wieght":2}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `wieght`"), "{error}");
    }
}
