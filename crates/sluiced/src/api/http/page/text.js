// Formats numbers, times and sizes.

const whole = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat('en-US', { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });

/** `1 service`, `2,000 services`. */
function number(count, what) {
  return `${whole.format(count)} ${what}${count === 1 ? '' : 's'}`;
}

/** Something a second; `null` is not known yet. */
function perSecond(rate) {
  if (rate === null) return '-';
  if (rate === 0) return '0';
  return rate < 9.95 ? tenths.format(rate) : whole.format(rate);
}

/** `12.3 MB`. */
function bytes(count) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let unit = 0;
  while (count >= 999.5 && unit + 1 < units.length) {
    count /= 1000;
    unit += 1;
  }
  return `${unit === 0 || count >= 99.5 ? whole.format(count) : tenths.format(count)} ${units[unit]}`;
}

/** `33.3 %`. */
function percent(fraction) {
  return `${tenths.format(100 * fraction)} %`;
}

/** Time between two moments in its two largest units; 0 s when the clock was set back. Milliseconds or ISO 8601. */
function age(now, then) {
  const seconds = Math.max(0, Math.floor((millis(now) - millis(then)) / 1000));
  const [minutes, hours, days] = [60, 3600, 86400].map((unit) => Math.floor(seconds / unit));
  if (days > 0) return `${days}d ${hours % 24}h`;
  if (hours > 0) return `${hours}h ${minutes % 60}m`;
  if (minutes > 0) return `${minutes}m ${seconds % 60}s`;
  return `${seconds}s`;
}

/** `14:03:22`, in the reader's time zone. */
function timeOfDay(moment) {
  return clock.format(millis(moment));
}

function millis(moment) {
  return typeof moment === 'number' ? moment : Date.parse(moment);
}
