// The call as the page knows it: who is here, what the bridge said, what this page sends and wants.
//
// Puts signaling and session together, and rebuilds both when the bridge has let us go.

import { preferCodec, withoutExtension } from './sdp.js';
import { heightToRequest } from './layout.js';
import { openCamera, openMicrophone, openScreen } from './media.js';
import { Session } from './session.js';
import { SignalingError, join } from './signaling.js';
import { Sampler, guessLayer } from './stats.js';

const REJOIN_DELAYS = [500, 1000, 2000, 4000, 8000, 15_000];
const ENDPOINT_STATS_INTERVAL = 10_000;
const STATS_INTERVAL = 1_000;
/** The dominant speaker moves to the front of the tiles at most this often. */
const SPEAKER_HOLD = 4_000;
const STAGE_HEIGHT = 720;
const SCREEN_STAGE_HEIGHT = 1080;
const THUMBNAIL_HEIGHT = 180;

/**
 * Events: `change` (something that is shown changed), `stats` (a new sample), `notice` (detail: {text,
 * bad}), `joined`, `left`, `rejoining`.
 */
export class Conference extends EventTarget {
    room = '';
    name = '';
    endpoint = '';
    /** Everybody in the room in the order of arrival: {endpoint, name, state, self}. */
    participants = [];
    dominant = null;
    view = 'tiles';
    /** Tile that somebody put on stage; null lets the stage follow the speaker. */
    pinned = null;
    estimate = null;
    sample = null;

    #choices = { camera: '', microphone: '', screen: '' };
    #open = { camera: null, microphone: null, screen: null };
    #wanted = { camera: true, microphone: true };
    #session = null;
    #signaling = null;
    #sampler = new Sampler();
    #timers = [];
    #forwarded = new Set();
    #everForwarded = new Set();
    #inactive = new Set();
    #remoteStats = new Map();
    #front = { endpoint: null, since: -Infinity };
    #rosterKnown = false;
    #rejoins = 0;
    #life = 0;

    get joined() {
        return this.#session !== null;
    }

    get session() {
        return this.#session;
    }

    get microphoneOn() {
        return this.#open.microphone !== null && this.#wanted.microphone;
    }

    get cameraOn() {
        return this.#open.camera !== null;
    }

    get screenOn() {
        return this.#open.screen !== null;
    }

    get cameraTrack() {
        return this.#open.camera?.track ?? null;
    }

    // ---- joining and leaving -------------------------------------------------------------------------

    /**
     * Joins. Camera and microphone are a device id, "" (any), "test" or "off"; `codec` is the preferred video codec,
     * `audio` that of audio; with the channel "websocket" no data channel is tried; header extensions whose URI contains `without` are not
     * negotiated; for `mode` and `demux` see {@link Session}.
     */
    async join({ room, name, camera = '', microphone = '', screen = '', codec = '', audio = '', channel = '', mode = '', demux = '', without = '' }) {
        Object.assign(this.#choices, { camera, microphone, screen, codec, audio, channel, mode, demux, without });
        this.#wanted = { camera: camera !== 'off', microphone: microphone !== 'off' };
        this.room = room;
        this.name = name;
        await Promise.all([this.#openDevice('camera'), this.#openDevice('microphone')]);
        try {
            await this.#enter(++this.#life);
        } catch (error) {
            this.#closeDevices();
            throw error;
        }
        this.dispatchEvent(new Event('joined'));
    }

    leave() {
        this.#life += 1;
        this.#signaling?.leave();
        this.#exit();
        this.#closeDevices();
        this.participants = [];
        this.pinned = null;
        this.dispatchEvent(new Event('left'));
    }

    /** Becomes an endpoint of the room, unless the page has moved on from this `life` meanwhile. */
    async #enter(life) {
        const { reply, signaling } = await join(this.room, this.name, this.#state());
        if (life !== this.#life) {
            signaling.leave();
            return;
        }
        this.room = reply.room;
        this.name = reply.name;
        this.endpoint = reply.endpoint;
        this.#rosterKnown = false;
        this.#signaling = signaling;
        this.#sampler = new Sampler();
        let { formats } = reply;
        for (const [kind, codec] of [['video', this.#choices.codec], ['audio', this.#choices.audio]]) {
            formats = codec ? preferCodec(formats, kind, codec) : formats;
        }
        if (this.#choices.without) {
            formats = withoutExtension(formats, this.#choices.without);
        }
        const dataChannel = reply.dataChannel && !(this.#choices.channel === 'websocket' && reply.webSocket);
        const session = new Session({ ...reply, formats, dataChannel }, signaling, {
            microphone: this.#open.microphone?.track ?? null,
            camera: this.#open.camera?.track ?? null,
        }, this.#choices);
        this.#session = session;
        const changed = () => this.#changed();
        signaling.addEventListener('roster', ({ detail }) => this.#onRoster(detail));
        signaling.addEventListener('removed', () => this.#rejoin('The bridge has dropped this page'));
        session.addEventListener('sources', changed);
        session.addEventListener('channel', changed);
        session.addEventListener('message', ({ detail }) => this.#onMessage(detail));
        session.addEventListener('lost', ({ detail }) => this.#rejoin(detail.message));
        session.addEventListener('connection', ({ detail }) => {
            if (detail === 'connected') {
                this.#rejoins = 0;
            }
            changed();
        });
        if (this.#open.screen) {
            session.setScreen(this.#open.screen.track);
        }
        this.#timers = [
            setInterval(() => this.#sampleStats(), STATS_INTERVAL),
            setInterval(() => this.#sendEndpointStats(), ENDPOINT_STATS_INTERVAL),
        ];
        changed();
    }

    #exit() {
        this.#timers.forEach(clearInterval);
        this.#timers = [];
        this.#signaling?.close();
        this.#session?.close();
        this.#signaling = null;
        this.#session = null;
        this.dominant = null;
        this.estimate = null;
        this.sample = null;
        this.#forwarded.clear();
        this.#everForwarded.clear();
        this.#inactive.clear();
        this.#remoteStats.clear();
    }

    /** Starts over with a new endpoint, for as long as it takes; the devices stay open. */
    async #rejoin(reason) {
        if (!this.#session) {
            return;
        }
        this.#signaling.leave();
        this.#exit();
        this.dispatchEvent(new Event('rejoining'));
        this.#notice(`${reason}. Joining again …`, true);
        const life = ++this.#life;
        do {
            const delay = REJOIN_DELAYS[Math.min(this.#rejoins++, REJOIN_DELAYS.length - 1)];
            await new Promise(resolve => setTimeout(resolve, delay));
            // A leave or another join in the meantime has ended this life.
        } while (life === this.#life && !await this.#enter(life).then(() => true, () => false));
    }

    // ---- what this page sends ------------------------------------------------------------------------

    async setMicrophone(on) {
        this.#wanted.microphone = on;
        if (on && !this.#open.microphone) {
            await this.#openDevice('microphone');
            await this.#session?.setMicrophone(this.#open.microphone?.track ?? null);
        }
        // Muted, the track goes on in silence: the bridge does not forward silence.
        if (this.#open.microphone) {
            this.#open.microphone.track.enabled = on;
        }
        this.#tellState();
    }

    async setCamera(on) {
        this.#wanted.camera = on;
        if (on) {
            await this.#openDevice('camera');
        } else {
            this.#closeDevice('camera');
        }
        await this.#session?.setCamera(this.#open.camera?.track ?? null);
        this.#tellState();
    }

    async setScreen(on) {
        if (on === this.screenOn) {
            return;
        }
        if (on) {
            await this.#openDevice('screen');
        } else {
            this.#closeDevice('screen');
        }
        await this.#session?.setScreen(this.#open.screen?.track ?? null);
        this.#tellState();
    }

    async #openDevice(kind) {
        const opener = { camera: openCamera, microphone: openMicrophone, screen: openScreen }[kind];
        const off = this.#choices[kind] === 'off';
        if ((kind !== 'screen' && !this.#wanted[kind]) || this.#open[kind]) {
            return;
        }
        let device = null;
        try {
            device = await opener(off ? '' : this.#choices[kind], this.name);
        } catch (error) {
            if (kind === 'screen') {
                this.#notice(error.message, true);
                return;
            }
            this.#notice(`${error.message} Using a test ${kind === 'camera' ? 'picture' : 'tone'}.`, true);
            this.#choices[kind] = 'test';
            device = await opener('test', this.name);
        }
        if (!device) {
            return;
        }
        this.#open[kind] = device;
        // The person may stop a share, or pull a cable, outside of this page.
        device.track.addEventListener('ended', () => {
            if (this.#open[kind] === device) {
                this.#ended(kind);
            }
        });
    }

    async #ended(kind) {
        switch (kind) {
            case 'screen':
                return this.setScreen(false);
            case 'camera':
                return this.setCamera(false);
            default:
                this.#closeDevice(kind);
                await this.#session?.setMicrophone(null);
                return this.setMicrophone(false);
        }
    }

    #closeDevice(kind) {
        this.#open[kind]?.stop();
        this.#open[kind] = null;
    }

    #closeDevices() {
        Object.keys(this.#open).forEach(kind => this.#closeDevice(kind));
    }

    #state() {
        const { width = 0, height = 0 } = this.cameraTrack?.getSettings() ?? {};
        return {
            audioMuted: !this.microphoneOn,
            videoMuted: !this.cameraOn,
            screen: this.screenOn,
            cameraHeight: Math.round(Math.min(width, height)) || 0,
        };
    }

    #tellState() {
        this.#changed();
        this.#signaling?.setState(this.#state()).catch(error => this.#notice(error.message, true));
    }

    // ---- what comes in -------------------------------------------------------------------------------

    #onRoster(list) {
        const before = new Map(this.participants.map(one => [one.endpoint, one]));
        this.participants = list.map(one => ({ ...one, self: one.endpoint === this.endpoint }));
        const now = new Set(list.map(one => one.endpoint));
        if (this.#rosterKnown) {
            for (const { endpoint, name, self } of this.participants) {
                if (!self && !before.has(endpoint)) {
                    this.#notice(`${name} has joined`);
                }
            }
            for (const { endpoint, name, self } of before.values()) {
                if (!self && !now.has(endpoint)) {
                    this.#notice(`${name} has left`);
                }
            }
            for (const { name, self, state, endpoint } of this.participants) {
                if (!self && state.screen && before.get(endpoint)?.state.screen === false) {
                    this.#notice(`${name} shares a screen`);
                }
            }
        }
        this.#rosterKnown = true;
        if (!now.has(this.dominant)) {
            this.dominant = null;
        }
        if (this.pinned && !this.tiles().some(tile => tile.id === this.pinned)) {
            this.pinned = null;
        }
        this.#changed();
    }

    #onMessage(message) {
        switch (message.colibriClass) {
            case 'DominantSpeakerEndpointChangeEvent':
                this.dominant = message.silence ? null : message.dominantSpeakerEndpoint;
                this.#followSpeaker();
                break;
            case 'ForwardedSources':
                this.#forwarded = new Set(message.forwardedSources);
                message.forwardedSources.forEach(source => this.#everForwarded.add(source));
                break;
            case 'EndpointConnectivityStatusChangeEvent':
                if (String(message.active) === 'true') {
                    this.#inactive.delete(message.endpoint);
                } else {
                    this.#inactive.add(message.endpoint);
                }
                break;
            case 'ConnectionStats':
                this.estimate = message.estimatedDownlinkBandwidth;
                break;
            case 'EndpointStats':
                this.#remoteStats.set(message.from, message);
                return;
            default:
                return;
        }
        this.#changed();
    }

    /** What the bridge sends of a source, if anything. */
    binding(source) {
        for (const binding of this.#session?.received.values() ?? []) {
            if (binding.source === source) {
                return binding;
            }
        }
        return null;
    }

    /** Received audio: [{mid, owner, track}]. */
    audio() {
        return [...(this.#session?.received.values() ?? [])]
            .filter(({ kind, track }) => kind === 'audio' && track);
    }

    // ---- tiles ---------------------------------------------------------------------------------------

    /** The tiles in the order of display, as `Tiles.update` takes them, with their source. */
    tiles() {
        const list = [];
        const rank = ({ endpoint, self }) => (self ? 2 : endpoint === this.#front.endpoint ? 0 : 1);
        for (const one of [...this.participants].sort((a, b) => rank(a) - rank(b))) {
            if (one.self ? this.screenOn : one.state.screen) {
                list.push(this.#tile(one, 'v1'));
            }
            list.push(this.#tile(one, 'v0'));
        }
        return list;
    }

    /** Lets the front tile, and a stage that nobody chose, follow the dominant speaker; true if it moved. */
    #followSpeaker() {
        const now = performance.now();
        const speaker = this.participants.find(one => one.endpoint === this.dominant && !one.self);
        if (!speaker || speaker.endpoint === this.#front.endpoint || now - this.#front.since < SPEAKER_HOLD) {
            return false;
        }
        this.#front = { endpoint: speaker.endpoint, since: now };
        return true;
    }

    #tile({ endpoint, name, self, state }, slot) {
        const screen = slot === 'v1';
        const source = `${endpoint}-${slot}`;
        const shown = self
            ? (screen ? this.screenOn : this.cameraOn)
            : screen || !state.videoMuted;
        const track = self
            ? this.#open[screen ? 'screen' : 'camera']?.track ?? null
            : this.binding(source)?.track ?? null;
        return {
            id: screen ? `${endpoint}-screen` : endpoint,
            source,
            owner: endpoint,
            name: screen ? `${name}’s screen` : name,
            self,
            screen,
            track: shown ? track : null,
            mirrored: self && !screen && this.#choices.camera !== 'test',
            micOff: !screen && (self ? !this.microphoneOn : state.audioMuted),
            dominant: !screen && endpoint === this.dominant,
            status: self ? null : this.#status(endpoint, source, shown && Boolean(track)),
        };
    }

    #status(endpoint, source, shown) {
        if (this.#inactive.has(endpoint)) {
            return 'connection lost';
        }
        // Before its first picture a source is not paused, only not there yet.
        const paused = this.#everForwarded.has(source) && !this.#forwarded.has(source);
        return shown && paused ? 'paused' : null;
    }

    /** The tile on stage: what was chosen, else a shared screen, else whoever speaks. */
    stage(tiles = this.tiles()) {
        const others = tiles.filter(tile => !tile.self);
        return (tiles.find(tile => tile.id === this.pinned)
            ?? others.find(tile => tile.screen)
            ?? others.find(tile => tile.owner === this.#front.endpoint)
            ?? others[0]
            ?? tiles[0])?.id ?? null;
    }

    setView(view) {
        this.view = view;
        if (view === 'tiles') {
            this.pinned = null;
        }
        this.#changed();
    }

    /** Puts a tile on stage; null goes back to all tiles. */
    setStage(id) {
        this.pinned = id;
        this.view = id ? 'stage' : 'tiles';
        this.#changed();
    }

    /**
     * Asks the bridge for what the layout can use: the stage in full, small pictures for the rest, and in
     * the tile view what the size of a tile is worth. `pixelHeight` gives a tile's height on screen.
     */
    requestPictures(pixelHeight) {
        const tiles = this.tiles().filter(tile => !tile.self);
        const stage = this.view === 'stage' ? this.stage() : null;
        const constraints = {};
        const onStageSources = [];
        for (const { id, source, screen } of tiles) {
            if (id === stage) {
                onStageSources.push(source);
                constraints[source] = { maxHeight: screen ? SCREEN_STAGE_HEIGHT : STAGE_HEIGHT };
            } else {
                const wanted = stage ? THUMBNAIL_HEIGHT : heightToRequest(pixelHeight(id));
                constraints[source] = { maxHeight: wanted };
            }
        }
        this.#session?.setReceiverConstraints({
            lastN: -1,
            onStageSources,
            selectedSources: [],
            defaultConstraints: { maxHeight: THUMBNAIL_HEIGHT },
            constraints,
        });
    }

    // ---- figures -------------------------------------------------------------------------------------

    async #sampleStats() {
        const session = this.#session;
        if (!session) {
            return;
        }
        const sample = await this.#sampler.sample(session).catch(() => null);
        if (sample && session === this.#session) {
            this.sample = sample;
            if (this.#followSpeaker()) {
                this.#changed();
            }
            this.dispatchEvent(new Event('stats'));
        }
    }

    /** What is known about a tile in figures; null before the first sample. */
    figures(tile) {
        if (!this.sample || !this.#session) {
            return null;
        }
        const rtt = this.sample.link.rtt;
        if (tile.self) {
            const mid = tile.screen ? '2' : '1';
            return { self: true, rtt, encodings: this.sample.sent.get(mid) ?? [] };
        }
        const video = this.sample.received.get(this.binding(tile.source)?.mid) ?? null;
        const voice = this.sample.received.get(this.binding(`${tile.owner}-a0`)?.mid) ?? null;
        const owner = this.participants.find(one => one.endpoint === tile.owner);
        return {
            self: false,
            rtt,
            video,
            audio: tile.screen ? null : voice,
            layer: tile.screen || !video ? '' : guessLayer(
                Math.min(video.frameWidth, video.frameHeight), owner?.state.cameraHeight),
            ownerRtt: this.#remoteStats.get(tile.owner)?.jvbRTT ?? null,
        };
    }

    /** What other clients of the bridge send as well: tells the others how this page is doing. */
    #sendEndpointStats() {
        if (!this.sample) {
            return;
        }
        const { link, received, sent } = this.sample;
        const kbps = bitrate => Math.round((bitrate ?? 0) / 1000);
        const total = (streams, kind) => kbps(streams.filter(stream => stream.kind === kind)
            .reduce((sum, stream) => sum + stream.bitrate, 0));
        const incoming = [...received.values()];
        const outgoing = [...sent.values()].flat();
        const percent = loss => Math.round(100 * loss);
        const download = percent(Math.max(0, ...incoming.map(stream => stream.loss)));
        const upload = percent(Math.max(0, ...outgoing.map(stream => stream.loss)));
        this.#session?.send('EndpointStats', {
            bitrate: {
                download: kbps(link.receivedBitrate),
                upload: kbps(link.sentBitrate),
                audio: { download: total(incoming, 'audio'), upload: total(outgoing, 'audio') },
                video: { download: total(incoming, 'video'), upload: total(outgoing, 'video') },
            },
            packetLoss: { download, upload, total: Math.max(download, upload) },
            connectionQuality: Math.max(0, 100 - 5 * Math.max(download, upload)),
            jvbRTT: Math.round(1000 * (link.rtt ?? 0)),
            maxEnabledResolution: Math.max(0, ...outgoing.filter(stream => stream.active)
                .map(stream => stream.frameHeight)),
        });
    }

    #changed() {
        this.dispatchEvent(new Event('change'));
    }

    #notice(text, bad = false) {
        this.dispatchEvent(new CustomEvent('notice', { detail: { text, bad } }));
    }
}
