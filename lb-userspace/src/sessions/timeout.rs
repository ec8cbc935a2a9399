//! How long a session may be idle, by what was seen of either direction.

use lb_common::abi::SessionState;
use std::time::Duration;

/// IP protocol number of TCP.
const TCP: u32 = 6;

/// A connection that was never established: longer than a client goes on repeating its SYN in earnest (1, 3, 7 and 15 s
/// after the first, RFC 6298), and the life of a datagram that nobody answered.
pub const OPENING: Duration = Duration::from_secs(30);

/// One side said that it has finished, the other one has not: it may still send for as long as it likes, but not be silent
/// for longer, as after an RST, which nobody answers.
pub const HALF_CLOSED: Duration = Duration::from_mins(1);

/// Both sides have finished. A backend that did so first remembers the 5-tuple that long (TIME-WAIT, RFC 9293 section 3.4.2;
/// `TCP_TIMEWAIT_LEN` of Linux) and would take another client's SYN for a stray segment.
pub const CLOSING: Duration = Duration::from_mins(1);

/// The same where room is short: the last words take a round trip or two.
pub const CLOSING_CROWDED: Duration = Duration::from_secs(10);

/// How long sessions may be idle in states of which that is not always the same.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    /// Established: the pool's `flow_timeout`.
    pub established: Duration,
    /// Closing.
    pub closing: Duration,
}

/// The longest that a session may be idle.
pub const fn longest_idle(
    protocol: u32,
    client: SessionState,
    replies: SessionState,
    idle: &Idle,
) -> Duration {
    use SessionState::{Closing, Established, Opening, Silent};
    match (client, replies) {
        (Established, Established) => idle.established,
        (_, _) if protocol != TCP => OPENING,
        (Closing, Established) | (Established, Closing) => HALF_CLOSED,
        // Also a connection that was refused, or given up before it was one.
        (Closing, _) | (_, Closing) => idle.closing,
        (Silent | Opening, _) | (_, Silent | Opening) => OPENING,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use SessionState::{Closing, Established, Opening, Silent};

    const POOL: Idle = Idle { established: Duration::from_secs(350), closing: CLOSING_CROWDED };
    const UDP: u32 = 17;

    #[test]
    fn every_pair_of_states_has_its_time() {
        let states = [Silent, Opening, Established, Closing];
        let seconds = |protocol| {
            states
                .map(|client| states.map(|replies| longest_idle(protocol, client, replies, &POOL).as_secs()))
        };
        let tcp = [[30, 30, 30, 10], [30, 30, 30, 10], [30, 30, 350, 60], [10, 10, 60, 10]];
        assert_eq!(seconds(TCP), tcp);
        let udp = [[30, 30, 30, 30], [30, 30, 30, 30], [30, 30, 350, 30], [30, 30, 30, 30]];
        assert_eq!(seconds(UDP), udp);
    }
}
