// A clock for pictures, as a worker: browsers slow the timers of hidden tabs down to one tick a second,
// but not those of workers.

let timer = 0;

self.addEventListener('message', ({ data: framesPerSecond }) => {
    clearInterval(timer);
    if (framesPerSecond > 0) {
        timer = setInterval(() => self.postMessage(0), 1000 / framesPerSecond);
    }
});
