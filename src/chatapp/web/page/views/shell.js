/** The whole page. */
import { html } from "../../vendor/htm-preact-standalone.js";
import { ConfirmDialog } from "./confirm.js";
import { ConnectionDialog } from "./connection.js";
import { Context } from "./context.js";
import { Conversation } from "./conversation.js";
import { Details } from "./details.js";
import { PeopleDialog } from "./people.js";
import { PreferencesDialog } from "./preferences.js";
import { Sidebar } from "./sidebar.js";
import { Welcome } from "./welcome.js";

const DIALOGS = {
  new: PeopleDialog,
  add: PeopleDialog,
  connection: ConnectionDialog,
  preferences: PreferencesDialog,
  confirm: ConfirmDialog,
};

export function App({ store, session, choose }) {
  const { state, words } = store;
  const app = { store, state, words, session, acts: session.acts, choose };
  const close = () => store.set({ dialog: null });
  const Opened = state.dialog && DIALOGS[state.dialog.kind];
  return html`<${Context.Provider} value=${app}>
    ${state.me ? html`<${Shell} app=${app} />` : html`<${Welcome} />`}
    ${Opened && html`<${Opened} ...${state.dialog} onClose=${close} />`}
    ${state.notice &&
    html`<div class=${`notice ${state.notice.kind}`} role="status">
      <bdi>${state.notice.text}</bdi>
      <button type="button" class="link" onClick=${() => store.set({ notice: null })}>${words.ok}</button>
    </div>`}
    <div class="unseen" role="log" aria-live="polite" aria-atomic="true">${state.spoken}</div>
  <//>`;
}

function Shell({ app }) {
  const { state, acts, words } = app;
  const chat = acts?.openChat ?? null;
  const where = chat === null ? "at-list" : state.showDetails ? "at-details" : "at-chat";
  return html`<div class=${`shell ${where}`}>
    <${Sidebar} />
    <main class="stage">
      ${chat === null
        ? html`<div class="empty">
            <div class="bubbles" aria-hidden="true"><span></span><span></span><span></span></div>
            <p class="empty-title">${words.pickChat}</p>
            <p class="faint">${words.pickChatHint}</p>
          </div>`
        : html`<${Conversation} key=${chat.id} chat=${chat} />`}
    </main>
    ${chat !== null && state.showDetails && html`<${Details} key=${chat.id} chat=${chat} />`}
  </div>`;
}
