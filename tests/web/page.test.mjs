// What the page's acts promise when answers and events cross. Run by test_client_module.py, or with `node --test`.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Actions } from "../../src/chatapp/web/page/actions.js";
import { newState, Store } from "../../src/chatapp/web/page/store.js";
import { settled } from "./world.mjs";

globalThis.document ??= { visibilityState: "visible" };

const DETAIL = {
  id: 7,
  name: "climbing",
  is_group: true,
  creator_id: 1,
  created_at: "2026-01-01T00:00:00Z",
  updated_at: "2026-01-01T00:00:00Z",
  last_seq: 0,
  members: [{ user_id: 1, username: "ann", is_admin: true, joined_at: "2026-01-01T00:00:00Z" }],
  member_count: 1,
  unread_count: 0,
  last_read_seq: 0,
};

/** A page whose questions for a chat are answered when the test says so. */
function page() {
  const store = new Store(newState({ language: "en" }));
  store.state.me = { id: 1, username: "ann" };
  const asked = [];
  const api = {
    chat: () => new Promise((resolve, reject) => asked.push({ resolve, reject })),
    createGroup: async () => DETAIL,
    history: async () => [],
    user: async (id) => ({ id, username: "ann" }),
  };
  const client = { markRead: async () => {}, askPresence: async () => {} };
  return { store, asked, actions: new Actions(store, api, client) };
}

test("a chat that was just created is opened, also when its event is being looked into already", async () => {
  const { store, asked, actions } = page();
  const event = actions.loadUnknown([7]);
  const created = actions.createGroup("climbing", []);
  await settled();
  assert.equal(asked.length, 1);
  asked[0].resolve(DETAIL);
  await settled();
  asked[1].resolve(DETAIL);
  await Promise.all([event, created]);
  assert.equal(store.state.openId, 7);
});

test("a chat that an event spoke of while it was read is read once more", async () => {
  const { store, asked, actions } = page();
  const first = actions.loadUnknown([7]);
  const second = actions.loadUnknown([7]);
  await settled();
  asked[0].resolve({ ...DETAIL, last_seq: 1, unread_count: 0 });
  await settled();
  asked[1].resolve({ ...DETAIL, last_seq: 2, unread_count: 1 });
  await Promise.all([first, second]);
  assert.equal(asked.length, 2);
  assert.equal(store.state.chats.get(7).unread, 1);
});

test("a chat that cannot be read is asked for again by the next event", async () => {
  const { store, asked, actions } = page();
  const first = actions.loadUnknown([7]);
  asked[0].reject(new Error("away"));
  await first;
  const second = actions.loadUnknown([7]);
  asked[1].resolve(DETAIL);
  await second;
  assert.equal(store.state.chats.has(7), true);
});
