//! Captures of one endpoint's packets.

use super::Control;
use super::api::ControlError;
use crate::capture::CaptureTap;
use crate::ids::EndpointKey;
use crate::messages::Command;

impl Control {
    /// Has an endpoint's packets copied into `tap` until it leaves, or no longer (`None`). A tap that was set before ends.
    ///
    /// # Errors
    ///
    /// [`ControlError::NoEndpoint`]; the tap ends at once.
    pub fn set_capture(
        &mut self,
        endpoint: EndpointKey,
        tap: Option<Box<CaptureTap>>,
    ) -> Result<(), ControlError> {
        let known = self.endpoints.get(&endpoint);
        let known = known.ok_or(ControlError::NoEndpoint)?;
        self.outputs
            .worker(known.worker, Command::Capture(endpoint, tap));
        Ok(())
    }
}
