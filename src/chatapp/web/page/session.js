/** Who is logged in. The token is kept in this tab only, so that two tabs may be two people. */
import { ChatApi, ChatClient } from "../chatapp.js";
import { Actions } from "./actions.js";
import { listen } from "./events.js";
import { sentenceFor } from "./i18n.js";

const KEY = "chatapp.token";
const MADE = "chatapp.token.made";
const REFRESH_MS = 6 * 3_600_000;
const LOOK_MS = 10 * 60_000;

/** The service of this page, wherever it is mounted. */
const base = new URL("..", import.meta.url).href.replace(/web\/$/, "");

export class Session {
  constructor(store) {
    this.store = store;
    this.acts = null;
    this._client = null;
    this._timer = null;
  }

  /** Go on with the token of this tab, if it has one. */
  async restore() {
    const token = kept(KEY);
    if (token === null) return;
    const api = new ChatApi({ base, token });
    this.store.set({ busy: true });
    try {
      await this._enter(api, await api.me());
    } catch (error) {
      if (error.status === 401) forget();
      this.store.set({ problem: sentenceFor(error.status === 401 ? { ...error, code: "session" } : error, this._sessionWords()) });
    } finally {
      this.store.set({ busy: false });
    }
  }

  logIn(username, password) {
    return this._signIn((api) => api.login(username, password));
  }

  register(username, password, displayName) {
    return this._signIn((api) => api.register(username, password, displayName));
  }

  async _signIn(ask) {
    this.store.set({ busy: true, problem: null });
    const api = new ChatApi({ base });
    try {
      const { user } = await ask(api);
      keep(api.token);
      await this._enter(api, user);
    } catch (error) {
      this.store.set({ problem: sentenceFor(error, this.store.words) });
    } finally {
      this.store.set({ busy: false });
    }
  }

  async _enter(api, me) {
    const store = this.store;
    const client = new ChatClient({ api });
    const acts = new Actions(store, api, client);
    this._client = client;
    this.acts = acts;
    store.state.names.set(me.id, me.display_name || me.username);
    store.state.profiles.add(me.id);
    store.set({ me, problem: null });
    listen(client, store, {
      unknown: (chatIds) => acts.loadUnknown(chatIds),
      open: () => {
        const chat = acts.openChat;
        if (chat && !chat.timeline.loaded) acts.loadNewest(chat);
      },
      names: (userIds) => acts.learnNames(userIds),
      read: (chat) => acts.read(chat),
      presence: () => acts.forgetPresence(),
      everything: () => acts.loadChats().catch(() => {}),
      isLeaving: (chatId) => acts.isLeaving(chatId),
    });
    client.on("unauthorised", () => this._end(store.words.sessionOver));
    client.start();
    this._timer = setInterval(() => this._refresh(api, client), LOOK_MS);
    await acts.loadChats().catch((error) => store.notice(sentenceFor(error, store.words), "error"));
    this._refresh(api, client);
  }

  /** Tokens live for a day, pages for longer. */
  async _refresh(api, client) {
    if (Date.now() - Number(kept(MADE) ?? 0) < REFRESH_MS) return;
    try {
      const { token } = await api.refresh();
      keep(token);
      client.setToken(token);
    } catch {
      // the old one is still good, or the connection says that it is not
    }
  }

  reconnectNow() {
    this._client?.reconnectNow();
  }

  async logOut() {
    const api = this._client?.api;
    this._end(null);
    await api?.logout().catch(() => {}); // here it is forgotten in any case
  }

  _end(problem) {
    clearInterval(this._timer);
    this._client?.stop();
    this._client = null;
    this.acts = null;
    forget();
    Object.assign(this.store.state, {
      me: null,
      chats: new Map(),
      chatsLoaded: false,
      names: new Map(),
      profiles: new Set(),
      presence: new Map(),
      openId: null,
      dialog: null,
      notice: null,
      caughtUp: null,
      log: [],
    });
    this.store.set({ problem });
  }

  _sessionWords() {
    const words = this.store.words;
    return { ...words, errors: { ...words.errors, session: words.sessionOver } };
  }
}

function kept(key) {
  try {
    return sessionStorage.getItem(key);
  } catch {
    return null; // storage is forbidden: the page works until it is loaded again
  }
}

function keep(token) {
  try {
    sessionStorage.setItem(KEY, token);
    sessionStorage.setItem(MADE, String(Date.now()));
  } catch {
    // see kept
  }
}

function forget() {
  try {
    sessionStorage.removeItem(KEY);
    sessionStorage.removeItem(MADE);
  } catch {
    // see kept
  }
}
