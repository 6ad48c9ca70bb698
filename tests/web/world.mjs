// A world for the client: a clock that is moved by hand, sockets whose other end is the test, and answers to requests.

export class World {
  constructor() {
    this.now = 0;
    this.timers = [];
    this.sockets = [];
    this.requests = [];
    this.answers = () => ({ status: 200, body: {} });
    this.random = 1;
    const world = this;
    this.environment = {
      WebSocket: class {
        constructor(address, protocols) {
          Object.assign(this, { address: new URL(address), protocols, sent: [], closed: null });
          world.sockets.push(this);
        }
        send(text) {
          this.sent.push(JSON.parse(text));
        }
        close(code) {
          this.closed = code;
        }
        tell(type, payload, id) {
          this.onmessage?.({ data: JSON.stringify({ type, payload, id }) });
        }
        break(code = 1006) {
          this.onclose?.({ code });
        }
        commands(type) {
          return this.sent.filter((frame) => frame.type === type);
        }
      },
      fetch: async (address, request) => {
        const url = new URL(address);
        world.requests.push(`${request.method} ${url.pathname}${url.search}`);
        const { status = 200, body = {}, headers = {} } = world.answers(request.method, url, request);
        return new Response(status === 204 ? null : JSON.stringify(body), { status, headers });
      },
      setTimeout: (act, delayMs) => {
        const timer = { act, at: this.now + delayMs };
        this.timers.push(timer);
        return timer;
      },
      clearTimeout: (timer) => {
        this.timers = this.timers.filter((other) => other !== timer);
      },
      now: () => this.now,
      random: () => this.random,
      report: (error) => {
        throw error;
      },
      window: undefined,
      document: undefined,
    };
  }

  get socket() {
    return this.sockets.at(-1);
  }

  /** Let time go by, and everything that is due happen at its time. */
  pass(ms) {
    const end = this.now + ms;
    for (;;) {
      const due = this.timers.filter((timer) => timer.at <= end).sort((one, other) => one.at - other.at)[0];
      if (due === undefined) break;
      this.timers = this.timers.filter((timer) => timer !== due);
      this.now = Math.max(this.now, due.at);
      due.act();
    }
    this.now = end;
  }
}

/** Let promises settle. */
export const settled = () => new Promise((done) => setImmediate(done));

export const ready = (chats = [], more = {}) => ({
  user_id: 1,
  connection_id: "c1",
  server_time: "2026-01-01T00:00:00Z",
  heartbeat_s: 25,
  epoch: "e1",
  chats: chats.map(([chat_id, last_seq]) => ({ chat_id, last_seq, last_read_seq: 0 })),
  ...more,
});

export const message = (seq, chat_id = 7, content = `m${seq}`, sender_id = 2) => ({
  message_id: 100 + seq,
  content,
  sender_id,
  username: "bob",
  chat_id,
  timestamp: "2026-01-01T00:00:00Z",
  seq,
  kind: "text",
});
