/** What the live connection tells, into the state. */
import { newChat, titleOf } from "./store.js";
import { append, change, newTimeline, rowOfEvent, rowOfSystem } from "./timeline.js";

const TYPING_MS = 5_000;
const CAUGHT_UP_MS = 8_000;

/** Listen to a client. `load` reads over REST what events alone do not tell. */
export function listen(client, store, load) {
  const { state } = store;
  const chatOf = (payload) => state.chats.get(payload.chat_id);

  client.on("status", (status) => {
    const before = state.connection;
    if (status.state === "waiting" && before.state !== "waiting") {
      const reason = store.words.reasons[status.reason] ?? status.reason ?? "";
      store.log("lost", reason);
    }
    store.set({ connection: status });
  });

  client.on("ready", (ready) => {
    store.log("connected", ready.connection_id);
    for (const seen of ready.chats) {
      const chat = state.chats.get(seen.chat_id);
      if (chat === undefined) continue;
      chat.lastRead = Math.max(chat.lastRead, seen.last_read_seq);
      if (seen.last_read_seq >= seen.last_seq) chat.unread = 0;
    }
    if (ready.again) load.unknown(ready.chats.map((chat) => chat.chat_id));
    load.open();
    store.changed();
  });

  client.on("caught_up", ({ missed, again }) => {
    load.presence(); // not sooner: only of chats that are followed is it told who comes and goes
    if (!again) return;
    store.log("missed", String(missed));
    if (missed === 0 && state.caughtUp !== null) return; // what was said a moment ago matters more
    const caughtUp = { missed };
    store.set({ caughtUp, spoken: store.words.caughtUp(missed) });
    setTimeout(() => state.caughtUp === caughtUp && store.set({ caughtUp: null }), CAUGHT_UP_MS);
  });

  client.on("start_over", () => {
    store.log("start_over");
    state.chats.clear();
    load.everything();
  });

  client.on("resynced", ({ chat_id: chatId }) => {
    const chat = state.chats.get(chatId);
    if (chat === undefined) return;
    chat.timeline = newTimeline();
    load.open();
  });

  client.on("message", (payload) => {
    if (payload.sender_id && !state.names.has(payload.sender_id)) state.names.set(payload.sender_id, payload.username);
    const chat = chatOf(payload);
    if (chat === undefined) {
      load.unknown([payload.chat_id]);
      return;
    }
    const row = rowOfEvent(payload);
    const mine = row.senderId === state.me.id;
    if (mine) {
      const at = chat.outbox.findIndex((waiting) => waiting.content === row.content);
      if (at >= 0) chat.outbox = chat.outbox.filter((_, index) => index !== at);
    }
    chat.typing.delete(row.senderId);
    const fresh = row.seq > chat.lastSeq; // else it was in the count that REST gave
    arrived(chat, row);
    const watching = state.openId === chat.id && chat.atEnd && document.visibilityState === "visible";
    if (!mine && fresh && row.seq > chat.lastRead && !watching) {
      chat.unread += 1;
      if (state.openId === chat.id && !chat.atEnd) chat.newBelow += 1;
    }
    if (watching) load.read(chat);
    if (!mine && state.openId === chat.id) store.state.spoken = `${store.nameOf(row.senderId)}: ${row.content.slice(0, 300)}`;
    store.changed();
  });

  client.on("system", (payload) => {
    const chat = chatOf(payload);
    if (chat === undefined || payload.seq === undefined || payload.seq === null) return;
    arrived(chat, rowOfSystem(payload, new Date().toISOString()));
    store.changed();
  });

  client.on("message_updated", (payload) => changed(payload, payload.content));
  client.on("message_deleted", (payload) => changed(payload, null));

  client.on("new_chat", (chat) => load.unknown([chat.id]));

  client.on("chat_updated", (payload) => {
    const chat = chatOf(payload);
    if (chat === undefined) return;
    if (payload.name) chat.name = payload.name;
    if (payload.user_id) {
      chat.members = chat.members.map((member) =>
        member.user_id === payload.user_id ? { ...member, is_admin: payload.is_admin === true } : member,
      );
    }
    store.changed();
  });

  client.on("chat_deleted", (payload) => leave(chatOf(payload), store.words.chatGone));

  client.on("member_added", (payload) => {
    const chat = chatOf(payload);
    if (chat === undefined) return;
    if (!state.names.has(payload.user_id)) state.names.set(payload.user_id, payload.username);
    load.names([payload.user_id]);
    if (chat.members.some((member) => member.user_id === payload.user_id)) return;
    const member = { user_id: payload.user_id, username: payload.username, is_admin: false };
    chat.members = [...chat.members, member];
    chat.memberCount += 1;
    store.changed();
  });

  client.on("member_removed", (payload) => {
    const chat = chatOf(payload);
    if (chat === undefined) return;
    if (payload.user_id === state.me.id) return; // `gone` follows, unless one was added again since
    chat.members = chat.members.filter((member) => member.user_id !== payload.user_id);
    chat.memberCount = Math.max(chat.memberCount - 1, chat.members.length);
    chat.typing.delete(payload.user_id);
    store.changed();
  });

  client.on("gone", (payload) => leave(chatOf(payload), store.words.removedFrom));

  client.on("typing", (payload) => {
    const chat = chatOf(payload);
    if (chat === undefined || payload.user_id === state.me.id) return;
    clearTimeout(chat.typing.get(payload.user_id));
    const over = setTimeout(() => {
      chat.typing.delete(payload.user_id);
      store.changed();
    }, TYPING_MS);
    chat.typing.set(payload.user_id, over);
    store.changed();
  });

  client.on("read", (payload) => {
    const chat = chatOf(payload);
    if (chat === undefined) return;
    if (payload.user_id === state.me.id) {
      chat.lastRead = Math.max(chat.lastRead, payload.seq);
      if (chat.lastRead >= chat.lastSeq) chat.unread = 0;
    } else {
      chat.reads.set(payload.user_id, Math.max(chat.reads.get(payload.user_id) ?? 0, payload.seq));
    }
    store.changed();
  });

  client.on("presence", (payload) => {
    const { user_id: userId, status, last_seen: lastSeen = null } = payload;
    state.presence.set(userId, { online: status === "online", lastSeen, told: true });
    store.changed();
  });

  function arrived(chat, row) {
    if (row.seq <= chat.lastSeq && row.seq <= (chat.last?.seq ?? 0)) return;
    chat.lastSeq = Math.max(chat.lastSeq, row.seq);
    chat.last = row;
    if (row.at > chat.activeAt) chat.activeAt = row.at;
    const timeline = chat.timeline;
    if (timeline.loading) timeline.live.push(row);
    if (timeline.loaded) append(timeline, row, !(chat.atEnd && state.openId === chat.id));
  }

  function changed(payload, content) {
    const chat = chatOf(payload);
    if (chat === undefined) return;
    chat.lastSeq = Math.max(chat.lastSeq, payload.changed_seq);
    change(chat.timeline, payload.message_id, content);
    if (chat.last?.id === payload.message_id) {
      chat.last = { ...chat.last, content: content ?? "", edited: content !== null, deleted: content === null };
    }
    if (chat.editing?.id === payload.message_id && content === null) chat.editing = null;
    store.changed();
  }

  function leave(chat, sentence) {
    if (chat === undefined) return;
    state.chats.delete(chat.id);
    if (state.openId === chat.id) Object.assign(state, { openId: null, showDetails: false, dialog: null });
    if (!load.isLeaving(chat.id)) store.notice(sentence(titleOf(chat, state, store.words)), "warning");
    store.changed();
  }
}

/** A chat that was read over REST, into the state; what the page knew of it stays. */
export function known(store, detail) {
  const { state } = store;
  const before = state.chats.get(detail.id);
  const fresh = newChat(detail, state.names);
  if (before === undefined) {
    state.chats.set(detail.id, fresh);
    return fresh;
  }
  const { name, members, memberCount, creatorId, unread, lastRead } = fresh;
  Object.assign(before, { name, members, memberCount, creatorId, unread });
  before.lastRead = Math.max(lastRead, before.lastRead);
  before.lastSeq = Math.max(fresh.lastSeq, before.lastSeq);
  return before;
}
