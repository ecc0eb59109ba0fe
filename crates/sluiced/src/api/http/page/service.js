// A service and its backends, as elements.

/** Most listeners and backends that are drawn of a service; more of the latter when asked for. */
const LISTENERS = 6;
const BACKENDS = 50;

/** Columns of a backend: its class, what it is called and whether it holds a number. */
const COLUMNS = [
  ['name', 'name'], ['address', 'address'], ['health', 'state'], ['since', 'since', 'num'],
  ['weight', 'weight', 'num'], ['share', 'share'], ['rate', 'new/s', 'num'], ['active', 'active', 'num'],
  ['bytes', 'bytes in, out', 'num'], ['ports', 'ports', 'num'],
];

class Row {
  constructor() {
    this.cells = {};
    this.node = el('div', { class: 'row grid', role: 'row' });
    for (const [name, label, kind = ''] of COLUMNS) {
      this.cells[name] = el('div', { class: `${name} ${kind}`, role: 'cell', 'data-label': label });
      this.node.append(this.cells[name]);
    }
    this.cells.name.classList.add('mono');
    this.cells.address.classList.add('mono');
    this.state = saying('word');
    this.cells.health.append(this.state);
    this.share = el('span', { class: 'num' });
    this.bar = el('div', { class: 'bar', 'aria-hidden': 'true' }, el('div'));
    this.cells.share.append(this.share, this.bar);
    this.notes = el('div', { class: 'notes', role: 'cell' });
  }

  draw(backend, { rate, since }, model) {
    const { cells } = this;
    const now = model.frame;
    const most = backend.max_connections === null ? '' : ` / ${whole.format(backend.max_connections)}`;
    text(cells.name, backend.name);
    text(cells.address, backend.address);
    say(this.state, backendState(backend));
    text(cells.since, age(now, backend.since));
    attribute(cells.since, 'title', backend.since);
    text(cells.weight, String(backend.weight));
    text(this.share, percent(backend.share));
    fill(this.bar, backend.share);
    text(cells.rate, perSecond(rate.mean(since ?? model.since ?? Infinity, now / 1000)));
    text(cells.active, `${backend.active === null ? '-' : whole.format(backend.active)}${most}`);
    text(cells.bytes, backend.bytes_in === null ? '-' : `${bytes(backend.bytes_in)}, ${bytes(backend.bytes_out ?? 0)}`);
    text(cells.ports, backend.source_ports === null ? '-' : `${whole.format(100 * backend.source_ports)} %`);
    this.note(notes(backend, now));
  }

  note(said) {
    while (this.notes.children.length > said.length) this.notes.lastElementChild.remove();
    while (this.notes.children.length < said.length) this.notes.append(saying('note'));
    said.forEach((one, index) => say(this.notes.children[index], one));
    if (said.length === 0) this.notes.remove();
    else if (!this.notes.isConnected) this.node.append(this.notes);
  }
}

class Card {
  /** One for any service of a list. */
  constructor(list) {
    this.rows = new Map();
    this.fold = el('button', { type: 'button', class: 'fold' });
    this.fold.addEventListener('click', () => list.fold(this.fold.textContent));
    this.scheduler = el('span', { class: 'fine' });
    this.state = saying('word');
    this.listeners = el('div', { class: 'address mono' });
    this.serving = el('div', { class: 'serving fine' });
    this.graph = new Graph('small');
    this.rate = el('div', { class: 'rate num', 'data-label': 'new/s' });
    this.active = el('div', { class: 'active num', 'data-label': 'active' });
    this.reason = el('p', { class: 'reason fine' });
    this.dropped = el('p', { class: 'dropped fine' });
    this.head = el(
      'div', { class: 'head grid' },
      el('div', { class: 'name' }, el('h3', {}, this.fold), this.scheduler),
      this.listeners, el('div', { class: 'health' }, this.state), this.serving,
      el('div', { class: 'trace' }, this.graph.node), this.rate, this.active, this.reason, this.dropped,
    );
    const heads = COLUMNS.map(([, label]) => el('span', { role: 'columnheader' }, label));
    this.body = el('div', { role: 'rowgroup' });
    this.table = el(
      'div', { role: 'table' },
      el('div', { class: 'unseen', role: 'rowgroup' }, el('div', { role: 'row' }, ...heads)), this.body,
    );
    this.rest = el('p', { class: 'rest fine' });
    this.more = el('button', { type: 'button' });
    this.more.addEventListener('click', () => list.more(this.fold.textContent));
    this.node = el('article', { class: 'service', role: 'listitem' }, this.head, this.table, this.rest);
  }

  draw(entry, view, model) {
    const { service } = entry;
    text(this.fold, service.name);
    attribute(this.table, 'aria-label', `Backends of ${service.name}`);
    text(this.scheduler, service.scheduler);
    say(this.state, serviceState(service));
    this.drawListeners(service.listeners);
    const all = service.backends.length;
    text(this.serving, all === 0 ? 'no backends' : `${whole.format(entry.serving)} of ${whole.format(all)} serve`);
    this.drawRates(entry, model);
    const reason = [notReady(service), failedHook(service)].filter((one) => one !== '').join('; ');
    text(this.reason, reason);
    this.reason.hidden = reason === '';
    const drops = dropped(service);
    text(this.dropped, drops && `dropped: ${drops}`);
    this.dropped.hidden = drops === '';
    attribute(this.fold, 'aria-expanded', view.unfolded);
    this.drawBackends(entry, view, model);
  }

  drawListeners(listeners) {
    const shown = listeners.slice(0, LISTENERS);
    if (listeners.length > shown.length) shown.push(`and ${whole.format(listeners.length - shown.length)} more`);
    if (shown.join('\n') === this.shown) return;
    this.shown = shown.join('\n');
    this.listeners.replaceChildren(...shown.map((listener) => el('div', {}, listener)));
    attribute(this.listeners, 'title', listeners.length > LISTENERS ? listeners.join('\n') : null);
  }

  drawRates(entry, model) {
    const now = model.frame / 1000;
    const start = entry.since ?? model.since ?? now;
    const mean = entry.rate.mean(start, now);
    const peak = this.graph.draw(entry.rate.last(SPAN, now), SPAN - (Math.floor(now) - Math.ceil(start)), mean);
    text(this.rate, perSecond(mean));
    attribute(this.rate, 'title', `mean of ${MEAN} seconds; at most ${perSecond(peak)} in the last two minutes`);
    text(this.active, entry.active === null ? '-' : whole.format(entry.active));
  }

  drawBackends(entry, view, model) {
    const matching = entry.service.backends.filter((backend) => view.shows(backend, entry));
    const shown = view.all ? matching : matching.slice(0, BACKENDS);
    const names = new Set(shown.map(({ name }) => name));
    for (const [name, row] of this.rows) {
      if (names.has(name)) continue;
      row.node.remove();
      this.rows.delete(name);
    }
    shown.forEach((backend, index) => {
      if (!this.rows.has(backend.name)) this.rows.set(backend.name, new Row());
      const row = this.rows.get(backend.name);
      row.draw(backend, entry.backends.get(backend.name), model);
      const here = this.body.children[index];
      if (here !== row.node) this.body.insertBefore(row.node, here ?? null);
    });
    this.table.hidden = shown.length === 0;
    const others = view.singled ? entry.service.backends.length - matching.length : 0;
    this.drawRest(matching.length - shown.length, others);
  }

  /** Says what is not drawn. */
  drawRest(cut, others) {
    const said = [
      cut > 0 ? `${number(cut, 'more backend')}.` : '',
      others > 0 ? `${number(others, 'other backend')} not searched for.` : '',
    ].filter((one) => one !== '').join(' ');
    if (this.said === said) return;
    this.said = said;
    this.more.textContent = 'Show all';
    this.rest.replaceChildren(said, ...(cut > 0 ? [' ', this.more] : []));
    this.rest.hidden = said === '';
  }
}
