//! Opening what a bridge sends.

use causeway_bridge::srtp::{Inbound, KeyingMaterial};
use causeway_bridge::wire::rtp::RtpHeader;

use super::Map;

/// The receiving direction: one [`Inbound`] for every so many SSRCs, as a bridge may send more of them than one allows.
#[derive(Default)]
pub struct Inbounds {
    keys: Option<KeyingMaterial>,
    groups: Vec<Inbound>,
    group_of: Map<u32, u16>,
}

/// Groups at most: bounds what a bridge can make us keep.
const MAX_GROUPS: usize = 64;

impl Inbounds {
    /// For what a bridge sends with these keys.
    pub fn new(keys: KeyingMaterial) -> Inbounds {
        Inbounds {
            keys: Some(keys),
            ..Inbounds::default()
        }
    }

    /// Opens a packet into the front of `out`: its header, and its length.
    pub fn open(&mut self, datagram: &[u8], out: &mut [u8]) -> Option<(RtpHeader, usize)> {
        let header = RtpHeader::parse(datagram).ok()?;
        let group = match self.group_of.get(&header.ssrc) {
            Some(group) => *group,
            None => self.admit(header.ssrc)?,
        };
        let inbound = self.groups.get_mut(usize::from(group))?;
        let opened = inbound.open_rtp(&header, datagram, out).ok()?;
        Some((header, opened.len))
    }

    fn admit(&mut self, ssrc: u32) -> Option<u16> {
        let keys = self.keys.as_ref()?;
        let fits = self
            .groups
            .last_mut()
            .is_some_and(|group| group.allow(ssrc).is_ok());
        if !fits {
            if self.groups.len() == MAX_GROUPS {
                return None;
            }
            let mut group = keys.inbound();
            group.allow(ssrc).ok()?;
            self.groups.push(group);
        }
        let group = (self.groups.len() - 1) as u16;
        self.group_of.insert(ssrc, group);
        Some(group)
    }

    /// Opens a compound into the front of `out`, and returns its length.
    pub fn open_rtcp(&mut self, datagram: &[u8], out: &mut [u8]) -> Option<usize> {
        if self.groups.is_empty() {
            self.groups.push(self.keys.as_ref()?.inbound());
        }
        self.groups.first_mut()?.open_rtcp(datagram, out).ok()
    }
}
