//! How everything that serves requests reaches the control plane.

use super::Control;
use crate::time::Time;

/// Access to a control plane.
pub trait ControlAccess: Send + Sync + 'static {
    /// Runs `work` under the control plane's lock, with the current time, and then does what it wants done. Whoever
    /// comes first is served first.
    fn with_control<R>(&self, work: impl FnOnce(&mut Control, Time) -> R) -> R;
}
