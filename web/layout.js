// Decides sizes: how many columns the tiles get, and which picture height a tile is worth asking for.

const ASPECT = 16 / 9;

/** Columns that make `count` tiles of 16:9 as large as possible in the given space. */
export function bestColumns(count, width, height, gap) {
    let best = { columns: 1, tileWidth: 0 };
    for (let columns = 1; columns <= count; columns++) {
        const rows = Math.ceil(count / columns);
        const byWidth = (width - gap * (columns - 1)) / columns;
        const byHeight = (height - gap * (rows - 1)) / rows * ASPECT;
        const tileWidth = Math.floor(Math.min(byWidth, byHeight));
        if (tileWidth > best.tileWidth) {
            best = { columns, tileWidth };
        }
    }
    return best;
}

/** The layer height to ask for when a picture is shown this high, in device pixels. */
export function heightToRequest(pixels) {
    if (pixels <= 270) {
        return 180;
    }
    return pixels <= 540 ? 360 : 720;
}
