// A small graph of the last two minutes.

const HEIGHT = 24;

class Graph {
  constructor(name) {
    this.area = svg('path', { class: 'area' });
    this.line = svg('path', { class: 'line', 'vector-effect': 'non-scaling-stroke' });
    this.node = svg(
      'svg',
      { class: `graph ${name}`, role: 'img', viewBox: `0 0 ${SPAN - 1} ${HEIGHT}`, preserveAspectRatio: 'none' },
      this.area,
      this.line,
    );
  }

  /** Draws counts per second, of which the first `unknown` are not known. */
  draw(counts, unknown, now) {
    const peak = counts.reduce((most, count) => Math.max(most, count), 0);
    const scale = (HEIGHT - 2) / Math.max(peak, 1);
    const points = [];
    for (let x = Math.max(unknown, 0); x < counts.length; x += 1) {
      points.push(`${x} ${(HEIGHT - 1 - counts[x] * scale).toFixed(1)}`);
    }
    const line = points.length > 1 ? `M${points.join('L')}` : '';
    attribute(this.line, 'd', line);
    attribute(this.area, 'd', line && `${line}V${HEIGHT}H${Math.max(unknown, 0)}Z`);
    attribute(
      this.node,
      'aria-label',
      `New connections per second in the last two minutes: now ${perSecond(now)}, at most ${perSecond(peak)}`,
    );
    return peak;
  }
}
