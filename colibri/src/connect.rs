//! What describes a media export, whether JSON or XML has it.

use causeway_bridge::export::{
    Connect, ConnectAction, ExportKind, ExportSettings, Pings, is_header,
};
use causeway_bridge::ids::SourceName;
use causeway_bridge::limits::{MAX_CONNECT_HEADERS, MAX_CONNECT_URL};

use crate::parts::{Result, checked_id, fail};

/// The parts of a `connect` as they are written.
#[derive(Default)]
pub(crate) struct Description<'a> {
    pub id: &'a str,
    pub url: &'a str,
    pub protocol: &'a str,
    pub kind: &'a str,
    pub audio: bool,
    pub video: bool,
    pub create: bool,
    pub expire: bool,
    pub headers: Vec<(&'a str, &'a str)>,
    pub pings: Option<Pings>,
    pub exports: Vec<&'a str>,
    pub requests: Vec<&'a str>,
}

impl Description<'_> {
    /// Checks all of it (T62), the same for JSON and XML.
    pub fn read(self) -> Result<Connect> {
        let scheme = self.url.split_once("://").map(|(scheme, _)| scheme);
        let is = |name: &str| scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(name));
        if !(is("ws") || is("wss")) || self.url.len() > MAX_CONNECT_URL {
            return fail("The url of a connect must begin with ws or wss");
        }
        if !self.protocol.eq_ignore_ascii_case("mediajson") {
            return fail("The protocol of a connect must be mediajson");
        }
        let Some(kind) = ExportKind::from_name(self.kind) else {
            return fail("The type of a connect must be recorder, transcriber or translator");
        };
        if self.headers.len() > MAX_CONNECT_HEADERS {
            return fail("A connect has more than 32 headers");
        }
        let mut headers = Vec::new();
        for (name, value) in self.headers {
            let value: String = value
                .chars()
                .filter(|c| !matches!(c, '\r' | '\n'))
                .collect();
            if !is_header(name, &value) {
                return fail(
                    "The name of an http-header may have letters, digits and hyphens, and its value no control characters",
                );
            }
            headers.push((name.to_owned(), value));
        }
        let names = |names: Vec<&str>| -> Result<Vec<SourceName>> {
            let names = names.into_iter();
            names
                .map(|name| checked_id(name).map(SourceName::from))
                .collect()
        };
        Ok(Connect {
            action: match (self.expire, self.create) {
                (true, _) => ConnectAction::Expire,
                (false, true) => ConnectAction::Create,
                (false, false) => ConnectAction::Update,
            },
            video: self.video,
            settings: ExportSettings {
                id: checked_id(self.id)?.to_owned(),
                url: self.url.to_owned(),
                kind,
                audio: self.audio,
                headers,
                pings: self.pings,
                exports: names(self.exports)?,
                requests: names(self.requests)?,
            },
        })
    }
}
