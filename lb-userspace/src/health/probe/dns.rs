//! The DNS check: a question is answered with a record of its type (RFC 1035).
//!
//! Always holds: an answer counts only if it is a message that its header describes, with the number and the question of
//! this probe; both are new each time, and so is the port that is asked from.

use std::ops::ControlFlow;

use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, TYPE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::connect::connect;
use super::datagram::{self, Judged};
use super::{ProbeError, Question, Stage};
use crate::health::finding::Answer;
use crate::model::{DnsCheck, DnsType};

/// Messages on one TCP connection that are looked at before the answer counts as missing.
const MAX_MESSAGES: usize = 4;

/// Bytes of the header (RFC 1035, 4.1.1).
const HEADER_BYTES: usize = 12;

/// Least bytes of a question: the root's name, type and class.
const MIN_QUESTION_BYTES: usize = 5;

/// Least bytes of a record: the root's name, type, class, time to live, and a length of 0.
const MIN_RECORD_BYTES: usize = 11;

/// Good once an answer with a record of the type that was asked for is in; the latency is that of this answer.
pub(super) async fn probe(question: &Question, check: &DnsCheck) -> Result<Answer, ProbeError> {
    let asked = Asked::new(question, check)?;
    if check.tcp {
        by_tcp(question, &asked).await?;
    } else {
        datagram::ask(question, &asked.message, |message| asked.judge(message)).await?;
    }
    Ok(question.elapsed().into())
}

/// Sends the question and reads messages, each with its length before it (RFC 1035, 4.2.2).
async fn by_tcp(question: &Question, asked: &Asked<'_>) -> Result<(), ProbeError> {
    let mut stream = connect(question).await?;
    let work = async {
        let name = |error: std::io::Error| question.io_error(Stage::Answer, &error);
        let length = u16::try_from(asked.message.len()).unwrap_or(u16::MAX);
        let framed = [&length.to_be_bytes()[..], &asked.message].concat();
        stream.write_all(&framed).await.map_err(name)?;
        let mut not_it = question.malformed("no answer among its messages");
        for _ in 0..MAX_MESSAGES {
            match asked.judge(&receive(&mut stream).await.map_err(name)?) {
                ControlFlow::Break(result) => return result,
                ControlFlow::Continue(error) => not_it = error,
            }
        }
        Err(not_it)
    };
    question.bound(Stage::Answer, work).await
}

/// One message. Memory grows with what comes, not with what is promised.
async fn receive(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = Vec::new();
    let bytes = stream.take(u64::from(length)).read_to_end(&mut message).await?;
    if bytes < usize::from(length) { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(message) }
}

/// A question as it was sent.
struct Asked<'a> {
    question: &'a Question,
    check: &'a DnsCheck,
    id: u16,
    name: Name<'a>,
    kind: TYPE,
    /// The whole message.
    message: Vec<u8>,
}

impl<'a> Asked<'a> {
    fn new(question: &'a Question, check: &'a DnsCheck) -> Result<Self, ProbeError> {
        let random =
            getrandom::u32().map_err(|error| question.not_asked(format!("no random number: {error}")))?;
        let [high, low, ..] = random.to_be_bytes();
        let id = u16::from_be_bytes([high, low]);
        let not_a_name =
            |error| question.not_asked(format!("{:?} cannot be asked for: {error}", check.query));
        let name = Name::new(&check.query).map_err(not_a_name)?;
        let kind = wire_type(check.record);
        let mut packet = Packet::new_query(id);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let (qtype, qclass) = (QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN));
        packet.questions.push(simple_dns::Question::new(name.clone(), qtype, qclass, false));
        let message = packet.build_bytes_vec().map_err(not_a_name)?;
        Ok(Self { question, check, id, name, kind, message })
    }

    /// What a message is to this question.
    fn judge(&self, message: &[u8]) -> Judged {
        let not_it = |detail: &str| ControlFlow::Continue(self.question.malformed(detail));
        if !is_plausible(message) {
            return not_it("no DNS message");
        }
        let packet = match Packet::parse(message) {
            Ok(packet) => packet,
            Err(error) => return not_it(&format!("no DNS message: {error}")),
        };
        if packet.id() != self.id || !packet.has_flags(PacketFlag::RESPONSE) {
            return not_it("a DNS message that is no answer to the question");
        }
        let code = message[3] & 0x0f;
        // Some refuse without saying what.
        if !self.is_of_question(&packet) && (code == 0 || !packet.questions.is_empty()) {
            return not_it("an answer to another question");
        }
        ControlFlow::Break(self.verdict(&packet, code))
    }

    fn is_of_question(&self, packet: &Packet<'_>) -> bool {
        matches!(packet.questions.as_slice(), [question] if question.qname == self.name
            && question.qtype == QTYPE::TYPE(self.kind)
            && question.qclass == QCLASS::CLASS(CLASS::IN))
    }

    /// Whether the answer is good.
    fn verdict(&self, packet: &Packet<'_>, code: u8) -> Result<(), ProbeError> {
        if code != 0 {
            return Err(self.question.says(response_code(code)));
        }
        let is_wanted = |kind: TYPE, class: CLASS| kind == self.kind && class == CLASS::IN;
        let found = packet.answers.iter().any(|record| is_wanted(record.rdata.type_code(), record.class));
        if found || self.check.allow_empty {
            return Ok(());
        }
        let (kind, query) = (type_name(self.check.record), &self.check.query);
        Err(self.question.says(if packet.has_flags(PacketFlag::TRUNCATION) {
            format!("an answer without a record of type {kind} for {query:?}, cut off for its length (ask with tcp = true)")
        } else {
            format!("no record of type {kind} for {query:?}")
        }))
    }
}

/// Whether a message is long enough for what its header announces: a few bytes that promise 65,535 records are not worth
/// the memory for them.
fn is_plausible(message: &[u8]) -> bool {
    let Some(header) = message.first_chunk::<HEADER_BYTES>() else { return false };
    let count = |at: usize| usize::from(u16::from_be_bytes([header[at], header[at + 1]]));
    let records = count(6) + count(8) + count(10);
    message.len() >= HEADER_BYTES + count(4) * MIN_QUESTION_BYTES + records * MIN_RECORD_BYTES
}

const fn wire_type(record: DnsType) -> TYPE {
    match record {
        DnsType::A => TYPE::A,
        DnsType::Aaaa => TYPE::AAAA,
        DnsType::Cname => TYPE::CNAME,
        DnsType::Mx => TYPE::MX,
        DnsType::Ns => TYPE::NS,
        DnsType::Soa => TYPE::SOA,
        DnsType::Txt => TYPE::TXT,
    }
}

const fn type_name(record: DnsType) -> &'static str {
    match record {
        DnsType::A => "A",
        DnsType::Aaaa => "AAAA",
        DnsType::Cname => "CNAME",
        DnsType::Mx => "MX",
        DnsType::Ns => "NS",
        DnsType::Soa => "SOA",
        DnsType::Txt => "TXT",
    }
}

/// The name of a response code (IANA, DNS RCODEs) of 1 to 15.
fn response_code(code: u8) -> String {
    let name = match code {
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        9 => "NOTAUTH",
        other => return format!("response code {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests;
