// One life in a conference: the peer connection with the bridge and what travels on it.
//
// The bridge is the offerer. It never sends SDP: `join` brings its transport and formats, the bridge
// channel brings the sources of the others as they come (SSRC rewriting), and from both this file writes
// the bridge's offer anew whenever something changed, lets the browser answer, and tells the bridge what
// is new in the answer. Only one such round runs at a time.

import { BridgeChannel } from './bridge-channel.js';
import { Mid, addSimulcast, readEncodings, readTransport, writeOffer } from './sdp.js';

/** Simulcast of the camera, lowest layer first. */
export const CAMERA_LAYERS = Object.freeze([
    Object.freeze({ name: 'low', scale: 4, maxBitrate: 200_000 }),
    Object.freeze({ name: 'medium', scale: 2, maxBitrate: 500_000 }),
    Object.freeze({ name: 'high', scale: 1, maxBitrate: 1_500_000 }),
]);
const SCREEN_MAX_BITRATE = 2_500_000;

const DISCONNECTED_GRACE = 3_000;
const RESTART_TIMEOUT = 10_000;
const MAX_RESTARTS = 3;

/**
 * Events: `sources` (what is received from whom changed), `message` (detail: a message of the bridge that
 * is not about the session itself), `channel` (the bridge channel opened), `connection` (detail: state),
 * `lost` (the session is beyond repair: join again).
 *
 * With a `mode`, such as "L3T3_KEY" (W3C webrtc-svc), the camera is sent in it, all layers all the time whoever wants
 * them: for recordings and measurements.
 */
export class Session extends EventTarget {
    /** Maps a MID to what the bridge sends there: {mid, kind, source, owner, ssrc, rtx, videoType, track}. */
    received = new Map();
    /** Largest height that anybody wants, by own source; −1 = no limit, 0 = nobody wants it. */
    senderConstraints = new Map();

    #pc;
    #channel;
    #signaling;
    #endpoint;
    #formats;
    #transport;
    #mode;
    #version = 0;
    #demux;
    #sections;
    #tracks = { microphone: null, camera: null, screen: null };
    #sent = { transport: '', sources: '' };
    #constraints = '';
    #queue = Promise.resolve();
    #closed = false;
    #recovery = { timer: 0, restarts: 0 };

    /**
     * With the wish `demux` "mid", the browser is not told the SSRCs of what it receives; for `mode` see above.
     */
    constructor(reply, signaling, tracks, { mode = '', demux = '' } = {}) {
        super();
        this.#mode = mode;
        this.#demux = demux;
        this.#signaling = signaling;
        this.#endpoint = reply.endpoint;
        this.#formats = reply.formats;
        this.#transport = reply.transport;
        Object.assign(this.#tracks, tracks);
        const { audio, video } = reply.bridgeSources;
        const own = (ssrc, msid) => [{ ssrc, msid }];
        this.#sections = [
            { mid: Mid.microphone, kind: 'audio', direction: 'sendrecv', streams: own(audio, 'bridge-audio') },
            { mid: Mid.camera, kind: 'video', direction: 'sendrecv', streams: own(video, 'bridge-video') },
        ];
        if (reply.dataChannel) {
            this.#sections.push({ mid: Mid.channel, kind: 'application', streams: [] });
        }
        this.#pc = new RTCPeerConnection({ iceServers: reply.iceServers, bundlePolicy: 'max-bundle' });
        this.#pc.addEventListener('connectionstatechange', () => this.#connectionChanged());
        this.#channel = new BridgeChannel(this.#pc, reply);
        this.#channel.addEventListener('open', () => this.#channelOpened());
        this.#channel.addEventListener('message', ({ detail }) => this.#onMessage(detail));
        this.#enqueue(() => this.#negotiate());
    }

    get connectionState() {
        return this.#pc.connectionState;
    }

    get channelTransport() {
        return this.#channel.transport;
    }

    getStats() {
        return this.#pc.getStats();
    }

    /** The name of one of the own sources: slot is "a0", "v0" or "v1". */
    ownSource(slot) {
        return `${this.#endpoint}-${slot}`;
    }

    /** The encodings of the own camera as the browser was told: [{active, scale, maxBitrate}]. */
    get cameraEncodings() {
        return (this.#sender(Mid.camera)?.getParameters().encodings ?? []).map(encoding => ({
            active: encoding.active,
            mode: encoding.scalabilityMode ?? '',
            scale: encoding.scaleResolutionDownBy ?? 1,
            maxBitrate: encoding.maxBitrate,
        }));
    }

    setMicrophone(track) {
        return this.#enqueue(async () => {
            this.#tracks.microphone = track;
            await this.#sender(Mid.microphone)?.replaceTrack(track);
        });
    }

    setCamera(track) {
        return this.#enqueue(async () => {
            this.#tracks.camera = track;
            await this.#sender(Mid.camera)?.replaceTrack(track);
            await this.#applySenderConstraints();
            this.#sendVideoTypes();
        });
    }

    setScreen(track) {
        return this.#enqueue(async () => {
            this.#tracks.screen = track;
            let section = this.#sections.find(({ mid }) => mid === Mid.screen);
            if (!section) {
                section = { mid: Mid.screen, kind: 'video', streams: [] };
                this.#sections.push(section);
            }
            section.direction = track ? 'recvonly' : 'inactive';
            await this.#negotiate();
            this.#sendVideoTypes();
        });
    }

    /** Tells the bridge what this page wants to be sent; what equals the last wish is not sent again. */
    setReceiverConstraints(constraints) {
        const text = JSON.stringify(constraints);
        if (text !== this.#constraints) {
            this.#constraints = text;
            this.#channel.send('ReceiverVideoConstraints', constraints);
        }
    }

    /** The wish that was last sent. */
    get receiverConstraints() {
        return this.#constraints ? JSON.parse(this.#constraints) : null;
    }

    send(colibriClass, fields) {
        this.#channel.send(colibriClass, fields);
    }

    close() {
        this.#closed = true;
        clearTimeout(this.#recovery.timer);
        this.#channel.close();
        this.#pc.close();
    }

    // ---- negotiation ---------------------------------------------------------------------------------

    /** Runs after everything that was asked for before. A failure ends the session, not the page. */
    #enqueue(work) {
        const result = this.#queue.then(() => (this.#closed ? undefined : work()));
        this.#queue = result.catch(error => {
            if (!this.#closed) {
                console.error('causeway: negotiation failed', error);
                this.#lose(error);
            }
        });
        return this.#queue;
    }

    async #negotiate() {
        const pc = this.#pc;
        const told = section => (this.#demux === 'mid' && this.received.has(section.mid)
            ? { ...section, streams: [] } : section);
        this.#version += 1;
        const offer = writeOffer({
            version: this.#version,
            transport: this.#transport,
            formats: this.#formats,
            sections: this.#sections.map(told),
        });
        await pc.setRemoteDescription({ type: 'offer', sdp: offer });
        await this.#attach(Mid.microphone, this.#tracks.microphone, 'sendrecv');
        await this.#attach(Mid.camera, this.#tracks.camera, 'sendrecv');
        await this.#attach(Mid.screen, this.#tracks.screen, this.#tracks.screen ? 'sendonly' : 'inactive');
        const answer = await pc.createAnswer();
        // Spatial layers are in one stream.
        const streams = /^L[23]/.test(this.#mode) ? 1 : CAMERA_LAYERS.length;
        const sdp = streams > 1 ? addSimulcast(answer.sdp, Mid.camera, streams) : answer.sdp;
        try {
            await pc.setLocalDescription({ type: 'answer', sdp });
        } catch (error) {
            // A browser that does not know this kind of simulcast sends one layer.
            console.warn('causeway: no simulcast', error);
            await pc.setLocalDescription(answer);
        }
        await this.#applySenderConstraints();
        await this.#report();
        for (const binding of this.received.values()) {
            binding.track = this.#transceiver(binding.mid)?.receiver.track ?? null;
        }
        this.dispatchEvent(new Event('sources'));
    }

    async #attach(mid, track, direction) {
        const transceiver = this.#transceiver(mid);
        if (!transceiver) {
            return;
        }
        transceiver.direction = direction;
        if (transceiver.sender.track !== track) {
            await transceiver.sender.replaceTrack(track);
        }
    }

    /** Tells the bridge what is new in the browser's own description. */
    async #report() {
        const { sdp } = this.#pc.localDescription;
        const transport = {
            ...readTransport(sdp),
            ...(this.#transport.iceGeneration == null ? {} : { iceGeneration: this.#transport.iceGeneration }),
        };
        if (this.#sent.transport !== JSON.stringify(transport)) {
            await this.#signaling.setTransport(transport);
            this.#sent.transport = JSON.stringify(transport);
        }
        const sources = this.#ownSources(sdp);
        const encodings = JSON.stringify(sources.map(({ slot, encodings }) => [slot, encodings]));
        if (this.#sent.sources !== encodings) {
            await this.#signaling.setSources(sources);
            this.#sent.sources = encodings;
        }
    }

    #ownSources(sdp) {
        const sources = [];
        const add = (slot, mid, fields) => {
            // A browser that ignored our request for simulcast still repeats it in its description.
            const sending = this.#sender(mid)?.getParameters().encodings?.length || 1;
            const encodings = readEncodings(sdp, mid).slice(0, sending);
            if (encodings.length > 0) {
                sources.push({ slot, encodings, ...fields });
            }
        };
        add('a0', Mid.microphone, {});
        add('v0', Mid.camera, { videoType: this.#videoType('camera') });
        if (this.#tracks.screen) {
            add('v1', Mid.screen, { videoType: 'desktop' });
        }
        return sources;
    }

    #transceiver(mid) {
        return this.#pc.getTransceivers().find(transceiver => transceiver.mid === mid);
    }

    #sender(mid) {
        return this.#transceiver(mid)?.sender;
    }

    // ---- sending -------------------------------------------------------------------------------------

    #videoType(what) {
        const shows = what === 'camera' ? 'camera' : 'desktop';
        return this.#tracks[what] ? shows : 'none';
    }

    #sendVideoTypes() {
        const tell = (slot, what) => this.#channel.send('SourceVideoTypeMessage',
            { sourceName: this.ownSource(slot), videoType: this.#videoType(what) });
        tell('v0', 'camera');
        if (this.#sections.some(({ mid }) => mid === Mid.screen)) {
            tell('v1', 'screen');
        }
    }

    /** Switches off the layers that nobody wants (`SenderSourceConstraints`). */
    async #applySenderConstraints() {
        const { width, height } = this.#tracks.camera?.getSettings() ?? {};
        const captured = Math.min(width || 1280, height || 720);
        const wanted = this.senderConstraints.get(this.ownSource('v0')) ?? 0;
        // Without a mode browsers make spatial layers of one stream of these codecs, and no simulcast.
        const [first] = this.#formats.video.payloadTypes;
        const usual = /^(VP9|AV1)\//.test(first.encoding) ? 'L1T3' : '';
        const scalabilityMode = this.#mode || usual;
        const mode = scalabilityMode ? { scalabilityMode } : {};
        await this.#configure(Mid.camera, (encoding, index, count) => {
            const { scale, maxBitrate } = count === 1 ? CAMERA_LAYERS.at(-1) : CAMERA_LAYERS[index];
            const fits = wanted < 0 || index === 0 || captured / scale <= wanted;
            const active = (wanted !== 0 && fits) || (this.#mode !== '' && this.#tracks.camera !== null);
            return { active, scaleResolutionDownBy: scale, maxBitrate, ...mode };
        });
        const screen = this.senderConstraints.get(this.ownSource('v1')) ?? 0;
        await this.#configure(Mid.screen, () => ({ active: screen !== 0, maxBitrate: SCREEN_MAX_BITRATE }));
    }

    async #configure(mid, settings) {
        const sender = this.#sender(mid);
        const parameters = sender?.getParameters();
        if (!parameters?.encodings?.length) {
            return;
        }
        let changed = false;
        parameters.encodings.forEach((encoding, index) => {
            const wanted = settings(encoding, index, parameters.encodings.length);
            changed ||= Object.keys(wanted).some(key => encoding[key] !== wanted[key]);
            Object.assign(encoding, wanted);
        });
        if (changed) {
            await sender.setParameters(parameters);
        }
    }

    // ---- bridge channel ------------------------------------------------------------------------------

    #channelOpened() {
        this.#sendVideoTypes();
        if (this.#constraints) {
            this.#channel.send('ReceiverVideoConstraints', JSON.parse(this.#constraints));
        }
        this.dispatchEvent(new Event('channel'));
    }

    #onMessage(message) {
        switch (message.colibriClass) {
            case 'AudioSourcesMap':
                this.#mapSources('audio', message.mappedSources ?? []);
                break;
            case 'VideoSourcesMap':
                this.#mapSources('video', message.mappedSources ?? []);
                break;
            case 'SenderSourceConstraints':
                this.senderConstraints.set(message.sourceName, message.maxHeight);
                this.#enqueue(() => this.#applySenderConstraints());
                break;
            default:
                break;
        }
        this.dispatchEvent(new CustomEvent('message', { detail: message }));
    }

    /**
     * The bridge bound sources to its outgoing streams. A stream that is known gets another label, a new
     * one gets a media section with the MID that the bridge stamps on its packets.
     */
    #mapSources(kind, mappings) {
        let negotiate = false;
        for (const { source, owner, ssrc, rtx, videoType, mid: signaled } of mappings) {
            const mid = signaled ?? `s${ssrc}`;
            for (const [other, binding] of this.received) {
                if (binding.source === source && other !== mid) {
                    this.received.delete(other);
                }
            }
            const streams = [{ ssrc, rtx, msid: `remote-${mid}` }];
            const section = this.#sections.find(known => known.mid === mid);
            if (!section) {
                this.#sections.push({ mid, kind, direction: 'sendonly', streams });
                negotiate = true;
            } else if (section.streams[0]?.ssrc !== ssrc || section.streams[0]?.rtx !== rtx) {
                section.streams = streams;
                negotiate = true;
            }
            const track = this.#transceiver(mid)?.receiver.track ?? null;
            this.received.set(mid, { mid, kind, source, owner, ssrc, rtx, videoType, track });
        }
        if (negotiate) {
            this.#enqueue(() => this.#negotiate());
        } else {
            this.dispatchEvent(new Event('sources'));
        }
    }

    // ---- recovery ------------------------------------------------------------------------------------

    #connectionChanged() {
        const state = this.#pc.connectionState;
        this.dispatchEvent(new CustomEvent('connection', { detail: state }));
        clearTimeout(this.#recovery.timer);
        if (state === 'connected') {
            this.#recovery.restarts = 0;
        } else if (state === 'failed') {
            this.restartIce();
        } else if (state === 'disconnected') {
            this.#recovery.timer = setTimeout(() => this.restartIce(), DISCONNECTED_GRACE);
        }
    }

    /** Asks the bridge for new ICE credentials and answers them; gives up after some tries. */
    restartIce() {
        clearTimeout(this.#recovery.timer);
        if (this.#recovery.restarts++ >= MAX_RESTARTS) {
            this.#lose(new Error('the bridge can not be reached'));
            return Promise.resolve();
        }
        this.#recovery.timer = setTimeout(() => {
            if (!this.#closed && this.#pc.connectionState !== 'connected') {
                this.restartIce();
            }
        }, RESTART_TIMEOUT);
        return this.#enqueue(async () => {
            this.#transport = await this.#signaling.restartIce();
            await this.#negotiate();
        });
    }

    #lose(error) {
        if (!this.#closed) {
            this.dispatchEvent(new CustomEvent('lost', { detail: error }));
        }
    }
}
