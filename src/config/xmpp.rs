//! Connections to XMPP servers (config spec §4).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use causeway_hocon::{Data, Value};
use causeway_xmpp::{Account, Security};

use super::reader::{Reader, period};
use super::{Effective, Warning};

const CONFIGS: &str = "videobridge.apis.xmpp-client.configs";
/// Statistics that stay in presence if it is filtered.
const WHITELIST: [&str; 10] = [
    "average_participant_stress",
    "current_timestamp",
    "drain",
    "graceful_shutdown",
    "healthy",
    "region",
    "release",
    "shutting_down",
    "stress_level",
    "version",
];

/// XMPP (`videobridge.apis.xmpp-client`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xmpp {
    /// Connections by their ids.
    pub clients: BTreeMap<String, XmppClient>,
    /// Time between two presences.
    pub presence_interval: Duration,
    /// If set, only these statistics are in presence.
    pub whitelist: Option<BTreeSet<String>>,
}

impl Default for Xmpp {
    fn default() -> Self {
        Xmpp {
            clients: BTreeMap::new(),
            presence_interval: Duration::from_secs(5),
            whitelist: None,
        }
    }
}

/// One connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XmppClient {
    /// Where and as whom to log in.
    pub account: Account,
    /// Bare addresses of the rooms to join.
    pub rooms: Vec<String>,
    /// Name in all of them.
    pub nickname: String,
}

impl XmppClient {
    /// Reads the members of a connection, whose names are in lower case with `-` for `_`.
    ///
    /// # Errors
    ///
    /// What is missing or wrong.
    pub fn from_members(members: &BTreeMap<String, String>) -> Result<XmppClient, String> {
        let optional = |name: &str| members.get(name).map(|value| value.trim());
        let required = |name: &str| match optional(name) {
            Some(value) if !value.is_empty() => Ok(value.to_owned()),
            _ => Err(format!("{name} is missing")),
        };
        let host = required("hostname")?;
        let port = match optional("port") {
            None => 5222,
            Some(port) => port
                .parse()
                .map_err(|_| format!("port: `{port}` is not a port"))?,
        };
        let security = match optional("security-mode") {
            None if ["localhost", "127.0.0.1", "::1"].contains(&host.as_str()) => {
                Security::IfPossible
            }
            None | Some("required") => Security::Required,
            Some("ifpossible") => Security::IfPossible,
            Some("disabled") => Security::Disabled,
            Some(other) => {
                return Err(format!(
                    "security-mode: `{other}` is not required, ifpossible or disabled"
                ));
            }
        };
        let rooms: Vec<String> = required("muc-jids")?
            .split(',')
            .map(|room| room.trim().to_owned())
            .filter(|room| !room.is_empty())
            .collect();
        if let Some(room) = rooms.iter().find(|room| !room.contains('@')) {
            return Err(format!("muc-jids: `{room}` is not the address of a room"));
        }
        let trusting = optional("disable-certificate-verification")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"));
        Ok(XmppClient {
            account: Account {
                port,
                domain: optional("domain").unwrap_or(&host).to_owned(),
                user: required("username")?,
                password: members
                    .get("password")
                    .cloned()
                    .ok_or("password is missing")?,
                security,
                verify: !trusting,
                host,
            },
            rooms,
            nickname: required("muc-nickname")?,
        })
    }

    /// Whether this is the same connection for somebody who adds it again (colibri2 spec §4.2).
    pub fn is_same_as(&self, other: &XmppClient) -> bool {
        let identity = |client: &XmppClient| {
            let account = &client.account;
            (
                account.host.clone(),
                account.port,
                account.domain.clone(),
                account.user.clone(),
            )
        };
        identity(self) == identity(other)
    }
}

pub(super) fn read(r: &mut Reader<'_>, xmpp: &mut Xmpp, stats_interval: Duration) {
    xmpp.presence_interval = stats_interval;
    r.set(
        "videobridge.apis.xmpp-client.presence-interval",
        &mut xmpp.presence_interval,
        period,
    );
    let mut filter = false;
    r.set(
        "videobridge.apis.xmpp-client.stats-filter.enabled",
        &mut filter,
        Value::to_bool,
    );
    let mut whitelist: Vec<String> = WHITELIST.map(str::to_owned).to_vec();
    r.set(
        "videobridge.apis.xmpp-client.stats-filter.whitelist",
        &mut whitelist,
        |value, key| {
            let items = value.to_list(key)?;
            items
                .into_iter()
                .map(|item| item.to_text(key).map(str::to_owned))
                .collect()
        },
    );
    xmpp.whitelist = filter.then(|| whitelist.into_iter().collect());
    r.known.insert(CONFIGS.to_owned());
    let Some(configs) = r.settings.get(CONFIGS) else {
        return;
    };
    let Some(entries) = configs.as_object() else {
        if !matches!(configs.data(), Data::Null) {
            r.error(
                CONFIGS,
                "must be an object with one member for each connection",
            );
        }
        return;
    };
    for (id, entry) in entries {
        client(r, xmpp, id, entry);
    }
}

fn client(r: &mut Reader<'_>, xmpp: &mut Xmpp, id: &str, entry: &Value) {
    let key = format!("{CONFIGS}.{id}");
    let Some(fields) = entry.as_object() else {
        let reason = "is not a connection and is skipped";
        r.warnings.push(Warning(entry.error(&key, reason)));
        return;
    };
    let mut members = BTreeMap::new();
    for (name, value) in fields {
        let name = name.to_ascii_lowercase().replace('_', "-");
        if let Data::Text(text) = value.data() {
            // A password is nobody's business.
            let shown = if name == "password" { "…" } else { text };
            let effective = Effective::new(shown.to_owned(), Some(value.origin()));
            r.effective.insert(format!("{key}.{name}"), effective);
            members.insert(name, text.clone());
        }
    }
    match XmppClient::from_members(&members) {
        Ok(client) => {
            xmpp.clients.insert(id.to_owned(), client);
        }
        Err(why) => {
            let reason = format!("{why}; the connection is skipped");
            r.warnings.push(Warning(entry.error(&key, reason)));
        }
    }
}
