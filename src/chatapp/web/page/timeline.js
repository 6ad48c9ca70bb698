/**
 * The part of a chat's messages that the page holds: a window of bounded size, contiguous, ascending by `seq`.
 * It is either at the live end (`hasNewer` is false), or somewhere in the past. Pure functions on one plain object.
 */

/** The most rows that are held, and so the most that the document has. */
export const WINDOW = 200;
const CHANGES = 500;

export function newTimeline() {
  return { rows: [], loaded: false, loading: false, hasOlder: false, hasNewer: false, changes: new Map() };
}

/** A row of the history, over REST. */
export function rowOfHistory(message) {
  return {
    id: message.id,
    seq: message.seq,
    senderId: message.sender_id ?? null,
    username: message.sender?.display_name || message.sender?.username || "",
    content: message.content,
    kind: message.kind,
    edited: message.is_edited,
    deleted: false,
    at: message.created_at,
  };
}

/** The row of a `message` event. */
export function rowOfEvent(payload) {
  return {
    id: payload.message_id,
    seq: payload.seq,
    senderId: payload.sender_id ?? null,
    username: payload.username,
    content: payload.content,
    kind: payload.kind,
    edited: false,
    deleted: false,
    at: payload.timestamp,
  };
}

/** The row of a lasting `system` event, which has no time of its own. */
export function rowOfSystem(payload, at) {
  return {
    id: null,
    seq: payload.seq,
    senderId: null,
    username: "",
    content: payload.message,
    kind: "system",
    edited: false,
    deleted: false,
    at,
  };
}

/** Something new at the live end. `reading` is true when the reader is up in the past and nothing may be dropped there. */
export function append(timeline, row, reading) {
  if (timeline.hasNewer) return;
  merge(timeline, [row]);
  if (timeline.rows.length <= WINDOW) return;
  if (reading) {
    timeline.rows.length = WINDOW;
    timeline.hasNewer = true;
  } else {
    timeline.rows.splice(0, timeline.rows.length - WINDOW);
    timeline.hasOlder = true;
  }
}

/** A page of what came before. `rows` ascend; `hasOlder` tells whether there is more. */
export function prepend(timeline, rows, hasOlder) {
  merge(timeline, rows);
  timeline.hasOlder = hasOlder;
  if (timeline.rows.length > WINDOW) {
    timeline.rows.length = WINDOW;
    timeline.hasNewer = true;
  }
}

/** A page of what came after. */
export function extend(timeline, rows, hasNewer) {
  merge(timeline, rows);
  timeline.hasNewer = hasNewer;
  if (timeline.rows.length > WINDOW) {
    timeline.rows.splice(0, timeline.rows.length - WINDOW);
    timeline.hasOlder = true;
  }
}

/** The newest page, in place of everything but what came live while it was read. */
export function restart(timeline, rows, hasOlder, live) {
  timeline.rows = [];
  timeline.hasNewer = false;
  timeline.loaded = true;
  merge(timeline, rows);
  merge(timeline, live);
  timeline.hasOlder = hasOlder;
  if (timeline.rows.length > WINDOW) {
    timeline.rows.splice(0, timeline.rows.length - WINDOW);
    timeline.hasOlder = true;
  }
}

/** New content of a message; null when it was deleted. A page that is being read may still have the old one. */
export function change(timeline, messageId, content) {
  timeline.changes.delete(messageId);
  timeline.changes.set(messageId, content);
  if (timeline.changes.size > CHANGES) timeline.changes.delete(timeline.changes.keys().next().value);
  timeline.rows = timeline.rows.map((row) => (row.id === messageId ? changed(row, content) : row));
}

function changed(row, content) {
  return content === null ? { ...row, content: "", deleted: true } : { ...row, content, edited: true };
}

function merge(timeline, rows) {
  const bySeq = new Map(timeline.rows.map((row) => [row.seq, row]));
  for (const row of rows) {
    const content = row.id === null ? undefined : timeline.changes.get(row.id);
    bySeq.set(row.seq, content === undefined ? row : changed(row, content));
  }
  timeline.rows = [...bySeq.values()].sort((one, other) => one.seq - other.seq);
}
