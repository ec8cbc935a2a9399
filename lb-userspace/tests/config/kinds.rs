//! What a valid check and a valid policy mean: every key that `understood` does not have, and every default.

use std::path::PathBuf;
use std::time::Duration;

use lb_userspace::model::{
    AgentCheck, Backend, BodyPattern, Check, CheckKind, DnsCheck, DnsType, ExecCheck, GrpcCheck, HttpCheck,
    HttpVersion, Model, MysqlAccount, MysqlCheck, OnAllDown, OnRoleChange, Policy, Role, StandbyOf,
    StatusSet, TlsCheck, UdpCheck,
};

use super::{base_with, parse};

fn model(text: &str) -> Model {
    parse(text).unwrap_or_else(|errors| panic!("{errors}")).model
}

/// The check `db` of the base, of a kind and with these keys.
fn check(kind: &str, keys: &str) -> Check {
    let text = base_with("kind = \"tcp\"", &format!("kind = \"{kind}\"\n{keys}"));
    model(&text).checks.remove("db").unwrap()
}

/// The same, without what all kinds have.
fn kind(kind: &str, keys: &str) -> CheckKind {
    let check = check(kind, keys);
    assert_eq!(check, Check::new(check.kind.clone()), "the rest has its defaults");
    check.kind
}

fn days(count: u64) -> Duration {
    Duration::from_hours(24 * count)
}

#[test]
fn keys_of_every_kind() {
    let written = check(
        "tcp",
        "interval = \"10s\"\ntimeout = \"9s\"\nrise = 100\nfall = 1\njitter = \"5s\"\ndamping = false\nport = 65535\n\
         source = \"10.0.0.2\"",
    );
    let expected = Check {
        kind: CheckKind::Tcp,
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(9),
        rise: 100,
        fall: 1,
        jitter: Duration::from_secs(5),
        damping: false,
        port: Some(65_535),
        source: Some("10.0.0.2".parse().unwrap()),
    };
    assert_eq!(written, expected);
    assert_eq!(check("tcp", ""), Check::new(CheckKind::Tcp));
}

#[test]
fn http() {
    let keys = "method = \"GET\"\npath = \"/up\"\nhost = \"www.example.net\"\nversion = \"2\"\nexpect_status = [204]\n\
                expect_body = 'status: (ok|fine)'\nheaders = { X-Check = \" lb \", \"Accept\" = \"text/plain\" }";
    let expected = HttpCheck {
        method: "GET".to_owned(),
        path: "/up".to_owned(),
        host: Some("www.example.net".to_owned()),
        headers: vec![
            ("X-Check".to_owned(), "lb".to_owned()),
            ("Accept".to_owned(), "text/plain".to_owned()),
        ],
        version: HttpVersion::Http2,
        expect_status: StatusSet(vec![(204, 204)]),
        expect_body: Some(BodyPattern(regex::bytes::Regex::new("status: (ok|fine)").unwrap())),
        tls: None,
    };
    assert_eq!(kind("http", keys), CheckKind::Http(expected));
    assert_eq!(kind("http", ""), CheckKind::Http(HttpCheck::default()));
    // What HEAD has no use for may stay away, and the other keys do not mind.
    assert!(matches!(kind("http", "method = \"HEAD\""), CheckKind::Http(http) if http.method == "HEAD"));
}

#[test]
fn headers_keep_the_order_of_the_file() {
    let CheckKind::Http(http) = kind("http", "headers = { X-B = \"1\", X-A = \"2\", X-C = \"3\" }") else {
        panic!("not http")
    };
    let names: Vec<&str> = http.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["X-B", "X-A", "X-C"]);
}

#[test]
fn https_and_its_certificates() {
    let tls = |keys: &str| match kind("https", keys) {
        CheckKind::Http(HttpCheck { tls: Some(tls), .. }) => tls,
        other => panic!("{other:?}"),
    };
    let default = TlsCheck { verify: true, server_name: None, ca: None, expiry_warning: days(14) };
    assert_eq!(tls(""), default);
    assert_eq!(tls("verify = false"), TlsCheck { verify: false, ..default.clone() });
    let named = TlsCheck {
        verify: true,
        server_name: Some("www.example.net".to_owned()),
        ca: Some(PathBuf::from("/etc/lb/ca.pem")),
        expiry_warning: days(30),
    };
    let keys = "server_name = \"www.example.net\"\nca = \"/etc/lb/ca.pem\"\nexpiry_warning = \"30days\"";
    assert_eq!(tls(keys), named);
    assert_eq!(tls("expiry_warning = \"0s\""), TlsCheck { expiry_warning: Duration::ZERO, ..default });
}

#[test]
fn udp() {
    let send = b"\x01ping\n".to_vec();
    assert_eq!(
        kind("udp", "send = \"\\u0001ping\\n\"\nexpect = \"pong\""),
        CheckKind::Udp(UdpCheck { send: send.clone(), expect: Some(b"pong".to_vec()) })
    );
    assert_eq!(kind("udp", "send = \"\\u0001ping\\n\""), CheckKind::Udp(UdpCheck { send, expect: None }));
}

#[test]
fn dns() {
    let least =
        DnsCheck { query: "example.net".to_owned(), record: DnsType::A, allow_empty: false, tcp: false };
    assert_eq!(kind("dns", "query = \"example.net\""), CheckKind::Dns(least.clone()));
    for (written, record) in [
        ("A", DnsType::A),
        ("AAAA", DnsType::Aaaa),
        ("CNAME", DnsType::Cname),
        ("MX", DnsType::Mx),
        ("NS", DnsType::Ns),
        ("SOA", DnsType::Soa),
        ("TXT", DnsType::Txt),
    ] {
        let keys = format!("query = \"example.net\"\nrecord = \"{written}\"\nallow_empty = true\ntcp = true");
        let expected = DnsCheck { record, allow_empty: true, tcp: true, ..least.clone() };
        assert_eq!(kind("dns", &keys), CheckKind::Dns(expected));
    }
    for name in [".", "example.net.", "_sip._tcp.xn--bcher-kva.example", &"x".repeat(63)] {
        let written = kind("dns", &format!("query = \"{name}\""));
        assert_eq!(written, CheckKind::Dns(DnsCheck { query: name.to_owned(), ..least.clone() }));
    }
}

#[test]
fn grpc() {
    let none = GrpcCheck { service: String::new(), tls: None };
    assert_eq!(kind("grpc", ""), CheckKind::Grpc(none.clone()));
    assert_eq!(kind("grpc", "tls = false"), CheckKind::Grpc(none));
    let tls = TlsCheck {
        verify: false,
        server_name: Some("cart.example.net".to_owned()),
        ca: None,
        expiry_warning: days(1),
    };
    let keys = "service = \"shop.Cart\"\ntls = true\nverify = false\nserver_name = \"cart.example.net\"\n\
                expiry_warning = \"1day\"";
    assert_eq!(
        kind("grpc", keys),
        CheckKind::Grpc(GrpcCheck { service: "shop.Cart".to_owned(), tls: Some(tls) })
    );
}

#[test]
fn mysql() {
    assert_eq!(kind("mysql", ""), CheckKind::Mysql(MysqlCheck { account: None }));
    let account = MysqlAccount {
        user: "lb_check".to_owned(),
        password: None,
        password_file: None,
        role: Role::Any,
        max_lag: None,
    };
    let with = |keys: &str| match kind("mysql", &format!("user = \"lb_check\"\n{keys}")) {
        CheckKind::Mysql(MysqlCheck { account: Some(account) }) => account,
        other => panic!("{other:?}"),
    };
    assert_eq!(with(""), account);
    assert_eq!(
        with("password = \"\"\nrole = \"primary\""),
        MysqlAccount { password: Some(String::new()), role: Role::Primary, ..account.clone() }
    );
    assert_eq!(
        with("password_file = \"/etc/lb/password\"\nrole = \"replica\"\nmax_lag = \"10s\""),
        MysqlAccount {
            password_file: Some(PathBuf::from("/etc/lb/password")),
            role: Role::Replica,
            max_lag: Some(Duration::from_secs(10)),
            ..account.clone()
        }
    );
    assert_eq!(with("role = \"any\"\nmax_lag = \"24h\""), MysqlAccount { max_lag: Some(days(1)), ..account });
}

#[test]
fn exec_and_agent() {
    let command: Vec<String> = ["/bin/check", "", "{address}:{port}"].map(str::to_owned).into();
    let written = kind("exec", "command = [\"/bin/check\", \"\", \"{address}:{port}\"]");
    assert_eq!(written, CheckKind::Exec(ExecCheck { command }));
    assert_eq!(kind("agent", ""), CheckKind::Agent(AgentCheck { send: String::new() }));
    let send = "how is db1?".to_owned();
    assert_eq!(kind("agent", "send = \"how is db1?\""), CheckKind::Agent(AgentCheck { send }));
}

/// The policy of the pool `db` with these keys, and with a pool to fall back to.
fn policy(keys: &str) -> Policy {
    model(&with_spare(keys)).pools.remove("db").unwrap().policy
}

fn with_spare(keys: &str) -> String {
    base_with("mode = \"dsr-l2\"\n", &format!("mode = \"dsr-l2\"\n{keys}\n"))
        + "\n[pools.spare]\nmode = \"dsr-l2\"\ncheck = \"web\"\nbackends = [\n    \
           { name = \"db2\", address = \"10.0.1.12\", weight = 7 },\n    \
           { name = \"db1\", address = \"10.0.1.13\", weight = 9, state = \"drain\" },\n]\n"
}

#[test]
fn policies() {
    assert_eq!(policy(""), Policy::DEFAULT);
    assert_eq!(
        Policy::DEFAULT,
        Policy {
            on_all_down: OnAllDown::Drop,
            min_healthy: 1,
            panic_percent: 0,
            on_role_change: OnRoleChange::Keep
        }
    );
    let fallback = |or_open| OnAllDown::Fallback { pool: "spare".to_owned(), or_open };
    for (written, on_all_down) in [
        ("\"drop\"", OnAllDown::Drop),
        ("[\"drop\"]", OnAllDown::Drop),
        ("\"fail-open\"", OnAllDown::FailOpen),
        ("\"fallback:spare\"", fallback(false)),
        ("[\"fallback:spare\"]", fallback(false)),
        ("[\"fallback:spare\", \"drop\"]", fallback(false)),
        ("[\"fallback:spare\", \"fail-open\"]", fallback(true)),
    ] {
        let keys = format!("on_all_down = {written}\nmin_healthy = 2\npanic_threshold = 100");
        let expected = Policy { on_all_down, min_healthy: 2, panic_percent: 100, ..Policy::DEFAULT };
        assert_eq!(policy(&keys), expected, "{written}");
    }
    let text = with_spare("on_role_change = \"reset\"")
        .replace("kind = \"tcp\"", "kind = \"mysql\"\nuser = \"lb_check\"\nrole = \"primary\"");
    assert_eq!(model(&text).pools["db"].policy.on_role_change, OnRoleChange::Reset);
}

#[test]
fn who_may_be_fallen_back_to_stands_by_unless_the_pool_has_it_itself() {
    let pools = model(&with_spare("on_all_down = \"fallback:spare\"")).pools;
    let standby = Backend {
        name: "spare/db1".to_owned(),
        standby_of: Some(StandbyOf { pool: "spare".to_owned(), name: "db1".to_owned() }),
        ..pools["spare"].backends[1].clone()
    };
    let names: Vec<&str> = pools["db"].backends.iter().map(|backend| backend.name.as_str()).collect();
    assert_eq!(names, ["db1", "db2", "spare/db1"]);
    assert_eq!(pools["db"].backends[2], standby);
    assert!(pools["spare"].backends.iter().all(|backend| backend.standby_of.is_none()));
}

#[test]
fn a_fallback_stands_by_for_its_own_backends_only() {
    // `spare` falls back to `third`: that is none of the business of `db`.
    let text = with_spare("on_all_down = \"fallback:spare\"")
        .replace("[pools.spare]\n", "[pools.spare]\non_all_down = \"fallback:third\"\n")
        + "\n[pools.third]\nmode = \"dsr-l2\"\ncheck = \"web\"\nbackends = [{ name = \"x\", address = \"10.0.1.20\" }]\n";
    let pools = model(&text).pools;
    let names = |pool: &str| -> Vec<String> {
        pools[pool].backends.iter().map(|backend| backend.name.clone()).collect()
    };
    assert_eq!(names("db"), ["db1", "db2", "spare/db1"]);
    assert_eq!(names("spare"), ["db2", "db1", "third/x"]);
}
