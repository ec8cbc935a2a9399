//! The agent check: a program beside the server says how it is, in the words of agent-check of `HAProxy`.
//!
//! One line of words between spaces, tabs and commas, in any order and case; what follows a `#` is a description.
//! `up` and `down`, `fail`, `failed`, `stopped` say whether the server works; `ready`, `drain`, `maint` what it wants to
//! be; `75%` the share of its weight that it wants; `maxconn:N` is known and has no meaning here. Of words of one kind the
//! last counts, as there. Unlike there, what a line does not say is `up`, `ready` and `100%`, rather than what an earlier
//! line said: a state should not depend on when the node was started.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::connect::connect;
use super::text::first_line;
use super::{ProbeError, Question, Stage};
use crate::health::finding::{Answer, Findings, Wish, WishedState};
use crate::model::AgentCheck;

/// Most bytes of an answer, its line end included.
const MAX_ANSWER_BYTES: usize = 1_024;

/// Most bytes of a description that are told.
const MAX_DESCRIPTION_BYTES: usize = 256;

/// Most bytes that are told of a word that is not understood.
const MAX_WORD_BYTES: usize = 32;

/// The share of one who says nothing of it.
const WHOLE_WEIGHT_PERCENT: u8 = 100;

/// Good unless the agent says that its server does not work; the latency is that of the whole line.
pub(super) async fn probe(question: &Question, check: &AgentCheck) -> Result<Answer, ProbeError> {
    let mut stream = connect(question).await?;
    let work = async {
        let sent = send(&mut stream, &check.send).await;
        let line = read_line(&mut stream).await;
        // One who answers without listening may have closed before it was all sent.
        line.map_err(|error| question.io_error(Stage::Answer, &sent.err().unwrap_or(error)))
    };
    let line = question.bound(Stage::Answer, work).await?;
    let latency = question.elapsed();
    let line =
        line.ok_or_else(|| question.malformed(format!("no end of line within {MAX_ANSWER_BYTES} bytes")))?;
    match Report::parse(&line).map_err(|detail| question.malformed(detail))? {
        Report { down: Some(says), .. } => Err(question.says(says)),
        Report { wish, .. } => {
            Ok(Answer { latency, findings: Findings { wish: Some(wish), ..Findings::default() } })
        }
    }
}

async fn send(stream: &mut TcpStream, line: &str) -> io::Result<()> {
    if line.is_empty() {
        return Ok(());
    }
    stream.write_all(format!("{line}\n").as_bytes()).await
}

/// What comes before the first line end or the end of the stream; nothing if that is too much.
async fn read_line(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut answer = Vec::with_capacity(MAX_ANSWER_BYTES);
    loop {
        if let Some(end) = answer.iter().position(|byte| matches!(byte, b'\n' | b'\r' | 0)) {
            answer.truncate(end);
            return Ok(Some(answer));
        }
        let room = MAX_ANSWER_BYTES - answer.len();
        if room == 0 {
            return Ok(None);
        }
        if (&mut *stream).take(room as u64).read_buf(&mut answer).await? == 0 {
            return Ok(Some(answer));
        }
    }
}

/// What an agent reports.
#[derive(Debug, PartialEq, Eq)]
struct Report {
    /// Its word and description, if the server does not work.
    down: Option<String>,
    wish: Wish,
}

impl Report {
    /// Reads one line. The error says what in it is not understood.
    fn parse(line: &[u8]) -> Result<Self, String> {
        let end = line.iter().position(|byte| *byte == b'#').unwrap_or(line.len());
        let (words, rest) = line.split_at(end);
        let mut words = words
            .split(|byte| matches!(byte, b' ' | b'\t' | b','))
            .filter(|word| !word.is_empty())
            .map(|word| String::from_utf8_lossy(word).to_ascii_lowercase())
            .peekable();
        if words.peek().is_none() {
            return Err("an answer without a word".to_owned());
        }
        let mut down = None;
        let mut wish = Wish { weight_percent: WHOLE_WEIGHT_PERCENT, state: WishedState::Ready };
        for word in words {
            match word.as_str() {
                "up" => down = None,
                "down" | "fail" | "failed" | "stopped" => down = Some(word),
                "ready" => wish.state = WishedState::Ready,
                "drain" => wish.state = WishedState::Drain,
                "maint" => wish.state = WishedState::Maintenance,
                ignored if ignored.starts_with("maxconn:") => {}
                other => wish.weight_percent = percent(other)?,
            }
        }
        let description = first_line(rest.get(1..).unwrap_or_default(), MAX_DESCRIPTION_BYTES);
        let down =
            down.map(|word| if description.is_empty() { word } else { format!("{word}: {description}") });
        Ok(Self { down, wish })
    }
}

/// A share of the weight, `75%`.
fn percent(word: &str) -> Result<u8, String> {
    let Some(digits) =
        word.strip_suffix('%').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
    else {
        let word = first_line(word.as_bytes(), MAX_WORD_BYTES);
        return Err(format!("{word:?} is no word of agent-check"));
    };
    let percent = digits.parse().ok().filter(|percent| *percent <= WHOLE_WEIGHT_PERCENT);
    percent.ok_or_else(|| {
        format!("a weight of {}%; it is 0% to 100%", first_line(digits.as_bytes(), MAX_WORD_BYTES))
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use tokio::net::TcpListener;

    use super::*;

    const AMPLE: Duration = Duration::from_secs(10);
    const SHORT: Duration = Duration::from_millis(100);

    fn wish(line: &str) -> (u8, WishedState) {
        let report = Report::parse(line.as_bytes()).unwrap();
        assert_eq!(report.down, None, "{line}");
        (report.wish.weight_percent, report.wish.state)
    }

    fn down(line: &str) -> Option<String> {
        Report::parse(line.as_bytes()).unwrap().down
    }

    #[test]
    fn every_word_has_its_meaning_alone() {
        assert_eq!(wish("up"), (100, WishedState::Ready));
        assert_eq!(wish("ready"), (100, WishedState::Ready));
        assert_eq!(wish("drain"), (100, WishedState::Drain));
        assert_eq!(wish("maint"), (100, WishedState::Maintenance));
        for (line, percent) in [("75%", 75), ("0%", 0), ("100%", 100), ("007%", 7)] {
            assert_eq!(wish(line), (percent, WishedState::Ready));
        }
        assert_eq!(wish("maxconn:30"), (100, WishedState::Ready));
        for word in ["down", "fail", "failed", "stopped"] {
            assert_eq!(down(word).as_deref(), Some(word));
        }
    }

    #[test]
    fn words_go_together_in_any_order_case_and_with_any_separator() {
        assert_eq!(wish("UP READY 50%"), (50, WishedState::Ready));
        assert_eq!(wish(" 50%,\tDrain,,up maxConn:7 "), (50, WishedState::Drain));
        assert_eq!(wish("drain 20% ready 30%"), (30, WishedState::Ready), "the last of a kind counts");
        assert_eq!(wish("down up"), (100, WishedState::Ready));
        assert_eq!(
            wish("ready # down, for a moment"),
            (100, WishedState::Ready),
            "a description has no words"
        );
    }

    #[test]
    fn a_description_is_told() {
        assert_eq!(down("down # disk full ").as_deref(), Some("down: disk full"));
        assert_eq!(down("Stopped,75%#\x1b[2J").as_deref(), Some("stopped: \\u{1b}[2J"));
        assert_eq!(down("failed #").as_deref(), Some("failed"));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let error = |line: &str| Report::parse(line.as_bytes()).unwrap_err();
        assert_eq!(error("up HTTP/1.1"), "\"http/1.1\" is no word of agent-check");
        for line in ["75", "%x", "-5%", "7.5%", "75%%", "upp"] {
            assert!(error(line).ends_with("is no word of agent-check"), "{line}");
        }
        for line in ["101%", "256%", "99999999999%", "%"] {
            assert!(error(line).starts_with("a weight of "), "{line}");
        }
        for line in ["", " ,\t", "# only words for people"] {
            assert_eq!(error(line), "an answer without a word", "{line:?}");
        }
    }

    /// An agent for one connection: waits for `heard`, then says `says`, and closes unless it is to `stay`.
    async fn agent(heard: &'static str, says: &'static [u8], stay: bool) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = vec![0; heard.len()];
            stream.read_exact(&mut text).await.unwrap();
            assert_eq!(text, heard.as_bytes());
            let _probe_may_be_gone = stream.write_all(says).await;
            if stay {
                let _closed = stream.read_u8().await;
            }
        });
        address
    }

    async fn ask(address: SocketAddr, send: &str, timeout: Duration) -> Result<Answer, ProbeError> {
        probe(&Question::new(address, None, timeout), &AgentCheck { send: send.to_owned() }).await
    }

    #[tokio::test]
    async fn the_answer_ends_with_its_line_or_with_the_stream() {
        for (says, stay) in [(&b"75%,drain\n"[..], true), (b"75% drain\r\nup", true), (b"drain 75%", false)] {
            let answer = ask(agent("", says, stay).await, "", AMPLE).await.unwrap();
            let wanted = Wish { weight_percent: 75, state: WishedState::Drain };
            assert_eq!(answer.findings, Findings { wish: Some(wanted), ..Findings::default() });
            assert!(answer.latency > Duration::ZERO && answer.latency < AMPLE);
        }
    }

    #[tokio::test]
    async fn the_line_to_send_comes_first() {
        ask(agent("web1 state\n", b"up\n", true).await, "web1 state", AMPLE).await.unwrap();
    }

    #[tokio::test]
    async fn an_agent_that_reports_its_server_down_makes_it_bad() {
        let address = agent("", b"down # disk full\n", true).await;
        let error = ask(address, "", AMPLE).await.unwrap_err();
        assert_eq!(error.to_string(), format!("{address} says: down: disk full"));
        assert!(!error.is_inconclusive());
    }

    #[tokio::test]
    async fn what_is_no_answer_is_malformed() {
        const ENDLESS: &[u8] = &[b'u'; MAX_ANSWER_BYTES + 1];
        for says in [&b""[..], b"\n", b"SSH-2.0-OpenSSH_9.2p1\r\n", ENDLESS] {
            let error = ask(agent("", says, says == ENDLESS).await, "", AMPLE).await.unwrap_err();
            assert!(matches!(error, ProbeError::Malformed { .. }), "{error:?}");
        }
    }

    #[tokio::test]
    async fn an_agent_that_says_nothing_or_half_a_line_times_out() {
        for says in [&b""[..], b"75%"] {
            let address = agent("", says, true).await;
            let wanted = ProbeError::TimedOut { address, stage: Stage::Answer, timeout: SHORT };
            assert_eq!(ask(address, "", SHORT).await, Err(wanted));
        }
    }
}
