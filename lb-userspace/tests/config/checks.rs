//! What is refused in checks: each kind of problem with its place, message and hint. See `errors` for the mark `«`.

use super::base_with;
use super::errors::{refuses, refuses_text};

/// The check `db` of the base, of a kind and with these keys.
#[track_caller]
fn check(kind: &str, keys: &str, message: &str, hint: &str) {
    refuses("kind = \"tcp\"", &format!("kind = \"{kind}\"\n{keys}"), message, hint);
}

/// The check `web` of the base, of kind `http`, with these keys more.
#[track_caller]
fn http(keys: &str, message: &str, hint: &str) {
    refuses("path = \"/health\"", keys, message, hint);
}

const KINDS: &str =
    "\"tcp\", \"http\", \"https\", \"udp\", \"dns\", \"grpc\", \"mysql\", \"exec\", \"agent\"";

// --- Every kind ---

#[test]
fn an_unknown_or_missing_kind() {
    refuses(
        "kind = \"tcp\"",
        "kind = «\"htpp\"",
        "`kind`: `htpp` is not a choice",
        &format!("did you mean \"http\"? The choices are {KINDS}"),
    );
    refuses(
        "[checks.db]\nkind = \"tcp\"",
        "[checks.«db]\nrise = 1",
        "check `db` has no `kind`",
        "add kind = \"tcp\" or kind = \"http\"",
    );
}

#[test]
fn counts_out_of_range() {
    for key in ["rise", "fall"] {
        for count in ["0", "101"] {
            let message = format!("`{key}`: `{count}` is out of range");
            check("tcp", &format!("{key} = «{count}"), &message, "the range is 1 to 100");
        }
    }
    check("tcp", "port = «0", "`port`: `0` is out of range", "the range is 1 to 65535");
}

#[test]
fn a_jitter_of_more_than_half_of_the_interval() {
    check(
        "tcp",
        "jitter = «\"501ms\"",
        "`jitter` (501ms) is longer than half of the interval",
        "use at most half of the interval, 500ms, or raise `interval`",
    );
    check(
        "tcp",
        "interval = \"1h\"\njitter = «\"31m\"",
        "`jitter`: `31m` is out of range",
        "the range is 0s to 30m",
    );
}

#[test]
fn damping_that_is_no_truth() {
    check(
        "tcp",
        "damping = «\"true\"",
        "`damping`: expected a boolean, found a string",
        "write it without quotes: true",
    );
}

#[test]
fn keys_of_other_kinds() {
    let http = "kind = \"http\" or kind = \"https\"";
    let tls = "kind = \"https\" or kind = \"grpc\"";
    let mysql = "kind = \"mysql\"";
    for (kind, key, value, others) in [
        ("tcp", "path", "\"/\"", http),
        ("agent", "expect_body", "\"ok\"", http),
        ("http", "verify", "false", tls),
        ("mysql", "ca", "\"/ca.pem\"", tls),
        ("tcp", "send", "\"ping\"", "kind = \"udp\" or kind = \"agent\""),
        ("agent", "expect", "\"pong\"", "kind = \"udp\""),
        ("tcp", "query", "\"example.net\"", "kind = \"dns\""),
        ("https", "tcp", "true", "kind = \"dns\""),
        ("https", "tls", "true", "kind = \"grpc\""),
        ("http", "service", "\"shop\"", "kind = \"grpc\""),
        ("tcp", "role", "\"primary\"", mysql),
        ("http", "password", "\"secret\"", mysql),
        ("agent", "command", "[\"/bin/true\"]", "kind = \"exec\""),
    ] {
        check(
            kind,
            &format!("«{key} = {value}"),
            &format!("`{key}` has no meaning in a check of kind \"{kind}\""),
            &format!("remove it, or write {others}"),
        );
    }
}

#[test]
fn a_source_that_cannot_be() {
    check(
        "tcp",
        "source = «\"lb1.example.net\"",
        "`source`: `lb1.example.net` is not an IP address",
        "write an IP address, such as \"203.0.113.10\" or \"2001:db8::10\"",
    );
    check(
        "tcp",
        "source = «\"127.0.0.1\"",
        "`source`: `127.0.0.1` is a loopback address",
        "write an address that hosts on the network reach",
    );
    let text = base_with("kind = \"tcp\"", "kind = \"tcp\"\nsource = \"2001:db8::1\"");
    refuses_text(
        &text.replace("\"10.0.1.11\"", "«\"10.0.1.11\""),
        &[(
            "backend `db1` has an IPv4 address and is checked from the IPv6 address 2001:db8::1",
            "give each family a pool and a check of its own, or leave `source` out",
        )],
    );
}

// --- http and https ---

#[test]
fn a_body_that_cannot_be_looked_for() {
    let hint = "put a backslash before a character that stands for itself, twice in double quotes";
    http("expect_body = «\"(ok\"", "`expect_body`: `(ok` is not a regular expression: unclosed group", hint);
    http(
        "expect_body = «\"*\"",
        "`expect_body`: `*` is not a regular expression: repetition operator missing expression",
        hint,
    );
    http("expect_body = «\"\"", "`expect_body` has 0 bytes", "write 1 to 1024 bytes, such as \"status: ok\"");
    http(
        "method = \"HEAD\"\nexpect_body = «\"ok\"",
        "`expect_body` with method = \"HEAD\": the answer has no body",
        "use method = \"GET\"",
    );
}

#[test]
fn a_method_or_a_version_that_there_is_not() {
    http("method = «\"POST\"", "`method`: `POST` is not a choice", "the choices are \"GET\", \"HEAD\"");
    http(
        "version = «\"1.0\"",
        "`version`: `1.0` is not a choice",
        "did you mean \"1.1\"? The choices are \"1.1\", \"2\"",
    );
    http("version = «2", "`version`: expected a string, found an integer", "put it in double quotes: \"2\"");
}

#[test]
fn headers_that_cannot_be_sent() {
    http(
        "headers = { «\"X Check\" = \"1\" }",
        "`headers`: `X Check` is not the name of a header",
        "write a name such as \"X-Check\"",
    );
    http(
        "headers = { «\"\" = \"1\" }",
        "`headers`: `` is not the name of a header",
        "write a name such as \"X-Check\"",
    );
    http(
        "headers = { X-Check = «\"a\\nb\" }",
        "the value of `X-Check` cannot be sent",
        "use at most 1024 ASCII characters, none of them a control character",
    );
    http(
        "headers = { X-Check = «1 }",
        "`X-Check`: expected a string, found an integer",
        "put it in double quotes: \"1\"",
    );
    http("headers = { «Host = \"a\" }", "`headers`: the check writes `Host` itself", "use the key `host`");
    for name in ["connection", "Content-Length", "TE", "transfer-encoding", "Upgrade"] {
        http(
            &format!("headers = {{ «{name} = \"a\" }}"),
            &format!("`headers`: the check writes `{name}` itself"),
            "remove it",
        );
    }
    let many: Vec<String> = (0..33).map(|number| format!("X-{number} = \"1\"")).collect();
    http(&format!("headers = «{{ {} }}", many.join(", ")), "`headers` has 33 entries", "write at most 32");
}

#[test]
fn tls_that_cannot_be() {
    check(
        "https",
        "verify = false\nca = «\"/etc/lb/ca.pem\"",
        "`ca` has no meaning with verify = false",
        "remove one of the two: without verification nobody looks at who signed",
    );
    check(
        "https",
        "ca = «\"ca.pem\"",
        "`ca`: `ca.pem` is not an absolute path",
        "write the whole path, from the slash on",
    );
    check(
        "https",
        "expiry_warning = «\"10years\"",
        "`expiry_warning`: `10years` is out of range",
        "the range is 0s to 1year",
    );
    for (key, value) in [
        ("verify", "false"),
        ("server_name", "\"cart.example.net\""),
        ("ca", "\"/etc/lb/ca.pem\""),
        ("expiry_warning", "\"1day\""),
    ] {
        for tls in ["", "tls = false\n"] {
            check(
                "grpc",
                &format!("{tls}«{key} = {value}"),
                &format!("`{key}` has no meaning without tls = true"),
                "add tls = true, or remove it",
            );
        }
    }
}

// --- udp, dns and grpc ---

#[test]
fn datagrams_that_cannot_be_sent() {
    refuses(
        "[checks.db]\nkind = \"tcp\"",
        "[checks.«db]\nkind = \"udp\"",
        "check `db` has no `send`",
        "add send = \"ping\"",
    );
    check("udp", "send = «\"\"", "`send` has 0 bytes", "write 1 to 1024");
    let long = "x".repeat(1_025);
    check("udp", &format!("send = «\"{long}\""), "`send` has 1025 bytes", "write 1 to 1024");
    check("udp", "send = \"a\"\nexpect = «\"\"", "`expect` has 0 bytes", "write 1 to 1024");
}

#[test]
fn names_that_cannot_be_asked_for() {
    refuses(
        "[checks.db]\nkind = \"tcp\"",
        "[checks.«db]\nkind = \"dns\"",
        "check `db` has no `query`",
        "add query = \"www.example.net\"",
    );
    let hint = "write a name such as \"www.example.net\"; names in other scripts as xn--…";
    let long_label = "x".repeat(64);
    let long_name = ["x".repeat(63), "y".repeat(63), "z".repeat(63), "w".repeat(63)].join(".");
    for name in ["", "..", "a..b", ".a", "a b", "bücher.example", &long_label] {
        let message = format!("`query`: `{name}` is not a DNS name");
        check("dns", &format!("query = «\"{name}\""), &message, hint);
    }
    let shown: String = long_name.chars().take(80).collect();
    check(
        "dns",
        &format!("query = «\"{long_name}\""),
        &format!("`query`: `{shown}…` is not a DNS name"),
        hint,
    );
    check(
        "dns",
        "query = \".\"\nrecord = «\"SRV\"",
        "`record`: `SRV` is not a choice",
        "the choices are \"A\", \"AAAA\", \"CNAME\", \"MX\", \"NS\", \"SOA\", \"TXT\"",
    );
}

#[test]
fn a_service_of_grpc_that_cannot_be() {
    check(
        "grpc",
        "service = «\"a\\tb\"",
        "`service`: `a\\tb` cannot be used",
        "write 0 to 1024 bytes without control characters",
    );
}

// --- mysql ---

#[test]
fn a_database_without_an_account() {
    let hint = "add user = \"lb_check\" and its password, or remove this";
    for (key, value) in [
        ("role", "\"primary\""),
        ("max_lag", "\"5s\""),
        ("password", "\"secret\""),
        ("password_file", "\"/etc/lb/password\""),
    ] {
        let message = format!("`{key}` needs an account to log in with, and there is no `user`");
        check("mysql", &format!("{key} = «{value}"), &message, hint);
    }
}

#[test]
fn an_account_that_cannot_be() {
    let user = "user = \"lb_check\"\n";
    check(
        "mysql",
        &format!("{user}password = \"secret\"\npassword_file = «\"/etc/lb/password\""),
        "`password` and `password_file` are both there",
        "remove one of the two",
    );
    check(
        "mysql",
        &format!("{user}password_file = «\"password\""),
        "`password_file`: `password` is not an absolute path",
        "write the whole path, from the slash on",
    );
    check(
        "mysql",
        "user = «\"\"",
        "`user`: `` cannot be used",
        "write 1 to 320 bytes without control characters",
    );
    check(
        "mysql",
        &format!("{user}role = «\"master\""),
        "`role`: `master` is not a choice",
        "the choices are \"primary\", \"replica\", \"any\"",
    );
    check(
        "mysql",
        &format!("{user}max_lag = «\"500ms\""),
        "`max_lag`: `500ms` is out of range",
        "the range is 1s to 1day",
    );
    check(
        "mysql",
        &format!("{user}role = \"primary\"\nmax_lag = «\"5s\""),
        "`max_lag` with role = \"primary\": a primary follows nobody",
        "use it with role = \"replica\" or \"any\"",
    );
}

// --- exec and agent ---

#[test]
fn commands_that_cannot_be_started() {
    const EXAMPLE: &str = "command = [\"/usr/local/bin/check\", \"{address}\", \"{port}\"]";
    refuses(
        "[checks.db]\nkind = \"tcp\"",
        "[checks.«db]\nkind = \"exec\"",
        "check `db` has no `command`",
        &format!("add {EXAMPLE}"),
    );
    let count = format!("write a program and at most 63 arguments: {EXAMPLE}");
    check("exec", "command = «[]", "`command` has 0 elements", &count);
    let many = vec!["\"a\""; 65].join(", ");
    check("exec", &format!("command = «[{many}]"), "`command` has 65 elements", &count);
    for program in ["check", "./check", ""] {
        check(
            "exec",
            &format!("command = «[\"{program}\", \"{{address}}\"]"),
            &format!("`command`: `{program}` is not an absolute path"),
            &format!("write the program's whole path: {EXAMPLE}"),
        );
    }
    check(
        "exec",
        "command = [\"/bin/true\", «\"a\\u0000b\"]",
        "`command`: `a\\u{0}b` cannot be used",
        "write 0 to 4095 bytes without control characters",
    );
}

#[test]
fn a_line_to_an_agent_that_is_more_than_one() {
    let hint = "write 0 to 1024 bytes without control characters";
    check("agent", "send = «\"a\\nb\"", "`send`: `a\\nb` cannot be used", hint);
}
