// Local media: opens devices or their stand-ins, and says in plain words why one can not be opened.

import { testPicture, testScreen, testTone } from './test-media.js';

/** A device that could not be opened; the message is for people. */
export class MediaError extends Error {}

const REASONS = {
    NotAllowedError: 'is blocked: allow it in the browser, or use the stand-in',
    NotFoundError: 'was not found',
    NotReadableError: 'is in use by another program',
    OverconstrainedError: 'is no longer there',
};

function explain(device, error) {
    return new MediaError(`The ${device} ${REASONS[error.name] ?? `can not be used (${error.name})`}.`);
}

const wrap = track => ({ track, stop: () => track.stop() });

async function capture(device, constraints) {
    if (!navigator.mediaDevices?.getUserMedia) {
        throw new MediaError(
            `Browsers allow a ${device} only on https or localhost pages; the stand-in works here.`);
    }
    try {
        const stream = await navigator.mediaDevices.getUserMedia(constraints);
        return wrap(stream.getTracks()[0]);
    } catch (error) {
        throw explain(device, error);
    }
}

/** Opens the camera: `choice` is "test" or a device id, "" for any camera. */
export async function openCamera(choice, name) {
    if (choice === 'test') {
        return testPicture(name);
    }
    return capture('camera', {
        video: {
            width: { ideal: 1280 },
            height: { ideal: 720 },
            frameRate: { ideal: 30, max: 30 },
            ...(choice ? { deviceId: { exact: choice } } : {}),
        },
    });
}

/** Opens the microphone: `choice` is "test" or a device id, "" for any microphone. */
export async function openMicrophone(choice, name) {
    if (choice === 'test') {
        return testTone(name);
    }
    return capture('microphone', {
        audio: {
            echoCancellation: true,
            noiseSuppression: true,
            autoGainControl: true,
            ...(choice ? { deviceId: { exact: choice } } : {}),
        },
    });
}

export const canShareScreen = () => Boolean(navigator.mediaDevices?.getDisplayMedia);

/** Asks for a screen or window. Null if the person changed their mind. */
export async function openScreen(choice, name) {
    if (choice === 'test') {
        return testScreen(name);
    }
    if (!canShareScreen()) {
        throw new MediaError('This browser can not share its screen here.');
    }
    try {
        const stream = await navigator.mediaDevices.getDisplayMedia({
            video: { frameRate: { max: 15 } },
        });
        const [track] = stream.getVideoTracks();
        track.contentHint = 'detail';
        return wrap(track);
    } catch (error) {
        if (error.name === 'NotAllowedError') {
            return null;
        }
        throw explain('screen', error);
    }
}

/** Cameras and microphones to choose from: [{kind, id, label}]. */
export async function listDevices() {
    const devices = await navigator.mediaDevices?.enumerateDevices?.().catch(() => []) ?? [];
    const named = { videoinput: 'Camera', audioinput: 'Microphone' };
    return devices
        .filter(({ kind, deviceId }) => kind in named && deviceId)
        .map(({ kind, deviceId, label }, index) => (
            { kind, id: deviceId, label: label || `${named[kind]} ${index + 1}` }));
}
