/** Who I am, my chats, and the connection. */
import { html, useState } from "../../vendor/htm-preact-standalone.js";
import { shortTime } from "../format.js";
import { otherOf, sortedChats, titleOf } from "../store.js";
import { ConnectionPill } from "./connection.js";
import { useApp } from "./context.js";
import { Avatar, Icon, IconButton } from "./parts.js";

export function Sidebar() {
  const { store, state, words, acts } = useApp();
  const [filter, setFilter] = useState("");
  const wanted = filter.trim().toLocaleLowerCase();
  const chats = sortedChats(state);
  const shown = wanted ? chats.filter((chat) => titleOf(chat, state, words).toLocaleLowerCase().includes(wanted)) : chats;
  return html`<nav class="sidebar" aria-label=${words.chats}>
    <header class="sidebar-head">
      <p class="brand"><span class="mark"></span>${words.appName}</p>
      <span class="grow"></span>
      <${IconButton} name="gear" label=${words.menu} onClick=${() => store.set({ dialog: { kind: "preferences" } })} />
      <${IconButton} name="plus" kind="strong" label=${words.newChat} onClick=${() => store.set({ dialog: { kind: "new" } })} />
    </header>
    ${chats.length > 4 &&
    html`<label class="filter"
      ><${Icon} name="search" /><span class="unseen">${words.filterChats}</span>
      <input type="search" placeholder=${words.filterChats} value=${filter} onInput=${(event) => setFilter(event.target.value)}
    /></label>`}
    <ul class="chats" onKeyDown=${walk}>
      ${shown.map((chat) => html`<${ChatItem} key=${chat.id} chat=${chat} />`)}
      ${state.chatsLoaded &&
      shown.length === 0 &&
      html`<li class="faint nothing">${wanted ? words.nothingFound : words.noChats}</li>`}
      ${state.hasMoreChats &&
      !wanted &&
      html`<li><button type="button" class="quiet wide" onClick=${() => acts.moreChats()}>${words.moreChats}</button></li>`}
    </ul>
    <footer class="sidebar-foot">
      <${Avatar} id=${state.me.id} name=${state.me.display_name || state.me.username} />
      <bdi class="me">${state.me.display_name || state.me.username}</bdi>
      <${ConnectionPill} />
    </footer>
  </nav>`;
}

function ChatItem({ chat }) {
  const { store, state, words, acts } = useApp();
  const title = titleOf(chat, state, words);
  const other = otherOf(chat, state);
  const open = state.openId === chat.id;
  const typing = [...chat.typing.keys()];
  return html`<li>
    <button type="button" class=${`chat-item ${open ? "open" : ""} ${chat.unread ? "unread" : ""}`} aria-current=${open ? "true" : undefined} onClick=${() => acts.open(chat.id)}>
      <${Avatar} id=${other ?? chat.id} name=${title} group=${chat.isGroup} online=${other !== null && store.isOnline(other)} />
      <span class="chat-item-title"><bdi>${title}</bdi></span>
      <time class="chat-item-time">${chat.last || chat.activeAt ? shortTime(chat.last?.at ?? chat.activeAt, words, store.locale) : ""}</time>
      <span class="chat-item-last" dir="auto">
        ${typing.length > 0
          ? html`<em class="typing-text">${words.typingOne(store.nameOf(typing[0]))}</em>`
          : html`<${Preview} chat=${chat} />`}
      </span>
      ${chat.unread > 0 &&
      html`<span class="badge"><span aria-hidden="true">${chat.unread > 99 ? "99+" : chat.unread}</span><span class="unseen">${words.unread(chat.unread)}</span></span>`}
    </button>
  </li>`;
}

function Preview({ chat }) {
  const { store, state, words } = useApp();
  const last = chat.last;
  if (last === null) return chat.lastSeq > 0 ? "…" : words.noMessages;
  if (last.deleted) return words.deleted;
  const text = last.content.slice(0, 160);
  if (last.kind === "system") return text;
  if (last.senderId === state.me.id) return html`${words.you}: <bdi>${text}</bdi>`;
  return chat.isGroup ? html`<bdi>${store.nameOf(last.senderId)}</bdi>: <bdi>${text}</bdi>` : html`<bdi>${text}</bdi>`;
}

/** Arrow keys go through the list. */
function walk(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  const items = [...event.currentTarget.querySelectorAll("button")];
  const next = items[items.indexOf(document.activeElement) + step];
  if (next) {
    event.preventDefault();
    next.focus();
  }
}
