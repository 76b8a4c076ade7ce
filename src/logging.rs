//! Where log lines go and what they look like.

mod jvb;
mod levels;

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;

pub use levels::filter_of_properties;

/// Starts logging to standard error.
///
/// # Errors
/// `filter` is not a filter; the text says what to write instead.
pub fn start(filter: &str, format: LogFormat) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        format!("--log {filter}: {error}. Try info, debug or causeway_bridge=debug")
    })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    match format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Jvb => lines
            .with_ansi(false)
            .event_format(jvb::Lines)
            .fmt_fields(jvb::SpanFields)
            .init(),
        LogFormat::Json => lines.with_ansi(false).json().flatten_event(true).init(),
    }
    Ok(())
}
