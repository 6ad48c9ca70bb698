/** One message, one line of the system, or one that is not stored yet. What others wrote is only ever text. */
import { html, useState } from "../../vendor/htm-preact-standalone.js";
import { clock, fullTime, pieces } from "../format.js";
import { useApp } from "./context.js";
import { Avatar, Icon, IconButton } from "./parts.js";

const LONG = 1_500;
const LONG_LINES = 24;

export function Message({ chat, row, first, last }) {
  const { store, state, words } = useApp();
  if (row.kind === "system") {
    return html`<li class="system" data-seq=${row.seq}><span dir="auto">${row.content}</span></li>`;
  }
  const mine = row.senderId === state.me.id;
  const name = store.nameOf(row.senderId);
  const kind = `message ${mine ? "own" : ""} ${first ? "first" : ""} ${last ? "last" : ""} ${row.deleted ? "deleted" : ""}`;
  return html`<li class=${kind} data-seq=${row.seq} data-id=${row.id}>
    ${!mine && chat.isGroup && html`<span class="message-face">${last && html`<${Avatar} id=${row.senderId} name=${name} />`}</span>`}
    <div class="bubble">
      ${!mine && first && chat.isGroup && html`<p class="message-name"><bdi>${name}</bdi></p>`}
      ${mine && html`<span class="unseen">${words.you}: </span>`}
      ${!mine && !(first && chat.isGroup) && html`<span class="unseen"><bdi>${name}</bdi>: </span>`}
      ${row.deleted ? html`<p class="text">${words.deleted}</p>` : html`<${Text} content=${row.content} />`}
      <p class="message-foot">
        ${row.edited && !row.deleted && html`<span>${words.edited}</span>`}
        <time datetime=${row.at} title=${`${fullTime(row.at, store.locale)} · ${words.position(row.seq)}`}>${clock(row.at, store.locale)}</time>
        ${mine && !row.deleted && html`<${Receipt} chat=${chat} row=${row} />`}
      </p>
    </div>
    ${!row.deleted && html`<${Tools} chat=${chat} row=${row} mine=${mine} />`}
  </li>`;
}

/** One that waits for its acknowledgement, or failed. */
export function Waiting({ chat, waiting }) {
  const { state, words, acts } = useApp();
  const failed = waiting.failed !== null;
  const connected = state.connection.state === "connected" || state.connection.state === "catching_up";
  const text = failed ? words.failed : connected ? words.sending : words.queued;
  return html`<li class=${`message own first last ${failed ? "failed" : "waiting"}`}>
    <div class="bubble">
      <span class="unseen">${words.you}: </span>
      <${Text} content=${waiting.content} />
      <p class="message-foot"><${Icon} name=${failed ? "alert" : "clock"} /><span>${text}</span></p>
    </div>
    ${failed &&
    html`<div class="failure">
      <p>${waiting.failed}</p>
      <button type="button" class="link" onClick=${() => acts.retry(chat, waiting)}>${words.retry}</button>
      <button type="button" class="link" onClick=${() => acts.discard(chat, waiting)}>${words.discard}</button>
    </div>`}
  </li>`;
}

/** Text in which addresses can be followed; shortened when it is very long. */
function Text({ content }) {
  const { words } = useApp();
  const [all, setAll] = useState(false);
  const long = content.length > LONG || lines(content) > LONG_LINES;
  return html`<p class=${`text ${long && !all ? "cut" : ""}`} dir="auto">${pieces(content).map((piece) =>
      piece.href ? html`<a href=${piece.href} target="_blank" rel="noopener noreferrer nofollow">${piece.text}</a>` : piece.text,
    )}</p>
    ${long && html`<button type="button" class="link" onClick=${() => setAll(!all)}>${all ? words.showLess : words.showAll}</button>`}`;
}

function lines(text) {
  let count = 1;
  for (let at = text.indexOf("\n"); at >= 0 && count <= LONG_LINES; at = text.indexOf("\n", at + 1)) count += 1;
  return count;
}

/** Stored; or read, by whom it is known of. */
function Receipt({ chat, row }) {
  const { store, words } = useApp();
  const readers = [...chat.reads].filter(([, seq]) => seq >= row.seq).map(([userId]) => store.nameOf(userId));
  let label = words.stored;
  if (readers.length > 0) label = chat.isGroup ? words.readBy(readers.slice(0, 5).join(", ")) : words.read;
  return html`<span class=${`receipt ${readers.length > 0 ? "is-read" : ""}`} role="img" aria-label=${label} title=${label}>
    <${Icon} name=${readers.length > 0 ? "checks" : "check"} />
  </span>`;
}

function Tools({ chat, row, mine }) {
  const { store, state, words, acts } = useApp();
  const isAdmin = chat.isGroup && chat.members.some((member) => member.user_id === state.me.id && member.is_admin);
  if (!mine && !isAdmin) return null;
  const ask = () =>
    store.set({ dialog: { kind: "confirm", text: words.reallyRemove, yes: words.remove, act: () => acts.remove(chat, row) } });
  return html`<div class="tools">
    ${mine && html`<${IconButton} name="pencil" label=${words.edit} onClick=${() => acts.startEditing(chat, row)} />`}
    <${IconButton} name="bin" label=${words.remove} onClick=${ask} />
  </div>`;
}
