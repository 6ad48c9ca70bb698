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

/** Positions that fit into the address; with more of them the `resume` command is used. */
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
/** Closed for what was sent: sending it again would only close the next connection too. */
const AT_FAULT = new Map([
  [1007, "malformed"],
  [1009, "too_large"],
  [4400, "malformed"],
]);

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
  /** Chat id to where its listeners are; see `#advance`. */
  #rooms = new Map();
  /** Chats whose replay is not over. */
  #resuming = new Set();
  #followsAll = true;
  #missed = 0;
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

  /** The highest position that was told of a chat, or null. */
  position(chatId) {
    return this.#rooms.get(chatId)?.position ?? null;
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
    const known = [...this.#rooms].map(([chatId, room]) => [chatId, resumeAt(room)]);
    const followsAll = (this.#followsAll = known.length <= RESUME_IN_ADDRESS);
    let parameters = { follow: "none" };
    if (followsAll) parameters = known.length ? { resume: known.map((pair) => pair.join(":")).join(",") } : {};
    const address = `${this.api.base.replace(/^http/, "ws")}/ws?${query(parameters)}`;
    const socket = new this.#world.WebSocket(address, [SUBPROTOCOL, `bearer.${this.api.token}`]);
    this.#socket = socket;
    this.#resuming = new Set(known.map(([chatId]) => chatId));
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
    const again = this.#epoch !== null;
    if (again && payload.epoch !== this.#epoch) {
      this.#epoch = payload.epoch;
      this.#rooms.clear();
      this.#drop(1000);
      this.#emit("start_over", {});
      this.#open();
      return;
    }
    this.#epoch = payload.epoch;
    this.#attempt = 0;
    this.#pausedUntil = 0;
    this.#beatMs = (payload.heartbeat_s ?? 25) * 600;
    this.#beat();
    const listed = new Set(payload.chats.map((chat) => chat.chat_id));
    for (const chatId of [...this.#rooms.keys()]) if (!listed.has(chatId)) this.#forget(chatId);
    for (const chat of payload.chats) {
      if (!this.#rooms.has(chat.chat_id)) this.#rooms.set(chat.chat_id, newRoom(chat.last_seq, chat.last_seq));
    }
    if (!this.#followsAll) {
      this.#resuming = new Set(this.#rooms.keys());
      this.#resume([...this.#rooms]);
    }
    this.#tell({
      state: this.#resuming.size ? "catching_up" : "connected",
      attempt: 0,
      retryAt: null,
      connectionId: payload.connection_id,
      replica: payload.replica ?? null,
      reason: null,
    });
    this.#emit("ready", { ...payload, again });
    this.#flush();
    if (!this.#resuming.size) this.#caughtUp(again);
  }

  #resume(rooms) {
    for (let at = 0; at < rooms.length; at += RESUME_IN_COMMAND) {
      const part = rooms.slice(at, at + RESUME_IN_COMMAND);
      const positions = Object.fromEntries(part.map(([chatId, room]) => [chatId, resumeAt(room)]));
      this.#write({ type: "resume", payload: { positions } });
    }
  }

  #acked(payload, id) {
    const entry = this.#pending.get(id);
    if (entry) this.#settle(entry, payload);
    else if (payload.type === "resume") {
      const room = this.#rooms.get(payload.chat_id);
      if (room && payload.seq >= (room.position ?? 0)) this.#rooms.set(payload.chat_id, newRoom(payload.seq));
      this.#resumed(payload.chat_id);
    }
  }

  #refused(payload, id) {
    const entry = this.#pending.get(id);
    if (entry === undefined) {
      if (payload.chat_id !== undefined && this.#resuming.has(payload.chat_id)) this.#notResumed(payload);
      else if (payload.code !== "not_a_member") this.#emit("error", payload);
      return;
    }
    if ((isSaidOnce(entry) ? NOT_DONE : PASSING_ERRORS).has(payload.code) && entry.type !== "presence") {
      entry.sent = false;
      const waitMs = (payload.retry_after ?? 1) * 1000 * (1 + this.#world.random() * 0.3);
      this.#pausedUntil = Math.max(this.#pausedUntil, this.#world.now() + waitMs);
      this.#flush();
    } else if (entry.type === "delete_message" && payload.code === "message_not_found" && entry.times > 1) {
      this.#settle(entry, { type: "delete_message", message_id: entry.payload.message_id }); // the first time did it
    } else {
      const more = { retryAfterS: payload.retry_after ?? null, fields: payload.messages ?? [] };
      this.#settle(entry, new ChatError(payload.code, payload.error, more));
    }
  }

  #notResumed(payload) {
    const chatId = payload.chat_id;
    const socket = this.#socket;
    const again = (waitMs) =>
      this.#world.setTimeout(() => {
        const room = this.#rooms.get(chatId);
        if (this.#socket === socket && room) this.#resume([[chatId, room]]);
      }, waitMs);
    if (payload.code === "resync_required") {
      this.#resync(chatId).then(
        () => again(0),
        (error) => {
          if (error.status === 403) this.#forget(chatId);
          else this.#world.setTimeout(() => this.#socket === socket && this.#notResumed(payload), this.#backoff() + 500);
        },
      );
    } else if (PASSING_ERRORS.has(payload.code)) again((payload.retry_after ?? 1) * 1000);
    else if (payload.code === "not_a_member") this.#forget(chatId);
    else {
      this.#emit("error", payload);
      this.#resumed(chatId);
    }
  }

  /** Too far behind for a replay: read page by page up to where the chat is now, then resume from there. */
  async #resync(chatId) {
    const { last_seq: last } = await this.api.chat(chatId);
    const room = this.#rooms.get(chatId);
    if (room === undefined) return;
    let after = resumeAt(room);
    while (after < last && this.#rooms.get(chatId) === room) {
      const page = await this.api.history(chatId, { after, limit: PAGE });
      // Past `last` there may be changes of older messages between: those come with the replay.
      for (const row of page) if (row.seq <= last) this.#happened(...eventOf(row));
      if (page.length < PAGE || page.at(-1).seq >= last) break;
      after = page.at(-1).seq;
    }
    if (this.#rooms.has(chatId)) this.#rooms.set(chatId, newRoom(last));
    this.#emit("resynced", { chat_id: chatId, last_seq: last });
  }

  #resumed(chatId) {
    if (!this.#resuming.delete(chatId) || this.#resuming.size) return;
    if (this.#status.state !== "catching_up") return;
    this.#tell({ state: "connected" });
    this.#caughtUp(true);
  }

  /** Counted over all connections that it took. */
  #caughtUp(again) {
    const missed = this.#missed;
    this.#missed = 0;
    this.#emit("caught_up", { missed, again });
  }

  #forget(chatId) {
    if (this.#rooms.delete(chatId)) this.#emit("gone", { chat_id: chatId });
    this.#resumed(chatId);
  }

  // -- events ---------------------------------------------------------------------------------------------------------

  #happened(type, payload) {
    const chatId = payload.chat_id;
    const lasting = (LASTING.has(type) && (payload.seq ?? null) !== null) || COMPANIONS.has(type);
    if (lasting && !this.#advance(chatId, payload.changed_seq ?? payload.seq, type)) return;
    if (type === "message" && this.#resuming.has(chatId) && payload.sender_id !== this.userId) this.#missed += 1;
    if (type === "new_chat" && !this.#rooms.has(payload.id)) {
      // Its first event tells the position; until then it is resumed from before the last one.
      this.#rooms.set(payload.id, newRoom(null, Math.max(payload.last_seq - 1, 0)));
      // A connection that follows its chats one by one has to ask for this one too.
      if (!this.#followsAll) this.#resume([[payload.id, this.#rooms.get(payload.id)]]);
    }
    this.#emit(type, payload);
    const gone = type === "chat_deleted" || (type === "member_removed" && payload.user_id === this.userId);
    if (gone) this.#forget(chatId);
  }

  /** Whether an event at this position is new; then the position moves there. */
  #advance(chatId, position, type) {
    const room = this.#rooms.get(chatId) ?? newRoom(null);
    this.#rooms.set(chatId, room);
    const at = room.position ?? -1;
    if (COMPANIONS.has(type)) {
      if (position < at || room.companion >= position) return false;
      room.companion = position;
    } else if (position <= at) {
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
    this.#resuming.clear();
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

/** `position`: the last one told. `base`: where to resume while none was. `companion`: the last one's position. */
function newRoom(position, base = 0) {
  return { position, base, companion: 0, open: false };
}

function resumeAt(room) {
  if (room.position === null) return room.base;
  return room.open && room.companion < room.position ? room.position - 1 : room.position;
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
