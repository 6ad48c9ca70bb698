/** What a user can do, and what is read for it. */
import { newNonce } from "../chatapp.js";
import { known } from "./events.js";
import { sentenceFor } from "./i18n.js";
import { otherOf, sortedChats } from "./store.js";
import { append, change, extend, newTimeline, prepend, restart, rowOfHistory } from "./timeline.js";

const PAGE = 50;
const PREVIEWS = 30;
/** Chats whose messages are kept while another one is shown. */
const KEPT = 4;
const READ_MS = 700;
/** Of one chat. */
const PROFILES = 40;
/** As many as one question may hold. */
const PRESENCES = 100;

/** The acts of one logged-in user. */
export class Actions {
  constructor(store, api, client) {
    this.store = store;
    this.api = api;
    this.client = client;
    this._opened = [];
    this._leaving = new Set();
    /** Chats that are being read: `{again, done}`, whether to read them once more, and a promise of the end. */
    this._loading = new Map();
    this._reading = null;
    this._presenceUnknown = false;
  }

  get state() {
    return this.store.state;
  }

  get openChat() {
    return this.state.chats.get(this.state.openId) ?? null;
  }

  // -- names ----------------------------------------------------------------------------------------------------------

  /** Read the profiles of users that only their user name is known of, a few at a time. */
  async learnNames(userIds) {
    const { names, profiles } = this.state;
    const waiting = userIds.filter((userId) => userId !== null && !profiles.has(userId)).slice(0, PROFILES);
    for (const userId of waiting) profiles.add(userId);
    const work = async () => {
      for (let userId = waiting.shift(); userId !== undefined; userId = waiting.shift()) {
        try {
          this.learned(await this.api.user(userId));
        } catch {
          profiles.delete(userId); // the user name will do
          if (!names.has(userId)) names.set(userId, `#${userId}`);
        }
      }
    };
    await Promise.all([work(), work(), work(), work()]);
  }

  /** A profile was read. */
  learned(user) {
    this.state.profiles.add(user.id);
    this.state.names.set(user.id, user.display_name || user.username);
    this.store.changed();
  }

  // -- who is online --------------------------------------------------------------------------------------------------

  /** Ask once for each user and connection, those of the open chat first. */
  askPresence() {
    if (this._presenceUnknown) return;
    const { state } = this;
    const wanted = new Set();
    const chats = [this.openChat, ...sortedChats(state)].filter((chat) => chat !== null);
    for (const chat of chats) {
      for (const member of chat.members) if (!state.presence.has(member.user_id)) wanted.add(member.user_id);
    }
    wanted.delete(state.me.id);
    const asked = [...wanted].slice(0, PRESENCES);
    if (asked.length === 0) return;
    for (const userId of asked) state.presence.set(userId, { online: false, lastSeen: null, told: false });
    this.client.askPresence(asked).catch(() => (this._presenceUnknown = true)); // it does not tell: then nothing is shown
  }

  /** A new connection knows nothing yet. */
  forgetPresence() {
    this._presenceUnknown = false;
    this.state.presence = new Map();
    this.askPresence();
  }

  // -- the list of chats ----------------------------------------------------------------------------------------------

  async loadChats() {
    const page = await this.api.chats({ limit: PAGE });
    for (const detail of page) known(this.store, detail);
    this.store.set({ chatsLoaded: true, hasMoreChats: page.length === PAGE });
    this.askPresence();
    const first = sortedChats(this.state).slice(0, PREVIEWS);
    this.learnNames(first.map((chat) => otherOf(chat, this.state)));
    await this._previews(first);
  }

  moreChats() {
    return this._try(async () => {
      const page = await this.api.chats({ limit: PAGE, offset: this.state.chats.size });
      const made = page.map((detail) => known(this.store, detail));
      this.store.set({ hasMoreChats: page.length === PAGE });
      await this._previews(made.slice(0, PREVIEWS));
    });
  }

  /** Read chats that events spoke of; resolves when they are known. */
  async loadUnknown(chatIds) {
    const unknown = chatIds.filter((chatId) => !this.state.chats.has(chatId)).slice(0, PREVIEWS);
    await Promise.all(
      unknown.map((chatId) => {
        const under = this._loading.get(chatId);
        if (under !== undefined) {
          under.again = true;
          return under.done;
        }
        const loading = { again: false, done: null };
        this._loading.set(chatId, loading);
        loading.done = this._load(chatId, loading);
        return loading.done;
      }),
    );
  }

  /** Read one chat. What an answer cannot know yet, for an event came after it was asked for, is asked for again. */
  async _load(chatId, loading) {
    try {
      let detail;
      do {
        loading.again = false;
        detail = await this.api.chat(chatId);
      } while (loading.again);
      const chat = known(this.store, detail);
      this.learnNames([otherOf(chat, this.state)]);
      this._previews([chat]);
    } catch {
      // no longer a member, or away: the next event or connection tells
    } finally {
      this._loading.delete(chatId);
    }
  }

  /** The last message of each of these chats; four are asked for at a time. */
  async _previews(chats) {
    const waiting = chats.filter((chat) => chat.last === null && chat.lastSeq > 0);
    const work = async () => {
      for (let chat = waiting.shift(); chat !== undefined; chat = waiting.shift()) {
        try {
          const [last] = await this.api.history(chat.id, { limit: 1 });
          if (last !== undefined && (chat.last === null || chat.last.seq < last.seq)) chat.last = rowOfHistory(last);
        } catch {
          return; // a list without previews is still a list
        }
        this.store.changed();
      }
    };
    await Promise.all([work(), work(), work(), work()]);
    this.store.changed();
  }

  // -- one chat -------------------------------------------------------------------------------------------------------

  open(chatId) {
    const chat = this.state.chats.get(chatId);
    if (chat === undefined) return;
    this._opened = [chatId, ...this._opened.filter((id) => id !== chatId)];
    for (const id of this._opened.splice(KEPT)) {
      const old = this.state.chats.get(id);
      if (old && old.outbox.length === 0) old.timeline = newTimeline();
    }
    chat.newAfter = chat.unread > 0 ? chat.lastRead : null;
    chat.atEnd = true;
    chat.newBelow = 0;
    this.store.set({ openId: chatId, showDetails: false });
    if (!chat.timeline.loaded || chat.timeline.hasNewer) this.loadNewest(chat);
    this.read(chat);
    this.askPresence();
    this.learnNames(chat.members.map((member) => member.user_id));
  }

  closeChat() {
    this.store.set({ openId: null, showDetails: false });
  }

  loadNewest(chat) {
    return this._page(chat, { limit: PAGE }, (timeline, page) => {
      restart(timeline, page.toReversed(), page.length === PAGE, timeline.live);
      chat.atEnd = true;
      chat.newBelow = 0;
      this.read(chat);
    });
  }

  loadOlder(chat) {
    const [first] = chat.timeline.rows;
    if (!chat.timeline.hasOlder || first === undefined) return Promise.resolve();
    return this._page(chat, { before: first.seq, limit: PAGE }, (timeline, page) =>
      prepend(timeline, page.toReversed(), page.length === PAGE),
    );
  }

  loadNewer(chat) {
    const last = chat.timeline.rows.at(-1);
    if (!chat.timeline.hasNewer || last === undefined) return Promise.resolve();
    return this._page(chat, { after: last.seq, limit: PAGE }, (timeline, page) => {
      const more = page.length === PAGE;
      extend(timeline, more ? page : [...page, ...timeline.live], more);
    });
  }

  async _page(chat, asked, put) {
    const timeline = chat.timeline;
    if (timeline.loading) return;
    timeline.loading = true;
    timeline.live = [];
    this.store.changed();
    try {
      const page = await this.api.history(chat.id, asked);
      for (const message of page) if (message.sender) this.learned(message.sender);
      put(timeline, page.map(rowOfHistory));
    } catch (error) {
      if (error.code !== "unreachable") this._say(error);
    } finally {
      timeline.loading = false;
      timeline.live = [];
      this.store.changed();
    }
  }

  /** Whether the reader is at the live end: then new messages are read as they come. */
  scrolled(chat, atEnd) {
    if (chat.atEnd === atEnd) return;
    chat.atEnd = atEnd;
    if (atEnd) {
      chat.newBelow = 0;
      this.read(chat);
    }
    this.store.changed();
  }

  /** Move the read mark to the end of what is shown, once in a while. */
  read(chat) {
    if (document.visibilityState !== "visible" || this._reading === chat.id) return;
    this._reading = chat.id;
    setTimeout(() => {
      if (this._reading === chat.id) this._reading = null;
      const last = chat.timeline.rows.at(-1)?.seq ?? 0;
      if (this.state.openId !== chat.id || !chat.atEnd || document.visibilityState !== "visible") return;
      if (last <= chat.lastRead) return;
      chat.lastRead = last;
      chat.unread = 0;
      this.store.changed();
      this.client.markRead(chat.id, last).catch(() => {}); // the next one moves it as well
    }, READ_MS);
  }

  // -- messages -------------------------------------------------------------------------------------------------------

  send(chat, content) {
    const waiting = { nonce: newNonce(), content, at: new Date().toISOString(), failed: null };
    chat.outbox = [...chat.outbox, waiting];
    chat.newAfter = null;
    if (chat.timeline.hasNewer) this.loadNewest(chat);
    chat.atEnd = true;
    this.store.changed();
    this._deliver(chat, waiting);
  }

  retry(chat, waiting) {
    waiting.failed = null;
    this.store.changed();
    this._deliver(chat, waiting);
  }

  discard(chat, waiting) {
    chat.outbox = chat.outbox.filter((other) => other !== waiting);
    this.store.changed();
  }

  async _deliver(chat, waiting) {
    try {
      const ack = await this.client.send(chat.id, waiting.content, { nonce: waiting.nonce });
      const row = {
        id: ack.message_id,
        seq: ack.seq,
        senderId: this.state.me.id,
        username: this.state.me.username,
        content: waiting.content,
        kind: "text",
        edited: false,
        deleted: false,
        at: ack.timestamp,
      };
      const shown = chat.timeline.rows.some((other) => other.seq === row.seq);
      if (chat.timeline.loaded && !shown && row.seq > (chat.timeline.rows[0]?.seq ?? 0)) append(chat.timeline, row, !chat.atEnd);
      if (chat.timeline.loading) chat.timeline.live.push(row);
      this.discard(chat, waiting);
    } catch (error) {
      if (error.code === "stopped") return;
      waiting.failed = sentenceFor(error, this.store.words);
      this.store.changed();
    }
  }

  startEditing(chat, row) {
    chat.editing = row;
    this.store.changed();
  }

  stopEditing(chat) {
    chat.editing = null;
    this.store.changed();
  }

  edit(chat, row, content) {
    return this._try(async () => {
      await this.client.edit(row.id, content);
      change(chat.timeline, row.id, content);
      this.stopEditing(chat);
    });
  }

  remove(chat, row) {
    return this._try(async () => {
      await this.client.remove(row.id);
      change(chat.timeline, row.id, null);
      this.store.changed();
    });
  }

  typing(chat) {
    this.client.typing(chat.id);
  }

  // -- people and settings --------------------------------------------------------------------------------------------

  async findPeople(q) {
    const people = await this.api.users({ q, limit: 20 });
    for (const user of people) this.learned(user);
    return people;
  }

  createDirect(userId) {
    return this._try(async () => this._enter(await this.api.createDirect(userId)));
  }

  createGroup(name, userIds) {
    return this._try(async () => this._enter(await this.api.createGroup(name, userIds)));
  }

  async _enter(chat) {
    await this.loadUnknown([chat.id]);
    this.store.set({ dialog: null });
    this.open(chat.id);
  }

  rename(chat, name) {
    return this._try(async () => {
      const renamed = await this.api.renameChat(chat.id, name);
      chat.name = renamed.name;
      this.store.changed();
    });
  }

  addMembers(chat, userIds) {
    return this._try(async () => {
      await this.api.addMembers(chat.id, userIds);
      known(this.store, await this.api.chat(chat.id));
      this.store.set({ dialog: null });
    });
  }

  moreMembers(chat) {
    return this._try(async () => {
      const page = await this.api.members(chat.id, { limit: 100, offset: chat.members.length });
      const had = new Set(chat.members.map((member) => member.user_id));
      chat.members = [...chat.members, ...page.filter((member) => !had.has(member.user_id))];
      for (const member of page) this.state.names.set(member.user_id, this.state.names.get(member.user_id) ?? member.username);
      this.store.changed();
    });
  }

  setAdmin(chat, userId, isAdmin) {
    return this._try(() => this.api.setAdmin(chat.id, userId, isAdmin));
  }

  removeMember(chat, userId) {
    return this._try(() => this.api.removeMember(chat.id, userId));
  }

  leave(chat) {
    return this._goodbye(chat, () => this.api.removeMember(chat.id, this.state.me.id));
  }

  deleteChat(chat) {
    return this._goodbye(chat, () => this.api.deleteChat(chat.id));
  }

  async _goodbye(chat, act) {
    this._leaving.add(chat.id);
    if (!(await this._try(act))) {
      this._leaving.delete(chat.id);
      return;
    }
    this.state.chats.delete(chat.id);
    this.store.set({ openId: null, showDetails: false });
  }

  isLeaving(chatId) {
    return this._leaving.delete(chatId);
  }

  /** Do it, or tell why not. Resolves with whether it was done. */
  async _try(act) {
    try {
      await act();
      return true;
    } catch (error) {
      this._say(error);
      return false;
    }
  }

  _say(error) {
    this.store.notice(sentenceFor(error, this.store.words), "error");
  }
}
