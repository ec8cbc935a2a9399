//! Rules that keep a configuration from doing what nobody wants of it: serve two primaries, print a password, never ask.

use super::errors::refuses_text;
use super::parse;

/// A pool of primaries `db` with `keys` and these backends, a pool of another kind `other`, and checks.
fn databases(keys: &str, backends: &[&str]) -> String {
    let list: Vec<String> = backends
        .iter()
        .enumerate()
        .map(|(at, address)| format!("{{ name = \"db{at}\", address = \"{address}\" }}"))
        .collect();
    let backends = list.join(", ");
    format!(
        "[node]\ninterfaces = [\"eth0\"]\n\
         [checks.primary]\nkind = \"mysql\"\nuser = \"lb\"\nrole = \"primary\"\n\
         [checks.replica]\nkind = \"mysql\"\nuser = \"lb\"\nrole = \"replica\"\n\
         [pools.«db]\nmode = \"nat\"\ncheck = \"primary\"\n{keys}\nbackends = [{backends}]\n\
         [pools.replicas]\nmode = \"nat\"\ncheck = \"replica\"\nbackends = [{{ name = \"r\", address = \"10.0.9.1:3306\" }}]\n\
         [pools.bare]\nmode = \"nat\"\nbackends = [{{ name = \"b\", address = \"10.0.9.2:3306\" }}]\n\
         [pools.elsewhere]\nmode = \"nat\"\ncheck = \"primary\"\nbackends = [{{ name = \"e\", address = \"10.0.9.3:3306\" }}]\n"
    )
}

const ONLY_ONE: &str = "in a pool of primaries: only the one that can be written to is ever served";

#[test]
fn a_pool_of_primaries_falls_back_to_primaries_only() {
    for pool in ["replicas", "bare"] {
        let text = databases(&format!("on_all_down = «\"fallback:{pool}\""), &["10.0.3.1:3306"]);
        let text = text.replacen("«db", "db", 1);
        let message = format!("a fallback to a pool whose check does not look for a primary, {ONLY_ONE}");
        refuses_text(&text, &[(&message, "name a pool whose check does")]);
    }
    let text = databases("on_all_down = \"fallback:elsewhere\"", &["10.0.3.1:3306"]).replacen("«db", "db", 1);
    parse(&text).unwrap();
}

#[test]
fn primaries_of_two_families_would_be_two() {
    let message = format!("backends of both families, which are judged apart, {ONLY_ONE}");
    let text = databases("", &["10.0.3.1:3306", "[fd00::1]:3306"]);
    refuses_text(&text, &[(&message, "keep the backends of one family")]);
    // In tunnels they share a table.
    let tunnels = text.replacen("«db", "db", 1).replacen("mode = \"nat\"", "mode = \"dsr-ipip\"", 1);
    parse(&tunnels.replace(":3306", "").replace("[fd00::1]", "fd00::1")).unwrap();
}

/// A pool `web` with `keys` and these backends, and one more, `spare`, of IPv4.
fn web(keys: &str, backends: &str) -> String {
    format!(
        "[node]\ninterfaces = [\"eth0\"]\n[checks.web]\nkind = \"tcp\"\n\
         [pools.web]\nmode = \"nat\"\ncheck = \"web\"\n{keys}\nbackends = [{backends}]\n\
         [pools.spare]\nmode = \"nat\"\ncheck = \"web\"\nbackends = [{{ name = \"x\", address = \"10.0.9.1:80\" }}]\n"
    )
}

const TWO_FAMILIES: &str = "{ name = \"a\", address = \"10.0.0.1:80\" }, { name = \"b\", address = \"10.0.0.2:80\" }, \
                            { name = \"c\", address = \"[fd00::1]:80\" }";

#[test]
fn families_are_counted_apart() {
    let message = "`min_healthy` is 2, and pool `web` has 1 backend of one family";
    refuses_text(&web("min_healthy = «2", TWO_FAMILIES), &[(message, "use at most 1")]);
    let message = "pool `web` has IPv6 backends and falls back to pool `spare`, which has none";
    let hint = "give that pool a backend with an IPv6 address";
    refuses_text(&web("on_all_down = «\"fallback:spare\"", TWO_FAMILIES), &[(message, hint)]);
}

/// The problem of a check with these keys.
#[track_caller]
fn check(keys: &str, message: &str, hint: &str) {
    let text = format!("[node]\ninterfaces = [\"eth0\"]\n[checks.c]\n{keys}\n");
    refuses_text(&text, &[(message, hint)]);
}

#[test]
fn what_cannot_be_sent_is_refused_before_anybody_is_asked() {
    let hint = "write characters other than letters, digits and -._~!$&'()*+,;=:@/?% as %XX";
    for path in ["/a#b", "/a<b>"] {
        let keys = format!("kind = \"http\"\npath = «\"{path}\"");
        check(&keys, &format!("`path`: `{path}` cannot be sent"), hint);
    }
    let hint = "write a host name such as \"www.example.net\", without a scheme or a path";
    for host in ["a b", "a/b", "me@there", "a:b:c"] {
        let keys = format!("kind = \"http\"\nhost = «\"{host}\"");
        check(&keys, &format!("`host`: `{host}` cannot be sent"), hint);
    }
    let hint = "write a name such as \"www.example.net\", or an IP address";
    for name in ["*.example.net", "a_b.example.net/", ""] {
        let keys = format!("kind = \"https\"\nserver_name = «\"{name}\"");
        check(&keys, &format!("`server_name`: `{name}` cannot be the name of a certificate"), hint);
    }
    check(
        "kind = \"https\"\nhost = «\"a*b:8443\"",
        "`host`: `a*b:8443` cannot be the name of a certificate",
        "add `server_name` with the name that the certificate has",
    );
}

#[test]
fn secrets_are_not_repeated() {
    let text = "[node]\ninterfaces = [\"eth0\"]\n[checks.c]\nkind = \"mysql\"\nuser = \"lb\"\npassword = \"very\\nsecret\"\n\
                [checks.d]\nkind = \"http\"\nheaders = { Authorization = \"very\\nsecret\" }\n";
    let shown = parse(text).unwrap_err().to_string();
    assert!(shown.contains("`password` cannot be used"), "{shown}");
    assert!(shown.contains("the value of `Authorization` cannot be sent"), "{shown}");
    assert!(!shown.contains("secret"), "{shown}");
}
