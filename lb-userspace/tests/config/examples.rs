//! Every example that the project ships is a valid configuration whose checks ask where somebody listens.

use std::fs;
use std::path::{Path, PathBuf};

use lb_userspace::config;
use lb_userspace::model::{Model, Pool, Protocol, Service};

/// The examples, at least one.
fn examples() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let examples: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "toml")).collect();
    assert!(!examples.is_empty(), "no examples found");
    examples
}

/// The services that a pool serves.
fn services_of<'a>(model: &'a Model, pool: &'a str) -> impl Iterator<Item = &'a Service> {
    model.services.values().filter(move |service| service.pool == pool)
}

#[test]
fn every_example_is_valid_and_without_warnings() {
    for path in examples() {
        let (parsed, _) = config::load(&path).unwrap_or_else(|error| panic!("{error}"));
        assert!(parsed.warnings.is_empty(), "{}", parsed.warnings);
        assert!(!parsed.model.serves_nothing(), "{} serves nothing", path.display());
    }
}

#[test]
fn every_example_is_checked_where_its_backends_listen() {
    let mut checked = 0;
    for path in examples() {
        let text = fs::read_to_string(&path).unwrap();
        let (parsed, _) = config::load(&path).unwrap_or_else(|error| panic!("{error}"));
        for (name, pool) in &parsed.model.pools {
            let Some(check) = &pool.check else { continue };
            let told = misplaced(&parsed.model, name, pool, &text);
            assert!(told.is_none(), "{}: pool {name}, check {check}: {}", path.display(), told.unwrap());
            checked += 1;
        }
    }
    assert!(checked > 0, "no example has a check");
}

/// What is wrong with the port at which a pool's check asks.
fn misplaced(model: &Model, name: &str, pool: &Pool, text: &str) -> Option<String> {
    let check = pool.check.as_ref()?;
    let Some(port) = model.checks[check].port else {
        // Every kind of check connects by TCP.
        let own = pool.backends.iter().all(|backend| backend.port.is_some());
        let listens = |service: &Service| {
            service.protocol == Protocol::Tcp
                && (own || service.ports.iter().any(|ports| ports.one().is_some()))
        };
        return (!services_of(model, name).any(listens))
            .then(|| "nobody need listen on TCP there: it needs a port of its own".to_owned());
    };
    let other = pool.backends.iter().find(|backend| backend.port.is_some_and(|own| own != port));
    if let Some(backend) = other {
        return Some(format!("{} does not listen on {port}", backend.name));
    }
    let (_, table) = text.split_once(&format!("[checks.{check}]"))?;
    let line = table.lines().find(|line| line.starts_with("port ="))?;
    (!line.contains('#')).then(|| format!("port {port} overrides the backends', and no comment says why"))
}

/// The rule itself, with the mistakes that it is for.
#[test]
fn checks_that_ask_where_nobody_listens_are_found() {
    let base = r#"
        [node]
        interfaces = ["eth0"]
        [checks.alive]
        kind = "tcp"
        [pools.web]
        mode = "nat"
        check = "alive"
        backends = [{ name = "web1", address = "10.0.0.11:8443" }]
        [services.web]
        vips = ["203.0.113.10"]
        ports = [443]
        protocol = "tcp"
        pool = "web"
    "#
    .replace("\n        ", "\n");
    let found = |text: &str| {
        let model =
            config::parse(text, Path::new("test.toml")).unwrap_or_else(|error| panic!("{error}")).model;
        misplaced(&model, "web", &model.pools["web"], text)
    };
    assert_eq!(found(&base), None);
    let with = |from: &str, to: &str| found(&base.replace(from, to));
    let elsewhere = with("kind = \"tcp\"", "kind = \"tcp\"\nport = 443 # everybody's");
    assert!(elsewhere.unwrap().contains("web1 does not listen on 443"));
    assert!(with("protocol = \"tcp\"", "protocol = \"udp\"").is_some());
    assert!(with("kind = \"tcp\"", "kind = \"tcp\"\nport = 8443").unwrap().contains("no comment"));
    assert_eq!(with("kind = \"tcp\"", "kind = \"tcp\"\nport = 8443 # TLS"), None);
}
