// The summary of all services: the tiles at the top, and the alerts.

class Summary {
  constructor() {
    this.graph = new Graph('large');
    byId('total-graph').append(this.graph.node);
  }

  draw(model) {
    this.traffic(model);
    this.services(model);
    this.conntrack(model.host);
    this.kernel(model);
    this.reload(model);
    this.foreign(model);
    this.daemon(model);
    this.alerts(model);
  }

  traffic(model) {
    const { sorted, rate } = model;
    const now = model.frame / 1000;
    const start = model.since ?? now;
    const mean = rate.mean(start, now);
    text(byId('total-rate'), perSecond(mean));
    const peak = this.graph.draw(rate.last(SPAN, now), SPAN - (Math.floor(now) - Math.ceil(start)), mean);
    const counted = sorted.filter(({ active }) => active !== null);
    const active = counted.reduce((sum, entry) => sum + entry.active, 0);
    const flows = counted.length > 0 ? `${whole.format(active)} active` : 'active ones not counted';
    text(byId('total-active'), mean === null ? flows : `${flows}, peak ${perSecond(peak)} /s`);
  }

  services({ sorted }) {
    const states = { up: 0, empty: 0, disabled: 0 };
    const kinds = { good: 0, bad: 0, warn: 0, wait: 0, off: 0 };
    let backends = 0;
    for (const { service, kinds: of } of sorted) {
      states[service.state] += 1;
      for (const kind of Object.keys(kinds)) kinds[kind] += of[kind] ?? 0;
      backends += service.backends.length;
    }
    text(byId('services-headline'), whole.format(sorted.length));
    text(byId('services-fine'), listed([[states.up, 'up'], [states.empty, 'without backends'], [states.disabled, 'disabled']]));
    text(byId('backends-headline'), whole.format(backends));
    const names = { good: 'serve', bad: 'unhealthy', warn: 'full', wait: 'draining', off: 'disabled or drained' };
    text(byId('backends-fine'), listed(Object.entries(names).map(([kind, name]) => [kinds[kind], name])));
  }

  conntrack({ conntrack_entries: entries, conntrack_max: max }) {
    const known = entries !== null && max !== null && max > 0;
    const used = known ? entries / max : 0;
    const scarce = used >= SCARCE;
    text(byId('conntrack-headline'), known ? percent(used) : 'not known');
    const bar = byId('conntrack');
    bar.hidden = !known;
    fill(bar, used);
    attribute(bar, 'aria-valuenow', (100 * used).toFixed(1));
    attribute(bar, 'data-kind', scarce ? 'warn' : null);
    const fine = known ? `${whole.format(entries)} of ${whole.format(max)} entries` : '';
    text(byId('conntrack-fine'), scarce ? `${fine}: nearly full, raise net.netfilter.nf_conntrack_max` : fine);
    attribute(byId('conntrack-fine'), 'data-kind', scarce ? 'warn' : null);
  }

  kernel(model) {
    const { table } = model;
    const now = model.frame;
    say(byId('kernel-state'), table.synced ? { word: 'in sync', kind: 'good' } : { word: 'not in sync', kind: 'bad' });
    const flags = table.flags.length > 0 ? ` (${table.flags.join(', ')})` : '';
    const changed = table.last_commit === null ? 'not changed since the start' : `changed ${age(now, table.last_commit)} ago`;
    const retry = table.retry_at === null ? [] : [`next retry in ${age(table.retry_at, now)}`];
    const holds = ['service', 'set', 'chain', 'element'].map((what) => number(table[`${what}s`], what)).join(', ');
    text(byId('kernel-fine'), [...retry, `table ${table.name}${flags}, ${changed}`, holds].join('\n'));
  }

  reload(model) {
    const { reload, daemon, config } = model;
    say(byId('reload-state'), reload.ok ? { word: 'applied', kind: 'good' } : { word: 'failed', kind: 'bad' });
    const { at, summary, generation } = reload;
    const loaded = `loaded ${age(model.frame, at)} ago, number ${whole.format(generation)}`;
    text(byId('reload-fine'), [daemon.config, loaded, summary, `digest ${config.digest}`].join('\n'));
    const { warnings } = reload;
    const details = byId('warnings');
    details.hidden = warnings.length === 0;
    text(details.firstElementChild, number(warnings.length, 'warning'));
    if (this.warned === warnings.join('\n')) return;
    this.warned = warnings.join('\n');
    details.lastElementChild.replaceChildren(...lines(warnings));
  }

  foreign(model) {
    const { total, last } = model.table.foreign_changes;
    const word = total === 0 ? 'never' : `${whole.format(total)}${total === 1 ? ' time' : ' times'}`;
    say(byId('foreign-state'), { word, kind: total === 0 ? 'good' : 'warn' });
    const fine = last === null ? 'since the daemon started' : `last by ${last.process} (pid ${last.pid}), ${age(model.frame, last.at)} ago`;
    text(byId('foreign-fine'), fine);
  }

  daemon(model) {
    const { version, pid, started, socket } = model.daemon;
    text(byId('daemon-headline'), `sluiced ${version}`);
    text(byId('daemon-fine'), [`pid ${pid}, started ${age(model.frame, started)} ago`, socket].join('\n'));
  }

  /** Drawn only when it changes, or a screen reader would read it each second. */
  alerts({ reload, table, state, followers, node, announce }) {
    const alerts = [];
    if (!table.synced) {
      const why = table.error === null ? '' : `: ${table.error}`;
      alerts.push([`The kernel differs from the configuration${why}`, table.differences]);
    }
    if (!reload.ok) alerts.push([`The configuration was not applied: ${reload.summary}`, reload.problems]);
    if (state.problems.length > 0) {
      alerts.push([`${state.directory} is not writable: a restart loses state`, state.problems]);
    }
    const lost = followers.filter(({ error }) => error !== null);
    if (lost.length > 0) {
      alerts.push(['Changes by other programs are found only at a refresh', lost.map(({ name, error }) => `${name}: ${error}`)]);
    }
    if (node.left !== null) {
      const { uid, reason } = node.left;
      alerts.push(['The node has left: no service is ready', [`by uid ${uid}${reason === null ? '' : `: ${reason}`}`]]);
    }
    const missing = announce.addresses.filter(({ state: of }) => of === 'withdrawn' || of === 'failed');
    if (announce.error !== null || (missing.length > 0 && node.left === null)) {
      const errors = announce.error === null ? [] : [announce.error];
      const of = missing.map(({ address, state: why, services }) => `${address} (${services.join(', ')}): ${why}`);
      alerts.push([`Addresses are not announced on ${announce.interface}`, [...errors, ...of]]);
    }
    const told = JSON.stringify(alerts);
    if (this.told === told) return;
    this.told = told;
    byId('alerts').replaceChildren(...alerts.map(([title, problems]) => {
      const heading = saying('title');
      say(heading, { word: title, kind: 'bad' });
      return el('div', { class: 'alert' }, heading, el('ul', { class: 'lines mono' }, ...lines(problems)));
    }));
  }
}

function lines(texts) {
  return texts.map((line) => el('li', {}, line));
}

/** `7 up, 2 disabled`, without counts of 0. */
function listed(counts) {
  return counts.filter(([count]) => count > 0).map(([count, what]) => `${whole.format(count)} ${what}`).join(', ');
}
