// The tiles: one for each participant and each shared screen, as a grid or as a stage with a strip.
//
// Every tile is a list item with one button over all of it, so that keyboard and screen reader get it as
// "Ada, microphone off. Show on stage". Only one of these buttons is in the tab order; the arrow keys move
// between them.

import { bestColumns } from './layout.js';
import { hash } from './test-media.js';

const GAP = 8;

function element(tag, className, parent) {
    const made = document.createElement(tag);
    made.className = className;
    parent?.append(made);
    return made;
}

function initials(name) {
    const words = name.trim().split(/\s+/);
    const letters = words.length > 1 ? [words[0], words.at(-1)] : words;
    return letters.map(word => [...word][0] ?? '').join('').toUpperCase();
}

class Tile {
    constructor(id) {
        this.id = id;
        this.root = element('li', 'tile');
        this.root.dataset.tile = id;
        this.avatar = element('div', 'avatar', this.root);
        this.avatar.setAttribute('aria-hidden', 'true');
        this.video = element('video', '', this.root);
        Object.assign(this.video, { muted: true, autoplay: true, playsInline: true });
        this.video.setAttribute('aria-hidden', 'true');
        this.details = element('dl', 'details', this.root);
        this.label = element('div', 'label', this.root);
        this.label.setAttribute('aria-hidden', 'true');
        this.micOff = element('span', 'mic-off', this.label);
        this.name = element('span', 'name', this.label);
        this.badge = element('span', 'badge', this.label);
        this.button = element('button', 'cover', this.root);
        this.button.type = 'button';
        this.button.tabIndex = -1;
    }

    /** Shows a model: see `Tiles.update`. */
    show(model, pinned) {
        const { name, owner, track, mirrored, screen, self, micOff, status, dominant } = model;
        this.root.classList.toggle('dominant', Boolean(dominant));
        this.root.classList.toggle('mirrored', Boolean(mirrored));
        this.root.classList.toggle('screen', Boolean(screen));
        this.root.classList.toggle('mic-is-off', Boolean(micOff));
        this.root.classList.toggle('has-picture', Boolean(track));
        this.root.dataset.owner = owner;
        this.root.style.setProperty('--hue', hash(owner) % 360);
        this.avatar.textContent = initials(name);
        this.name.textContent = self ? `${name} (you)` : name;
        this.badge.textContent = status ?? '';
        this.badge.hidden = !status;
        this.#play(track);
        const facts = [
            self ? `${name}, you` : name,
            micOff && 'microphone off',
            !track && !screen && 'no picture',
            dominant && 'speaking',
            status,
        ].filter(Boolean).join(', ');
        this.button.setAttribute('aria-label', `${facts}. ${pinned ? 'Back to all tiles' : 'Show on stage'}`);
        this.button.setAttribute('aria-pressed', String(pinned));
    }

    #play(track) {
        const current = this.video.srcObject?.getVideoTracks()[0] ?? null;
        if (current !== track) {
            this.video.srcObject = track ? new MediaStream([track]) : null;
        }
        if (track && this.video.paused) {
            // Muted pictures may always play; a failure means that the tile is just being replaced.
            this.video.play().catch(() => {});
        }
    }

    /** Shows figures: [[term, text]]. */
    showDetails(figures) {
        while (this.details.children.length > figures.length) {
            this.details.lastChild.remove();
        }
        figures.forEach(([term, text], index) => {
            let row = this.details.children[index];
            if (!row) {
                row = element('div', '', this.details);
                element('dt', '', row);
                element('dd', '', row);
            }
            row.firstChild.textContent = term;
            row.lastChild.textContent = text;
        });
    }
}

/** All tiles. Emits `select` (detail: tile id) when one is chosen, `resize` when tiles changed size. */
export class Tiles extends EventTarget {
    #list;
    #tiles = new Map();
    #models = [];
    #view = 'tiles';
    #stage = null;

    constructor(list) {
        super();
        this.#list = list;
        list.addEventListener('click', ({ target }) => {
            const tile = target.closest('.tile');
            if (tile) {
                this.#focus(tile.dataset.tile);
                this.dispatchEvent(new CustomEvent('select', { detail: tile.dataset.tile }));
            }
        });
        list.addEventListener('keydown', event => this.#onKey(event));
        new ResizeObserver(() => this.#arrange()).observe(list);
    }

    /**
     * Shows these tiles in this order. A model: {id, name, owner, self, screen, track, mirrored, micOff,
     * dominant, status}. `stage` is the id of the tile on stage in the stage view, `pinned` the one that
     * somebody chose.
     */
    update({ models, view, stage, pinned }) {
        this.#models = models;
        this.#view = view;
        this.#stage = view === 'stage' ? stage : null;
        const wanted = new Set(models.map(model => model.id));
        for (const [id, tile] of this.#tiles) {
            if (!wanted.has(id)) {
                tile.video.srcObject = null;
                tile.root.remove();
                this.#tiles.delete(id);
            }
        }
        // The stage comes first in the document as well, so that what is read first is what is largest.
        const order = [...models].sort((a, b) => (b.id === this.#stage) - (a.id === this.#stage));
        order.forEach((model, index) => {
            let tile = this.#tiles.get(model.id);
            if (!tile) {
                tile = new Tile(model.id);
                this.#tiles.set(model.id, tile);
            }
            this.#place(tile.root, index);
            tile.root.classList.toggle('on-stage', model.id === this.#stage);
            tile.show(model, view === 'stage' && model.id === pinned);
        });
        if (!order.some(model => this.#tiles.get(model.id).button.tabIndex === 0)) {
            const first = this.#tiles.get(order[0]?.id);
            if (first) {
                first.button.tabIndex = 0;
            }
        }
        this.#arrange();
    }

    showDetails(id, figures) {
        this.#tiles.get(id)?.showDetails(figures);
    }

    /** Height of a tile's picture in device pixels. */
    pixelHeight(id) {
        return (this.#tiles.get(id)?.root.clientHeight ?? 0) * devicePixelRatio;
    }

    /** What a tile's video element shows now. */
    picture(id) {
        const video = this.#tiles.get(id)?.video;
        return video ? { width: video.videoWidth, height: video.videoHeight, paused: video.paused } : null;
    }

    /** Puts a tile at a place without stopping its video, and keeps the focus. */
    #place(root, index) {
        const there = this.#list.children[index];
        if (there === root) {
            return;
        }
        const focused = root.contains(document.activeElement) ? document.activeElement : null;
        if (root.isConnected && this.#list.moveBefore) {
            this.#list.moveBefore(root, there ?? null);
        } else {
            this.#list.insertBefore(root, there ?? null);
        }
        focused?.focus();
    }

    #arrange() {
        const count = this.#models.length;
        const style = getComputedStyle(this.#list);
        const width = this.#list.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
        const height = this.#list.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom);
        const { columns, tileWidth } = bestColumns(count, width, height, GAP);
        this.#list.dataset.view = this.#stage ? 'stage' : 'tiles';
        this.#list.dataset.count = count;
        this.#list.style.setProperty('--others', Math.max(1, count - 1));
        this.#list.style.setProperty('--columns', columns);
        this.#list.style.setProperty('--tile-width', `${Math.max(tileWidth, 120)}px`);
        this.dispatchEvent(new Event('resize'));
    }

    #focus(id) {
        for (const tile of this.#tiles.values()) {
            tile.button.tabIndex = tile.id === id ? 0 : -1;
        }
        this.#tiles.get(id)?.button.focus();
    }

    #onKey(event) {
        const ids = [...this.#list.children].map(child => child.dataset.tile);
        const at = ids.indexOf(event.target.closest('.tile')?.dataset.tile);
        if (at < 0) {
            return;
        }
        const columns = this.#stage ? 1 : Number(this.#list.style.getPropertyValue('--columns')) || 1;
        const steps = {
            ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns,
            Home: -at, End: ids.length - 1 - at,
        };
        const to = at + (steps[event.key] ?? NaN);
        if (to >= 0 && to < ids.length) {
            this.#focus(ids[to]);
            event.preventDefault();
        }
    }
}
