/** How things are shown: times, names, colours, links. Pure functions. */

const DAY_MS = 86_400_000;
const formats = new Map();

function format(language, options) {
  const key = language + JSON.stringify(options);
  if (!formats.has(key)) formats.set(key, new Intl.DateTimeFormat(language, options));
  return formats.get(key);
}

export function clock(at, language) {
  return format(language, { hour: "2-digit", minute: "2-digit" }).format(new Date(at));
}

export function clockWithSeconds(at, language) {
  return format(language, { hour: "2-digit", minute: "2-digit", second: "2-digit" }).format(new Date(at));
}

export function fullTime(at, language) {
  return format(language, { dateStyle: "full", timeStyle: "medium" }).format(new Date(at));
}

/** A number that is the same within one local day. */
export function dayOf(at) {
  const date = new Date(at);
  return Math.floor((date.getTime() - date.getTimezoneOffset() * 60_000) / DAY_MS);
}

export function dayName(at, words, language, now = Date.now()) {
  const days = dayOf(now) - dayOf(at);
  if (days === 0) return words.today;
  if (days === 1) return words.yesterday;
  const sameYear = new Date(at).getFullYear() === new Date(now).getFullYear();
  return format(language, { weekday: "long", day: "numeric", month: "long", ...(sameYear ? {} : { year: "numeric" }) }).format(
    new Date(at),
  );
}

/** Short, for the list of chats. */
export function shortTime(at, words, language, now = Date.now()) {
  const days = dayOf(now) - dayOf(at);
  if (days === 0) return clock(at, language);
  if (days === 1) return words.yesterday;
  if (days < 7) return format(language, { weekday: "short" }).format(new Date(at));
  return format(language, { day: "numeric", month: "short" }).format(new Date(at));
}

/** One or two letters for a round picture; whole characters, also of emoji. */
export function initials(name) {
  const parts = name.trim().split(/[\s._-]+/u).filter(Boolean);
  const letters = (parts.length > 1 ? [parts[0], parts.at(-1)] : [parts[0] ?? "?"]).map(firstCharacter);
  return letters.join("").toLocaleUpperCase();
}

function firstCharacter(text) {
  if (typeof Intl.Segmenter === "function") {
    const [first] = new Intl.Segmenter(undefined, { granularity: "grapheme" }).segment(text);
    if (first && first.segment.length <= 8) return first.segment;
  }
  return String.fromCodePoint(text.codePointAt(0) ?? 63);
}

/** One of twelve colours, the same for the same thing. */
export function hue(id) {
  return `hue-${Math.abs(Math.imul(Number(id) || 0, 0x9e3779b1) >>> 16) % 12}`;
}

/** Text in pieces: plain, or a web address (http or https only). */
export function pieces(text) {
  const found = [];
  let at = 0;
  for (const match of text.matchAll(/https?:\/\/[^\s<>"'\u202a-\u202e\u2066-\u2069]{1,500}/gu)) {
    const address = match[0].replace(/[.,;:!?)\]}]+$/u, "");
    if (!URL.canParse?.(address)) continue;
    if (match.index > at) found.push({ text: text.slice(at, match.index) });
    found.push({ text: address, href: address });
    at = match.index + address.length;
  }
  if (at < text.length) found.push({ text: text.slice(at) });
  return found;
}

export function utf8Length(text) {
  return new TextEncoder().encode(text).length;
}
