/** Types of chatapp.js. The shapes are those of the service: docs/protocol.md, and OpenAPI at /schema. */

export interface Profile {
  id: number;
  username: string;
  display_name?: string;
  created_at: string;
  last_seen?: string;
}
export interface Chat {
  id: number;
  name: string;
  is_group: boolean;
  creator_id: number | null;
  created_at: string;
  updated_at: string;
  last_seq: number;
}
export interface Member {
  user_id: number;
  username: string;
  is_admin: boolean;
  joined_at: string;
}
export interface ChatDetail extends Chat {
  members: Member[];
  member_count: number;
  unread_count: number;
  last_read_seq: number;
}
export interface Message {
  id: number;
  chat_id: number;
  seq: number;
  content: string;
  sender_id: number | null;
  kind: "text" | "system";
  is_edited: boolean;
  created_at: string;
  updated_at: string;
  sender?: Profile;
}
export interface SignedIn {
  token: string;
  user: Profile;
}
export interface Done {
  success: boolean;
  message: string;
}
export interface FieldProblem {
  field: string;
  tag: string;
  value?: string;
}

export declare const SUBPROTOCOL: "chatapp.v1";

/**
 * A refusal by the service, or the failure to reach it. Besides the service's own codes: `unreachable` (REST), `timeout`
 * (no answer within `giveUpAfterMs`), `unanswered` (an edit whose connection ended before the answer), `stopped`,
 * `http_error` (an answer that is not the service's).
 */
export declare class ChatError extends Error {
  readonly code: string;
  /** Of the HTTP answer; 0 where there was none. */
  readonly status: number;
  readonly retryAfterS: number | null;
  readonly fields: FieldProblem[];
  constructor(
    code: string,
    message: string,
    more?: { status?: number; retryAfterS?: number | null; fields?: FieldProblem[] },
  );
}

export declare function newNonce(): string;

/** What is outside, for other runtimes and for tests. What is left out is the global of that name. */
export interface Environment {
  WebSocket?: new (address: string, protocols: string[]) => object;
  fetch?: typeof fetch;
  setTimeout?: (act: () => void, delayMs: number) => unknown;
  clearTimeout?: (timer: unknown) => void;
  now?: () => number;
  random?: () => number;
  /** Hears of a listener that threw. */
  report?: (error: unknown) => void;
  window?: object;
  document?: object;
}

export declare class ChatApi {
  /** The origin of the service, without a slash at the end. */
  readonly base: string;
  token: string | null;
  constructor(options?: { base?: string; token?: string | null; timeoutMs?: number; environment?: Environment });
  request(method: string, path: string, body?: object, headers?: Record<string, string>): Promise<any>;
  register(username: string, password: string, displayName?: string): Promise<SignedIn>;
  login(username: string, password: string): Promise<SignedIn>;
  logout(): Promise<void>;
  refresh(): Promise<{ token: string }>;
  me(): Promise<Profile>;
  users(options?: { q?: string; limit?: number; offset?: number }): Promise<Profile[]>;
  user(userId: number): Promise<Profile>;
  updateUser(userId: number, changes: { display_name?: string; password?: string }): Promise<Profile>;
  chats(options?: { limit?: number; offset?: number; withMembers?: boolean }): Promise<ChatDetail[]>;
  chat(chatId: number): Promise<ChatDetail>;
  createGroup(name: string, memberIds: number[]): Promise<Chat>;
  createDirect(userId: number): Promise<Chat>;
  renameChat(chatId: number, name: string): Promise<Chat>;
  deleteChat(chatId: number): Promise<null>;
  members(chatId: number, options?: { limit?: number; offset?: number }): Promise<Member[]>;
  addMembers(chatId: number, memberIds: number[]): Promise<Done>;
  setAdmin(chatId: number, userId: number, isAdmin: boolean): Promise<Member>;
  removeMember(chatId: number, userId: number): Promise<Done>;
  history(chatId: number, options?: { before?: number; after?: number; limit?: number }): Promise<Message[]>;
  message(messageId: number): Promise<Message>;
  sendMessage(chatId: number, content: string, nonce?: string): Promise<Message>;
  editMessage(messageId: number, content: string): Promise<Message>;
  deleteMessage(messageId: number): Promise<null>;
}

export interface Status {
  /** `waiting`: for the next attempt. `catching_up`: connected, and what was missed is coming. */
  state: "idle" | "connecting" | "catching_up" | "connected" | "waiting" | "stopped";
  /** Attempts since the connection was lost. */
  attempt: number;
  /** When the next attempt is, in milliseconds of the clock (`Date.now()`); null unless `waiting`. */
  retryAt: number | null;
  connectionId: string | null;
  /** The replica's name, where the service tells it. */
  replica: string | null;
  /** Why the connection was lost. */
  reason: string | null;
}

export interface Ack {
  type: string;
  chat_id?: number;
  message_id?: number;
  seq?: number;
  timestamp?: string;
  nonce?: string;
}

/** Event types to their payloads. Those of the service, and those that the client adds. */
export interface Events {
  message: {
    message_id: number;
    content: string;
    sender_id: number | null;
    username: string;
    chat_id: number;
    timestamp: string;
    seq: number;
    kind: "text" | "system";
  };
  message_updated: {
    message_id: number;
    chat_id: number;
    content: string;
    seq: number;
    changed_seq: number;
    updated_at: string;
  };
  message_deleted: { message_id: number; chat_id: number; seq: number; changed_seq: number };
  system: { chat_id: number; message: string; seq?: number };
  new_chat: Chat;
  chat_updated: { chat_id: number; seq: number; updated_at: string; name?: string; user_id?: number; is_admin?: boolean };
  chat_deleted: { chat_id: number };
  member_added: { chat_id: number; user_id: number; username: string; seq: number };
  member_removed: { chat_id: number; user_id: number; username: string; seq: number };
  typing: { chat_id: number; user_id: number };
  read: { chat_id: number; user_id: number; seq: number };
  presence: { user_id: number; status: "online" | "offline"; last_seen?: string };
  /** An error that answers no command of this client. */
  error: { code: string; error: string; chat_id?: number; retry_after?: number };

  status: Status;
  /** A connection is there. `again`: it is not the first one. */
  ready: {
    user_id: number;
    connection_id: string;
    server_time: string;
    heartbeat_s: number;
    epoch: string;
    chats: { chat_id: number; last_seq: number; last_read_seq: number }[];
    again: boolean;
  };
  /** Everything that was missed has been told. `missed` counts messages of others. */
  caught_up: { missed: number; again: boolean };
  /** Too far behind for a replay: messages were read page by page; changes of older ones were not told. Read those anew. */
  resynced: { chat_id: number; last_seq: number };
  /** The database went back in time: forget everything and read it anew. */
  start_over: Record<string, never>;
  /** One is no longer in this chat, or it is no more. */
  gone: { chat_id: number };
  /** The token is no longer valid; the client has stopped. */
  unauthorised: Record<string, never>;
}

export declare class ChatClient {
  readonly api: ChatApi;
  userId: number | null;
  constructor(options: { api: ChatApi; giveUpAfterMs?: number; environment?: Environment });
  get status(): Status;
  start(): void;
  stop(): void;
  reconnectNow(): void;
  setToken(token: string): void;
  /** Everything up to here was told of a chat; null where it is not followed. */
  position(chatId: number): number | null;
  on<T extends keyof Events>(type: T, listener: (payload: Events[T], type: T) => void): () => void;
  on(type: "*", listener: (payload: unknown, type: string) => void): () => void;
  send(chatId: number, content: string, options?: { nonce?: string }): Promise<Ack>;
  edit(messageId: number, content: string): Promise<Ack>;
  remove(messageId: number): Promise<Ack>;
  markRead(chatId: number, seq: number): Promise<Ack>;
  typing(chatId: number): void;
  askPresence(userIds: number[]): Promise<Ack>;
}
