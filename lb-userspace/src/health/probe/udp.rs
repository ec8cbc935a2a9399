//! The UDP check: a datagram is answered.
//!
//! An ICMP "port unreachable" says that nobody listens; that nothing comes back may be a lost datagram, which is what
//! `fall` is for.

use std::ops::ControlFlow;

use super::{ProbeError, Question, datagram};
use crate::health::finding::Answer;
use crate::model::UdpCheck;

/// Good once a datagram with what is expected has come; the latency is that of this datagram.
pub(super) async fn probe(question: &Question, check: &UdpCheck) -> Result<Answer, ProbeError> {
    datagram::ask(question, &check.send, |payload| match &check.expect {
        Some(expect) if !contains(payload, expect) => {
            ControlFlow::Continue(mismatch(question, payload, expect))
        }
        _ => ControlFlow::Break(Ok(())),
    })
    .await?;
    Ok(question.elapsed().into())
}

fn contains(payload: &[u8], expect: &[u8]) -> bool {
    expect.is_empty() || payload.windows(expect.len()).any(|window| window == expect)
}

fn mismatch(question: &Question, payload: &[u8], expect: &[u8]) -> ProbeError {
    let expect = String::from_utf8_lossy(expect);
    question.says(format!("an answer of {} bytes without {expect:?}", payload.len()))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};
    use std::time::Duration;

    use tokio::net::UdpSocket;

    use super::super::Stage;
    use super::*;

    const AMPLE: Duration = Duration::from_secs(10);
    const SHORT: Duration = Duration::from_millis(100);

    fn check(expect: Option<&str>) -> UdpCheck {
        UdpCheck { send: b"ping".to_vec(), expect: expect.map(|text| text.as_bytes().to_vec()) }
    }

    async fn ask(address: SocketAddr, expect: Option<&str>, timeout: Duration) -> Result<Answer, ProbeError> {
        probe(&Question::new(address, None, timeout), &check(expect)).await
    }

    /// Answers the first datagram, which must be a ping, with `answers`; tells who asked.
    async fn server(at: &str, answers: Vec<Vec<u8>>) -> (SocketAddr, tokio::task::JoinHandle<SocketAddr>) {
        let socket = UdpSocket::bind(at).await.unwrap();
        let address = socket.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut buffer = [0; 64];
            let (bytes, peer) = socket.recv_from(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..bytes], b"ping");
            for answer in answers {
                socket.send_to(&answer, peer).await.unwrap();
            }
            peer
        });
        (address, task)
    }

    #[tokio::test]
    async fn any_datagram_will_do_unless_something_is_expected() {
        let (address, _) = server("127.0.0.1:0", vec![Vec::new()]).await;
        assert!(ask(address, None, AMPLE).await.unwrap().latency < AMPLE);
        let (address, _) = server("[::1]:0", vec![b"say pong!".to_vec()]).await;
        ask(address, Some("pong"), AMPLE).await.unwrap();
        let (address, _) =
            server("127.0.0.1:0", vec![vec![b'x'; 60_000], [vec![b'x'; 60_000], b"pong".to_vec()].concat()])
                .await;
        ask(address, Some("pong"), AMPLE).await.unwrap();
    }

    #[tokio::test]
    async fn the_question_comes_from_the_source_that_is_set() {
        let (address, peer) = server("127.0.0.1:0", vec![b"pong".to_vec()]).await;
        let source: IpAddr = "127.0.0.9".parse().unwrap();
        probe(&Question::new(address, Some(source), AMPLE), &check(None)).await.unwrap();
        assert_eq!(peer.await.unwrap().ip(), source);
    }

    #[tokio::test]
    async fn what_is_not_expected_is_read_over_and_told_at_the_end() {
        let (address, _) = server("127.0.0.1:0", vec![b"busy".to_vec()]).await;
        let error = ask(address, Some("pong"), SHORT).await.unwrap_err();
        assert_eq!(error.to_string(), format!("{address} says: an answer of 4 bytes without \"pong\""));

        // The bound, not the deadline, ends this one.
        let (address, _) = server("127.0.0.1:0", vec![b"busy".to_vec(); datagram::MAX_DATAGRAMS]).await;
        let error = ask(address, Some("pong"), AMPLE).await.unwrap_err();
        assert!(matches!(error, ProbeError::Says { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_port_that_nobody_has_refuses() {
        let address = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert_eq!(ask(address, None, AMPLE).await, Err(ProbeError::Refused { address }));
    }

    #[tokio::test]
    async fn silence_is_a_timeout() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let wanted = ProbeError::TimedOut { address, stage: Stage::Answer, timeout: SHORT };
        assert_eq!(ask(address, None, SHORT).await, Err(wanted));
    }

    #[tokio::test]
    async fn datagrams_of_others_are_not_heard() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = silent.local_addr().unwrap();
        let forge = async {
            let (_, peer) = silent.recv_from(&mut [0; 64]).await.unwrap();
            let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            other.send_to(b"pong", peer).await.unwrap();
        };
        let (outcome, ()) = tokio::join!(ask(address, None, SHORT), forge);
        assert!(matches!(outcome, Err(ProbeError::TimedOut { .. })), "{outcome:?}");
    }
}
