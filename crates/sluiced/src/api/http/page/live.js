// Receives the daemon's events, and reconnects.

/** Milliseconds without an event after which the connection counts as lost, whatever TCP thinks of it. */
const SILENCE = 15000;
/** Milliseconds until it is tried again: twice as long each time, up to the second. */
const RETRY = [1000, 8000];

class Live {
  /** Calls `status` and `changes` with the data, and `lost` when the connection is lost. */
  constructor(path, { status, changes, lost }) {
    this.path = path;
    this.handlers = { status, changes };
    this.lost = lost;
    this.wait = RETRY[0];
    this.open();
  }

  open() {
    this.source = new EventSource(this.path);
    for (const [name, handle] of Object.entries(this.handlers)) {
      this.source.addEventListener(name, ({ data }) => {
        this.wait = RETRY[0];
        this.listen();
        handle(JSON.parse(data));
      });
    }
    this.source.addEventListener('error', () => this.again());
    this.listen();
  }

  listen() {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.again(), SILENCE);
  }

  again() {
    clearTimeout(this.silence);
    this.source.close();
    this.lost();
    setTimeout(() => this.open(), this.wait);
    this.wait = Math.min(2 * this.wait, RETRY[1]);
  }
}
