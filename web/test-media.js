// Stand-ins for camera, microphone and screen: a moving picture, a pulsing tone, a page of text.

/** A small stable number of a text, to give each participant colours and a pitch of its own. */
export function hash(text) {
    let value = 0x811c9dc5;
    for (const character of text) {
        value = Math.imul(value ^ character.codePointAt(0), 0x01000193) >>> 0;
    }
    return value;
}

/** A canvas that is drawn at a steady rate, also in a hidden tab. */
class Picture {
    #ticker;

    constructor(width, height, framesPerSecond, draw) {
        const canvas = document.createElement('canvas');
        Object.assign(canvas, { width, height });
        const context = canvas.getContext('2d', { alpha: false });
        let frame = 0;
        const step = () => draw(context, frame++, performance.now() / 1000);
        step();
        this.#ticker = new Worker('/demo/web/ticker.js');
        this.#ticker.addEventListener('message', step);
        this.#ticker.postMessage(framesPerSecond);
        [this.track] = canvas.captureStream(framesPerSecond).getVideoTracks();
    }

    stop() {
        this.track.stop();
        this.#ticker.terminate();
    }
}

/**
 * A moving test picture: colour bars, a ball, a sweeping line, the name and a clock.
 *
 * It moves enough to keep an encoder busy, and shows at a glance whether a picture is live.
 */
export function testPicture(name) {
    const hue = hash(name) % 360;
    const [width, height] = [1280, 720];
    return new Picture(width, height, 30, (context, frame, seconds) => {
        const sky = context.createLinearGradient(0, 0, width, height);
        sky.addColorStop(0, `hsl(${hue} 55% 34%)`);
        sky.addColorStop(1, `hsl(${(hue + 60) % 360} 60% 18%)`);
        context.fillStyle = sky;
        context.fillRect(0, 0, width, height);

        for (let bar = 0; bar < 12; bar++) {
            const barHeight = 60 + 50 * Math.sin(seconds * 1.7 + bar * 0.7);
            context.fillStyle = `hsl(${(hue + bar * 30) % 360} 70% 58%)`;
            context.fillRect(bar * width / 12 + 6, height - barHeight, width / 12 - 12, barHeight);
        }

        context.strokeStyle = 'rgb(255 255 255 / 35%)';
        context.lineWidth = 3;
        const sweep = (frame * 6) % width;
        context.beginPath();
        context.moveTo(sweep, 0);
        context.lineTo(sweep, height);
        context.stroke();

        context.fillStyle = `hsl(${(hue + 180) % 360} 85% 66%)`;
        context.beginPath();
        const x = width / 2 + Math.sin(seconds * 0.9) * width * 0.36;
        const y = height * 0.32 + Math.cos(seconds * 1.3) * height * 0.2;
        context.arc(x, y, 46, 0, 2 * Math.PI);
        context.fill();

        context.fillStyle = '#fff';
        context.textAlign = 'center';
        context.font = '600 92px system-ui, sans-serif';
        context.fillText(name, width / 2, height * 0.56, width * 0.9);
        context.font = '500 54px ui-monospace, monospace';
        context.fillText(new Date().toISOString().slice(11, 21), width / 2, height * 0.68);
    });
}

/** A stand-in for a shared screen: text that scrolls slowly, at a low frame rate. */
export function testScreen(name) {
    const [width, height, lineHeight] = [1920, 1080, 44];
    return new Picture(width, height, 5, (context, frame, seconds) => {
        context.fillStyle = '#10161d';
        context.fillRect(0, 0, width, height);
        context.textAlign = 'left';
        context.font = '28px ui-monospace, monospace';
        const first = Math.floor(seconds);
        for (let row = 0; row < height / lineHeight - 2; row++) {
            const number = first + row;
            context.fillStyle = `hsl(${(number * 47) % 360} 45% 72%)`;
            const words = 'the bridge forwards, it does not mix '.repeat(2 + number % 2);
            context.fillText(`${String(number).padStart(6)}  ${words}`, 60, 120 + row * lineHeight);
        }
        context.fillStyle = '#1f7a6d';
        context.fillRect(0, 0, width, 64);
        context.fillStyle = '#fff';
        context.font = '600 32px system-ui, sans-serif';
        context.fillText(`${name}'s test screen`, 60, 43);
        context.fillText(new Date().toISOString().slice(11, 19), width - 220, 43);
    });
}

/**
 * A soft tone that speaks for two seconds out of every eight, at a pitch and phase of its own: with
 * several participants the dominant speaker changes.
 */
export function testTone(name) {
    const seed = hash(name);
    const audio = new AudioContext();
    const oscillator = audio.createOscillator();
    const syllables = audio.createOscillator();
    const depth = audio.createGain();
    const gate = audio.createGain();
    const output = audio.createMediaStreamDestination();
    oscillator.frequency.value = 220 + (seed % 8) * 55;
    syllables.frequency.value = 4;
    depth.gain.value = 0.04;
    gate.gain.value = 0;
    syllables.connect(depth).connect(gate.gain);
    oscillator.connect(gate).connect(output);
    oscillator.start();

    const [period, active] = [8, 2];
    const offset = seed % period;
    let talking = false;
    const step = () => {
        const now = (Date.now() / 1000 + offset) % period < active;
        if (now !== talking) {
            talking = now;
            gate.gain.setTargetAtTime(talking ? 0.1 : 0, audio.currentTime, 0.02);
            // The tremolo is cut as well, or it would hum through the pauses.
            if (talking) {
                syllables.connect(depth);
            } else {
                syllables.disconnect();
            }
        }
    };
    const ticker = new Worker('/demo/web/ticker.js');
    ticker.addEventListener('message', step);
    ticker.postMessage(5);
    syllables.start();
    syllables.disconnect();

    // Browsers keep audio off until the person has done something on the page.
    const resume = () => audio.state === 'suspended' && audio.resume().catch(() => {});
    for (const gesture of ['pointerdown', 'keydown']) {
        addEventListener(gesture, resume);
    }
    resume();
    return {
        track: output.stream.getAudioTracks()[0],
        stop() {
            for (const gesture of ['pointerdown', 'keydown']) {
                removeEventListener(gesture, resume);
            }
            ticker.terminate();
            audio.close();
        },
    };
}
