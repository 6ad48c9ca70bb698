/**
 * A client of chatapp for browsers and JavaScript runtimes, in one file, without dependencies.
 *
 * `ChatApi` speaks REST. `ChatClient` keeps one WebSocket alive: it notices silence, reconnects with jitter, resumes
 * every chat at the position it had, and repeats what was not acknowledged. What it promises to its listeners: each
 * lasting event of a chat once, in ascending order, whatever happens to the network or the replicas meanwhile.
 *
 * Types: chatapp.d.ts. How to use it: docs/client-javascript.md.
 *
 * @module chatapp
 */

export const SUBPROTOCOL = "chatapp.v1";

/** Positions that fit into the address; those of further chats go into `resume` commands. */
const RESUME_IN_ADDRESS = 100;
/** The most that one `resume` command may hold. */
const RESUME_IN_COMMAND = 500;
const BACKOFF_FIRST_MS = 500;
const BACKOFF_CAP_MS = 30_000;
const HANDSHAKE_MS = 10_000;
const PONG_MS = 8_000;
/** Like PONG_MS, when there is reason to doubt the connection: the page was hidden, the network changed. */
const PROBE_MS = 4_000;
const TYPING_MS = 3_000;
const PAGE = 100;
const OUTBOX_LIMIT = 1_000;
/** `limits.frame_bytes` as it is by default: a longer frame would cost the connection. */
const FRAME_BYTES = 65_536;

/** Events with a position of the chat. */
const LASTING = new Set(["message", "message_updated", "message_deleted", "system"]);
/** They follow a `system` event and share its position. */
const COMPANIONS = new Set(["member_added", "member_removed", "chat_updated"]);
/** Waiting helps: it was not done. */
const NOT_DONE = new Set(["overloaded", "rate_limited", "draining"]);
/** Waiting helps; it may have been done all the same. */
const PASSING_ERRORS = new Set([...NOT_DONE, "unavailable"]);
/** A chat that is not resumed for one of these is resumed later. */
const RESUMED_LATER = new Set([...PASSING_ERRORS, "internal"]);
/** Closed for what was sent: sending it again would only close the next connection too. */
const AT_FAULT = new Map([
  [1007, "malformed"],
  [1009, "too_large"],
  [4400, "malformed"],
]);

/** Where one is with a chat: not in it; to be resumed; resumed, and the end is not acked; read over REST; up to date. */
const OUT = "out";
const DUE = "due";
const ASKED = "asked";
const READING = "reading";
const LIVE = "live";

/** A refusal by the service, or the failure to reach it. Go by `code`; the sentence may change. */
export class ChatError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{status?: number, retryAfterS?: number | null, fields?: object[]}} [more]
   */
  constructor(code, message, { status = 0, retryAfterS = null, fields = [] } = {}) {
    super(message);
    this.name = "ChatError";
    this.code = code;
    this.status = status;
    this.retryAfterS = retryAfterS;
    this.fields = fields;
  }
}

/** A nonce or idempotency key: nobody else makes the same. */
export function newNonce() {
  const bytes = globalThis.crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The REST interface. Every method resolves with the answer's body, or rejects with a `ChatError`. */
export class ChatApi {
  /** @param {{base?: string, token?: string | null, timeoutMs?: number, environment?: object}} [options] */
  constructor({ base = "", token = null, timeoutMs = 15_000, environment = {} } = {}) {
    this.base = (base || globalThis.location?.origin || "").replace(/\/$/, "");
    this.token = token;
    this._timeoutMs = timeoutMs;
    this._world = world(environment);
  }

  /**
   * Any request. Reading is repeated (twice at most) when the service says when to come back; writing never is.
   * @param {string} method
   * @param {string} path below /api/v1
   * @param {object} [body]
   * @param {Record<string, string>} [headers]
   */
  async request(method, path, body, headers = {}) {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this._once(method, path, body, headers);
      } catch (error) {
        const waitS = error.retryAfterS;
        if (method !== "GET" || attempt > 2 || waitS === null || waitS > 10) throw error;
        await new Promise((done) => this._world.setTimeout(done, waitS * 1000 * (1 + this._world.random() * 0.3)));
      }
    }
  }

  async _once(method, path, body, headers) {
    const abort = new AbortController();
    const timer = this._world.setTimeout(() => abort.abort(), this._timeoutMs);
    const sent = { ...headers };
    if (this.token) sent.Authorization = `Bearer ${this.token}`;
    if (body !== undefined) sent["Content-Type"] = "application/json";
    try {
      const response = await this._world.fetch(`${this.base}/api/v1${path}`, {
        method,
        headers: sent,
        body: body === undefined ? undefined : JSON.stringify(body),
        cache: "no-store",
        credentials: "omit",
        signal: abort.signal,
      });
      const text = await response.text();
      const answer = parsed(text);
      if (response.ok) return answer;
      const retryAfter = Number.parseFloat(response.headers.get("Retry-After") ?? "");
      throw new ChatError(answer?.code ?? "http_error", answer?.error ?? `HTTP ${response.status}`, {
        status: response.status,
        retryAfterS: Number.isFinite(retryAfter) ? retryAfter : null,
        fields: answer?.messages ?? [],
      });
    } catch (error) {
      if (error instanceof ChatError) throw error;
      throw new ChatError("unreachable", "the service cannot be reached");
    } finally {
      this._world.clearTimeout(timer);
    }
  }

  register(username, password, displayName = "") {
    const body = { username, password, ...(displayName ? { display_name: displayName } : {}) };
    return this._signIn("/auth/register", body);
  }

  login(username, password) {
    return this._signIn("/auth/login", { username, password });
  }

  async _signIn(path, body) {
    const answer = await this.request("POST", path, body);
    this.token = answer.token;
    return answer;
  }

  async logout() {
    await this.request("POST", "/auth/logout");
    this.token = null;
  }

  /** Another token in place of this one, which stays valid for a minute. */
  async refresh() {
    const answer = await this.request("POST", "/auth/refresh");
    this.token = answer.token;
    return answer;
  }

  me() {
    return this.request("GET", "/auth/me");
  }

  users({ q = "", limit = 50, offset = 0 } = {}) {
    return this.request("GET", `/users?${query({ limit, offset, q: q || undefined })}`);
  }

  user(userId) {
    return this.request("GET", `/users/${userId}`);
  }

  updateUser(userId, changes) {
    return this.request("PUT", `/users/${userId}`, changes);
  }

  chats({ limit = 50, offset = 0, withMembers = true } = {}) {
    return this.request("GET", `/chats?${query({ limit, offset, with_members: withMembers })}`);
  }

  chat(chatId) {
    return this.request("GET", `/chats/${chatId}`);
  }

  createGroup(name, memberIds) {
    return this.request("POST", "/chats", { name, is_group: true, member_ids: memberIds });
  }

  /** The direct chat with a user: a new one, or the one that there is. */
  createDirect(userId) {
    return this.request("POST", "/chats", { is_group: false, member_ids: [userId] });
  }

  renameChat(chatId, name) {
    return this.request("PUT", `/chats/${chatId}`, { name });
  }

  deleteChat(chatId) {
    return this.request("DELETE", `/chats/${chatId}`);
  }

  members(chatId, { limit = 50, offset = 0 } = {}) {
    return this.request("GET", `/chats/${chatId}/members?${query({ limit, offset })}`);
  }

  addMembers(chatId, memberIds) {
    return this.request("POST", `/chats/${chatId}/members`, { member_ids: memberIds });
  }

  setAdmin(chatId, userId, isAdmin) {
    return this.request("PATCH", `/chats/${chatId}/members/${userId}`, { is_admin: isAdmin });
  }

  /** Remove somebody, or leave. */
  removeMember(chatId, userId) {
    return this.request("DELETE", `/chats/${chatId}/members/${userId}`);
  }

  /** Newest first; with `after` oldest first. */
  history(chatId, { before, after, limit = 50 } = {}) {
    return this.request("GET", `/messages/chat/${chatId}?${query({ limit, before, after })}`);
  }

  message(messageId) {
    return this.request("GET", `/messages/${messageId}`);
  }

  sendMessage(chatId, content, nonce = newNonce()) {
    return this.request("POST", "/messages", { chat_id: chatId, content }, { "Idempotency-Key": nonce });
  }

  editMessage(messageId, content) {
    return this.request("PUT", `/messages/${messageId}`, { content });
  }

  deleteMessage(messageId) {
    return this.request("DELETE", `/messages/${messageId}`);
  }
}

/** One user's live connection, kept alive until `stop`. Listen first, then `start`. */
export class ChatClient {
  #world;
  #listeners = new Map();
  #socket = null;
  #status = { state: "idle", attempt: 0, retryAt: null, connectionId: null, replica: null, reason: null };
  #epoch = null;
  /** The connection follows nothing by itself: each chat is resumed where its listeners are. By id; see `newRoom`. */
  #rooms = new Map();
  /** Whether there was a connection before this one. */
  #again = false;
  #missed = 0;
  /** Id of a `resume` command to its chats. */
  #resumes = new Map();
  /** Command id to what waits for its answer, in the order of asking. */
  #pending = new Map();
  #lastId = 0;
  #typed = new Map();
  #attempt = 0;
  #pausedUntil = 0;
  #comeBackMs = null;
  #heardAt = 0;
  #pingedAt = null;
  #beatMs = 25_000;
  #timers = {};
  #unhook = () => {};

  /** @param {{api: ChatApi, giveUpAfterMs?: number, environment?: object}} options */
  constructor({ api, giveUpAfterMs = 60_000, environment = {} }) {
    this.api = api;
    this.userId = null;
    this._giveUpAfterMs = giveUpAfterMs;
    this.#world = world(environment);
  }

  /** What the connection does now; the event `status` tells each change. */
  get status() {
    return this.#status;
  }

  /** Everything up to here was told of a chat; null where it is not followed. */
  position(chatId) {
    const room = this.#rooms.get(chatId);
    return room === undefined || room.phase === OUT ? null : room.position;
  }

  /** Call `listener` with the payload of each such event. Returns a function that ends it. */
  on(type, listener) {
    const listening = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, listening.add(listener));
    return () => listening.delete(listener);
  }

  /** Connect, and stay connected. */
  start() {
    if (this.#status.state !== "idle" && this.#status.state !== "stopped") return;
    this.#hook();
    this.#attempt = 0;
    this.#open();
  }

  /** Disconnect. What was not acknowledged is rejected with `stopped`. */
  stop(reason = null) {
    this.#unhook();
    this.#drop(1000);
    for (const timer of Object.values(this.#timers)) this.#world.clearTimeout(timer);
    this.#tell({ state: "stopped", retryAt: null, reason });
    for (const entry of [...this.#pending.values()]) this.#settle(entry, new ChatError("stopped", "disconnected"));
  }

  /** Go on with another token of the same user: the connection is made anew, and nothing is missed. */
  setToken(token) {
    this.api.token = token;
    if (this.#socket === null) return;
    this.#lost("token", 0);
  }

  /** Do not wait any longer for the next attempt. */
  reconnectNow() {
    if (this.#status.state === "waiting") this.#open();
  }

  // -- commands -------------------------------------------------------------------------------------------------------

  /**
   * Send a message. Resolves when it is on disk. It is repeated over as many connections as it takes and still stored
   * once; to try again after `timeout`, call it with the same nonce.
   */
  send(chatId, content, { nonce = newNonce() } = {}) {
    return this.#command("message", { chat_id: chatId, content, nonce });
  }

  /**
   * Replace one's own message's content. Unlike the other commands it is not said again, for it could undo a later edit:
   * rejects with `unanswered` when the connection ends before the answer. Look at the message, and decide.
   */
  edit(messageId, content) {
    return this.#command("edit_message", { message_id: messageId, content });
  }

  /** Erase a message. */
  remove(messageId) {
    return this.#command("delete_message", { message_id: messageId });
  }

  /** Move one's read mark forward. */
  markRead(chatId, seq) {
    return this.#command("read", { chat_id: chatId, seq });
  }

  /**
   * Ask who is online; a `presence` event comes for each of these users (at most 100) whom one shares a chat with.
   * Rejects where the service does not tell.
   */
  askPresence(userIds) {
    return this.#command("presence", { user_ids: userIds });
  }

  /** Tell the others that one is writing; call it for each key, it is told every 3 s. */
  typing(chatId) {
    const now = this.#world.now();
    if (!this.#isReady() || now - (this.#typed.get(chatId) ?? -Infinity) < TYPING_MS) return;
    this.#typed.set(chatId, now);
    this.#write({ type: "typing", payload: { chat_id: chatId } });
  }

  #command(type, payload) {
    return new Promise((resolve, reject) => {
      const id = `${(this.#lastId += 1)}`;
      const frame = JSON.stringify({ type, id, payload });
      const entry = { id, type, payload, frame, resolve, reject, sent: false, times: 0, timer: null };
      if (this.#status.state === "stopped") reject(new ChatError("stopped", "disconnected"));
      else if (this.#pending.size >= OUTBOX_LIMIT) reject(new ChatError("overloaded", "too much is waiting already"));
      else if (utf8Length(frame) > FRAME_BYTES) reject(new ChatError("too_large", "the message is too long"));
      else {
        entry.timer = this.#world.setTimeout(
          () => this.#settle(entry, new ChatError("timeout", "no answer in time; it is safe to try again")),
          this._giveUpAfterMs,
        );
        this.#pending.set(id, entry);
        this.#flush();
      }
    });
  }

  /** Send what was not sent on this connection, in the order of asking. */
  #flush() {
    if (!this.#isReady()) return;
    const waitMs = this.#pausedUntil - this.#world.now();
    if (waitMs > 0) {
      this.#after("pause", waitMs, () => this.#flush());
      return;
    }
    for (const entry of this.#pending.values()) {
      if (entry.sent) continue;
      entry.sent = true;
      entry.times += 1;
      this.#socket.send(entry.frame);
    }
  }

  #settle(entry, outcome) {
    if (!this.#pending.delete(entry.id)) return;
    this.#world.clearTimeout(entry.timer);
    if (outcome instanceof ChatError) entry.reject(outcome);
    else entry.resolve(outcome);
  }

  // -- the connection -------------------------------------------------------------------------------------------------

  #open() {
    this.#cancel("retry");
    const known = [...this.#rooms].filter(([, room]) => room.phase !== OUT).slice(0, RESUME_IN_ADDRESS);
    const resume = known.map(([chatId, room]) => `${chatId}:${resumeAt(room)}`).join(",");
    const parameters = { follow: "none", resume: resume || undefined };
    for (const [, room] of known) room.phase = ASKED;
    const address = `${this.api.base.replace(/^http/, "ws")}/ws?${query(parameters)}`;
    const socket = new this.#world.WebSocket(address, [SUBPROTOCOL, `bearer.${this.api.token}`]);
    this.#socket = socket;
    this.#comeBackMs = null;
    this.#tell({ state: "connecting", attempt: this.#attempt, retryAt: null });
    const mine = (act) => (event) => {
      if (this.#socket === socket) act(event);
    };
    socket.onmessage = mine((event) => this.#heard(event.data));
    socket.onclose = mine((event) => this.#closed(event.code));
    socket.onerror = () => {};
    this.#after("handshake", HANDSHAKE_MS, () => this.#lost("timeout"));
  }

  #heard(text) {
    this.#heardAt = this.#world.now();
    this.#pingedAt = null;
    const frame = parsed(text);
    if (frame === null || typeof frame.payload !== "object") return;
    const { type, payload, id } = frame;
    if (type === "ready") this.#ready(payload);
    else if (type === "ack") this.#acked(payload, id);
    else if (type === "error") this.#refused(payload, id);
    else if (type === "going_away") this.#sentAway(payload.reconnect_after_ms);
    else if (type !== "pong") this.#happened(type, payload);
  }

  #ready(payload) {
    this.#cancel("handshake");
    this.userId = payload.user_id;
    if (this.#epoch !== null && payload.epoch !== this.#epoch) {
      this.#epoch = null;
      this.#rooms.clear();
      this.#drop(1000);
      this.#emit("start_over", {});
      this.#open();
      return;
    }
    const again = (this.#again = this.#epoch !== null);
    this.#epoch = payload.epoch;
    this.#attempt = 0;
    this.#pausedUntil = 0;
    this.#beatMs = (payload.heartbeat_s ?? 25) * 600;
    this.#beat();
    for (const chat of payload.chats) {
      const room = this.#rooms.get(chat.chat_id);
      // Of a chat that is new since the last connection, what is unread; at first, what comes from now on.
      if (room === undefined) this.#rooms.set(chat.chat_id, newRoom(again ? chat.last_read_seq : chat.last_seq, DUE));
      else if (room.phase === OUT) room.phase = DUE;
    }
    this.#resume([...this.#rooms.keys()]);
    this.#tell({
      state: "catching_up",
      attempt: 0,
      retryAt: null,
      connectionId: payload.connection_id,
      replica: payload.replica ?? null,
      reason: null,
    });
    this.#emit("ready", { ...payload, again });
    this.#flush();
    this.#caughtUp();
  }

  /** Ask for those of these chats that are due. */
  #resume(chatIds) {
    const due = chatIds.filter((chatId) => this.#rooms.get(chatId)?.phase === DUE);
    for (let at = 0; at < due.length; at += RESUME_IN_COMMAND) {
      const part = due.slice(at, at + RESUME_IN_COMMAND);
      const positions = Object.fromEntries(part.map((chatId) => [chatId, resumeAt(this.#rooms.get(chatId))]));
      for (const chatId of part) this.#rooms.get(chatId).phase = ASKED;
      const id = `r${(this.#lastId += 1)}`;
      this.#resumes.set(id, part);
      this.#write({ type: "resume", id, payload: { positions } });
    }
  }

  #resumeLater(chatIds, waitMs) {
    for (const chatId of chatIds) this.#rooms.get(chatId).phase = DUE;
    const socket = this.#socket;
    this.#world.setTimeout(() => this.#socket === socket && this.#resume(chatIds), waitMs);
  }

  #acked(payload, id) {
    const entry = this.#pending.get(id);
    if (entry) this.#settle(entry, payload);
    else if (payload.type === "resume") this.#resumed(payload.chat_id, payload.seq);
  }

  #refused(payload, id) {
    const entry = this.#pending.get(id);
    if (entry === undefined) {
      if (this.#isAsked(payload.chat_id)) this.#notResumed(payload);
      else if (this.#resumes.has(id)) {
        const chatIds = this.#resumes.get(id).filter((chatId) => this.#isAsked(chatId));
        this.#resumeLater(chatIds, this.#patience(payload));
      } else if (payload.code !== "not_a_member") this.#emit("error", payload);
      return;
    }
    if ((isSaidOnce(entry) ? NOT_DONE : PASSING_ERRORS).has(payload.code) && entry.type !== "presence") {
      entry.sent = false;
      this.#pausedUntil = Math.max(this.#pausedUntil, this.#world.now() + this.#patience(payload));
      this.#flush();
    } else if (entry.type === "delete_message" && payload.code === "message_not_found" && entry.times > 1) {
      this.#settle(entry, { type: "delete_message", message_id: entry.payload.message_id }); // the first time did it
    } else {
      const more = { retryAfterS: payload.retry_after ?? null, fields: payload.messages ?? [] };
      this.#settle(entry, new ChatError(payload.code, payload.error, more));
    }
  }

  /** The replay of a chat is over. */
  #resumed(chatId, seq) {
    const room = this.#rooms.get(chatId);
    if (room?.phase !== ASKED) return;
    if (seq >= room.position) Object.assign(room, { position: seq, companion: seq, open: false });
    if (room.removed) this.#leave(chatId);
    else room.phase = LIVE;
    this.#caughtUp();
  }

  #notResumed(payload) {
    const { code, chat_id: chatId } = payload;
    const room = this.#rooms.get(chatId);
    if (code === "resync_required") {
      room.phase = READING;
      this.#resync(chatId, room, this.#socket);
    } else if (RESUMED_LATER.has(code) || room.called) {
      room.called = false;
      this.#resumeLater([chatId], this.#patience(payload));
    } else {
      if (code === "not_a_member") this.#leave(chatId);
      else {
        room.phase = OUT; // of too many chats, this is one too many
        this.#emit("error", payload);
      }
      this.#caughtUp();
    }
  }

  /** Too far behind for a replay: read page by page up to where the chat is now, then resume from there. */
  async #resync(chatId, room, socket) {
    const isMine = () => this.#socket === socket && this.#rooms.get(chatId) === room && room.phase === READING;
    try {
      const { last_seq: last } = await this.api.chat(chatId);
      let after = resumeAt(room);
      while (isMine() && after < last) {
        const page = await this.api.history(chatId, { after, limit: PAGE });
        if (!isMine()) return;
        // Past `last` there may be changes of older messages between: those come with the replay.
        for (const row of page) if (row.seq <= last) this.#happened(...eventOf(row));
        if (page.length < PAGE || page.at(-1).seq >= last) break;
        after = page.at(-1).seq;
      }
      if (!isMine()) return;
      Object.assign(room, { position: Math.max(last, room.position), companion: last, open: false });
      this.#emit("resynced", { chat_id: chatId, last_seq: last });
      if (isMine()) this.#resumeLater([chatId], 0);
    } catch {
      // Resumed again, it is told what holds then: from where reading came to, or not at all.
      if (isMine()) this.#resumeLater([chatId], this.#backoff() + 500);
    }
  }

  /** All of this connection is told, when it is: `missed` counts over the connections that it took. */
  #caughtUp() {
    if (this.#status.state !== "catching_up" || [...this.#rooms.values()].some(isBehind)) return;
    this.#tell({ state: "connected" });
    const missed = this.#missed;
    this.#missed = 0;
    this.#emit("caught_up", { missed, again: this.#again });
  }

  /** Not in this chat any more. Its position is kept: who is added again goes on there. */
  #leave(chatId) {
    const room = this.#rooms.get(chatId);
    if (room === undefined || room.phase === OUT) return;
    Object.assign(room, { phase: OUT, removed: false, called: false });
    this.#emit("gone", { chat_id: chatId });
  }

  // -- events ---------------------------------------------------------------------------------------------------------

  #happened(type, payload) {
    const chatId = payload.chat_id;
    const lasting = (LASTING.has(type) && (payload.seq ?? null) !== null) || COMPANIONS.has(type);
    if (lasting && !this.#advance(chatId, payload.changed_seq ?? payload.seq, type)) return;
    const room = this.#rooms.get(chatId);
    const wasMissed = this.#status.state === "catching_up" && room !== undefined && isBehind(room);
    if (type === "message" && wasMissed && payload.sender_id !== this.userId) this.#missed += 1;
    this.#emit(type, payload);
    if (type === "new_chat") this.#joined(payload.id, payload.last_seq);
    else if (type === "chat_deleted") {
      this.#leave(chatId);
      this.#rooms.delete(chatId);
      this.#caughtUp();
    } else if (payload.user_id === this.userId && (type === "member_removed" || type === "member_added")) {
      // In a replay, what comes after may be that one was added again.
      room.removed = type === "member_removed";
      if (room.removed && room.phase === LIVE) this.#leave(chatId);
    }
  }

  /** One is in this chat (again). */
  #joined(chatId, lastSeq) {
    const room = this.#rooms.get(chatId) ?? newRoom(Math.max(lastSeq - 1, 0), OUT); // the last one: that one was added
    this.#rooms.set(chatId, room);
    if (room.phase === ASKED) room.called = true;
    else if (room.phase === OUT || room.phase === LIVE) {
      Object.assign(room, { phase: DUE, removed: false });
      this.#resume([chatId]);
    }
  }

  /** Whether an event at this position is new; then the position moves there. */
  #advance(chatId, position, type) {
    const room = this.#rooms.get(chatId) ?? newRoom(position - 1, LIVE);
    this.#rooms.set(chatId, room);
    if (COMPANIONS.has(type)) {
      if (position < room.position || room.companion >= position) return false;
      room.companion = position;
    } else if (position <= room.position) {
      return false;
    }
    room.position = position;
    // The connection may break between a system event and its companion: then it is resumed from before both.
    room.open = type === "system";
    return true;
  }

  #emit(type, payload) {
    for (const key of [type, "*"]) {
      for (const listener of [...(this.#listeners.get(key) ?? [])]) {
        try {
          listener(payload, type);
        } catch (error) {
          this.#world.report(error); // one listener's mistake is not the others', nor the connection's
        }
      }
    }
  }

  #tell(changes) {
    this.#status = { ...this.#status, ...changes };
    this.#emit("status", this.#status);
  }

  // -- losing it, and coming back -------------------------------------------------------------------------------------

  #closed(code) {
    const refusedBefore = this.#status.state === "connecting";
    if (code === 4401) this.#unauthorised();
    else if (refusedBefore) this.#refusedHandshake();
    else {
      const fault = AT_FAULT.get(code);
      if (fault) {
        for (const entry of [...this.#pending.values()]) {
          if (entry.sent) this.#settle(entry, new ChatError(fault, "the service could not take it"));
        }
      }
      this.#lost(`closed ${code}`, code === 4429 || code === 1013 ? Math.max(this.#backoff(), 2_000) : null);
    }
  }

  /** Browsers do not tell the status of a refused handshake: ask another way. */
  #refusedHandshake() {
    this.#lost("refused");
    const waiting = this.#timers.retry;
    this.api.me().catch((error) => {
      if (this.#timers.retry !== waiting || this.#status.state !== "waiting") return;
      if (error.status === 401) this.#unauthorised();
      else if (error.retryAfterS !== null) this.#wait(error.retryAfterS * 1000 * (1 + this.#world.random()), "refused");
    });
  }

  #unauthorised() {
    this.stop("unauthorised");
    this.#emit("unauthorised", {});
  }

  #sentAway(afterMs) {
    this.#comeBackMs = this.#world.now() + afterMs;
    this.#after("away", afterMs, () => this.#lost("going_away", 0));
  }

  #lost(reason, delayMs = null) {
    const comeBackMs = this.#comeBackMs === null ? null : Math.max(this.#comeBackMs - this.#world.now(), 0);
    this.#drop(1000);
    this.#wait(delayMs ?? comeBackMs ?? this.#backoff(), reason);
  }

  #wait(delayMs, reason) {
    this.#attempt += 1;
    const retryAt = this.#world.now() + delayMs;
    this.#tell({ state: "waiting", attempt: this.#attempt, retryAt, reason, connectionId: null });
    this.#after("retry", delayMs, () => this.#open());
  }

  /** Full jitter: anything up to a bound that doubles, so that thousands do not come at the same moment. */
  #backoff() {
    return this.#world.random() * Math.min(BACKOFF_CAP_MS, BACKOFF_FIRST_MS * 2 ** this.#attempt);
  }

  #drop(code) {
    const socket = this.#socket;
    this.#socket = null;
    for (const name of ["handshake", "beat", "away", "pause"]) this.#cancel(name);
    this.#resumes.clear();
    for (const room of this.#rooms.values()) {
      Object.assign(room, { phase: room.phase === OUT ? OUT : DUE, removed: false, called: false });
    }
    for (const entry of [...this.#pending.values()]) {
      if (entry.sent && isSaidOnce(entry)) this.#settle(entry, unanswered());
      entry.sent = false;
    }
    if (socket === null) return;
    socket.onmessage = socket.onclose = null;
    try {
      socket.close(code);
    } catch {
      // it was never open
    }
  }

  // -- signs of life --------------------------------------------------------------------------------------------------

  /** A browser does not show the server's pings: ask for a `pong` after some silence, and believe only what comes. */
  #beat() {
    const quietMs = this.#world.now() - this.#heardAt;
    if (quietMs >= this.#beatMs) this.#probe(PONG_MS);
    this.#after("beat", quietMs >= this.#beatMs ? this.#beatMs : this.#beatMs - quietMs, () => this.#beat());
  }

  #probe(withinMs) {
    if (!this.#isReady() || this.#pingedAt !== null) return;
    const pingedAt = (this.#pingedAt = this.#world.now());
    this.#write({ type: "ping", payload: {} });
    const socket = this.#socket;
    this.#world.setTimeout(() => {
      if (this.#socket === socket && this.#pingedAt === pingedAt) this.#lost("silent");
    }, withinMs);
  }

  /** The network or the page came back: do not wait for a timer that a sleeping machine has not counted. */
  #hook() {
    const { window, document } = this.#world;
    const doubt = () => {
      if (this.#status.state === "waiting") this.#open();
      else this.#probe(PROBE_MS);
    };
    const seen = () => document.visibilityState === "visible" && doubt();
    const lost = () => this.#probe(PROBE_MS);
    window?.addEventListener("online", doubt);
    window?.addEventListener("offline", lost);
    document?.addEventListener("visibilitychange", seen);
    this.#unhook = () => {
      window?.removeEventListener("online", doubt);
      window?.removeEventListener("offline", lost);
      document?.removeEventListener("visibilitychange", seen);
    };
  }

  // -- small things ---------------------------------------------------------------------------------------------------

  #isAsked(chatId) {
    return this.#rooms.get(chatId)?.phase === ASKED;
  }

  /** How long to wait after an error that passes, with some jitter. */
  #patience({ retry_after: afterS = 1 }) {
    return (afterS ?? 1) * 1000 * (1 + this.#world.random() * 0.3);
  }

  #isReady() {
    return this.#socket !== null && (this.#status.state === "connected" || this.#status.state === "catching_up");
  }

  #write(frame) {
    this.#socket?.send(JSON.stringify(frame));
  }

  #after(name, delayMs, act) {
    this.#cancel(name);
    this.#timers[name] = this.#world.setTimeout(act, delayMs);
  }

  #cancel(name) {
    this.#world.clearTimeout(this.#timers[name]);
    this.#timers[name] = undefined;
  }
}

/**
 * `position`: everything up to here was told. `open`: the last was a `system` event, whose companion may be missing;
 * `companion`: the last companion's position. `removed`: by what was replayed so far, one is not in the chat any more.
 * `called`: one was added while a resume was under way.
 */
function newRoom(position, phase) {
  return { position, companion: position, open: false, phase, removed: false, called: false };
}

function resumeAt(room) {
  return room.open && room.companion < room.position ? room.position - 1 : room.position;
}

function isBehind(room) {
  return room.phase !== LIVE && room.phase !== OUT;
}

/** An edit that a replica held up could undo a later one. */
function isSaidOnce(entry) {
  return entry.type === "edit_message";
}

function unanswered() {
  return new ChatError("unanswered", "the connection ended before the answer; it may have been done");
}

/** A row of the history as the event it was. */
function eventOf(row) {
  if (row.kind === "system") return ["system", { chat_id: row.chat_id, message: row.content, seq: row.seq }];
  return [
    "message",
    {
      message_id: row.id,
      content: row.content,
      sender_id: row.sender_id,
      username: row.sender?.username ?? "",
      chat_id: row.chat_id,
      timestamp: row.created_at,
      seq: row.seq,
      kind: row.kind,
    },
  ];
}

function query(parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null);
  return new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function utf8Length(text) {
  return text.length * 3 <= FRAME_BYTES ? text.length : new TextEncoder().encode(text).length;
}

/** What is outside: a browser's own, or what a test or another runtime gives instead. */
function world(given) {
  return {
    WebSocket: globalThis.WebSocket,
    fetch: (...request) => globalThis.fetch(...request),
    setTimeout: (act, delayMs) => globalThis.setTimeout(act, delayMs),
    clearTimeout: (timer) => globalThis.clearTimeout(timer),
    now: () => Date.now(),
    random: () => Math.random(),
    report: (error) => (globalThis.reportError ?? globalThis.console.error)(error),
    window: globalThis.window,
    document: globalThis.document,
    ...given,
  };
}
