//! Settings that are kept between two probes.

use super::super::tests::pki::{Authority, unverified};
use super::*;

fn question() -> Question {
    Question::new("192.0.2.1:443".parse().unwrap(), None, Duration::from_secs(10))
}

async fn config(connector: &mut Connector, check: &TlsCheck, now: Instant) -> Arc<ClientConfig> {
    connector.config(&question(), check, Protocol::Http1, now).await.unwrap()
}

#[tokio::test]
async fn a_file_that_is_replaced_is_read_again_but_not_at_once() {
    let (authority, other) = (Authority::new("one"), Authority::new("other"));
    let check = authority.check();
    let mut connector = Connector::default();
    let start = Instant::now();
    let first = config(&mut connector, &check, start).await;
    std::fs::write(authority.file(), other.pem() + &authority.pem()).unwrap();

    let soon = config(&mut connector, &check, start + LOOK_AGAIN_AFTER - Duration::from_nanos(1)).await;
    assert!(Arc::ptr_eq(&first, &soon));
    let later = config(&mut connector, &check, start + LOOK_AGAIN_AFTER).await;
    assert!(!Arc::ptr_eq(&first, &later));
    assert_eq!(connector.client.as_ref().unwrap().authorities.as_ref().unwrap().len(), 2);

    let unchanged = config(&mut connector, &check, start + LOOK_AGAIN_AFTER * 2).await;
    assert!(Arc::ptr_eq(&later, &unchanged));
    assert_eq!(connector.client.as_ref().unwrap().looked_at, start + LOOK_AGAIN_AFTER * 2);
}

#[tokio::test]
async fn a_file_that_goes_takes_nothing_from_those_who_have_read_it() {
    let authority = Authority::new("one");
    let check = authority.check();
    let mut connector = Connector::default();
    let start = Instant::now();
    let first = config(&mut connector, &check, start).await;
    std::fs::remove_file(authority.file()).unwrap();
    let later = start + LOOK_AGAIN_AFTER;
    let kept = config(&mut connector, &check, later).await;
    assert!(Arc::ptr_eq(&first, &kept));
    // Whoever has never read it cannot ask.
    let error = Connector::default().config(&question(), &check, Protocol::Http1, later).await.unwrap_err();
    assert!(error.is_inconclusive(), "{error}");
    // It is looked at again in its time.
    let other = Authority::new("two");
    std::fs::write(authority.file(), other.pem()).unwrap();
    let renewed = config(&mut connector, &check, later + LOOK_AGAIN_AFTER).await;
    assert!(!Arc::ptr_eq(&first, &renewed));
}

#[tokio::test]
async fn checks_that_trust_the_same_share_the_list() {
    let authority = Authority::new("one");
    let (mut one, mut two) = (Connector::default(), Connector::default());
    let now = Instant::now();
    config(&mut one, &authority.check(), now).await;
    config(&mut two, &authority.check(), now).await;
    let list = |connector: &Connector| connector.client.as_ref().unwrap().authorities.clone().unwrap();
    assert!(Arc::ptr_eq(&list(&one), &list(&two)));
}

#[tokio::test]
async fn settings_without_a_file_stay() {
    let mut connector = Connector::default();
    let start = Instant::now();
    let first = config(&mut connector, &unverified(false), start).await;
    let later = config(&mut connector, &unverified(false), start + LOOK_AGAIN_AFTER * 2).await;
    assert!(Arc::ptr_eq(&first, &later));
}
