/** Who is in a chat, what they may do, and how one leaves. */
import { html, useEffect, useRef, useState } from "../../vendor/htm-preact-standalone.js";
import { shortTime } from "../format.js";
import { titleOf } from "../store.js";
import { useApp } from "./context.js";
import { Avatar, IconButton } from "./parts.js";

export function Details({ chat }) {
  const { store, state, words, acts } = useApp();
  const head = useRef(null);
  useEffect(() => head.current?.focus(), []);
  const me = chat.members.find((member) => member.user_id === state.me.id);
  const isAdmin = chat.isGroup && me?.is_admin === true;
  const ask = (text, yes, act) => store.set({ dialog: { kind: "confirm", text, yes, act } });
  const close = () => store.set({ showDetails: false });
  const pressed = (event) => event.key === "Escape" && close();

  return html`<aside class="details" aria-label=${words.details} onKeyDown=${pressed}>
    <header class="details-head">
      <h2 ref=${head} tabindex="-1">${chat.isGroup ? words.group : words.direct}</h2>
      <${IconButton} name="close" label=${words.close} onClick=${close} />
    </header>
    <div class="details-body">
      ${isAdmin ? html`<${Rename} chat=${chat} />` : html`<p class="details-title"><bdi>${titleOf(chat, state, words)}</bdi></p>`}
      <div class="row">
        <h3 class="grow">${words.members(chat.memberCount)}</h3>
        ${isAdmin &&
        html`<button type="button" class="secondary slim" onClick=${() => store.set({ dialog: { kind: "add", chat } })}>${words.addPeople}</button>`}
      </div>
      <ul class="people">
        ${chat.members.map((member) => html`<${Member} key=${member.user_id} chat=${chat} member=${member} isAdmin=${isAdmin} ask=${ask} />`)}
      </ul>
      ${chat.memberCount > chat.members.length &&
      html`<button type="button" class="quiet wide" onClick=${() => acts.moreMembers(chat)}>${words.moreMembers}</button>`}
      ${chat.isGroup &&
      html`<div class="stack details-end">
        <button type="button" class="secondary" onClick=${() => ask(words.reallyLeave, words.leave, () => acts.leave(chat))}>${words.leave}</button>
        ${chat.creatorId === state.me.id &&
        html`<button type="button" class="danger-quiet" onClick=${() => ask(words.reallyDeleteChat, words.deleteChat, () => acts.deleteChat(chat))}>${words.deleteChat}</button>`}
      </div>`}
    </div>
  </aside>`;
}

function Rename({ chat }) {
  const { words, acts } = useApp();
  const [name, setName] = useState(chat.name);
  useEffect(() => setName(chat.name), [chat.name]);
  const changed = name.trim() !== "" && name.trim() !== chat.name;
  const submit = (event) => {
    event.preventDefault();
    if (changed) acts.rename(chat, name.trim());
  };
  return html`<form class="rename" onSubmit=${submit}>
    <label>
      <span>${words.chatName}</span>
      <input dir="auto" value=${name} maxlength="100" required onInput=${(event) => setName(event.target.value)} />
    </label>
    ${changed && html`<button class="primary slim">${words.rename}</button>`}
  </form>`;
}

function Member({ chat, member, isAdmin, ask }) {
  const { store, state, words, acts } = useApp();
  const { user_id: userId, username } = member;
  const name = store.nameOf(userId);
  const mine = userId === state.me.id;
  const seen = state.presence.get(userId);
  let presence = null;
  if (mine || seen?.online) presence = words.online;
  else if (seen?.lastSeen) presence = words.lastSeen(shortTime(seen.lastSeen, words, store.locale));
  else if (seen?.told) presence = words.offline;
  return html`<li class="person">
    <${Avatar} id=${userId} name=${name} online=${mine || store.isOnline(userId)} />
    <div class="person-name">
      <p><bdi>${name}</bdi>${mine ? ` (${words.you})` : ""} ${member.is_admin && chat.isGroup && html`<span class="tag">${words.admin}</span>`}</p>
      <p class="faint">
        ${name !== username && html`<bdi>${username}</bdi>`}${name !== username && presence ? " · " : ""}${presence}
      </p>
    </div>
    ${isAdmin &&
    !mine &&
    html`<details class="menu">
      <summary aria-label=${words.actionsFor(name)} title=${words.actionsFor(name)}>⋯</summary>
      <div class="menu-items" onClick=${(event) => event.currentTarget.parentElement.removeAttribute("open")}>
        <button type="button" onClick=${() => acts.setAdmin(chat, userId, !member.is_admin)}>${member.is_admin ? words.endAdmin : words.makeAdmin}</button>
        <button type="button" class="warn" onClick=${() => ask(words.reallyRemoveMember(name), words.removeMember, () => acts.removeMember(chat, userId))}>${words.removeMember}</button>
      </div>
    </details>`}
  </li>`;
}
