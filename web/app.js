// The page: connects what people do with the conference, and shows what became of it.

import { Conference } from './conference.js';
import { canShareScreen, listDevices, openCamera } from './media.js';
import { formatBitrate } from './stats.js';
import { Tiles } from './tiles.js';

const $ = id => document.getElementById(id);
const query = new URLSearchParams(location.search);
const fake = query.get('fake') === '1';
const conference = new Conference();
const tiles = new Tiles($('tiles'));
const log = [];

// ---- settings that outlive the page ------------------------------------------------------------------

/** localStorage that may be blocked, full or absent. */
const memory = {
    get(key) {
        try {
            return localStorage.getItem(`causeway.${key}`);
        } catch {
            return null;
        }
    },
    set(key, value) {
        try {
            localStorage.setItem(`causeway.${key}`, value);
        } catch {
            // The setting lasts as long as the page.
        }
    },
};

function setTheme(theme) {
    document.documentElement.dataset.theme = theme;
}

const systemTheme = matchMedia('(prefers-color-scheme: light)').matches ? 'light' : 'dark';
setTheme(query.get('theme') ?? memory.get('theme') ?? systemTheme);
$('theme').addEventListener('click', () => {
    const theme = document.documentElement.dataset.theme === 'light' ? 'dark' : 'light';
    setTheme(theme);
    memory.set('theme', theme);
});

let singleKeys = memory.get('single-keys') !== 'off';
$('single-keys').checked = singleKeys;
$('single-keys').addEventListener('change', ({ target }) => {
    singleKeys = target.checked;
    memory.set('single-keys', singleKeys ? 'on' : 'off');
});

// ---- messages to people ------------------------------------------------------------------------------

function notice(text, bad = false) {
    log.push({ time: Date.now(), text, bad });
    log.splice(0, Math.max(0, log.length - 200));
    // The text that a screen reader is to say must change inside an element that is already there.
    $(bad ? 'alarm' : 'announcer').textContent = text;
    const toast = document.createElement('div');
    toast.className = bad ? 'toast bad' : 'toast';
    toast.setAttribute('aria-hidden', 'true');
    toast.textContent = text;
    $('toasts').append(toast);
    setTimeout(() => toast.remove(), bad ? 8000 : 3500);
}

// ---- lobby -------------------------------------------------------------------------------------------

let preview = null;
let previewRun = 0;

function fillChoices(select, kind, devices, standIn) {
    const chosen = select.value;
    const options = devices.filter(device => device.kind === kind)
        .map(({ id, label }) => new Option(label, id));
    if (options.length === 0 && navigator.mediaDevices) {
        options.push(new Option('Default', ''));
    }
    select.replaceChildren(...options, new Option(standIn, 'test'), new Option('Off', 'off'));
    if ([...select.options].some(option => option.value === chosen)) {
        select.value = chosen;
    }
}

async function showChoices() {
    const devices = await listDevices();
    fillChoices($('camera-choice'), 'videoinput', devices, 'Test picture');
    fillChoices($('microphone-choice'), 'audioinput', devices, 'Test tone');
}

async function showPreview() {
    const run = ++previewRun;
    closePreview();
    const choice = $('camera-choice').value;
    if (choice === 'off') {
        $('preview-note').textContent = 'Camera off';
        return;
    }
    try {
        const device = await openCamera(choice, $('name').value || 'Test picture');
        if (run !== previewRun || conference.joined) {
            device.stop();
            return;
        }
        preview = device;
        $('preview').srcObject = new MediaStream([device.track]);
        document.querySelector('.preview').classList.add('has-picture');
        document.querySelector('.preview').classList.toggle('mirrored', choice !== 'test');
        if (choice !== 'test') {
            await showChoices();
        }
    } catch (error) {
        if (run === previewRun) {
            $('preview-note').textContent = `${error.message} Showing a test picture.`;
            $('camera-choice').value = 'test';
            await showPreview();
        }
    }
}

function closePreview() {
    preview?.stop();
    preview = null;
    $('preview').srcObject = null;
    document.querySelector('.preview').classList.remove('has-picture');
}

function lobbyError(text) {
    $('lobby-error').textContent = text;
    $('lobby-error').hidden = !text;
}

async function joinFromLobby() {
    const room = $('room').value.trim();
    const name = $('name').value.trim();
    lobbyError('');
    if (!room) {
        $('room').focus();
        return;
    }
    $('join-button').disabled = true;
    previewRun += 1;
    closePreview();
    memory.set('name', name);
    try {
        await conference.join({
            room,
            name,
            camera: $('camera-choice').value,
            microphone: $('microphone-choice').value,
            screen: fake || query.get('screen') === 'test' ? 'test' : '',
            codec: query.get('codec') ?? '',
            audio: query.get('audio') ?? '',
            demux: query.get('demux') ?? '',
            channel: query.get('channel') ?? '',
            mode: query.get('mode') ?? '',
            without: query.get('without') ?? '',
        });
    } catch (error) {
        lobbyError(error.message);
        showPreview();
    } finally {
        $('join-button').disabled = false;
    }
}

$('join-form').addEventListener('submit', event => {
    event.preventDefault();
    joinFromLobby();
});
$('camera-choice').addEventListener('change', showPreview);
$('name').addEventListener('change', () => $('camera-choice').value === 'test' && showPreview());

// ---- call --------------------------------------------------------------------------------------------

let detailsOn = query.get('details') === '1';

function showCall(joined) {
    for (const id of ['call', 'controls', 'room-title', 'summary', 'invite']) {
        $(id).hidden = !joined;
    }
    $('lobby').hidden = joined;
    document.title = joined ? `${conference.room} – Causeway` : 'Causeway';
    if (joined) {
        $('room-title').textContent = conference.room;
        const url = new URL(location.href);
        url.searchParams.set('room', conference.room);
        history.replaceState(null, '', url);
        $('toggle-mic').focus();
    }
}

let refreshing = false;

/** Shows the current state; many changes in one go are shown once. */
function refresh() {
    if (!refreshing) {
        refreshing = true;
        queueMicrotask(() => {
            refreshing = false;
            render();
        });
    }
}

function render() {
    if (!conference.joined) {
        return;
    }
    const models = conference.tiles();
    const stage = conference.stage(models);
    tiles.update({ models, view: conference.view, stage, pinned: conference.pinned });
    $('alone').hidden = conference.participants.length !== 1;
    playAudio();
    press('toggle-mic', conference.microphoneOn, 'i-mic', 'i-mic-off');
    press('toggle-camera', conference.cameraOn, 'i-camera', 'i-camera-off');
    press('toggle-screen', conference.screenOn);
    press('toggle-view', conference.view === 'stage');
    press('toggle-details', detailsOn);
    $('toggle-screen').hidden = !canShareScreen() && !fake;
    $('call').classList.toggle('with-details', detailsOn);
    showSummary();
    requestSoon();
}

function press(id, on, icon, offIcon) {
    $(id).setAttribute('aria-pressed', String(on));
    if (icon) {
        $(id).querySelector('use').setAttribute('href', `#${on ? icon : offIcon}`);
    }
}

function showSummary() {
    const people = conference.participants.length;
    const parts = [`${people} ${people === 1 ? 'person' : 'people'}`];
    const state = conference.session?.connectionState;
    if (state && state !== 'connected') {
        parts.push(state === 'disconnected' || state === 'failed' ? 'connection lost' : 'connecting');
    }
    const { link } = conference.sample ?? {};
    if (link) {
        parts.push(`↓ ${formatBitrate(link.receivedBitrate ?? 0)}`, `↑ ${formatBitrate(link.sentBitrate ?? 0)}`);
        if (link.rtt != null) {
            parts.push(`RTT ${Math.round(1000 * link.rtt)} ms`);
        }
    }
    if (conference.estimate) {
        parts.push(`estimate ${formatBitrate(conference.estimate)}`);
    }
    $('summary').textContent = parts.join(' · ');
}

let requestTimer = 0;

/** Sizes change in bursts while a window is dragged; the bridge hears of the last one. */
function requestSoon() {
    clearTimeout(requestTimer);
    requestTimer = setTimeout(() => conference.requestPictures(id => tiles.pixelHeight(id)), 150);
}

const players = new Map();
let soundBlocked = false;

function playAudio() {
    const wanted = new Map(conference.audio().map(({ mid, track }) => [mid, track]));
    for (const [mid, player] of players) {
        if (!wanted.has(mid)) {
            player.srcObject = null;
            player.remove();
            players.delete(mid);
        }
    }
    for (const [mid, track] of wanted) {
        let player = players.get(mid);
        if (!player) {
            player = document.createElement('audio');
            player.autoplay = true;
            $('audio').append(player);
            players.set(mid, player);
        }
        if (player.srcObject?.getAudioTracks()[0] !== track) {
            player.srcObject = new MediaStream([track]);
            player.play().catch(error => error.name === 'NotAllowedError' && askForSound());
        }
    }
}

/** Browsers keep a page silent until the person has clicked; ask for that click. */
function askForSound() {
    if (soundBlocked) {
        return;
    }
    soundBlocked = true;
    const toast = document.createElement('div');
    toast.className = 'toast';
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = 'Turn on sound';
    toast.append('The browser keeps this page silent.', button);
    $('toasts').append(toast);
    const resume = () => {
        soundBlocked = false;
        toast.remove();
        removeEventListener('pointerdown', resume);
        removeEventListener('keydown', resume);
        players.forEach(player => player.play().catch(() => {}));
    };
    addEventListener('pointerdown', resume);
    addEventListener('keydown', resume);
}

function showFigures() {
    showSummary();
    if (!detailsOn) {
        return;
    }
    for (const tile of conference.tiles()) {
        tiles.showDetails(tile.id, describe(conference.figures(tile)));
    }
}

/** Figures of a tile as [term, text]. */
function describe(figures) {
    if (!figures) {
        return [];
    }
    const milliseconds = seconds => (seconds == null ? '–' : `${Math.round(1000 * seconds)} ms`);
    const percent = share => `${(100 * share).toFixed(1)} %`;
    const rows = [];
    if (figures.self) {
        for (const [index, one] of figures.encodings.entries()) {
            const names = figures.encodings.length > 1 ? ['Low', 'Medium', 'High'] : ['Sends'];
            rows.push([names[index] ?? 'Layer', one.active && one.frameHeight
                ? `${one.frameWidth}×${one.frameHeight} ${Math.round(one.framesPerSecond)} fps ${formatBitrate(one.bitrate)}`
                : 'off']);
        }
        rows.push(['Loss', percent(Math.max(0, ...figures.encodings.map(one => one.loss)))]);
    } else {
        const { video, audio, layer, ownerRtt } = figures;
        if (video) {
            rows.push(['Picture', video.frameHeight ? `${video.frameWidth}×${video.frameHeight}` : '–']);
            rows.push(['Rate', `${Math.round(video.framesPerSecond)} fps`]);
            rows.push(['Bitrate', formatBitrate(video.bitrate)]);
            if (layer) {
                rows.push(['Layer', layer]);
            }
            rows.push(['Loss', percent(video.loss)]);
        }
        if (audio) {
            rows.push(['Audio', `${formatBitrate(audio.bitrate)}, loss ${percent(audio.loss)}`]);
        }
        if (ownerRtt != null) {
            rows.push(['Their RTT', `${ownerRtt} ms`]);
        }
    }
    rows.push(['RTT', milliseconds(figures.rtt)]);
    return rows;
}

conference.addEventListener('change', refresh);
conference.addEventListener('stats', showFigures);
conference.addEventListener('notice', ({ detail }) => notice(detail.text, detail.bad));
conference.addEventListener('joined', () => {
    showCall(true);
    refresh();
});
conference.addEventListener('rejoining', () => {
    $('summary').textContent = 'joining again …';
});
conference.addEventListener('left', () => {
    showCall(false);
    playAudio();
    showPreview();
    $('join-button').focus();
});
tiles.addEventListener('select', ({ detail: id }) => {
    conference.setStage(conference.pinned === id ? null : id);
});
tiles.addEventListener('resize', requestSoon);

// ---- controls ----------------------------------------------------------------------------------------

/** Runs what a control does; a failure is shown, not lost. */
async function act(work) {
    try {
        await work();
    } catch (error) {
        notice(error.message, true);
    }
}

const actions = {
    setMicrophone: on => act(() => conference.setMicrophone(Boolean(on))),
    setCamera: on => act(() => conference.setCamera(Boolean(on))),
    setScreen: on => act(() => conference.setScreen(Boolean(on))),
    setView: view => act(() => conference.setView(view === 'stage' ? 'stage' : 'tiles')),
    setStage: id => act(() => conference.setStage(id ?? null)),
    setDetails(on) {
        detailsOn = Boolean(on);
        refresh();
        showFigures();
    },
    restartIce: () => act(() => conference.session?.restartIce()),
    /** Sends a message to the bridge as it is. */
    send: (colibriClass, fields) => conference.session?.send(colibriClass, fields),
    leave: () => conference.leave(),
};

const toggles = {
    'toggle-mic': () => actions.setMicrophone(!conference.microphoneOn),
    'toggle-camera': () => actions.setCamera(!conference.cameraOn),
    'toggle-screen': () => actions.setScreen(!conference.screenOn),
    'toggle-view': () => actions.setView(conference.view === 'stage' ? 'tiles' : 'stage'),
    'toggle-details': () => actions.setDetails(!detailsOn),
    'show-keys': () => $('keys').showModal(),
    leave: () => actions.leave(),
};
for (const [id, toggle] of Object.entries(toggles)) {
    $(id).addEventListener('click', toggle);
}

const keys = {
    m: 'toggle-mic', c: 'toggle-camera', s: 'toggle-screen', v: 'toggle-view', i: 'toggle-details', '?': 'show-keys',
};
addEventListener('keydown', event => {
    const typing = event.target.closest?.('input, select, textarea, dialog');
    const toggle = toggles[keys[event.key.toLowerCase()]];
    if (conference.joined && singleKeys && toggle && !typing && !event.repeat
        && !event.ctrlKey && !event.altKey && !event.metaKey) {
        event.preventDefault();
        toggle();
    }
});

$('invite').addEventListener('click', async () => {
    const link = new URL(location.origin);
    link.searchParams.set('room', conference.room);
    try {
        await navigator.clipboard.writeText(link.href);
        notice('Link copied');
    } catch {
        notice(`The link of this room: ${link.href}`);
    }
});

// A page that goes into the back/forward cache has left; coming back it starts anew.
addEventListener('pagehide', () => conference.joined && conference.leave());
addEventListener('pageshow', ({ persisted }) => persisted && location.reload());

// ---- for tests and the curious -------------------------------------------------------------------------

/** Everything that is shown, as plain data. */
function state() {
    const session = conference.session;
    return {
        joined: conference.joined,
        room: conference.room,
        name: conference.name,
        endpoint: conference.endpoint,
        connection: session?.connectionState ?? 'none',
        channel: session?.channelTransport ?? 'none',
        participants: conference.participants.map(one => ({ ...one, state: { ...one.state } })),
        dominantSpeaker: conference.dominant,
        view: conference.view,
        stage: conference.view === 'stage' ? conference.stage() : null,
        pinned: conference.pinned,
        microphoneOn: conference.microphoneOn,
        cameraOn: conference.cameraOn,
        screenOn: conference.screenOn,
        estimate: conference.estimate,
        senderConstraints: Object.fromEntries(session?.senderConstraints ?? []),
        receiverConstraints: session?.receiverConstraints ?? null,
        cameraEncodings: session?.cameraEncodings ?? [],
        received: [...(session?.received.values() ?? [])].map(({ track, ...binding }) => (
            { ...binding, live: track?.readyState === 'live' && !track.muted })),
        log: [...log],
    };
}

/** The last sample of figures, per tile; {} before the first. */
function stats() {
    if (!conference.sample) {
        return {};
    }
    return {
        link: { ...conference.sample.link },
        tiles: conference.tiles().map(tile => ({
            id: tile.id,
            source: tile.source,
            owner: tile.owner,
            self: tile.self,
            screen: tile.screen,
            shown: Boolean(tile.track),
            status: tile.status,
            picture: tiles.picture(tile.id),
            ...conference.figures(tile),
        })),
    };
}

/** A stable, read-only view of the page for tests: see the fields of `state`, `stats` and `actions`. */
Object.defineProperty(window, 'causeway', {
    value: Object.freeze({ version: 1, state, stats, actions: Object.freeze(actions) }),
});

// ---- start -------------------------------------------------------------------------------------------

$('room').value = query.get('room') ?? '';
$('name').value = query.get('name') ?? memory.get('name') ?? '';
await showChoices();
const choose = (id, wanted) => {
    if (wanted !== null && [...$(id).options].some(option => option.value === wanted)) {
        $(id).value = wanted;
    }
};
choose('camera-choice', query.get('camera') ?? (fake ? 'test' : null));
choose('microphone-choice', query.get('microphone') ?? (fake ? 'test' : null));
if (query.get('view') === 'stage') {
    conference.setView('stage');
}
if (query.get('join') === '1' && $('room').value) {
    await joinFromLobby();
} else {
    $($('room').value ? 'name' : 'room').focus();
    await showPreview();
}
