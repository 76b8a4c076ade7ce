//! How everything that serves requests reaches the control plane.

use causeway_bridge::control::Control;
use causeway_bridge::time::Time;

/// Access to a control plane: runs work under its lock and then does what it wants done.
pub trait ControlAccess: Send + Sync + 'static {
    /// Runs `work` now.
    fn with_control<R>(&self, work: impl FnOnce(&mut Control, Time) -> R) -> R;
}
