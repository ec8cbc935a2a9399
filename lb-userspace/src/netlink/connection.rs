//! The request socket: one question, its answers, bounded in time.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::StreamExt;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};

use super::NetlinkError;

/// How long the kernel may take to answer; it answers within microseconds unless an answer was lost.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a list is read again because it changed meanwhile.
const DUMP_TRIES_LIMIT: u32 = 4;

/// How many requests are under way at once when many things are looked up; their answers fit the socket's
/// default receive buffer many times over.
pub(super) const REQUESTS_IN_FLIGHT: usize = 32;

/// A connection to the kernel's routing tables. Clones share it; it closes with the last one.
#[derive(Clone, Debug)]
pub struct Netlink {
    handle: rtnetlink::Handle,
}

impl Netlink {
    /// Opens a connection to the network namespace of the calling thread.
    ///
    /// # Errors
    /// When there is no tokio runtime, or the kernel gives no netlink socket.
    pub fn open() -> Result<Self, NetlinkError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| NetlinkError::NoRuntime)?;
        let (connection, handle, _unsolicited) =
            rtnetlink::new_connection().map_err(|error| NetlinkError::socket("open", &error))?;
        runtime.spawn(connection);
        Ok(Self { handle })
    }

    /// Opens a new connection in place of this one after an error that says it is needed; what fails is logged, and the old
    /// one stays.
    pub fn reopen_after(&mut self, error: &NetlinkError) {
        if !error.ends_connection() {
            return;
        }
        match Self::open() {
            Ok(netlink) => *self = netlink,
            Err(error) => tracing::warn!("{error}"),
        }
    }

    /// Asks one thing and collects the answers; `flags` are added to `NLM_F_REQUEST`.
    pub(super) async fn request(
        &self,
        operation: &'static str,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        tokio::time::timeout(REQUEST_TIMEOUT, self.exchange(operation, message, flags))
            .await
            .map_err(|_| NetlinkError::Timeout { operation })?
            .map(|answers| answers.messages)
    }

    /// Reads a whole list, again when it changed while it was read.
    pub(super) async fn dump(
        &self,
        operation: &'static str,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        for _ in 0..DUMP_TRIES_LIMIT {
            let exchange = self.exchange(operation, message.clone(), NLM_F_DUMP);
            let answers = tokio::time::timeout(REQUEST_TIMEOUT, exchange)
                .await
                .map_err(|_| NetlinkError::Timeout { operation })??;
            if !answers.interrupted {
                return Ok(answers.messages);
            }
        }
        Err(NetlinkError::Interrupted { operation })
    }

    async fn exchange(
        &self,
        operation: &'static str,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Answers, NetlinkError> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        let mut handle = self.handle.clone();
        let mut stream = handle.request(request).map_err(|_| NetlinkError::Closed { operation })?;
        let mut answers = Answers::default();
        while let Some(answer) = stream.next().await {
            answers.interrupted |= answer.header.flags & NLM_F_DUMP_INTR != 0;
            match answer.payload {
                NetlinkPayload::InnerMessage(message) => answers.messages.push(message),
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    return Err(NetlinkError::refused(operation, &error));
                }
                NetlinkPayload::Overrun(_) => return Err(NetlinkError::Closed { operation }),
                _ => {}
            }
        }
        Ok(answers)
    }
}

#[derive(Default)]
struct Answers {
    messages: Vec<RouteNetlinkMessage>,
    /// The kernel says that the list changed while it was read.
    interrupted: bool,
}

/// The netlink family of an address.
pub(super) fn family_of(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

/// Bits of an address of this family: the prefix length of a host route.
pub(super) fn host_prefix_length(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn a_connection_that_closed_is_no_news_of_interfaces_and_is_replaced() {
        let first = runtime();
        let mut netlink = first.block_on(async { Netlink::open() }).unwrap();
        // The task that serves the connection ends with its runtime.
        drop(first);
        runtime().block_on(async {
            let error = netlink.find_link("lo").await.unwrap_err();
            assert!(error.ends_connection(), "{error:?}");
            netlink.reopen_after(&error);
            assert_eq!(netlink.find_link("lo").await.unwrap().map(|link| link.name).as_deref(), Some("lo"));
            assert_eq!(netlink.find_link("no-such-link").await, Ok(None));
        });
    }

    #[test]
    fn a_refusal_does_not_end_a_connection() {
        let refused = NetlinkError::Refused { operation: "test", errno: rustix::io::Errno::BUSY };
        assert!(!refused.ends_connection());
        assert!(!NetlinkError::NoSuchLink { link: "test0".to_owned() }.ends_connection());
    }
}
