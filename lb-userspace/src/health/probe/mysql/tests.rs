//! The check against a server of our own that plays what real ones are hard to bring to, and hostile input.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::super::Prober;
use super::*;
use crate::health::finding::Database;
use crate::model::{Check, CheckKind, MysqlAccount, Role};

/// Ample for a server on the same machine, even a busy one.
const AMPLE: Duration = Duration::from_secs(10);
/// For probes that are meant to run into it.
const SHORT: Duration = Duration::from_millis(200);

const OK_PACKET: &[u8] = &[0, 0, 0, 2, 0, 0, 0];
const END_PACKET: &[u8] = &[0xfe, 0, 0, 2, 0];

fn greeting_packet(version: &str, plugin: &str) -> Vec<u8> {
    let mut packet = vec![10];
    packet.extend(version.as_bytes());
    packet.extend([0, 7, 0, 0, 0]);
    packet.extend(b"abcdefgh\0");
    packet.extend([0xff, 0xf7, 45, 2, 0, 0x1f, 0x80, 21]);
    packet.extend([0; 10]);
    packet.extend(b"ijklmnopqrst\0");
    packet.extend(plugin.as_bytes());
    packet.push(0);
    packet
}

fn error_packet(code: u16, state: &str, text: &str) -> Vec<u8> {
    let mut packet = vec![0xff];
    packet.extend(code.to_le_bytes());
    write!(packet, "{state}{text}").unwrap();
    packet
}

/// The packets of a list of rows.
fn rows(names: &[&str], rows: &[&[Option<&str>]]) -> Vec<Vec<u8>> {
    let text = |packet: &mut Vec<u8>, text: &str| {
        packet.push(u8::try_from(text.len()).unwrap());
        packet.extend(text.as_bytes());
    };
    let mut packets = vec![vec![u8::try_from(names.len()).unwrap()]];
    for name in names {
        let mut packet = Vec::new();
        for part in ["def", "", "", "", name, name] {
            text(&mut packet, part);
        }
        packet.extend([0x0c, 45, 0, 0, 1, 0, 0, 0xfd, 0, 0, 0, 0, 0]);
        packets.push(packet);
    }
    packets.push(END_PACKET.to_vec());
    for row in rows {
        let mut packet = Vec::new();
        for value in *row {
            match value {
                Some(value) => text(&mut packet, value),
                None => packet.push(0xfb),
            }
        }
        packets.push(packet);
    }
    packets.push(END_PACKET.to_vec());
    packets
}

/// A server's end of a connection.
struct Peer {
    stream: TcpStream,
    sequence: u8,
}

impl Peer {
    async fn send(&mut self, packet: &[u8]) {
        let length = u32::try_from(packet.len()).unwrap().to_le_bytes();
        let mut framed = vec![length[0], length[1], length[2], self.sequence];
        framed.extend(packet);
        // The other end may have gone, as it should after an error.
        let _ = self.stream.write_all(&framed).await;
        self.sequence = self.sequence.wrapping_add(1);
    }

    async fn send_all(&mut self, packets: &[Vec<u8>]) {
        for packet in packets {
            self.send(packet).await;
        }
    }

    /// The next packet; none at the end.
    async fn receive(&mut self) -> Option<Vec<u8>> {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head).await.ok()?;
        let mut packet =
            vec![0; usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16];
        self.stream.read_exact(&mut packet).await.ok()?;
        self.sequence = head[3].wrapping_add(1);
        Some(packet)
    }

    /// The next statement; none when the client says good-bye or goes.
    async fn statement(&mut self) -> Option<String> {
        let packet = self.receive().await?;
        (packet[0] == 3).then(|| String::from_utf8(packet[1..].to_vec()).unwrap())
    }

    /// Lets anybody in.
    async fn welcome(&mut self, version: &str) {
        self.send(&greeting_packet(version, "mysql_native_password")).await;
        self.receive().await.unwrap();
        self.send(OK_PACKET).await;
    }
}

/// A server that treats connections one after another as `serve` says; its task gives what happened.
async fn server<F>(serve: impl Fn(Peer) -> F + Send + 'static) -> (SocketAddr, JoinHandle<()>)
where
    F: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            serve(Peer { stream, sequence: 0 }).await;
        }
    });
    (address, task)
}

fn prober(address: SocketAddr, account: Option<MysqlAccount>, timeout: Duration) -> Prober {
    let kind = CheckKind::Mysql(MysqlCheck { account });
    Prober::new(address, Arc::new(Check { timeout, ..Check::new(kind) }))
}

fn account(role: Role, max_lag_s: Option<u64>) -> MysqlAccount {
    MysqlAccount {
        user: "lb_check".to_owned(),
        password: Some("secret".to_owned()),
        password_file: None,
        role,
        max_lag: max_lag_s.map(Duration::from_secs),
    }
}

/// What a check without an account says of a server that begins with this packet and answers a login with that one.
async fn greeted(first: Vec<u8>, answer: Option<Vec<u8>>) -> Result<Answer, ProbeError> {
    let (address, _task) = server(move |mut peer| {
        let (first, answer) = (first.clone(), answer.clone());
        async move {
            peer.send(&first).await;
            if let (Some(_), Some(answer)) = (peer.receive().await, answer) {
                peer.send(&answer).await;
            }
            peer.receive().await;
        }
    })
    .await;
    prober(address, None, AMPLE).probe().await
}

fn says(result: Result<Answer, ProbeError>) -> String {
    match result {
        Err(ProbeError::Says { says, .. }) => says,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn errors_in_place_of_a_greeting_are_told() {
    for state in ["", "#08004"] {
        let said = says(greeted(error_packet(1040, state, "Too many connections"), None).await);
        assert_eq!(said, "error 1040: Too many connections");
    }
    let blocked = "Host '10.0.0.2' is blocked because of many connection errors";
    let said = says(greeted(error_packet(1129, "", blocked), None).await);
    assert!(said.contains(blocked) && said.contains("FLUSH HOSTS"), "{said}");
    let said = says(greeted(error_packet(1130, "", "Host '10.0.0.2' is not allowed"), None).await);
    assert!(said.contains("create one"), "{said}");
    let said = says(greeted(error_packet(1203, "#42000", "max\u{7}_user\r\nconnections"), None).await);
    assert_eq!(said, "error 1203: max _user connections");
}

#[tokio::test]
async fn without_an_account_a_denial_is_good_and_other_answers_are_told() {
    let greeting = || greeting_packet("8.4.2", "caching_sha2_password");
    let answers = [
        OK_PACKET.to_vec(),
        error_packet(1045, "#28000", "Access denied for user 'lbd-check'@'x' (using password: NO)"),
        error_packet(1698, "#28000", "Access denied for user 'lbd-check'@'x'"),
        error_packet(3159, "#HY000", "Connections using insecure transport are prohibited"),
    ];
    for answer in answers {
        greeted(greeting(), Some(answer)).await.unwrap();
    }
    let said = says(greeted(greeting(), Some(error_packet(1040, "#08004", "Too many connections"))).await);
    assert_eq!(said, "error 1040: Too many connections");
}

#[tokio::test]
async fn a_server_that_takes_its_time_to_deny_is_good() {
    let (address, task) = server(|mut peer| async move {
        peer.send(&greeting_packet("8.0.40", "caching_sha2_password")).await;
        let login = peer.receive().await.unwrap();
        assert!(login.windows(NOBODY.len()).any(|window| window == NOBODY.as_bytes()));
        peer.receive().await;
    })
    .await;
    let answer = prober(address, None, SHORT).probe().await.unwrap();
    assert!(answer.latency < SHORT, "that of the greeting");
    assert!(!task.is_finished(), "it saw something else");
}

#[tokio::test]
async fn other_protocols_are_malformed() {
    for first in
        [&b"SSH-2.0-OpenSSH_9.2\r\n"[..], b"HTTP/1.1 400 Bad Request\r\n\r\n", &[1, 0, 0, 0, 9], &[0; 4]]
    {
        let (address, _task) = server(move |mut peer| async move {
            peer.stream.write_all(first).await.unwrap();
            peer.receive().await;
        })
        .await;
        let error = prober(address, None, AMPLE).probe().await.unwrap_err();
        assert!(matches!(error, ProbeError::Malformed { .. }), "{error}");
    }
}

#[tokio::test]
async fn silence_is_a_missing_greeting() {
    let (address, _task) = server(|mut peer| async move { drop(peer.receive().await) }).await;
    for account in [None, Some(account(Role::Any, None))] {
        let error = prober(address, account, SHORT).probe().await.unwrap_err();
        assert_eq!(error, ProbeError::TimedOut { address, stage: Stage::Greeting, timeout: SHORT });
    }
}

#[tokio::test]
async fn a_denied_login_is_told_when_there_is_an_account() {
    let (address, _task) = server(|mut peer| async move {
        peer.send(&greeting_packet("8.4.2", "caching_sha2_password")).await;
        peer.receive().await;
        peer.send(&error_packet(1045, "#28000", "Access denied for user 'lb_check'@'x'")).await;
    })
    .await;
    let said = says(prober(address, Some(account(Role::Any, None)), AMPLE).probe().await);
    assert_eq!(said, "error 1045: Access denied for user 'lb_check'@'x'");
}

#[tokio::test]
async fn a_server_that_needs_the_whole_password_gets_it_encrypted_once_it_has_sent_its_key() {
    for knows_it in [false, true] {
        let (address, _task) = server(move |mut peer| async move {
            peer.send(&greeting_packet("8.4.2", "mysql_native_password")).await;
            peer.receive().await.unwrap();
            peer.send(b"\xfecaching_sha2_password\0tsrqponmlkjihgfedcba\0").await;
            assert_eq!(peer.receive().await.unwrap().len(), 32, "a proof by SHA-256");
            if knows_it {
                peer.send(&[1, 3]).await;
            } else {
                peer.send(&[1, 4]).await;
                assert_eq!(peer.receive().await.unwrap(), [2], "no question for the key");
                peer.send(&[&[1], &include_bytes!("test_key.pem")[..]].concat()).await;
                assert_eq!(peer.receive().await.unwrap().len(), 256);
            }
            peer.send(OK_PACKET).await;
            while peer.statement().await.is_some() {
                peer.send_all(&rows(&["read_only", "super"], &[&[Some("0"), Some("0")]])).await;
            }
        })
        .await;
        prober(address, Some(account(Role::Primary, None)), AMPLE).probe().await.unwrap();
    }
}

#[tokio::test]
async fn a_password_file_that_is_missing_says_nothing_of_the_server() {
    let (address, _task) = server(|mut peer| async move { peer.welcome("8.4.2").await }).await;
    let file = Some("/nonexistent/password".into());
    let account = MysqlAccount { password: None, password_file: file, ..account(Role::Any, None) };
    let error = prober(address, Some(account), AMPLE).probe().await.unwrap_err();
    assert!(error.is_inconclusive() && error.to_string().contains("/nonexistent/password"), "{error}");
}

#[tokio::test]
async fn the_password_is_the_first_line_of_its_file_at_each_login() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let expected = |password: &str| {
        mysql_common::scramble::scramble_native(b"abcdefghijklmnopqrst", password.as_bytes()).unwrap()
    };
    let (logins, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let (address, _task) = server(move |mut peer| {
        let logins = logins.clone();
        async move {
            peer.send(&greeting_packet("8.0.40", "mysql_native_password")).await;
            logins.send(peer.receive().await.unwrap()).unwrap();
            peer.send(&error_packet(1045, "#28000", "Access denied")).await;
        }
    })
    .await;
    let path = Some(file.path().to_owned());
    let account = MysqlAccount { password: None, password_file: path, ..account(Role::Any, None) };
    let mut prober = prober(address, Some(account), AMPLE);
    for password in ["first", "second"] {
        std::fs::write(file.path(), format!("{password}\r\nrest\n")).unwrap();
        prober.probe().await.unwrap_err();
        let login = seen.recv().await.unwrap();
        assert!(login.windows(20).any(|window| window == expected(password)), "{password}");
    }
}

/// Answers as MySQL 8.4 does: read-only, one channel.
async fn play_mysql(peer: &mut Peer, lag: Option<&str>) {
    while let Some(statement) = peer.statement().await {
        match statement.as_str() {
            read_only::BOTH => {
                peer.send_all(&rows(&["read_only", "super"], &[&[Some("1"), Some("1")]])).await;
            }
            "SHOW REPLICA STATUS" => {
                let names =
                    ["Replica_IO_Running", "Replica_SQL_Running", "Seconds_Behind_Source", "Last_SQL_Error"];
                let values = [Some("Yes"), Some("No"), lag, Some("Duplicate entry")];
                peer.send_all(&rows(&names, &[&values])).await;
            }
            other => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn mysql_8_is_read_on_a_connection_that_is_kept() {
    let (address, task) = server(|mut peer| async move {
        peer.welcome("8.4.2").await;
        play_mysql(&mut peer, Some("3")).await;
    })
    .await;
    let mut prober = prober(address, Some(account(Role::Replica, Some(5))), AMPLE);
    for _ in 0..3 {
        let answer = prober.probe().await.unwrap();
        let lag = Some(Duration::from_secs(3));
        assert_eq!(answer.findings.database, Some(Database { writable: false, lag }));
    }
    // The server treats one connection at a time: a second login would have hung.
    assert!(!task.is_finished());
}

#[tokio::test]
async fn lag_is_judged() {
    for (lag, said) in [
        (Some("12"), "replica is 12 s behind its source; the check allows 5 s"),
        (None, "replication is stopped (IO thread: Yes, SQL thread: No; last error: Duplicate entry)"),
    ] {
        let (address, _task) = server(move |mut peer| async move {
            peer.welcome("8.4.2").await;
            play_mysql(&mut peer, lag).await;
        })
        .await;
        let mut prober = prober(address, Some(account(Role::Replica, Some(5))), AMPLE);
        assert_eq!(says(prober.probe().await), said);
        assert_eq!(says(prober.probe().await), said, "on the same connection");
    }
}

/// Answers as an old server does: no `super_read_only`, no newer statements. Counts what it did not know.
async fn play_old(peer: &mut Peer, unknown: &std::sync::atomic::AtomicUsize) {
    while let Some(statement) = peer.statement().await {
        match statement.as_str() {
            read_only::ONE => peer.send_all(&rows(&["read_only"], &[&[Some("1")]])).await,
            "SHOW SLAVE STATUS" => {
                peer.send_all(&rows(&["Seconds_Behind_Master"], &[&[Some("0")], &[Some("4")]])).await;
            }
            other => {
                unknown.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let code = if other == read_only::BOTH { 1193 } else { 1064 };
                peer.send(&error_packet(code, "#HY000", "unknown")).await;
            }
        }
    }
}

#[tokio::test]
async fn what_an_old_server_does_not_know_is_asked_once_a_connection() {
    for (version, expected) in [("5.5.5-10.3.39-MariaDB", 3), ("5.7.44", 2)] {
        let unknown = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counter = Arc::clone(&unknown);
        let (address, _task) = server(move |mut peer| {
            let counter = Arc::clone(&counter);
            async move {
                peer.welcome(version).await;
                play_old(&mut peer, &counter).await;
            }
        })
        .await;
        let mut prober = prober(address, Some(account(Role::Replica, None)), AMPLE);
        for _ in 0..3 {
            let lag = Some(Duration::from_secs(4));
            let answer = prober.probe().await.unwrap();
            assert_eq!(answer.findings.database, Some(Database { writable: false, lag }));
        }
        assert_eq!(unknown.load(std::sync::atomic::Ordering::Relaxed), expected, "{version}");
    }
}

#[tokio::test]
async fn who_follows_nobody_is_judged_by_the_role_that_is_wanted() {
    async fn play(mut peer: Peer, read_only: &str) {
        peer.welcome("8.4.2").await;
        while let Some(statement) = peer.statement().await {
            if statement == read_only::BOTH {
                peer.send_all(&rows(&["a", "b"], &[&[Some(read_only), Some("0")]])).await;
            } else {
                peer.send_all(&rows(&["Seconds_Behind_Source"], &[])).await;
            }
        }
    }
    let (writable, _task) = server(|peer| play(peer, "0")).await;
    let (read_only, _task) = server(|peer| play(peer, "1")).await;
    for (role, max_lag_s) in [
        (Role::Primary, None),
        (Role::Any, None),
        (Role::Any, Some(5)),
        (Role::Replica, None),
        // Not a replica: that is for the policy to judge.
        (Role::Replica, Some(5)),
    ] {
        let answer = prober(writable, Some(account(role, max_lag_s)), AMPLE).probe().await.unwrap();
        assert_eq!(answer.findings.database, Some(Database { writable: true, lag: None }));
    }
    for (role, max_lag_s) in [(Role::Primary, None), (Role::Any, Some(5)), (Role::Replica, None)] {
        let answer = prober(read_only, Some(account(role, max_lag_s)), AMPLE).probe().await.unwrap();
        assert_eq!(answer.findings.database, Some(Database { writable: false, lag: None }));
    }
    let said = says(prober(read_only, Some(account(Role::Replica, Some(5))), AMPLE).probe().await);
    assert!(said.contains("follows no source"), "{said}");
}

#[tokio::test]
async fn a_missing_privilege_is_told_and_a_grant_counts_from_the_next_probe() {
    let logins = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = Arc::clone(&logins);
    let (address, _task) = server(move |mut peer| {
        let first = counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        async move {
            peer.welcome("8.4.2").await;
            if !first {
                return play_mysql(&mut peer, Some("0")).await;
            }
            peer.statement().await.unwrap();
            peer.send_all(&rows(&["read_only", "super"], &[&[Some("1"), Some("0")]])).await;
            peer.statement().await.unwrap();
            peer.send(&error_packet(1227, "#42000", "Access denied; you need SUPER")).await;
            assert_eq!(peer.receive().await.unwrap(), [1], "no good-bye");
        }
    })
    .await;
    let mut prober = prober(address, Some(account(Role::Replica, None)), AMPLE);
    let said = says(prober.probe().await);
    assert!(said.starts_with("error 1227: Access denied") && said.contains("REPLICATION CLIENT"), "{said}");
    prober.probe().await.unwrap();
    assert_eq!(logins.load(std::sync::atomic::Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_session_that_the_server_ended_meanwhile_costs_a_login_and_no_bad_result() {
    for farewell in [None, Some((0, 4031)), Some((1, 1927))] {
        let (address, _task) = server(move |mut peer| async move {
            peer.welcome("8.4.2").await;
            peer.statement().await.unwrap();
            peer.send_all(&rows(&["read_only", "super"], &[&[Some("0"), Some("0")]])).await;
            if let Some((sequence, code)) = farewell {
                peer.sequence = sequence;
                peer.send(&error_packet(code, "#HY000", "The client was disconnected")).await;
            }
        })
        .await;
        let mut prober = prober(address, Some(account(Role::Primary, None)), AMPLE);
        for _ in 0..3 {
            let answer = prober.probe().await.unwrap();
            assert_eq!(
                answer.findings.database,
                Some(Database { writable: true, lag: None }),
                "{farewell:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_asked_on_a_new_connection_next_time() {
    let logins = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = Arc::clone(&logins);
    let (address, _task) = server(move |mut peer| {
        let hangs = counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        async move {
            peer.welcome("8.4.2").await;
            while peer.statement().await.is_some() {
                if !hangs {
                    peer.send_all(&rows(&["read_only", "super"], &[&[Some("0"), Some("0")]])).await;
                }
            }
        }
    })
    .await;
    let mut prober = prober(address, Some(account(Role::Any, None)), Duration::from_secs(1));
    let error = prober.probe().await.unwrap_err();
    assert!(matches!(error, ProbeError::TimedOut { stage: Stage::Answer, .. }), "{error}");
    prober.probe().await.unwrap();
}

#[tokio::test]
async fn dropping_the_prober_says_good_bye() {
    let (told, mut last) = tokio::sync::mpsc::unbounded_channel();
    let (address, _task) = server(move |mut peer| {
        let told = told.clone();
        async move {
            peer.welcome("8.4.2").await;
            peer.statement().await.unwrap();
            peer.send_all(&rows(&["read_only", "super"], &[&[Some("0"), Some("0")]])).await;
            told.send((peer.receive().await, peer.stream.read(&mut [0]).await)).unwrap();
        }
    })
    .await;
    let mut prober = prober(address, Some(account(Role::Any, None)), AMPLE);
    prober.probe().await.unwrap();
    drop(prober);
    let (farewell, end) = last.recv().await.unwrap();
    assert_eq!(farewell.unwrap(), [1]);
    assert_eq!(end.unwrap(), 0, "not in order");
}

#[tokio::test]
async fn endless_answers_end() {
    let (address, _task) = server(|mut peer| async move {
        peer.welcome("8.4.2").await;
        peer.statement().await.unwrap();
        let packets = rows(&["a", "b"], &[&[Some("0"), Some("0")]]);
        peer.send_all(&packets[..4]).await;
        for _ in 0..10_000 {
            peer.send(&packets[4]).await;
        }
    })
    .await;
    let error = prober(address, Some(account(Role::Any, None)), AMPLE).probe().await.unwrap_err();
    assert!(matches!(error, ProbeError::Malformed { .. }), "{error}");
}

#[test]
fn greetings_of_both_families_are_read() {
    let mysql = Greeting::parse(&greeting_packet("8.4.2", "caching_sha2_password")).unwrap();
    assert_eq!((mysql.version.as_str(), mysql.is_mariadb()), ("8.4.2", false));
    assert_eq!(mysql.nonce, b"abcdefghijklmnopqrst");
    assert_eq!(mysql.auth_plugin, b"caching_sha2_password");
    // What MariaDB 10.11 sends.
    let mut mariadb =
        b"\n5.5.5-10.11.19-MariaDB-0+deb12u1\0\x05\0\0\0<2%`726T\0\xfe\xf7\x08\x02\0\xff\x81\x15".to_vec();
    mariadb.extend(b"\0\0\0\0\0\0\x1d\0\0\0'dCcGwD.XQlK\0mysql_native_password\0");
    let mariadb = Greeting::parse(&mariadb).unwrap();
    assert!(mariadb.is_mariadb());
    assert_eq!(mariadb.nonce, b"<2%`726T'dCcGwD.XQlK");
}

#[test]
fn a_greeting_that_ends_early_is_an_error() {
    let whole = greeting_packet("8.4.2", "");
    // Before its optional part and without a name of the plugin it is whole.
    let optional = [1 + 6 + 4 + 9 + 2, whole.len() - 1, whole.len()];
    for end in 0..=whole.len() {
        assert_eq!(Greeting::parse(&whole[..end]).is_ok(), optional.contains(&end), "{end}");
    }
}

proptest! {
    #[test]
    fn no_bytes_break_the_readers(mut bytes: Vec<u8>) {
        let names = vec!["a".to_owned(), "b".to_owned()];
        let _ = query::row(&names, &bytes);
        let _ = query::column_name(&bytes);
        let _ = refusal::Refusal::parse(&bytes).to_string();
        let _ = login::switch(&bytes, true);
        let _ = Greeting::parse(&bytes);
        bytes.insert(0, 10);
        let _ = Greeting::parse(&bytes);
        bytes[0] = 0xfe;
        let _ = login::switch(&bytes, true);
    }

    #[test]
    fn a_greeting_with_any_byte_changed_is_read_or_refused(at in 0_usize..80, byte: u8) {
        let mut packet = greeting_packet("8.4.2", "caching_sha2_password");
        if let Some(place) = packet.get_mut(at) {
            *place = byte;
        }
        if let Ok(greeting) = Greeting::parse(&packet) {
            prop_assert_eq!(greeting.nonce.len(), 20);
        }
    }
}
