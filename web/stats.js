// Figures for people and tests: turns the browser's counters into rates, per stream of the bridge.

/** Samples a session's counters. Rates are those since the sample before. */
export class Sampler {
    #before = new Map();

    /**
     * One sample:
     * `link` {rtt, receivedBitrate, sentBitrate, availableOutgoing}, `received` MID → figures,
     * `sent` MID → list of figures per encoding, lowest first.
     */
    async sample(session) {
        const report = await session.getStats();
        const sample = { link: {}, received: new Map(), sent: new Map() };
        const now = new Map();
        for (const stats of report.values()) {
            now.set(stats.id, stats);
            if (stats.type === 'inbound-rtp' && stats.mid !== undefined) {
                sample.received.set(stats.mid, this.#received(stats, report));
            } else if (stats.type === 'outbound-rtp' && stats.mid !== undefined) {
                const list = sample.sent.get(stats.mid) ?? [];
                list.push(this.#sent(stats, report));
                sample.sent.set(stats.mid, list);
            } else if (stats.type === 'transport') {
                this.#link(sample.link, stats, report);
            }
        }
        for (const encodings of sample.sent.values()) {
            encodings.sort((a, b) => (a.order - b.order) || (a.frameHeight - b.frameHeight));
        }
        this.#before = now;
        return sample;
    }

    #delta(stats, key) {
        const before = this.#before.get(stats.id);
        return before ? Math.max(0, (stats[key] ?? 0) - (before[key] ?? 0)) : 0;
    }

    #rate(stats, key) {
        const before = this.#before.get(stats.id);
        const seconds = before ? (stats.timestamp - before.timestamp) / 1000 : 0;
        return seconds > 0 ? this.#delta(stats, key) / seconds : 0;
    }

    #received(stats, report) {
        const lost = this.#delta(stats, 'packetsLost');
        const expected = lost + this.#delta(stats, 'packetsReceived');
        return {
            kind: stats.kind,
            ssrc: stats.ssrc,
            codec: report.get(stats.codecId)?.mimeType?.replace(/^.*\//, '') ?? '',
            bitrate: 8 * this.#rate(stats, 'bytesReceived'),
            loss: expected > 0 ? lost / expected : 0,
            jitter: stats.jitter ?? 0,
            bytesReceived: stats.bytesReceived ?? 0,
            packetsReceived: stats.packetsReceived ?? 0,
            packetsLost: stats.packetsLost ?? 0,
            nackCount: stats.nackCount ?? 0,
            pliCount: stats.pliCount ?? 0,
            frameWidth: stats.frameWidth ?? 0,
            frameHeight: stats.frameHeight ?? 0,
            framesPerSecond: stats.framesPerSecond ?? 0,
            framesDecoded: stats.framesDecoded ?? 0,
            framesDropped: stats.framesDropped ?? 0,
            keyFramesDecoded: stats.keyFramesDecoded ?? 0,
            freezeCount: stats.freezeCount ?? 0,
            totalFreezesDuration: stats.totalFreezesDuration ?? 0,
            concealedSamples: stats.concealedSamples ?? 0,
            silentConcealedSamples: stats.silentConcealedSamples ?? 0,
            totalSamplesReceived: stats.totalSamplesReceived ?? 0,
            totalAudioEnergy: stats.totalAudioEnergy ?? 0,
            audioLevel: stats.audioLevel ?? 0,
        };
    }

    #sent(stats, report) {
        const remote = report.get(stats.remoteId);
        return {
            kind: stats.kind,
            ssrc: stats.ssrc,
            order: stats.encodingIndex ?? 0,
            active: stats.active ?? true,
            bitrate: 8 * this.#rate(stats, 'bytesSent'),
            bytesSent: stats.bytesSent ?? 0,
            packetsSent: stats.packetsSent ?? 0,
            frameWidth: stats.frameWidth ?? 0,
            frameHeight: stats.frameHeight ?? 0,
            framesPerSecond: stats.framesPerSecond ?? 0,
            framesEncoded: stats.framesEncoded ?? 0,
            keyFramesEncoded: stats.keyFramesEncoded ?? 0,
            limitation: stats.qualityLimitationReason ?? 'none',
            loss: remote?.fractionLost ?? 0,
            rtt: remote?.roundTripTime ?? null,
        };
    }

    #link(link, transport, report) {
        const pair = report.get(transport.selectedCandidatePairId);
        link.receivedBitrate = 8 * this.#rate(transport, 'bytesReceived');
        link.sentBitrate = 8 * this.#rate(transport, 'bytesSent');
        link.rtt = pair?.currentRoundTripTime ?? null;
        link.availableOutgoing = pair?.availableOutgoingBitrate ?? null;
        const remote = report.get(pair?.remoteCandidateId);
        link.remote = remote ? `${remote.address}:${remote.port}` : '';
    }
}

/**
 * Which simulcast layer a received picture is, from the height that its owner captures. The bridge
 * rewrites what would tell it directly.
 */
export function guessLayer(frameHeight, captureHeight) {
    if (!frameHeight || !captureHeight) {
        return '';
    }
    const ratio = captureHeight / frameHeight;
    if (ratio < 1.5) {
        return 'high';
    }
    return ratio < 3 ? 'medium' : 'low';
}

export function formatBitrate(bitsPerSecond) {
    if (bitsPerSecond >= 1e6) {
        return `${(bitsPerSecond / 1e6).toFixed(2)} Mbit/s`;
    }
    return `${Math.round(bitsPerSecond / 1e3)} kbit/s`;
}
