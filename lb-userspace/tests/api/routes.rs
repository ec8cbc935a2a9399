//! Every route: what it calls, what it answers, how it refuses.

use lb_userspace::api::client::ClientError;
use lb_userspace::api::control::Control;
use lb_userspace::api::edit::{AddBackend, BackendId, EditResult, SetState};
use lb_userspace::api::error::{ApiError, ErrorCode};
use lb_userspace::api::types::{AdminState, ForwardMode};
use serde_json::Value;

use crate::fake::{Running, backend};

fn id(text: &str) -> BackendId {
    text.parse().unwrap()
}

fn refused<T: std::fmt::Debug>(result: Result<T, ClientError>) -> ApiError {
    match result {
        Err(ClientError::Refused(error)) => error,
        other => panic!("not refused: {other:?}"),
    }
}

fn changed(result: Result<EditResult, ClientError>) -> (u64, bool) {
    let result = result.unwrap();
    assert_eq!(result.warnings, ["sample warning"]);
    (result.generation, result.changed)
}

fn state(state: AdminState) -> SetState {
    SetState { state, force: false }
}

fn web4() -> AddBackend {
    AddBackend {
        name: "web4".into(),
        address: "[fd00::14]:8080".parse().unwrap(),
        weight: Some(7),
        state: AdminState::Drain,
    }
}

#[tokio::test]
async fn what_is_read_is_what_the_agent_says() {
    let running = Running::start().await;
    let client = running.client();
    let status = client.status().await.unwrap();
    assert_eq!((status.pid, status.config.generation), (4711, 11));
    let services = client.services().await.unwrap();
    assert_eq!((services.len(), services[0].mode), (1, ForwardMode::DsrL2));
    let wanted = [backend("web1", 11), backend("web2", 12)];
    assert_eq!(client.backends(None).await.unwrap(), wanted);
    assert_eq!(client.backends(Some("web")).await.unwrap(), wanted);
    let events = client.events(3).await.unwrap();
    assert_eq!(events.iter().map(|event| event.sequence).collect::<Vec<_>>(), [0, 1, 2]);
}

#[tokio::test]
async fn an_added_backend_is_there_as_it_was_given() {
    let running = Running::start().await;
    let client = running.client();
    assert_eq!(changed(client.add_backend("web", &web4()).await), (12, true));
    let backends = client.backends(None).await.unwrap();
    let added = backends.iter().find(|backend| backend.name == "web4").unwrap();
    assert_eq!(added.address.to_string(), "fd00::14");
    assert_eq!((added.port, added.weight, added.admin_state), (Some(8080), 7, AdminState::Drain));
}

#[tokio::test]
async fn weight_and_state_are_set_once() {
    let running = Running::start().await;
    let client = running.client();
    let web1 = id("web/web1");
    assert_eq!(changed(client.set_weight(&web1, 50).await), (12, true));
    assert_eq!(changed(client.set_weight(&web1, 50).await), (12, false));
    assert_eq!(changed(client.set_state(&web1, state(AdminState::Drain)).await), (13, true));
    assert_eq!(changed(client.set_state(&web1, state(AdminState::Maintenance)).await), (14, true));
    assert_eq!(changed(client.set_state(&web1, state(AdminState::Active)).await), (15, true));
    assert_eq!(client.backends(None).await.unwrap()[0].weight, 50);
}

#[tokio::test]
async fn a_removed_backend_is_gone_and_a_reload_may_change_nothing() {
    let running = Running::start().await;
    let client = running.client();
    assert_eq!(changed(client.remove_backend(&id("web/web1")).await), (12, true));
    assert_eq!(running.fake.names(), ["web2"]);
    assert_eq!(changed(client.reload().await), (12, false));
}

#[tokio::test]
async fn what_the_agent_refuses_arrives_whole() {
    let running = Running::start().await;
    let client = running.client();
    let error = refused(client.backends(Some("wbe")).await);
    assert_eq!((error.code, error.hint.as_deref()), (ErrorCode::NotFound, Some("there is: web")));
    assert_eq!(refused(client.add_backend("wbe", &web4()).await).code, ErrorCode::NotFound);
    assert_eq!(refused(client.remove_backend(&id("web/web9")).await).code, ErrorCode::NotFound);
    assert_eq!(
        refused(client.set_state(&id("web/web9"), state(AdminState::Drain)).await).code,
        ErrorCode::NotFound
    );

    client.set_state(&id("web/web2"), state(AdminState::Drain)).await.unwrap();
    let drain = state(AdminState::Drain);
    let error = refused(client.set_state(&id("web/web1"), drain).await);
    assert_eq!((error.code, error.hint.as_deref()), (ErrorCode::NeedsForce, Some("--force")));
    client.set_state(&id("web/web1"), SetState { force: true, ..drain }).await.unwrap();

    client.add_backend("web", &web4()).await.unwrap();
    assert_eq!(refused(client.add_backend("web", &web4()).await).code, ErrorCode::Conflict);

    let error = refused(client.set_weight(&id("web/web1"), 1_001).await);
    assert_eq!(error.code, ErrorCode::InvalidConfig);
    assert_eq!((error.details[0].line, error.details[0].column), (7, 30));
}

#[tokio::test]
async fn a_name_with_special_characters_stays_one_name() {
    let running = Running::start().await;
    let client = running.client();
    for name in ["a b", "a?b=c&d#e", "../web1", "a%2fb", "größe", "a+b"] {
        let wanted = format!("there is no backend web/{name}");
        let backend = BackendId { pool: "web".into(), name: name.into() };
        assert_eq!(refused(client.remove_backend(&backend).await).message, wanted);
        let error = refused(client.backends(Some(name)).await);
        assert_eq!(error.message, format!("there is no pool {name:?}"));
    }
}

#[tokio::test]
async fn a_backend_is_shown_by_its_name_and_a_standby_too() {
    let running = Running::start().await;
    let client = running.client();
    let detail = client.backend(&id("web/web2")).await.unwrap();
    assert_eq!((detail.backend, detail.standby_of), (backend("web2", 12), None));
    let standby = BackendId::with_standbys("web/spare/web1").unwrap();
    let detail = client.backend(&standby).await.unwrap();
    assert_eq!(
        (detail.backend.name.as_str(), detail.standby_of.as_deref()),
        ("spare/web1", Some("spare/web1"))
    );
    assert_eq!(refused(client.backend(&id("wbe/web1")).await).hint.as_deref(), Some("there is: web"));
    assert_eq!(refused(client.backend(&id("web/web9")).await).code, ErrorCode::NotFound);
    let curl = b"GET /v1/backends/web/spare/web9 HTTP/1.1\r\nhost: x\r\n\r\n";
    let (status, error) = running.raw(curl).await;
    assert_eq!((status, error.message.as_str()), (404, "there is no backend web/web9"));
}

#[tokio::test]
async fn the_number_of_events_is_bounded() {
    let running = Running::start().await;
    let client = running.client();
    assert_eq!(client.events(10_000).await.unwrap().len(), 10_000);
    for limit in [0, 10_001, u32::MAX] {
        let error = refused(client.events(limit).await);
        assert_eq!(error.code, ErrorCode::InvalidRequest);
        assert_eq!(error.message, format!("limit is {limit}; it must be 1 to 10000"));
    }
}

#[tokio::test]
async fn the_http_status_goes_with_the_code() {
    let running = Running::start().await;
    let (status, error) =
        running.raw(b"DELETE /v1/pools/web/backends/web9 HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!((status, error.code), (404, ErrorCode::NotFound));
    let request = b"PUT /v1/pools/web/backends/web1/weight HTTP/1.1\r\nhost: x\r\ncontent-length: 15\r\n\r\n{\"weight\":1001}";
    let (status, error) = running.raw(request).await;
    assert_eq!((status, error.code), (422, ErrorCode::InvalidConfig));
    running.fake.remove_backend(id("web/web2")).await.unwrap();
    let request = b"PUT /v1/pools/web/backends/web1/state HTTP/1.1\r\nhost: x\r\ncontent-length: 17\r\n\r\n{\"state\":\"drain\"}";
    let (status, error) = running.raw(request).await;
    assert_eq!((status, error.code), (409, ErrorCode::NeedsForce));
}

/// Scripts depend on these names.
#[tokio::test]
async fn the_json_has_the_documented_fields() {
    let running = Running::start().await;
    let backends = running.client().backends(None).await.unwrap();
    let json: Value = serde_json::to_value(&backends[0]).unwrap();
    let wanted = serde_json::json!({
        "pool": "web", "name": "web1", "index": 11, "address": "10.0.0.11", "port": 80, "weight": 100,
        "admin_state": "active",
        "health": {"state": "up", "since_seconds": 12, "reason": null, "last_latency_us": 850, "detail": null,
            "held_seconds": 0},
        "slot_share_percent": 50.0,
        "next_hop": {"state": "resolved", "mac": "02:00:00:00:00:0b", "interface": "eth0"},
        "packets": 10, "bytes": 1000, "new_connections": 1,
        "remembered_flows": 0, "settles_in_seconds": null, "drained": false,
    });
    assert_eq!(json, wanted);
    let detail = running.client().backend(&id("web/web1")).await.unwrap();
    let json: Value = serde_json::to_value(&detail).unwrap();
    let wanted = serde_json::json!({
        "backend": wanted, "served": true, "standby_of": null,
        "check": {
            "name": "tcp", "kind": "tcp", "address": "10.0.0.11:80", "interval_ms": 1000, "timeout_ms": 500,
            "rise": 2, "fall": 3, "good_in_a_row": 1, "bad_in_a_row": 0, "good": 1, "bad": 0, "inconclusive": 0,
            "certificate_expires_unix_seconds": null,
        },
        "results": [{"ago_ms": 400, "verdict": "good", "latency_us": 850, "message": "answered"}],
    });
    assert_eq!(json, wanted);
    let status = running.client().status().await.unwrap();
    let json: Value = serde_json::to_value(status.flows).unwrap();
    let wanted = serde_json::json!({
        "capacity": 0, "entries": 0, "recorded": 0, "hits": 0, "evicted": 0, "refused_opening": 0,
        "refused_established": 0, "refused_udp": 0, "slots_learning": 0, "slots_tracked": 0,
    });
    assert_eq!(json, wanted);
}
