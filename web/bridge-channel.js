// The bridge channel: JSON messages between this page and the bridge, over the data channel that the page
// opens. If that does not open in time and the bridge offers a websocket, the messages go there.

const LABEL = 'JVB data channel';
const PROTOCOL = 'http://jitsi.org/protocols/colibri';
const FALLBACK_AFTER = 10_000;
const LONGEST_RETRY = 30_000;

/**
 * Emits `open` each time the channel (re)opens, and `message` (detail: the object) for each message of the
 * bridge. What is sent while the channel is closed is dropped: on `open` the current state is sent anew.
 */
export class BridgeChannel extends EventTarget {
    #dataChannel = null;
    #socket = null;
    #webSocketPath;
    #fallbackTimer = 0;
    #retries = 0;
    #closed = false;

    constructor(peerConnection, { dataChannel, webSocket }) {
        super();
        this.#webSocketPath = webSocket;
        if (dataChannel) {
            const channel = peerConnection.createDataChannel(LABEL, { protocol: PROTOCOL });
            channel.addEventListener('open', () => this.#opened());
            channel.addEventListener('message', ({ data }) => this.#received(data));
            channel.addEventListener('close', () => this.#dial(0));
            this.#dataChannel = channel;
        }
        this.#dial(dataChannel ? FALLBACK_AFTER : 0);
    }

    get isOpen() {
        return this.#dataChannel?.readyState === 'open' || this.#socket?.readyState === WebSocket.OPEN;
    }

    /** What carries the messages now. */
    get transport() {
        if (this.#dataChannel?.readyState === 'open') {
            return 'data channel';
        }
        return this.#socket?.readyState === WebSocket.OPEN ? 'websocket' : 'none';
    }

    send(colibriClass, fields) {
        const text = JSON.stringify({ colibriClass, ...fields });
        if (this.#dataChannel?.readyState === 'open') {
            this.#dataChannel.send(text);
        } else if (this.#socket?.readyState === WebSocket.OPEN) {
            this.#socket.send(text);
        }
    }

    close() {
        this.#closed = true;
        clearTimeout(this.#fallbackTimer);
        this.#dataChannel?.close();
        this.#socket?.close();
    }

    #opened() {
        clearTimeout(this.#fallbackTimer);
        this.#retries = 0;
        this.dispatchEvent(new Event('open'));
    }

    #received(data) {
        let message;
        try {
            message = JSON.parse(data);
        } catch {
            return;
        }
        if (typeof message?.colibriClass === 'string') {
            this.dispatchEvent(new CustomEvent('message', { detail: message }));
        }
    }

    #dial(delay) {
        if (this.#closed || !this.#webSocketPath) {
            return;
        }
        clearTimeout(this.#fallbackTimer);
        this.#fallbackTimer = setTimeout(() => {
            if (this.#closed || this.isOpen) {
                return;
            }
            const url = new URL(this.#webSocketPath, location.href);
            url.protocol = url.protocol.replace('http', 'ws');
            const socket = new WebSocket(url);
            socket.addEventListener('open', () => this.#opened());
            socket.addEventListener('message', ({ data }) => this.#received(data));
            socket.addEventListener('close', () => {
                this.#dial(Math.min(1000 * 2 ** this.#retries++, LONGEST_RETRY));
            });
            this.#socket = socket;
        }, delay);
    }
}
