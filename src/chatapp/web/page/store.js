/** What the page knows, in one object, and who wants to hear when it changes. */
import { languages, localeFor, preferredLanguage } from "./i18n.js";
import { newTimeline } from "./timeline.js";

const LOG = 50;

export function newState(preferences) {
  return {
    language: preferences.language ?? preferredLanguage(preferences.languages ?? []),
    languages: preferences.languages ?? [],
    theme: preferences.theme ?? "auto",
    me: null,
    busy: false,
    /** A sentence for the login page, or null. */
    problem: null,
    connection: { state: "idle" },
    /** `{at, kind, detail}`, newest last. */
    log: [],
    /** Missed messages of the last catching up, for some seconds. */
    caughtUp: null,
    chats: new Map(),
    hasMoreChats: false,
    chatsLoaded: false,
    openId: null,
    showDetails: false,
    /** `{kind, …}` or null. */
    dialog: null,
    /** User id to the name that is shown. */
    names: new Map(),
    /** Users whose profile was read, or is being read. */
    profiles: new Set(),
    /** User id to `{online, lastSeen}`, as far as it was told. */
    presence: new Map(),
    /** `{text, kind}` or null. */
    notice: null,
    /** What a screen reader should say next. */
    spoken: "",
  };
}

/** Draws at most once a frame, however much changes. */
export class Store {
  constructor(state) {
    this.state = state;
    this._listeners = new Set();
    this._scheduled = false;
  }

  get words() {
    return languages[this.state.language];
  }

  /** For times. */
  get locale() {
    return localeFor(this.state.language, this.state.languages);
  }

  subscribe(listener) {
    this._listeners.add(listener);
    return () => this._listeners.delete(listener);
  }

  /** Say that something in the state is different now. */
  changed() {
    if (this._scheduled) return;
    this._scheduled = true;
    setTimeout(() => {
      this._scheduled = false;
      for (const listener of this._listeners) listener();
    }, 12);
  }

  set(changes) {
    Object.assign(this.state, changes);
    this.changed();
  }

  log(kind, detail = "") {
    this.state.log = [...this.state.log.slice(1 - LOG), { at: Date.now(), kind, detail }];
    this.changed();
  }

  notice(text, kind = "info") {
    const notice = { text, kind };
    this.set({ notice, spoken: text });
    setTimeout(() => {
      if (this.state.notice === notice) this.set({ notice: null });
    }, 6_000);
  }

  nameOf(userId) {
    if (userId === null || userId === undefined) return this.words.deletedUser;
    return this.state.names.get(userId) ?? `#${userId}`;
  }

  isOnline(userId) {
    return this.state.presence.get(userId)?.online === true;
  }
}

/** A chat as REST describes it, as the page holds it. */
export function newChat(detail, names) {
  const members = detail.members ?? [];
  for (const member of members) if (!names.has(member.user_id)) names.set(member.user_id, member.username);
  return {
    id: detail.id,
    name: detail.name,
    isGroup: detail.is_group,
    creatorId: detail.creator_id,
    activeAt: detail.updated_at,
    lastSeq: detail.last_seq,
    lastRead: detail.last_read_seq ?? 0,
    unread: detail.unread_count ?? 0,
    members,
    memberCount: detail.member_count ?? members.length,
    /** The last row, or null while it is not known. */
    last: null,
    timeline: newTimeline(),
    /** The reader is at the live end. */
    atEnd: true,
    newBelow: 0,
    /** Where the line "new" is drawn, or null. */
    newAfter: null,
    /** `{nonce, content, at, failed}`: sent, but not acknowledged. */
    outbox: [],
    typing: new Map(),
    /** User id to how far they have read, as far as it was told. */
    reads: new Map(),
    draft: "",
    editing: null,
  };
}

/** The title of a chat for this user. */
export function titleOf(chat, state, words) {
  if (chat.isGroup) return chat.name;
  const other = otherOf(chat, state);
  if (other !== null) return state.names.get(other) ?? `#${other}`;
  return chat.memberCount > 1 ? chat.name || words.deletedUser : words.yourself;
}

/** The other one of a direct chat, or null. */
export function otherOf(chat, state) {
  if (chat.isGroup) return null;
  return chat.members.find((member) => member.user_id !== state.me?.id)?.user_id ?? null;
}

/** Last active first. */
export function sortedChats(state) {
  return [...state.chats.values()].sort((one, other) => (one.activeAt < other.activeAt ? 1 : -1));
}
