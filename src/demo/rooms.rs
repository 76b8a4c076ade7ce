//! Rooms and who is in them: the state behind the interface.
//!
//! A room is a conference of the bridge with names. It exists while somebody is in it. Every change makes
//! a new roster, a complete JSON text; pages get the latest one, so a slow page skips some and misses
//! nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use causeway_bridge::control::api::{
    EndpointOptions, LocalTransport, NewSource, RemoteTransport, RestartOutcome,
};
use causeway_bridge::ids::{ConferenceKey, EndpointId, EndpointKey, MeetingId};
use causeway_bridge::random::Random;
use serde_json::json;
use tokio::sync::watch;

use super::error::ApiError;
use super::formats;
use super::limits::{MAX_EVENT_SOCKETS, MAX_PARTICIPANTS, MAX_PARTICIPANTS_PER_ROOM, MAX_ROOMS};
use super::names::RoomName;
use super::sfu::{Created, Sfu};
use super::wire::State;

/// Characters of a token: 24 of 62 are 142 bits.
const TOKEN_LENGTH: usize = 24;

/// All rooms.
pub struct Rooms {
    rooms: BTreeMap<RoomName, Room>,
    random: Random,
}

struct Room {
    conference: ConferenceKey,
    participants: BTreeMap<EndpointId, Participant>,
    /// Counts joins, so that the roster is in the order of arrival.
    arrivals: u64,
    roster: watch::Sender<Arc<str>>,
}

struct Participant {
    key: EndpointKey,
    token: String,
    arrival: u64,
    name: String,
    state: State,
    /// Event sockets that are open.
    sockets: usize,
    /// How often it opened one.
    visits: u64,
}

/// A participant without an event socket, see [`Rooms::vacate`].
#[derive(Clone, Copy, Debug)]
pub struct Absence(u64);

/// What a new participant gets.
pub struct Joined {
    /// Its id.
    pub endpoint: EndpointId,
    /// Its secret.
    pub token: String,
    /// What the bridge made.
    pub created: Created,
}

impl Rooms {
    /// No rooms.
    pub fn new(random: Random) -> Rooms {
        Rooms {
            rooms: BTreeMap::new(),
            random,
        }
    }

    /// Participants in all rooms.
    pub fn participants(&self) -> usize {
        self.rooms
            .values()
            .map(|room| room.participants.len())
            .sum()
    }

    /// Makes an endpoint, and the room if it is the first one.
    pub fn join(
        &mut self,
        sfu: &dyn Sfu,
        name: RoomName,
        display_name: String,
        state: State,
    ) -> Result<Joined, ApiError> {
        if self.participants() >= MAX_PARTICIPANTS {
            return Err(ApiError::full("The demo is full. Try again later."));
        }
        let conference = match self.rooms.get(&name) {
            Some(room) if room.participants.len() >= MAX_PARTICIPANTS_PER_ROOM => {
                return Err(ApiError::full("This room is full."));
            }
            Some(room) => room.conference,
            None if self.rooms.len() >= MAX_ROOMS => {
                return Err(ApiError::full("There are too many rooms. Try again later."));
            }
            None => sfu.create_conference(meeting_id(&name))?,
        };
        let endpoint = self.new_endpoint_id(&name);
        let created =
            match sfu.create_endpoint(conference, options(&endpoint), formats::for_bridge()) {
                Ok(created) => created,
                Err(error) => {
                    if !self.rooms.contains_key(&name) {
                        sfu.expire_conference(conference);
                    }
                    return Err(error.into());
                }
            };
        let token = self.random.alphanumeric(TOKEN_LENGTH);
        let room = self
            .rooms
            .entry(name)
            .or_insert_with(|| Room::new(conference));
        room.arrivals += 1;
        room.participants.insert(
            endpoint.clone(),
            Participant {
                key: created.key,
                token: token.clone(),
                arrival: room.arrivals,
                name: display_name,
                state,
                sockets: 0,
                visits: 0,
            },
        );
        room.publish();
        Ok(Joined {
            endpoint,
            token,
            created,
        })
    }

    /// Passes the browser's transport on.
    pub fn set_transport(
        &mut self,
        sfu: &dyn Sfu,
        who: &Who,
        transport: RemoteTransport,
    ) -> Result<(), ApiError> {
        let (_, key) = self.authorise(who)?;
        Ok(sfu.set_remote_transport(key, transport)?)
    }

    /// Passes the browser's sources on.
    pub fn set_sources(
        &mut self,
        sfu: &dyn Sfu,
        who: &Who,
        sources: Vec<NewSource>,
    ) -> Result<(), ApiError> {
        let (_, key) = self.authorise(who)?;
        Ok(sfu.set_sources(key, sources)?)
    }

    /// Tells the others what the participant shows.
    pub fn set_state(&mut self, who: &Who, state: State) -> Result<(), ApiError> {
        let (room, _) = self.authorise(who)?;
        let participant = room
            .participants
            .get_mut(&who.endpoint)
            .ok_or_else(ApiError::unknown)?;
        if participant.state != state {
            participant.state = state;
            room.publish();
        }
        Ok(())
    }

    /// Begins an ICE restart. `None`: the bridge can not, the page must join again.
    pub fn restart_ice(
        &mut self,
        sfu: &dyn Sfu,
        who: &Who,
    ) -> Result<Option<LocalTransport>, ApiError> {
        let (_, key) = self.authorise(who)?;
        Ok(match sfu.restart_ice(key) {
            RestartOutcome::Started(transport) | RestartOutcome::KeepExisting(transport) => {
                Some(transport)
            }
            RestartOutcome::Unavailable => None,
        })
    }

    /// The participant goes.
    pub fn leave(&mut self, sfu: &dyn Sfu, who: &Who) -> Result<(), ApiError> {
        let (room, key) = self.authorise(who)?;
        let conference = room.conference;
        sfu.expire_endpoint(key);
        self.remove(sfu, conference, &who.endpoint);
        Ok(())
    }

    /// The bridge ended an endpoint by itself. Also called, and without effect, for one that left.
    pub fn endpoint_expired(
        &mut self,
        sfu: &dyn Sfu,
        conference: ConferenceKey,
        endpoint: &EndpointId,
    ) {
        self.remove(sfu, conference, endpoint);
    }

    /// The bridge ended a conference by itself.
    pub fn conference_expired(&mut self, conference: ConferenceKey) {
        // Dropping a room's sender closes the event sockets.
        self.rooms.retain(|_, room| room.conference != conference);
    }

    /// The roster for an event socket of this participant. [`Rooms::unsubscribe`] must follow.
    pub fn subscribe(&mut self, who: &Who) -> Result<watch::Receiver<Arc<str>>, ApiError> {
        let (room, _) = self.authorise(who)?;
        let roster = room.roster.subscribe();
        let participant = room
            .participants
            .get_mut(&who.endpoint)
            .ok_or_else(ApiError::unknown)?;
        if participant.sockets >= MAX_EVENT_SOCKETS {
            return Err(ApiError::full(
                "This participant has too many event sockets.",
            ));
        }
        participant.sockets += 1;
        participant.visits += 1;
        Ok(roster)
    }

    /// An event socket is closed. If it was the participant's last one, [`Rooms::vacate`] is to be called
    /// when there was time enough to open another.
    pub fn unsubscribe(&mut self, who: &Who) -> Option<Absence> {
        let participant = self.participant(who)?;
        participant.sockets = participant.sockets.saturating_sub(1);
        (participant.sockets == 0).then_some(Absence(participant.visits))
    }

    /// Ends a participant that was absent all the time since [`Rooms::unsubscribe`]: its page is gone without
    /// a word.
    pub fn vacate(&mut self, sfu: &dyn Sfu, who: &Who, absence: Absence) {
        let participant = self.participant(who);
        if participant.is_some_and(|it| it.sockets == 0 && it.visits == absence.0) {
            // It is a member, so it can leave.
            let _ = self.leave(sfu, who);
        }
    }

    fn participant(&mut self, who: &Who) -> Option<&mut Participant> {
        self.rooms
            .get_mut(&who.room)?
            .participants
            .get_mut(&who.endpoint)
            .filter(|participant| same_secret(&participant.token, &who.token))
    }

    /// Whether the participant is still in its room.
    pub fn is_member(&mut self, who: &Who) -> bool {
        self.authorise(who).is_ok()
    }

    fn authorise(&mut self, who: &Who) -> Result<(&mut Room, EndpointKey), ApiError> {
        let room = self
            .rooms
            .get_mut(&who.room)
            .ok_or_else(ApiError::unknown)?;
        let participant = room
            .participants
            .get(&who.endpoint)
            .ok_or_else(ApiError::unknown)?;
        if !same_secret(&participant.token, &who.token) {
            return Err(ApiError::unknown());
        }
        let key = participant.key;
        Ok((room, key))
    }

    fn remove(&mut self, sfu: &dyn Sfu, conference: ConferenceKey, endpoint: &EndpointId) {
        let Some((name, room)) = self
            .rooms
            .iter_mut()
            .find(|(_, room)| room.conference == conference)
        else {
            return;
        };
        if room.participants.remove(endpoint).is_none() {
            return;
        }
        if room.participants.is_empty() {
            let name = name.clone();
            self.rooms.remove(&name);
            sfu.expire_conference(conference);
        } else {
            room.publish();
        }
    }

    fn new_endpoint_id(&mut self, name: &RoomName) -> EndpointId {
        loop {
            let id = EndpointId::new(format!("{:08x}", self.random.u32()));
            // With at most MAX_PARTICIPANTS_PER_ROOM of 2^32 ids in use this ends at once.
            if !self
                .rooms
                .get(name)
                .is_some_and(|room| room.participants.contains_key(&id))
            {
                return id;
            }
        }
    }
}

/// Who makes a request, as it says.
#[derive(Clone, Debug)]
pub struct Who {
    /// Room.
    pub room: RoomName,
    /// Endpoint.
    pub endpoint: EndpointId,
    /// The secret that proves it.
    pub token: String,
}

impl Room {
    fn new(conference: ConferenceKey) -> Room {
        Room {
            conference,
            participants: BTreeMap::new(),
            arrivals: 0,
            roster: watch::Sender::new(Arc::from("")),
        }
    }

    fn publish(&self) {
        let mut present: Vec<_> = self.participants.iter().collect();
        present.sort_by_key(|(_, participant)| participant.arrival);
        let list: Vec<_> = present
            .into_iter()
            .map(|(id, participant)| {
                json!({
                    "endpoint": id.as_str(),
                    "name": participant.name,
                    "state": participant.state,
                })
            })
            .collect();
        let roster = json!({ "type": "roster", "participants": list }).to_string();
        self.roster.send_replace(roster.into());
    }
}

/// The meeting id of a room. The prefix keeps it apart from meetings that other signaling makes.
fn meeting_id(name: &RoomName) -> MeetingId {
    MeetingId::new(format!("demo-{name}"))
}

fn options(endpoint: &EndpointId) -> EndpointOptions {
    EndpointOptions {
        diarize: false,
        id: endpoint.clone(),
        stats_id: None,
        // The page answers the bridge's offer, so the bridge controls (RFC 8445 §6.1.1).
        ice_controlling: true,
        ssrc_rewriting: true,
        mid_demux: true,
        visitor: false,
        private_addresses: true,
        sctp: true,
    }
}

/// Compares without telling by its duration where the texts differ.
fn same_secret(known: &str, given: &str) -> bool {
    known.len() == given.len()
        && known
            .bytes()
            .zip(given.bytes())
            .fold(0, |differing, (a, b)| differing | (a ^ b))
            == 0
}
