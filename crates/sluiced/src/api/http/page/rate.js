// Counts per second, from totals that are read about once a second.

/** Seconds that a graph shows. */
const SPAN = 120;
/** Seconds that a figure is the mean of, so that it can be read. */
const MEAN = 5;

class Rate {
  /** Remembers this many seconds. */
  constructor(span) {
    this.counts = new Float32Array(span + 2);
    this.newest = 0;
  }

  /** Adds what was counted between two moments, in seconds, in equal parts to all the time between them. */
  add(count, from, to) {
    this.forget(Math.floor(to));
    if (count <= 0) return;
    const first = Math.max(from, this.newest + 1 - this.counts.length);
    const each = count / Math.max(to - from, 0.001);
    for (let second = Math.floor(first); second <= to; second += 1) {
      const part = Math.min(second + 1, to) - Math.max(second, first);
      if (part > 0) this.counts[second % this.counts.length] += each * part;
    }
    // Read twice at the same time.
    if (to <= from) this.counts[Math.floor(to) % this.counts.length] += count;
  }

  /** The last `span` whole seconds before a moment, oldest first. */
  last(span, to) {
    const end = Math.floor(to);
    this.forget(end);
    return Array.from({ length: span }, (_, index) => this.counts[(end - span + index) % this.counts.length]);
  }

  /** The mean of the last whole seconds before a moment, of those since `start`; `null` before there is one. */
  mean(start, to) {
    const span = Math.min(MEAN, Math.floor(to) - Math.ceil(start));
    if (!(span > 0)) return null;
    return this.last(span, to).reduce((sum, count) => sum + count, 0) / span;
  }

  /** Makes room for a second. */
  forget(newest) {
    const from = Math.max(this.newest, newest - this.counts.length);
    for (let second = from + 1; second <= newest; second += 1) this.counts[second % this.counts.length] = 0;
    this.newest = Math.max(this.newest, newest);
  }
}
