/** One chat: its head, its messages, and where one writes. */
import { html } from "../../vendor/htm-preact-standalone.js";
import { shortTime } from "../format.js";
import { otherOf, titleOf } from "../store.js";
import { Composer } from "./composer.js";
import { ConnectionBar } from "./connection.js";
import { useApp } from "./context.js";
import { Messages } from "./messages.js";
import { Avatar, IconButton } from "./parts.js";

export function Conversation({ chat }) {
  const { store, state, words, acts } = useApp();
  const title = titleOf(chat, state, words);
  const other = otherOf(chat, state);
  return html`<section class="conversation" aria-label=${title}>
    <header class="conversation-head">
      <${IconButton} name="back" kind="back" label=${words.back} onClick=${() => acts.closeChat()} />
      <${Avatar} id=${other ?? chat.id} name=${title} group=${chat.isGroup} online=${other !== null && store.isOnline(other)} />
      <div class="conversation-title">
        <h1><bdi>${title}</bdi></h1>
        <p class="faint"><${Subtitle} chat=${chat} other=${other} /></p>
      </div>
      <${IconButton}
        name="people"
        label=${words.details}
        aria-expanded=${state.showDetails ? "true" : "false"}
        onClick=${() => store.set({ showDetails: !state.showDetails })}
      />
    </header>
    <${ConnectionBar} />
    <${Messages} chat=${chat} />
    <${Typing} chat=${chat} />
    <${Composer} chat=${chat} title=${title} />
  </section>`;
}

function Subtitle({ chat, other }) {
  const { store, state, words } = useApp();
  if (chat.isGroup) {
    const others = chat.members.filter(({ user_id: id }) => id !== state.me.id && store.isOnline(id)).length;
    return html`${words.members(chat.memberCount)}${others > 0 ? ` · ${others + 1} ${words.online}` : ""}`;
  }
  const seen = other === null ? undefined : state.presence.get(other);
  if (seen?.online) return words.online;
  if (seen?.lastSeen) return words.lastSeen(shortTime(seen.lastSeen, words, store.locale));
  return words.direct;
}

function Typing({ chat }) {
  const { store, words } = useApp();
  const names = [...chat.typing.keys()].map((userId) => store.nameOf(userId));
  let text = "";
  if (names.length === 1) text = words.typingOne(names[0]);
  else if (names.length === 2) text = words.typingTwo(...names);
  else if (names.length > 2) text = words.typingMany;
  return html`<p class=${`typing ${text ? "on" : ""}`} aria-live="off" dir="auto">
    <span class="typing-dots" aria-hidden="true"><i></i><i></i><i></i></span><bdi>${text}</bdi>
  </p>`;
}
