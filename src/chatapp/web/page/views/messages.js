/** The messages of a chat: a window that moves with the reader and stays where the reader is. */
import { html, useLayoutEffect, useRef } from "../../vendor/htm-preact-standalone.js";
import { dayName, dayOf } from "../format.js";
import { useApp } from "./context.js";
import { Message, Waiting } from "./message.js";
import { Icon } from "./parts.js";

/** How near to an edge the next page is read, and how near to the end counts as being there. */
const NEAR_PX = 500;
const END_PX = 48;
const GROUP_MS = 5 * 60_000;

export function Messages({ chat }) {
  const { store, state, words, acts } = useApp();
  const scroller = useRef(null);
  const anchor = useRef(null);
  const { rows, loaded, loading, hasOlder, hasNewer } = chat.timeline;

  // After each drawing: at the end stay at the end, elsewhere keep the first visible row where it was.
  useLayoutEffect(() => {
    const box = scroller.current;
    if (chat.atEnd && !hasNewer) box.scrollTop = box.scrollHeight;
    else if (anchor.current !== null) {
      const row = box.querySelector(`[data-seq="${anchor.current.seq}"]`);
      if (row !== null) box.scrollTop = row.offsetTop - anchor.current.offset;
    }
  });

  const look = () => {
    const box = scroller.current;
    const top = box.scrollTop;
    const below = box.scrollHeight - top - box.clientHeight;
    anchor.current = firstVisible(box);
    acts.scrolled(chat, below < END_PX && !chat.timeline.hasNewer);
    if (top < NEAR_PX) acts.loadOlder(chat);
    if (below < NEAR_PX) acts.loadNewer(chat);
  };

  return html`<div class="messages-frame">
    <div class="messages" ref=${scroller} onScroll=${look} tabindex="0" role="region" aria-label=${words.messages}>
      <div class="messages-top faint">
        ${hasOlder || !loaded ? (loading || !loaded ? words.loadingOlder : "") : words.beginning}
      </div>
      <ol class="rows" role="list">
        ${drawn(rows, chat, store)}
        ${!hasNewer && chat.outbox.map((waiting) => html`<${Waiting} key=${waiting.nonce} chat=${chat} waiting=${waiting} />`)}
      </ol>
    </div>
    ${(!chat.atEnd || hasNewer) &&
    loaded &&
    html`<button type="button" class="to-newest" onClick=${() => toNewest(chat, acts, scroller.current)}>
      <${Icon} name="down" />${chat.newBelow > 0 ? words.newBelow(chat.newBelow) : words.toNewest}
    </button>`}
  </div>`;
}

function drawn(rows, chat, store) {
  const { state, words } = store;
  const shown = [];
  let before = null;
  let newDrawn = false;
  rows.forEach((row, index) => {
    if (before === null || dayOf(before.at) !== dayOf(row.at)) {
      const name = dayName(row.at, words, store.locale);
      shown.push(html`<li key=${`day-${dayOf(row.at)}-${row.seq}`} class="day"><span>${name}</span></li>`);
      before = null;
    }
    if (chat.newAfter !== null && !newDrawn && row.seq > chat.newAfter && row.senderId !== state.me.id) {
      newDrawn = true;
      if (index > 0) shown.push(html`<li key="new" class="new-line"><span>${words.newLine}</span></li>`);
    }
    const after = rows[index + 1];
    shown.push(
      html`<${Message}
        key=${row.seq}
        chat=${chat}
        row=${row}
        first=${!together(before, row)}
        last=${after === undefined || !together(row, after) || dayOf(after.at) !== dayOf(row.at)}
      />`,
    );
    before = row;
  });
  return shown;
}

function together(one, other) {
  if (one === null || one.kind !== "text" || other.kind !== "text" || one.senderId !== other.senderId) return false;
  return new Date(other.at) - new Date(one.at) < GROUP_MS;
}

function firstVisible(box) {
  for (const row of box.querySelectorAll("[data-seq]")) {
    if (row.offsetTop + row.offsetHeight > box.scrollTop) {
      return { seq: row.dataset.seq, offset: row.offsetTop - box.scrollTop };
    }
  }
  return null;
}

function toNewest(chat, acts, box) {
  if (chat.timeline.hasNewer) acts.loadNewest(chat);
  else {
    acts.scrolled(chat, true);
    box.scrollTop = box.scrollHeight;
  }
  box.focus();
}
