// SDP both ways: writes the bridge's offer, reads the browser's answer.
//
// The bridge speaks JSON. The browser's API speaks SDP, so the page writes the offer that the bridge would
// send if it spoke SDP, and takes from the answer what the bridge needs to know.

/** MIDs of what this browser sends; those of what it receives are chosen by the bridge ("a0", "v0", …). */
export const Mid = Object.freeze({ microphone: '0', camera: '1', screen: '2', channel: 'data' });

/**
 * Writes an offer.
 *
 * `sections` are the media sections in the order of their first appearance; they are never removed, as
 * SDP demands. Each has `mid`, `kind` (audio, video, application), `direction` as the bridge sees it, and
 * `streams` ({ssrc, rtx, msid}) that the bridge sends.
 */
export function writeOffer({ version, transport, formats, sections }) {
    const lines = [
        'v=0',
        `o=- 1 ${version} IN IP4 127.0.0.1`,
        's=-',
        't=0 0',
        `a=group:BUNDLE ${sections.map(section => section.mid).join(' ')}`,
        'a=extmap-allow-mixed',
        'a=msid-semantic: WMS *',
    ];
    sections.forEach((section, index) => {
        lines.push(...sectionHead(section, formats), ...transportLines(transport));
        if (index === 0) {
            lines.push(...transport.candidates.map(candidateLine));
        }
        lines.push(`a=mid:${section.mid}`);
        if (section.kind === 'application') {
            lines.push('a=sctp-port:5000', 'a=max-message-size:65536');
        } else {
            lines.push(...mediaLines(section, formats[section.kind]));
        }
    });
    return lines.join('\r\n') + '\r\n';
}

function sectionHead({ kind }, formats) {
    const payloadTypes = kind === 'application'
        ? 'webrtc-datachannel'
        : formats[kind].payloadTypes.map(payload => payload.number).join(' ');
    const protocol = kind === 'application' ? 'UDP/DTLS/SCTP' : 'UDP/TLS/RTP/SAVPF';
    return [`m=${kind} 9 ${protocol} ${payloadTypes}`, 'c=IN IP4 0.0.0.0'];
}

function transportLines({ ufrag, pwd, fingerprint }) {
    return [
        `a=ice-ufrag:${ufrag}`,
        `a=ice-pwd:${pwd}`,
        `a=fingerprint:${fingerprint.hash} ${fingerprint.value}`,
        // Always "actpass": what the browser answered the first time, it answers again.
        'a=setup:actpass',
    ];
}

function candidateLine(candidate) {
    const { foundation, priority, address, port, type, relatedAddress, relatedPort } = candidate;
    const related = relatedAddress ? ` raddr ${relatedAddress} rport ${relatedPort}` : '';
    return `a=candidate:${foundation} 1 udp ${priority} ${address} ${port} typ ${type}${related}`;
}

function mediaLines({ direction, streams }, { payloadTypes, extensions }) {
    const lines = extensions.map(({ id, uri }) => `a=extmap:${id} ${uri}`);
    lines.push(`a=${direction}`, 'a=rtcp-mux');
    for (const { number, encoding, parameters, feedback } of payloadTypes) {
        lines.push(`a=rtpmap:${number} ${encoding}`);
        lines.push(...feedback.map(type => `a=rtcp-fb:${number} ${type}`));
        if (parameters) {
            lines.push(`a=fmtp:${number} ${parameters}`);
        }
    }
    for (const { ssrc, rtx, msid } of streams) {
        if (rtx) {
            lines.push(`a=ssrc-group:FID ${ssrc} ${rtx}`);
        }
        for (const one of rtx ? [ssrc, rtx] : [ssrc]) {
            lines.push(`a=ssrc:${one} cname:bridge`, `a=ssrc:${one} msid:${msid} ${msid}`);
        }
    }
    return lines;
}

/** The same formats with one codec (`vp9`, `red`, …) in front, so that browsers send it if they can. */
export function preferCodec(formats, kind, codec) {
    const isWanted = ({ encoding }) => encoding.toLowerCase().startsWith(`${codec.toLowerCase()}/`);
    const order = payload => (isWanted(payload) ? 0 : 1);
    const payloadTypes = formats[kind].payloadTypes.toSorted((a, b) => order(a) - order(b));
    return { ...formats, [kind]: { ...formats[kind], payloadTypes } };
}

/** The same formats without the header extensions whose URI contains `text`. */
export function withoutExtension(formats, text) {
    const kept = ({ extensions, ...rest }) => ({ ...rest, extensions: extensions.filter(({ uri }) => !uri.includes(text)) });
    return { audio: kept(formats.audio), video: kept(formats.video) };
}

/** The sections of an SDP text: arrays of lines, the session part first. */
function split(sdp) {
    return sdp.trim().split(/\r?\n(?=m=)/).map(part => part.split(/\r?\n/));
}

function sectionOf(sdp, mid) {
    return split(sdp).find(section => section.includes(`a=mid:${mid}`)) ?? [];
}

const ssrcOf = line => Number(/^a=ssrc:(\d+) /.exec(line)?.[1] ?? 0);

const groups = (section, semantics) => section
    .filter(line => line.startsWith(`a=ssrc-group:${semantics} `))
    .map(line => line.split(' ').slice(1).map(Number));

/** The browser's transport from its answer. */
export function readTransport(sdp) {
    const value = name => new RegExp(`^a=${name}:(.*)$`, 'm').exec(sdp)?.[1].trim() ?? '';
    const [hash, digest] = value('fingerprint').split(' ');
    return {
        ufrag: value('ice-ufrag'),
        pwd: value('ice-pwd'),
        fingerprint: { hash, value: digest },
        setup: value('setup'),
    };
}

/** Encodings ({ssrc, rtx}) of what the browser sends in the section with this MID, lowest first. */
export function readEncodings(sdp, mid) {
    const section = sectionOf(sdp, mid);
    const rtx = new Map(groups(section, 'FID'));
    const retransmissions = new Set(rtx.values());
    const [simulcast] = groups(section, 'SIM');
    const first = section.map(ssrcOf).find(ssrc => ssrc && !retransmissions.has(ssrc));
    return (simulcast ?? (first ? [first] : []))
        .map(ssrc => (rtx.has(ssrc) ? { ssrc, rtx: rtx.get(ssrc) } : { ssrc }));
}

/**
 * Asks for simulcast in the answer that the browser is about to apply to itself.
 *
 * Jitsi's bridge tells encodings by signaled SSRCs, not by RIDs, and browsers make such encodings only
 * when their own description lists them: one `SIM` group, and for each SSRC a partner for
 * retransmissions. The browser's one stream becomes the lowest layer.
 */
export function addSimulcast(sdp, mid, layers) {
    const parts = split(sdp);
    const section = parts.find(lines => lines.includes(`a=mid:${mid}`));
    const [first] = readEncodings(sdp, mid);
    if (!section || !first?.rtx || groups(section, 'SIM').length > 0) {
        return sdp;
    }
    const describing = section.filter(line => ssrcOf(line) === first.ssrc)
        .map(line => line.replace(/^a=ssrc:\d+ /, ''));
    const random = () => 1 + crypto.getRandomValues(new Uint32Array(1))[0] % 0xfffffffe;
    const encodings = [first];
    while (encodings.length < layers) {
        encodings.push({ ssrc: random(), rtx: random() });
    }
    const kept = section.filter(line => !line.startsWith('a=ssrc'));
    kept.push(`a=ssrc-group:SIM ${encodings.map(({ ssrc }) => ssrc).join(' ')}`);
    for (const { ssrc, rtx } of encodings) {
        kept.push(`a=ssrc-group:FID ${ssrc} ${rtx}`);
        kept.push(...[ssrc, rtx].flatMap(one => describing.map(line => `a=ssrc:${one} ${line}`)));
    }
    parts[parts.indexOf(section)] = kept;
    return parts.map(lines => lines.join('\r\n')).join('\r\n') + '\r\n';
}
