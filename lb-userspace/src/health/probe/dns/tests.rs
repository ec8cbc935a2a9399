//! Answers against a question, and servers on the loopback interface.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use simple_dns::rdata::{A, CNAME, RData};
use simple_dns::{RCODE, ResourceRecord};
use tokio::net::{TcpListener, UdpSocket};

use super::*;

const AMPLE: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(100);

fn check() -> DnsCheck {
    DnsCheck { query: "www.example.net".to_owned(), record: DnsType::A, allow_empty: false, tcp: false }
}

fn question() -> Question {
    Question::new("192.0.2.53:53".parse().unwrap(), None, AMPLE)
}

fn record<'a>(name: &'a str, rdata: RData<'a>) -> ResourceRecord<'a> {
    ResourceRecord::new(Name::new(name).unwrap(), CLASS::IN, 60, rdata)
}

fn a_record() -> RData<'static> {
    RData::A(A { address: u32::from(Ipv4Addr::new(192, 0, 2, 1)) })
}

/// The answer to a question without records, after `change`.
fn answer(message: &[u8], change: impl FnOnce(&mut Packet<'_>)) -> Vec<u8> {
    let mut packet = Packet::parse(message).unwrap();
    packet.set_flags(PacketFlag::RESPONSE | PacketFlag::RECURSION_AVAILABLE);
    change(&mut packet);
    packet.build_bytes_vec_compressed().unwrap()
}

fn good(message: &[u8]) -> Vec<u8> {
    answer(message, |packet| packet.answers.push(record("www.example.net", a_record())))
}

/// What `check` makes of an answer: good, the words of a refusal, or nothing if it is read over.
fn judged(check: &DnsCheck, change: impl FnOnce(&mut Packet<'_>)) -> Option<Result<(), String>> {
    let question = question();
    let asked = Asked::new(&question, check).unwrap();
    match asked.judge(&answer(&asked.message, change)) {
        ControlFlow::Break(Ok(())) => Some(Ok(())),
        ControlFlow::Break(Err(ProbeError::Says { says, .. })) => Some(Err(says)),
        ControlFlow::Continue(ProbeError::Malformed { .. }) => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_question_is_one_with_recursion_desired() {
    let question = question();
    for (query, labels) in [("www.example.net", 3), ("www.example.net.", 3), (".", 0)] {
        let check = DnsCheck { query: query.to_owned(), record: DnsType::Soa, ..check() };
        let asked = Asked::new(&question, &check).unwrap();
        let packet = Packet::parse(&asked.message).unwrap();
        assert!(packet.has_flags(PacketFlag::RECURSION_DESIRED) && !packet.has_flags(PacketFlag::RESPONSE));
        assert_eq!(packet.questions.len(), 1);
        assert_eq!(packet.questions[0].qtype, QTYPE::TYPE(TYPE::SOA));
        assert_eq!(packet.questions[0].qname.get_labels().len(), labels, "{query}");
    }
}

#[test]
fn questions_have_numbers_that_cannot_be_guessed() {
    let (question, check) = (question(), check());
    let ids: std::collections::BTreeSet<u16> =
        (0..64).map(|_| Asked::new(&question, &check).unwrap().id).collect();
    assert!(ids.len() > 32, "{ids:?}");
}

#[test]
fn a_record_of_the_type_is_good_also_behind_an_alias_and_in_other_case() {
    let plain = |packet: &mut Packet<'_>| packet.answers.push(record("www.example.net", a_record()));
    assert_eq!(judged(&check(), plain), Some(Ok(())));
    let alias = |packet: &mut Packet<'_>| {
        let target = Name::new("real.example.net").unwrap();
        packet.answers.push(record("www.example.net", RData::CNAME(CNAME(target))));
        packet.answers.push(record("real.example.net", a_record()));
    };
    assert_eq!(judged(&check(), alias), Some(Ok(())));
    let loud = |packet: &mut Packet<'_>| {
        packet.questions[0].qname = Name::new("WWW.eXample.net").unwrap();
        packet.answers.push(record("WWW.eXample.net", a_record()));
    };
    assert_eq!(judged(&check(), loud), Some(Ok(())));
}

#[test]
fn an_answer_without_such_a_record_is_good_only_if_that_is_allowed() {
    let alias = |packet: &mut Packet<'_>| {
        let target = Name::new("real.example.net").unwrap();
        packet.answers.push(record("www.example.net", RData::CNAME(CNAME(target))));
    };
    let wanted = "no record of type A for \"www.example.net\"".to_owned();
    assert_eq!(judged(&check(), |_| {}), Some(Err(wanted.clone())));
    assert_eq!(judged(&check(), alias), Some(Err(wanted)));
    assert_eq!(judged(&DnsCheck { allow_empty: true, ..check() }, |_| {}), Some(Ok(())));
}

#[test]
fn other_sections_do_not_count() {
    let elsewhere = |packet: &mut Packet<'_>| {
        packet.additional_records.push(record("www.example.net", a_record()));
        packet.name_servers.push(record("www.example.net", a_record()));
    };
    assert!(matches!(judged(&check(), elsewhere), Some(Err(_))));
}

#[test]
fn a_refusal_is_told_by_its_name_whatever_is_allowed() {
    let check = DnsCheck { allow_empty: true, ..check() };
    for (code, name) in [
        (RCODE::FormatError, "FORMERR"),
        (RCODE::ServerFailure, "SERVFAIL"),
        (RCODE::NameError, "NXDOMAIN"),
        (RCODE::NotImplemented, "NOTIMP"),
        (RCODE::Refused, "REFUSED"),
        (RCODE::YXRRSET, "response code 7"),
    ] {
        assert_eq!(judged(&check, |packet| *packet.rcode_mut() = code), Some(Err(name.to_owned())));
    }
    let curt = |packet: &mut Packet<'_>| {
        *packet.rcode_mut() = RCODE::Refused;
        packet.questions.clear();
    };
    assert_eq!(judged(&check, curt), Some(Err("REFUSED".to_owned())));
}

#[test]
fn an_answer_that_was_cut_off_counts_for_what_it_has() {
    let cut = |packet: &mut Packet<'_>| packet.set_flags(PacketFlag::TRUNCATION);
    let Some(Err(says)) = judged(&check(), cut) else { panic!("bad") };
    assert!(says.ends_with("(ask with tcp = true)"), "{says}");
    assert_eq!(judged(&DnsCheck { allow_empty: true, ..check() }, cut), Some(Ok(())));
    let with_record = |packet: &mut Packet<'_>| {
        cut(packet);
        packet.answers.push(record("www.example.net", a_record()));
    };
    assert_eq!(judged(&check(), with_record), Some(Ok(())));
}

#[test]
fn what_is_no_answer_to_the_question_is_read_over() {
    let good = |packet: &mut Packet<'_>| packet.answers.push(record("www.example.net", a_record()));
    let other_id = |packet: &mut Packet<'_>| {
        good(packet);
        packet.set_id(packet.id().wrapping_add(1));
    };
    let echo = |packet: &mut Packet<'_>| {
        good(packet);
        packet.remove_flags(PacketFlag::RESPONSE);
    };
    let other_name = |packet: &mut Packet<'_>| {
        good(packet);
        packet.questions[0].qname = Name::new("www.example.org").unwrap();
    };
    let other_type = |packet: &mut Packet<'_>| {
        good(packet);
        packet.questions[0].qtype = QTYPE::TYPE(TYPE::AAAA);
    };
    let no_question = |packet: &mut Packet<'_>| {
        good(packet);
        packet.questions.clear();
    };
    assert_eq!(judged(&check(), other_id), None);
    assert_eq!(judged(&check(), echo), None);
    assert_eq!(judged(&check(), other_name), None);
    assert_eq!(judged(&check(), other_type), None);
    assert_eq!(judged(&check(), no_question), None);
}

#[test]
fn garbage_and_every_cut_of_an_answer_are_read_over_without_harm() {
    let (question, check) = (question(), check());
    let asked = Asked::new(&question, &check).unwrap();
    let whole = good(&asked.message);
    assert!(matches!(asked.judge(&whole), ControlFlow::Break(Ok(()))));
    for length in 0..whole.len() {
        assert!(asked.judge(&whole[..length]).is_continue(), "{length}");
    }
    let mut greedy = whole.clone();
    greedy[6..8].copy_from_slice(&[0xff; 2]);
    let mut looping = whole.clone();
    let name_of_answer = whole.len() - 16;
    looping[name_of_answer..name_of_answer + 2]
        .copy_from_slice(&[0xc0, u8::try_from(name_of_answer).unwrap()]);
    for garbage in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], &greedy, &looping, &[0xff; 600]] {
        assert!(asked.judge(garbage).is_continue());
    }
}

async fn ask(address: SocketAddr, check: &DnsCheck, timeout: Duration) -> Result<Answer, ProbeError> {
    probe(&Question::new(address, None, timeout), check).await
}

/// Answers the first question with what `answers` makes of it.
async fn udp_server(answers: impl FnOnce(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        let (bytes, peer) = socket.recv_from(&mut buffer).await.unwrap();
        for answer in answers(&buffer[..bytes]) {
            socket.send_to(&answer, peer).await.unwrap();
        }
        // The port stays taken, so that what comes later is not refused.
        std::future::pending::<()>().await;
        drop(socket);
    });
    address
}

#[tokio::test]
async fn by_udp_the_answer_is_found_among_others() {
    let address = udp_server(|message| {
        let stale = answer(message, |packet| packet.set_id(packet.id().wrapping_add(1)));
        vec![b"garbage".to_vec(), stale, good(message)]
    })
    .await;
    let latency = ask(address, &check(), AMPLE).await.unwrap().latency;
    assert!(latency > Duration::ZERO && latency < AMPLE);
}

#[tokio::test]
async fn by_udp_a_refusal_is_told_at_once() {
    let address =
        udp_server(|message| vec![answer(message, |packet| *packet.rcode_mut() = RCODE::ServerFailure)])
            .await;
    let error = ask(address, &check(), AMPLE).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{address} says: SERVFAIL"));
}

#[tokio::test]
async fn by_udp_nothing_but_garbage_is_malformed() {
    for count in [1, datagram::MAX_DATAGRAMS] {
        let address = udp_server(move |_| vec![b"garbage".to_vec(); count]).await;
        let timeout = if count == 1 { SHORT } else { AMPLE };
        let error = ask(address, &check(), timeout).await.unwrap_err();
        assert!(matches!(error, ProbeError::Malformed { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn by_udp_silence_times_out_and_nobody_refuses() {
    let address = udp_server(|_| Vec::new()).await;
    let wanted = ProbeError::TimedOut { address, stage: Stage::Answer, timeout: SHORT };
    assert_eq!(ask(address, &check(), SHORT).await, Err(wanted));
    let address = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert_eq!(ask(address, &check(), AMPLE).await, Err(ProbeError::Refused { address }));
}

/// Answers the first question with the bytes that `answers` makes of it, and closes.
async fn tcp_server(answers: impl FnOnce(&[u8]) -> Vec<u8> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let message = receive(&mut stream).await.unwrap();
        stream.write_all(&answers(&message)).await.unwrap();
    });
    address
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat()
}

#[tokio::test]
async fn by_tcp_messages_have_their_length_before_them() {
    let check = DnsCheck { tcp: true, ..check() };
    let address = tcp_server(|message| [framed(b"garbage"), framed(&good(message))].concat()).await;
    ask(address, &check, AMPLE).await.unwrap();

    let address = tcp_server(|message| framed(&answer(message, |_| {}))).await;
    let error = ask(address, &check, AMPLE).await.unwrap_err();
    assert!(error.to_string().ends_with("says: no record of type A for \"www.example.net\""), "{error}");

    let address = tcp_server(|_| framed(b"garbage").repeat(MAX_MESSAGES)).await;
    let error = ask(address, &check, AMPLE).await.unwrap_err();
    assert!(matches!(error, ProbeError::Malformed { .. }), "{error:?}");
}

#[tokio::test]
async fn by_tcp_a_connection_that_ends_early_is_told() {
    let check = DnsCheck { tcp: true, ..check() };
    for answer in [&b""[..], b"\x00", b"\xff\xffhalf"] {
        let address = tcp_server(|_| answer.to_vec()).await;
        let error = ask(address, &check, AMPLE).await.unwrap_err();
        assert!(matches!(error, ProbeError::Closed { .. }), "{error:?}");
    }
}
