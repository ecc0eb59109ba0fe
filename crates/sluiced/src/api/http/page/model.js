// The data of the daemon, and values derived from them.

/** A service with what the page makes of it. */
class Entry {
  /** One that is counted from a second on; `null`: from the page's first. */
  constructor(service, since) {
    this.rate = new Rate(SPAN);
    this.backends = new Map();
    this.since = since;
    this.take(service, since ?? 0, since ?? 0);
  }

  /** Takes a newer state; returns how many connections are new since `from`. */
  take(service, from, to) {
    const known = this.backends;
    this.service = service;
    this.backends = new Map();
    this.active = null;
    this.troubles = service.state === 'empty' || notReady(service) !== '' ? 1 : 0;
    this.serving = 0;
    /** Backends by kind of their state, and the columns that any of them fills. */
    this.kinds = {};
    this.counts = { bytes: false, ports: false };
    this.own = [service.name, service.state, ...service.listeners].join(' ').toLowerCase();
    let added = 0;
    for (const backend of service.backends) {
      const kept = known.get(backend.name) ?? { rate: new Rate(MEAN), total: backend.connections_total, since: to || null };
      // A smaller total is from another run of the daemon.
      const more = Math.max(0, backend.connections_total - kept.total);
      kept.rate.add(more, from, to);
      kept.total = backend.connections_total;
      const { word, kind } = backendState(backend);
      kept.found = `${backend.name} ${backend.address} ${word}`.toLowerCase();
      kept.problem = isProblem(backend);
      this.backends.set(backend.name, kept);
      added += more;
      if (backend.active !== null) this.active = (this.active ?? 0) + backend.active;
      if (kept.problem) this.troubles += 1;
      if (backend.eligible && backend.weight > 0) this.serving += 1;
      this.kinds[kind] = (this.kinds[kind] ?? 0) + 1;
      this.counts.bytes ||= backend.bytes_in !== null;
      this.counts.ports ||= backend.source_ports !== null;
    }
    this.rate.add(added, from, to);
    this.found = [this.own, ...Array.from(this.backends.values(), ({ found }) => found)].join(' ');
    return added;
  }
}

class Model {
  constructor() {
    /** Whether there was a status. */
    this.known = false;
    this.entries = new Map();
    /** Entries by name. */
    this.sorted = [];
    this.rate = new Rate(SPAN);
    /** Second from which on connections are counted, and the one up to which; by the daemon's clock. */
    this.since = null;
    this.seen = null;
    /** The daemon's clock less ours, in milliseconds. */
    this.ahead = 0;
    /** Time of the frame being drawn, in milliseconds by the daemon's clock. */
    this.frame = 0;
  }

  /** The daemon's time in milliseconds; while the daemon cannot be reached, the time when it last could. */
  now() {
    return this.ahead + (this.lostAt ?? Date.now());
  }

  /** Sets the time that everything in one frame is drawn for, so that its figures agree. */
  beginFrame() {
    this.frame = this.now();
  }

  lost() {
    this.lostAt ??= Date.now();
  }

  /** Takes everything anew. */
  status(status) {
    this.lostAt = undefined;
    const again = this.known && this.daemon.started === status.daemon.started && this.seen !== null;
    if (again) {
      this.services(status.services, this.now() / 1000);
      const names = new Set(status.services.map(({ name }) => name));
      this.remove(Array.from(this.entries.keys()).filter((name) => !names.has(name)));
    } else {
      // Another run of the daemon, or the first status: earlier counts are not new connections.
      this.entries = new Map(status.services.map((service) => [service.name, new Entry(service, null)]));
      this.sort();
      this.since = null;
      this.seen = null;
      this.begun = Date.now();
    }
    const { config, reload, table, host, daemon, state, followers, node, announce } = status;
    Object.assign(this, { config, reload, table, host, daemon, state, followers, node, announce, known: true, events: [] });
    this.happened(status.events);
  }

  /** Takes what is different. */
  changes(changes) {
    const at = Date.parse(changes.at);
    this.ahead = at - Date.now();
    // The previous status has no time. It was up to a second old, because it is published once a second.
    this.seen ??= (at - Math.max(1000, Date.now() - this.begun)) / 1000;
    this.since ??= this.seen;
    this.services(changes.services, at / 1000);
    this.remove(changes.gone);
    for (const part of ['config', 'reload', 'table', 'host', 'state', 'followers', 'node', 'announce']) if (changes[part] !== null) this[part] = changes[part];
    this.happened(changes.events);
  }

  services(services, at) {
    let added = 0;
    let isNew = false;
    for (const service of services) {
      const entry = this.entries.get(service.name);
      if (entry) {
        // Services that are not in a list have not changed: all totals were read at the same time.
        added += entry.take(service, this.seen, at);
      } else {
        this.entries.set(service.name, new Entry(service, at));
        isNew = true;
      }
    }
    this.rate.add(added, this.seen, at);
    this.seen = at;
    if (isNew) this.sort();
  }

  remove(names) {
    if (names.length === 0) return;
    for (const name of names) this.entries.delete(name);
    this.sort();
  }

  sort() {
    this.sorted = Array.from(this.entries.values());
    this.sorted.sort((one, other) => (one.service.name < other.service.name ? -1 : 1));
  }

  /** Adds events and lets go of those older than an hour. */
  happened(events) {
    const hour = this.now() - 3600000;
    const old = this.events.length > 0 && Date.parse(this.events[0].at) < hour;
    // An equal list is not drawn again.
    if (events.length === 0 && !old) return;
    this.events = this.events.concat(events).filter(({ at }) => Date.parse(at) >= hour);
  }

  /** The entries with all these words, of those with problems or of all. */
  matching({ words, problems }) {
    return this.sorted.filter(
      ({ found, troubles }) => (!problems || troubles > 0) && words.every((word) => found.includes(word)),
    );
  }
}
