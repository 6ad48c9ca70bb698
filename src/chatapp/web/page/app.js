/** The page: what is shown, and what is there at its start. */
import { html, render } from "../vendor/htm-preact-standalone.js";
import { languages } from "./i18n.js";
import { Session } from "./session.js";
import { newState, Store } from "./store.js";
import { App } from "./views/shell.js";

const PREFERENCES = "chatapp.preferences";

function readPreferences() {
  try {
    const { language, theme } = JSON.parse(localStorage.getItem(PREFERENCES) ?? "{}");
    return {
      language: language in languages ? language : undefined,
      theme: ["auto", "light", "dark"].includes(theme) ? theme : undefined,
    };
  } catch {
    return {};
  }
}

const store = new Store(newState({ ...readPreferences(), languages: navigator.languages }));
const session = new Session(store);

function applyPreferences() {
  const { language, theme } = store.state;
  document.documentElement.lang = language;
  document.documentElement.dataset.theme = theme;
  document.title = title();
}

function title() {
  let unread = 0;
  for (const chat of store.state.chats.values()) unread += chat.unread;
  return unread ? `(${unread}) ${store.words.appName}` : store.words.appName;
}

function choose(changes) {
  store.set(changes);
  try {
    const { language, theme } = store.state;
    localStorage.setItem(PREFERENCES, JSON.stringify({ language, theme }));
  } catch {
    // then it holds for this page only
  }
}

const root = document.getElementById("app");
function draw() {
  applyPreferences();
  render(html`<${App} store=${store} session=${session} choose=${choose} />`, root);
}

store.subscribe(draw);
document.addEventListener("visibilitychange", () => {
  const chat = session.acts?.openChat;
  if (chat) session.acts.read(chat);
});
document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "k" && store.state.me) {
    event.preventDefault();
    if (store.state.dialog === null) store.set({ dialog: { kind: "new" } });
  }
});
draw();
session.restore();
