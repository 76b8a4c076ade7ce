// Talks to the demo's server: requests over HTTP, the roster over a websocket.

/** A refused request. `code` is stable, `message` is for people. */
export class SignalingError extends Error {
    constructor(code, message) {
        super(message);
        this.name = 'SignalingError';
        this.code = code;
    }
}

const REQUEST_TIMEOUT = 10_000;

async function post(path, body) {
    let response;
    try {
        response = await fetch(path, {
            method: 'POST',
            headers: { 'Content-Type': 'application/json' },
            body: JSON.stringify(body),
            signal: AbortSignal.timeout(REQUEST_TIMEOUT),
        });
    } catch {
        throw new SignalingError('unreachable', 'The bridge does not answer. Is it still running?');
    }
    const reply = await response.json().catch(() => ({}));
    if (!response.ok) {
        throw new SignalingError(reply.error?.code ?? 'failed',
            reply.error?.message ?? `The bridge answered with status ${response.status}.`);
    }
    return reply;
}

/** Joins a room. Answers with what the bridge made for us, and the way to talk about it. */
export async function join(room, name, state) {
    const reply = await post(`/demo/api/rooms/${encodeURIComponent(room)}/join`, { name, state });
    return { reply, signaling: new Signaling(reply) };
}

/** One participant's line to the server. Emits `roster` (detail: the list) and `removed`. */
export class Signaling extends EventTarget {
    #base;
    #token;
    #socket = null;
    #closed = false;
    #retries = 0;

    constructor({ room, endpoint, token }) {
        super();
        this.#base = `/demo/api/rooms/${encodeURIComponent(room)}/${endpoint}`;
        this.#token = token;
        this.#listen();
    }

    setTransport(transport) {
        return this.#post('transport', transport);
    }

    setSources(sources) {
        return this.#post('sources', { sources });
    }

    setState(state) {
        return this.#post('state', { state });
    }

    async restartIce() {
        return (await this.#post('ice-restart', {})).transport;
    }

    /** Leaves in a way that also works while the page is being closed. */
    leave() {
        this.close();
        const body = new Blob([JSON.stringify({ token: this.#token })], { type: 'application/json' });
        navigator.sendBeacon(`${this.#base}/leave`, body);
    }

    /** Stops listening. */
    close() {
        this.#closed = true;
        this.#socket?.close();
    }

    #post(what, body) {
        return post(`${this.#base}/${what}`, { token: this.#token, ...body });
    }

    #listen() {
        const url = new URL(`${this.#base}/events?token=${this.#token}`, location.href);
        url.protocol = url.protocol.replace('http', 'ws');
        const socket = new WebSocket(url);
        this.#socket = socket;
        socket.addEventListener('message', ({ data }) => {
            this.#retries = 0;
            const message = JSON.parse(data);
            if (message.type === 'roster') {
                this.dispatchEvent(new CustomEvent('roster', { detail: message.participants }));
            }
        });
        socket.addEventListener('close', ({ code }) => {
            if (this.#closed) {
                return;
            }
            // 4001: the bridge let us go. An upgrade that is refused again and again means the same,
            // but browsers do not show its status.
            if (code === 4001 || this.#retries >= 5) {
                this.#closed = true;
                this.dispatchEvent(new Event('removed'));
                return;
            }
            const delay = 500 * 2 ** this.#retries++;
            setTimeout(() => this.#closed || this.#listen(), delay);
        });
    }
}
