//! What a client sends: audio with levels, simulcast or layered video, sender reports, retransmissions.

use std::collections::VecDeque;
use std::time::Duration;

use causeway_bridge::ids::Path;
use causeway_bridge::time::Time;
use causeway_bridge::wire::extensions::HeaderBuilder;
use causeway_bridge::wire::rtcp::SenderInfo;
use causeway_bridge::worker::egress::Egress;

use super::codec::{self, Codec};
use super::encoder;
use super::formats::{self, Kind, Layer, OPUS, Picture};
use super::outlet::Outlet;
use super::stamp::{self, Stamp};
use super::structure;

/// Packets that can be sent again.
const REMEMBERED: usize = 256;
/// A keyframe is not made more often, whoever asks.
const KEYFRAME_PAUSE: Duration = Duration::from_millis(200);
const AUDIO_INTERVAL: Duration = Duration::from_millis(20);
const AUDIO_PAYLOAD: usize = 80;
/// A header with two extension elements.
const HEADER: usize = 24;
/// Temporal layers of four frames in a row, and whether each begins anew from temporal layer 0 (RFC 7741 §4.2, Y).
const TEMPORAL: [(u8, bool); 4] = [(0, false), (2, true), (1, true), (2, false)];

/// All that a packet is made of: it can be made again.
#[derive(Clone, Copy, Debug)]
struct Recipe {
    index: u64,
    timestamp: u32,
    stamp: Stamp,
    codec: Codec,
    picture: codec::Picture,
    /// RTP bytes before SRTP.
    len: u16,
}

impl Recipe {
    fn header(&self, ssrc: u32) -> HeaderBuilder {
        HeaderBuilder {
            // The last packet of the picture.
            marker: self.picture.end && self.picture.spatial + 1 == self.picture.layers,
            payload_type: self.codec.format().payload_type,
            sequence: self.index as u16,
            timestamp: self.timestamp,
            ssrc,
        }
    }

    /// Writes the payload; `dependency` is the length of the descriptor in the header. What follows the stamp is whatever was in
    /// the buffer.
    fn write(&self, out: &mut [u8], dependency: usize) -> usize {
        let front = self.codec.write(&self.picture, out);
        if let Some(place) = out[front..].first_chunk_mut() {
            self.stamp.write(place);
        }
        usize::from(self.len)
            .saturating_sub(HEADER + dependency)
            .max(front + Stamp::LEN)
    }
}

/// One SSRC.
#[derive(Debug)]
struct Encoding {
    ssrc: u32,
    kind: Kind,
    codec: Codec,
    /// 0 is the lowest.
    number: u8,
    /// One, or spatial layers.
    layers: Vec<Layer>,
    /// How many of them are wanted.
    active: usize,
    /// What each of them has of the bits that it would like; 0 = the uplink does not carry it.
    shares: Vec<f64>,
    keyframe_due: bool,
    last_keyframe: Option<Time>,
    next: u64,
    next_rtx: u64,
    frame: u32,
    since_keyframe: u32,
    picture: u16,
    tl0: u8,
    sent: VecDeque<Recipe>,
    packets: u32,
    octets: u32,
}

impl Encoding {
    fn new(ssrc: u32, kind: Kind, codec: Codec, number: u8, layers: Vec<Layer>) -> Encoding {
        Encoding {
            ssrc,
            kind,
            codec,
            number,
            active: layers.len(),
            shares: vec![1.0; layers.len()],
            layers,
            keyframe_due: true,
            last_keyframe: None,
            next: u64::from(ssrc % 1_000),
            next_rtx: 1,
            frame: 0,
            since_keyframe: 0,
            picture: (ssrc % 0x7000) as u16,
            tl0: ssrc as u8,
            sent: VecDeque::new(),
            packets: 0,
            octets: 0,
        }
    }

    /// How many layers are sent.
    fn sent_layers(&self) -> usize {
        let carried = self.shares.iter().filter(|share| **share > 0.0).count();
        carried.min(self.active)
    }

    /// How many layers there are of at most this height: −1 = all, 0 = none. The lowest is never too high.
    fn fitting(&self, height: i32) -> usize {
        let fits = |layer: &&Layer| height < 0 || i32::from(layer.height) <= height;
        let fitting = self.layers.iter().filter(fits).count();
        fitting.max(usize::from(self.number == 0 && height != 0))
    }

    /// Sends a packet again, on the SSRC for that.
    fn send_again(
        &mut self,
        now: Time,
        out: (&mut Egress, Path),
        outlet: &mut Outlet,
        recipe: &Recipe,
    ) {
        let index = self.next_rtx;
        self.next_rtx += 1;
        let mut dependency = [0; structure::MAX];
        let len = recipe
            .codec
            .write_dependency(&recipe.picture, &mut dependency);
        let header = HeaderBuilder {
            payload_type: recipe.codec.format().rtx,
            sequence: index as u16,
            ssrc: formats::rtx(self.ssrc),
            ..recipe.header(self.ssrc)
        };
        let extra = &dependency[..len];
        outlet.rtp(now, out, &header, index, extra, |out| {
            out[..2].copy_from_slice(&(recipe.index as u16).to_be_bytes());
            2 + recipe.write(&mut out[2..], len)
        });
    }

    /// The packets of the next picture.
    fn frame(&mut self, now: Time, timestamp: u32, client: u32, picture: &Picture) -> Vec<Recipe> {
        let pause = self
            .last_keyframe
            .is_none_or(|at| now - at >= KEYFRAME_PAUSE);
        let keyframe = self.keyframe_due && pause;
        if keyframe {
            self.keyframe_due = false;
            self.last_keyframe = Some(now);
            self.since_keyframe = 0;
        }
        let at = self.since_keyframe as usize % TEMPORAL.len();
        let temporal = picture.temporal.then_some(TEMPORAL[at]);
        if temporal.is_none_or(|(id, _)| id == 0) {
            self.tl0 = self.tl0.wrapping_add(1);
        }
        self.since_keyframe += 1;
        self.frame += 1;
        let counts_frames = matches!(self.codec, Codec::Av1 | Codec::Av1Svc);
        if !counts_frames {
            self.picture = (self.picture + 1) & 0x7fff;
        }
        let factor = if keyframe { picture.keyframe_factor } else { 1 };
        let layers = &self.layers[..self.sent_layers()];
        let sizes = codec::sizes(layers);
        let mut recipes = Vec::new();
        for ((spatial, layer), share) in (0..).zip(layers).zip(&self.shares) {
            let len = (f64::from(layer.len) * share) as u16;
            if counts_frames {
                self.picture = self.picture.wrapping_add(1);
            }
            let parts = layer.packets * factor;
            for part in 0..parts {
                recipes.push(Recipe {
                    index: self.next,
                    timestamp,
                    stamp: Stamp {
                        sent: now,
                        client,
                        encoding: stamp::encoding(self.kind, self.number + spatial),
                        frame: self.frame,
                        part,
                        parts,
                    },
                    codec: self.codec,
                    picture: codec::Picture {
                        start: part == 0,
                        end: part + 1 == parts,
                        keyframe,
                        picture: self.picture,
                        tl0: self.tl0,
                        temporal,
                        spatial,
                        at: at as u8,
                        sizes,
                        layers: layers.len() as u8,
                    },
                    len,
                });
                self.next += 1;
            }
        }
        recipes
    }
}

/// A camera or a screen.
#[derive(Debug)]
pub struct Video {
    pub kind: Kind,
    client: u32,
    picture: Picture,
    encodings: Vec<Encoding>,
    next_frame: Time,
    /// Time over which the packets of a frame are spread.
    spread: Duration,
    /// What waits to be sent: when, number of its encoding, packet.
    queue: VecDeque<(Time, usize, Recipe)>,
    running: bool,
}

impl Video {
    /// A source whose first frame is due at `start`. `identity` numbers its SSRCs ([`formats::ssrc`]).
    pub fn new(
        (client, identity): (u32, u32),
        kind: Kind,
        picture: Picture,
        start: Time,
        spread: Duration,
    ) -> Video {
        let each = picture.layers.len() / picture.encodings().max(1);
        let encodings = picture.layers.chunks(each.max(1)).zip(0..);
        let encodings = encodings.map(|(layers, number)| {
            let ssrc = formats::ssrc(identity, kind, u32::from(number));
            Encoding::new(ssrc, kind, picture.codec, number, layers.to_vec())
        });
        Video {
            kind,
            client,
            encodings: encodings.collect(),
            picture,
            next_frame: start,
            spread,
            queue: VecDeque::new(),
            running: kind == Kind::Camera,
        }
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1) / self.picture.frames_per_second
    }

    /// A screen sends nothing before it is shared.
    pub fn set_running(&mut self, now: Time, running: bool) {
        if running && !self.running {
            self.next_frame = now;
            self.need_keyframes();
        }
        self.running = running;
    }

    /// What the bridge says that anybody wants: −1 = all, 0 = nothing.
    pub fn set_max_height(&mut self, height: i32) {
        let mut begins = false;
        for encoding in &mut self.encodings {
            let fitting = encoding.fitting(height);
            let fewer = fitting > 0 && fitting < encoding.active;
            begins |= fitting > encoding.active || fewer && encoding.codec.restarts_for_less();
            encoding.active = fitting;
        }
        if begins {
            self.need_keyframes();
        }
    }

    /// Sends only what is wanted, by its SSRC and what stands for it in a [`Stamp`], and the layers that it rests on.
    pub fn keep(&mut self, wanted: impl Fn(u32, u8) -> bool) {
        for encoding in &mut self.encodings {
            let (kind, number) = (encoding.kind, encoding.number);
            let layers = (number..).zip(1..=encoding.layers.len());
            let wanted =
                layers.filter(|(layer, _)| wanted(encoding.ssrc, stamp::encoding(kind, *layer)));
            encoding.active = wanted.map(|(_, count)| count).last().unwrap_or(0);
        }
    }

    /// Keeps to so many bits per second, as browsers do; `steady` is the least of that in the last seconds.
    pub fn set_budget(&mut self, budget: f64, steady: f64) {
        let encodings = self.encodings.iter();
        let wanted = encodings.clone().flat_map(|it| &it.layers[..it.active]);
        let wanted: Vec<Layer> = wanted.copied().collect();
        let sent = encodings.map(Encoding::sent_layers).sum();
        let rate = self.picture.frames_per_second;
        let mut shares = encoder::share(&wanted, rate, sent, budget, steady).into_iter();
        for encoding in &mut self.encodings {
            let before = encoding.sent_layers();
            for share in &mut encoding.shares[..encoding.active] {
                *share = shares.next().unwrap_or(0.0);
            }
            let now = encoding.sent_layers();
            let restarts = now > 0 && now < before && encoding.codec.restarts_for_less();
            encoding.keyframe_due |= now > before || restarts;
        }
    }

    /// Bits per second that are sent, and that would be if there was room.
    pub fn rates(&self) -> (f64, f64) {
        let rate = self.picture.frames_per_second;
        let all = self.encodings.iter();
        let layers = all.flat_map(|it| it.layers[..it.active].iter().zip(&it.shares));
        layers.fold((0.0, 0.0), |(sent, wanted), (layer, share)| {
            let all = encoder::wanted(layer, rate);
            (sent + all * share, wanted + all)
        })
    }

    /// A receiver can not go on without a keyframe. Like browsers, which then make one in every encoding. Returns
    /// whether the SSRC is ours.
    pub fn ask_keyframe(&mut self, ssrc: u32) -> bool {
        let ours = self.encodings.iter().any(|encoding| encoding.ssrc == ssrc);
        if ours {
            self.need_keyframes();
        }
        ours
    }

    fn need_keyframes(&mut self) {
        for encoding in &mut self.encodings {
            encoding.keyframe_due = true;
        }
    }

    pub fn poll_timeout(&self) -> Option<Time> {
        let queued = self.queue.front().map(|(at, ..)| *at);
        let frame = self.running.then_some(self.next_frame);
        queued.into_iter().chain(frame).min()
    }

    /// Sends what is due. Returns how late it was, if a frame was due.
    pub fn handle_timeout(
        &mut self,
        now: Time,
        (egress, path): (&mut Egress, Path),
        outlet: &mut Outlet,
    ) -> Option<Duration> {
        let mut lag = None;
        if self.running && self.next_frame <= now {
            lag = Some(now - self.next_frame);
            self.make_frame(now);
            self.next_frame += self.interval();
            if self.next_frame + Duration::from_secs(1) < now {
                // Far behind: what was missed is not made up for.
                self.next_frame = now + self.interval();
            }
        }
        while let Some((at, number, _)) = self.queue.front()
            && *at <= now
        {
            let number = *number;
            let Some((_, _, mut recipe)) = self.queue.pop_front() else {
                break;
            };
            let Some(encoding) = self.encodings.get_mut(number) else {
                continue;
            };
            recipe.stamp.sent = now;
            let header = recipe.header(encoding.ssrc);
            let mut dependency = [0; structure::MAX];
            let len = recipe
                .codec
                .write_dependency(&recipe.picture, &mut dependency);
            let mut written = 0;
            let extra = &dependency[..len];
            outlet.rtp(now, (egress, path), &header, recipe.index, extra, |out| {
                written = recipe.write(out, len);
                written
            });
            encoding.packets = encoding.packets.wrapping_add(1);
            encoding.octets = encoding.octets.wrapping_add(written as u32);
            if encoding.sent.len() == REMEMBERED {
                encoding.sent.pop_front();
            }
            encoding.sent.push_back(recipe);
        }
        lag
    }

    fn timestamp(&self, now: Time) -> u32 {
        (now.as_micros() * 9 / 100) as u32
    }

    fn make_frame(&mut self, now: Time) {
        let timestamp = self.timestamp(now);
        let mut due = Vec::new();
        for (number, encoding) in self.encodings.iter_mut().enumerate() {
            if encoding.sent_layers() > 0 {
                let frame = encoding.frame(now, timestamp, self.client, &self.picture);
                due.extend(frame.into_iter().map(|recipe| (number, recipe)));
            }
        }
        let step = self.spread / due.len().max(1) as u32;
        for (at, (number, recipe)) in due.into_iter().enumerate() {
            self.queue
                .push_back((now + step * at as u32, number, recipe));
        }
    }

    /// Sends again what the bridge misses. Returns how many packets; `None` if the SSRC is not ours.
    pub fn resend(
        &mut self,
        now: Time,
        (egress, path): (&mut Egress, Path),
        outlet: &mut Outlet,
        ssrc: u32,
        lost: impl Iterator<Item = u16>,
    ) -> Option<u64> {
        let encoding = self
            .encodings
            .iter_mut()
            .find(|encoding| encoding.ssrc == ssrc)?;
        let mut sent = 0;
        for sequence in lost {
            let known = encoding
                .sent
                .iter()
                .rev()
                .find(|recipe| recipe.index as u16 == sequence);
            let Some(recipe) = known.copied() else {
                continue;
            };
            encoding.send_again(now, (&mut *egress, path), outlet, &recipe);
            sent += 1;
        }
        Some(sent)
    }

    /// Sends the newest packets again until that many bytes are sent, to find out what the uplink carries.
    pub fn probe(
        &mut self,
        now: Time,
        (egress, path): (&mut Egress, Path),
        outlet: &mut Outlet,
        bytes: usize,
    ) {
        let sending = |encoding: &&mut Encoding| encoding.sent_layers() > 0;
        let Some(encoding) = self.encodings.iter_mut().rfind(sending) else {
            return;
        };
        let mut left = bytes;
        let newest: Vec<Recipe> = encoding.sent.iter().rev().copied().collect();
        for recipe in newest {
            if left == 0 {
                break;
            }
            encoding.send_again(now, (&mut *egress, path), outlet, &recipe);
            left = left.saturating_sub(usize::from(recipe.len));
        }
    }

    /// What sender reports say of the encodings that are sent.
    pub fn reports(&self, now: Time, ntp: u64) -> impl Iterator<Item = SenderInfo> + '_ {
        let rtp = self.timestamp(now);
        let active = |encoding: &&Encoding| encoding.sent_layers() > 0 && encoding.packets > 0;
        self.encodings
            .iter()
            .filter(active)
            .map(move |encoding| SenderInfo {
                ssrc: encoding.ssrc,
                ntp,
                rtp,
                packets: encoding.packets,
                octets: encoding.octets,
            })
    }
}

/// A microphone.
#[derive(Debug)]
pub struct Audio {
    pub ssrc: u32,
    client: u32,
    muted: bool,
    next: Time,
    index: u64,
    packets: u32,
    octets: u32,
}

impl Audio {
    /// The first packet is due at `start`, unless it is muted. `identity` numbers its SSRC ([`formats::ssrc`]).
    pub fn new((client, identity): (u32, u32), start: Time, muted: bool) -> Audio {
        Audio {
            ssrc: formats::ssrc(identity, Kind::Audio, 0),
            client,
            muted,
            next: start,
            index: u64::from(client % 1_000),
            packets: 0,
            octets: 0,
        }
    }

    pub fn poll_timeout(&self) -> Time {
        match self.muted {
            true => Time::FAR,
            false => self.next,
        }
    }

    /// Nothing is sent while it is muted.
    pub fn set_muted(&mut self, now: Time, muted: bool) {
        if self.muted && !muted {
            self.next = now;
        }
        self.muted = muted;
    }

    /// Sends what is due. Returns how late it was, if something was.
    pub fn handle_timeout(
        &mut self,
        now: Time,
        out: (&mut Egress, Path),
        outlet: &mut Outlet,
    ) -> Option<Duration> {
        if self.muted || now < self.next {
            return None;
        }
        let lag = now - self.next;
        self.next += AUDIO_INTERVAL;
        if self.next + Duration::from_secs(1) < now {
            self.next = now + AUDIO_INTERVAL;
        }
        let index = self.index;
        self.index += 1;
        let header = HeaderBuilder {
            marker: false,
            payload_type: OPUS,
            sequence: index as u16,
            timestamp: self.timestamp(now),
            ssrc: self.ssrc,
        };
        let stamp = Stamp {
            sent: now,
            client: self.client,
            encoding: stamp::encoding(Kind::Audio, 0),
            frame: index as u32,
            part: 0,
            parts: 1,
        };
        let level = speech(index);
        outlet.rtp(now, out, &header, index, &[level], |payload| {
            if let Some(place) = payload.first_chunk_mut() {
                stamp.write(place);
            }
            AUDIO_PAYLOAD
        });
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(AUDIO_PAYLOAD as u32);
        Some(lag)
    }

    fn timestamp(&self, now: Time) -> u32 {
        (now.as_micros() * 6 / 125) as u32
    }

    /// What sender reports say.
    pub fn report(&self, now: Time, ntp: u64) -> SenderInfo {
        SenderInfo {
            ssrc: self.ssrc,
            ntp,
            rtp: self.timestamp(now),
            packets: self.packets,
            octets: self.octets,
        }
    }
}

/// The audio level of a packet (RFC 6464 §3): words of 0.7 s with a pause of 0.3 s after each. A voice that never pauses is taken for
/// noise, and its speaker never elected.
fn speech(index: u64) -> u8 {
    const VOICE: u8 = 0x80;
    let at = (index % 50) as u8;
    match at {
        0..35 => VOICE | (20 + at % 10),
        _ => 70 + at % 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use causeway_bridge::wire::vp8::Vp8Descriptor;

    fn frames(video: &mut Video, count: usize) -> Vec<Vec<Recipe>> {
        let mut frames = Vec::new();
        let begin = u64::from(video.encodings[0].frame);
        for at in 0..count as u64 {
            video.make_frame(Time::from_millis(1_000 + 33 * (begin + at)));
            frames.push(video.queue.drain(..).map(|(.., recipe)| recipe).collect());
        }
        frames
    }

    fn camera(codec: Codec) -> Video {
        let start = Time::from_millis(1_000);
        Video::new(
            (7, 7),
            Kind::Camera,
            Picture::camera(codec),
            start,
            Duration::ZERO,
        )
    }

    #[test]
    fn the_first_frame_of_every_encoding_is_a_keyframe_that_tells_its_size() {
        let mut video = camera(Codec::Vp8);
        let mut buffer = [0; 1_400];
        let first = frames(&mut video, 1).remove(0);
        let starts = first.iter().filter(|recipe| recipe.stamp.part == 0);
        let sizes: Vec<_> = starts
            .map(|recipe| {
                let len = recipe.write(&mut buffer, 0);
                let descriptor = Vp8Descriptor::parse(&buffer[..len]).expect("VP8");
                descriptor.size().expect("a keyframe has a size")
            })
            .collect();
        assert_eq!(sizes, [(320, 180), (640, 360), (1_280, 720)]);
    }

    #[test]
    fn constraints_switch_encodings_and_a_new_one_begins_with_a_keyframe() {
        let mut video = camera(Codec::Vp8);
        frames(&mut video, 1);
        video.set_max_height(180);
        let low = frames(&mut video, 1).remove(0);
        assert!(
            low.iter()
                .all(|recipe| recipe.stamp.encoding == 0 && !recipe.picture.keyframe)
        );
        video.set_max_height(0);
        assert!(frames(&mut video, 10).iter().all(Vec::is_empty));
        video.set_max_height(-1);
        // Not too soon after the last keyframe.
        let all = frames(&mut video, 10).pop().expect("ten frames");
        let highest = all.iter().filter(|recipe| recipe.stamp.encoding == 2);
        assert!(highest.count() > 0);
        let begun = video.encodings[2].since_keyframe;
        assert!(begun > 0 && begun <= 10, "a keyframe came");
    }

    #[test]
    fn temporal_layers_come_in_the_order_0_2_1_2_with_one_tl0_index_for_four() {
        let mut video = camera(Codec::Vp8);
        let frames = frames(&mut video, 8);
        let layers: Vec<_> = frames
            .iter()
            .map(|frame| frame[0].picture.temporal.map(|(id, _)| id))
            .collect();
        let expected = [0, 2, 1, 2, 0, 2, 1, 2].map(Some);
        assert_eq!(layers, expected);
        assert_eq!(
            frames[4][0].picture.tl0,
            frames[3][0].picture.tl0.wrapping_add(1)
        );
        assert_eq!(frames[3][0].picture.tl0, frames[0][0].picture.tl0);
    }

    #[test]
    fn a_keyframe_is_made_in_every_encoding_when_asked_but_not_twice_at_once() {
        let mut video = camera(Codec::Vp8);
        frames(&mut video, 10);
        let ssrc = formats::ssrc(7, Kind::Camera, 0);
        assert!(video.ask_keyframe(ssrc) && !video.ask_keyframe(ssrc + 40));
        let mut keyframes = Vec::new();
        for at in 0..4 {
            video.ask_keyframe(ssrc);
            video.make_frame(Time::from_millis(1_330 + 33 * at));
            let starts = video.queue.drain(..).map(|(.., recipe)| recipe);
            let starts = starts.filter(|recipe| recipe.picture.keyframe && recipe.stamp.part == 0);
            keyframes.extend(starts.map(|recipe| recipe.stamp.encoding));
        }
        assert_eq!(keyframes, [0, 1, 2]);
    }

    #[test]
    fn what_is_written_in_any_codec_is_read_and_pictures_end_with_their_last_layer() {
        use Codec::{Av1, Av1Svc, H264, Vp8, Vp9, Vp9Svc};
        for codec in [Vp8, Vp9, Vp9Svc, Av1, Av1Svc, H264] {
            let mut video = camera(codec);
            let mut buffer = [0; 1_400];
            for (number, picture) in frames(&mut video, 6).into_iter().enumerate() {
                let (mut starts, mut keyframes, mut ends) = (0, 0, 0);
                for recipe in picture {
                    let mut dependency = [0; structure::MAX];
                    let dependency_len = codec.write_dependency(&recipe.picture, &mut dependency);
                    let len = recipe.write(&mut buffer, dependency_len);
                    let payload_type = codec.format().payload_type;
                    let dependency = &dependency[..dependency_len];
                    let read = codec::read(payload_type, &buffer[..len], Some(dependency));
                    let read = read.expect("readable");
                    assert_eq!(Stamp::read(&buffer[read.stamp_at..]), Some(recipe.stamp));
                    let header = recipe.header(1);
                    assert_eq!(header.payload_type, payload_type);
                    starts += usize::from(read.start && recipe.picture.spatial == 0);
                    keyframes += usize::from(read.keyframe);
                    ends += usize::from(header.marker);
                }
                let encodings = video.encodings.len();
                assert_eq!(encodings, if codec.is_layered() { 1 } else { 3 });
                assert_eq!((starts, ends), (encodings, encodings), "{codec:?}");
                let expected = if number == 0 { encodings } else { 0 };
                assert_eq!(keyframes, expected, "{codec:?} {number}");
            }
        }
    }

    #[test]
    fn constraints_take_spatial_layers_away() {
        let mut video = camera(Codec::Av1Svc);
        let top = |video: &mut Video| {
            let frame = frames(video, 1).remove(0);
            let last = frame.last().expect("a packet");
            (last.stamp.encoding, last.picture.layers)
        };
        assert_eq!(top(&mut video), (2, 3));
        video.set_max_height(360);
        assert_eq!(top(&mut video), (1, 2));
        video.set_max_height(90);
        assert_eq!(top(&mut video), (0, 1));
        video.set_max_height(0);
        assert!(frames(&mut video, 1)[0].is_empty());
    }
}
