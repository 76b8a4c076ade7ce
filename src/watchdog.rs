//! Tells the service manager that the bridge is alive, as long as it is.

use std::time::Duration;

use causeway_bridge::Bridge;
use causeway_bridge::control::ControlAccess;
use sd_notify::NotifyState;
use tokio::time::{interval, timeout};

/// How long a worker or the control plane may take for one turn before the bridge counts as hanging.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reports to the service manager at half the period that it asked for; for ever, or not at all if it asked for none.
pub async fn run(bridge: Bridge) {
    let Some(period) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut turns = interval((period / 2).max(Duration::from_millis(100)));
    loop {
        turns.tick().await;
        let stalled = bridge.stalled(PATIENCE);
        if !stalled.is_empty() {
            tracing::error!(workers = ?stalled, "workers hang: the watchdog is not answered");
            continue;
        }
        let control = bridge.clone();
        let counts = tokio::task::spawn_blocking(move || {
            control.with_control(|control, _| {
                (control.conference_count(), control.endpoint_count_total())
            })
        });
        match timeout(PATIENCE, counts).await {
            Ok(Ok((conferences, endpoints))) => {
                let status = format!("{conferences} conferences, {endpoints} endpoints");
                // An error here means that there is nobody to tell.
                let _ = sd_notify::notify(&[NotifyState::Watchdog, NotifyState::Status(&status)]);
            }
            _ => tracing::error!("the control plane hangs: the watchdog is not answered"),
        }
    }
}
