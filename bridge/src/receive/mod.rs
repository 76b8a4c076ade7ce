//! Receiving one endpoint's media: sequence, loss, feedback.
