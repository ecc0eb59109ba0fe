// The list of services. Only the visible part is in the document; two spacers replace the rest.

/** Pixels above and below the window that are drawn, too, so that scrolling and Tab meet no void. */
const MARGIN = 300;

class List {
  constructor(node, model, filter) {
    Object.assign(this, { node, model, filter });
    this.cards = new Map();
    /** Cards of services that are not seen any more, for those that come. */
    this.spare = [];
    /** What readers said of single services: folded or not, and whether all backends are shown. */
    this.folded = new Map();
    this.all = new Set();
    /** Heights as measured, and what one is likely to be. */
    this.heights = new Map();
    this.before = el('div', { class: 'spacer' });
    this.after = el('div', { class: 'spacer' });
    node.before(this.before);
    node.after(this.after);
  }

  draw() {
    const entries = this.model.matching(this.filter);
    this.place(entries);
    // The drawn rows may have another height than estimated; drawing again corrects this.
    if (this.measure()) {
      this.place(entries);
      this.measure();
    }
    return entries;
  }

  /** Draws those that the window shows. */
  place(entries) {
    const top = -this.before.getBoundingClientRect().top;
    const [from, to] = [top - MARGIN, top + window.innerHeight + MARGIN];
    const shown = [];
    let y = 0;
    let [above, below] = [0, 0];
    entries.forEach((entry, index) => {
      const height = this.height(entry);
      if (y + height < from) above += height;
      else if (y > to) below += height;
      else shown.push([entry, index]);
      y += height;
    });
    this.keep(new Set(shown.map(([{ service }]) => service.name)));
    let last = null;
    for (const [entry, index] of shown) {
      const card = this.card(entry.service.name);
      attribute(card.node, 'aria-setsize', entries.length);
      attribute(card.node, 'aria-posinset', index + 1);
      card.draw(entry, this.view(entry), this.model);
      const next = last === null ? this.node.firstElementChild : last.nextElementSibling;
      if (next !== card.node) this.node.insertBefore(card.node, next);
      last = card.node;
    }
    this.spacer(this.before, above);
    this.spacer(this.after, below);
  }

  /** Takes away the cards of all others. */
  keep(names) {
    for (const [name, card] of this.cards) {
      if (names.has(name)) continue;
      card.node.remove();
      this.cards.delete(name);
      this.spare.push(card);
    }
  }

  card(name) {
    if (!this.cards.has(name)) this.cards.set(name, this.spare.pop() ?? new Card(this));
    return this.cards.get(name);
  }

  fold(name) {
    this.folded.set(name, this.unfolded(name));
    this.redraw();
  }

  more(name) {
    this.all.add(name);
    this.redraw();
  }

  unfolded(name) {
    return !(this.folded.get(name) ?? !this.filter.unfolded);
  }

  /** How a service is to be drawn. */
  view({ service, own }) {
    const unfolded = this.unfolded(service.name);
    const { words } = this.filter;
    // Words that match the service itself do not select single backends.
    const singling = words.filter((word) => !own.includes(word));
    const shows = ({ name }, entry) => {
      const { found, problem } = entry.backends.get(name);
      if (singling.length > 0) return singling.every((word) => found.includes(word));
      return unfolded || problem;
    };
    return { unfolded, singled: singling.length > 0, all: this.all.has(service.name), shows };
  }

  /** Forgets heights, after the window's width or what is shown of services has changed. */
  resized() {
    this.heights.clear();
  }

  /** Remembers the heights of what is drawn; whether any is news. */
  measure() {
    let news = false;
    for (const [name, { node }] of this.cards) {
      const height = node.offsetHeight;
      if (this.heights.get(name) === height) continue;
      this.heights.set(name, height);
      news = true;
    }
    return news;
  }

  /** As measured, or as likely: what a line, and a service without backends, take. */
  height({ service, troubles }) {
    const lines = this.unfolded(service.name) ? Math.min(service.backends.length, BACKENDS) : troubles;
    return this.heights.get(service.name) ?? 46 + 25 * lines;
  }

  spacer(node, height) {
    const pixels = `${height}px`;
    if (node.style.height !== pixels) node.style.height = pixels;
  }
}
