//! The agent behind the control socket.

use super::{Agent, report};
use crate::api::control::Control;
use crate::api::edit::{AddBackend, BackendId, EditResult};
use crate::api::error::{ApiError, ErrorCode};
use crate::api::types::{AdminState, BackendInfo, Event, ServiceInfo, Status};
use crate::config::edit::{self, BackendSpec};
use crate::dataplane::DataplaneError;
use crate::model;

fn internal(error: &DataplaneError) -> ApiError {
    ApiError::new(ErrorCode::Internal, error.to_string())
}

fn admin_state(state: AdminState) -> model::AdminState {
    match state {
        AdminState::Active => model::AdminState::Active,
        AdminState::Drain => model::AdminState::Drain,
        AdminState::Maintenance => model::AdminState::Maintenance,
    }
}

impl Control for Agent {
    async fn status(&self) -> Result<Status, ApiError> {
        let state = self.state.lock().await;
        report::status(&state).await.map_err(|error| internal(&error))
    }

    async fn services(&self) -> Result<Vec<ServiceInfo>, ApiError> {
        let state = self.state.lock().await;
        report::services(&state).map_err(|error| internal(&error))
    }

    async fn backends(&self, pool: Option<String>) -> Result<Vec<BackendInfo>, ApiError> {
        let state = self.state.lock().await;
        if let Some(pool) = &pool
            && !state.loaded.model.pools.contains_key(pool)
        {
            let pools: Vec<&str> = state.loaded.model.pools.keys().map(String::as_str).collect();
            return Err(ApiError::new(ErrorCode::NotFound, format!("there is no pool {pool:?}"))
                .with_hint(format!("there are: {}", pools.join(", "))));
        }
        report::backends(&state, pool.as_deref()).await.map_err(|error| internal(&error))
    }

    async fn events(&self, limit: u32) -> Result<Vec<Event>, ApiError> {
        let events = self.events.after(0);
        let skipped = events.len().saturating_sub(limit as usize);
        Ok(events.into_iter().skip(skipped).map(report::event).collect())
    }

    async fn add_backend(&self, pool: String, backend: AddBackend) -> Result<EditResult, ApiError> {
        let spec = BackendSpec {
            name: backend.name,
            address: backend.address.ip,
            port: backend.address.port,
            weight: backend.weight,
            state: admin_state(backend.state),
        };
        self.edit(move |text| edit::add_backend(text, &pool, &spec)).await
    }

    async fn remove_backend(&self, backend: BackendId) -> Result<EditResult, ApiError> {
        self.edit(move |text| edit::remove_backend(text, &backend.pool, &backend.name)).await
    }

    async fn set_weight(&self, backend: BackendId, weight: u32) -> Result<EditResult, ApiError> {
        self.edit(move |text| edit::set_weight(text, &backend.pool, &backend.name, weight)).await
    }

    async fn set_state(&self, backend: BackendId, state: AdminState) -> Result<EditResult, ApiError> {
        let state = admin_state(state);
        self.edit(move |text| edit::set_state(text, &backend.pool, &backend.name, state)).await
    }

    async fn reload(&self) -> Result<EditResult, ApiError> {
        self.reload_file().await
    }
}
