// What chatapp.js promises. Run by test_client_module.py, or with `node --test`.
import assert from "node:assert/strict";
import { test } from "node:test";

import { ChatApi, ChatClient } from "../../src/chatapp/web/chatapp.js";
import { message, ready, settled, World } from "./world.mjs";

function connected(chats = [[7, 3]], options = {}) {
  const world = new World();
  const api = new ChatApi({ base: "http://chat.test", token: "v4.local.t", environment: world.environment });
  const client = new ChatClient({ api, environment: world.environment, ...options });
  const heard = [];
  client.on("*", (payload, type) => heard.push([type, payload]));
  client.start();
  world.socket.tell("ready", ready(chats));
  followed(world.socket, chats);
  const seqs = () => heard.filter(([type]) => type.startsWith("message")).map(([, p]) => p.changed_seq ?? p.seq);
  const types = () => heard.map(([type]) => type);
  return { world, api, client, heard, seqs, types };
}

/** The service has resumed these chats, and nothing was missing. */
function followed(socket, chats) {
  for (const [chat_id, seq] of chats) socket.tell("ack", { type: "resume", chat_id, seq });
}

/** The connection breaks, and the next one is there. */
function reconnected(world, chats, more) {
  world.socket.break();
  world.pass(500);
  world.socket.tell("ready", ready(chats, more));
  return world.socket;
}

test("the token travels as a subprotocol, never in the address", () => {
  const { world, client } = connected();
  assert.deepEqual(world.socket.protocols, ["chatapp.v1", "bearer.v4.local.t"]);
  assert.equal(world.socket.address.href, "ws://chat.test/ws?follow=none");
  assert.equal(client.status.state, "connected");
});

test("a first connection follows each chat from where it stands", () => {
  const { world, heard } = connected([[7, 3], [8, 10]]);
  assert.deepEqual(world.socket.commands("resume").map((frame) => frame.payload.positions), [{ 7: 3, 8: 10 }]);
  assert.deepEqual(heard.findLast(([type]) => type === "caught_up")[1], { missed: 0, again: false });
});

test("every position is told once and ascending, whatever comes twice", () => {
  const { world, seqs } = connected();
  for (const seq of [3, 4, 4, 5, 3, 6, 5]) world.socket.tell("message", message(seq));
  world.socket.tell("message_updated", { message_id: 104, chat_id: 7, content: "x", seq: 4, changed_seq: 7, updated_at: "" });
  world.socket.tell("message_updated", { message_id: 104, chat_id: 7, content: "x", seq: 4, changed_seq: 7, updated_at: "" });
  assert.deepEqual(seqs(), [4, 5, 6, 7]);
});

test("a connection that broke is resumed at the positions, and what was missed is counted", () => {
  const { world, heard, seqs } = connected([[7, 3], [8, 10]]);
  world.socket.tell("message", message(4));
  const socket = reconnected(world, [[7, 6], [8, 10]]);
  assert.equal(socket.address.searchParams.get("resume"), "7:4,8:10");
  socket.tell("ack", { type: "resume", chat_id: 8, seq: 10 });
  socket.tell("message", message(5));
  socket.tell("message", message(6, 7, "mine", 1));
  socket.tell("ack", { type: "resume", chat_id: 7, seq: 6 });
  assert.deepEqual(seqs(), [4, 5, 6]);
  assert.deepEqual(heard.findLast(([type]) => type === "caught_up")[1], { missed: 1, again: true });
});

test("a break between a system line and its companion loses neither and doubles neither", () => {
  const { world, heard } = connected();
  world.socket.tell("system", { chat_id: 7, message: "ann added bob", seq: 4 });
  const socket = reconnected(world, [[7, 4]]);
  assert.equal(socket.address.searchParams.get("resume"), "7:3");
  socket.tell("system", { chat_id: 7, message: "ann added bob", seq: 4 });
  const added = { chat_id: 7, user_id: 2, username: "bob", seq: 4 };
  socket.tell("member_added", added);
  socket.tell("member_added", added);
  assert.deepEqual(heard.filter(([, p]) => p.seq === 4 && p.chat_id === 7).map(([type]) => type), ["system", "member_added"]);
  assert.equal(reconnected(world, [[7, 4]]).address.searchParams.get("resume"), "7:4");
});

test("as many chats as fit are resumed by the address, the others by command", () => {
  const chats = Array.from({ length: 720 }, (_, index) => [index + 1, 5]);
  const { world, client } = connected(chats);
  const socket = reconnected(world, chats);
  assert.equal(socket.address.searchParams.get("resume").split(",").length, 100);
  const asked = socket.commands("resume").map((frame) => Object.keys(frame.payload.positions).length);
  assert.deepEqual(asked, [500, 120]);
  followed(socket, chats.slice(1));
  assert.equal(client.status.state, "catching_up");
  followed(socket, chats.slice(0, 1));
  assert.equal(client.status.state, "connected");
});

test("a resume that was refused as a whole is asked again", () => {
  const { world, client } = connected([[7, 3], [8, 1]]);
  const socket = reconnected(world, [[7, 3], [8, 1], [9, 4]]);
  followed(socket, [[7, 3], [8, 1]]);
  const [{ id }] = socket.commands("resume");
  socket.tell("error", { code: "rate_limited", error: "slow", retry_after: 2 }, id);
  world.pass(1_900);
  assert.equal(socket.commands("resume").length, 1);
  world.pass(800);
  assert.deepEqual(socket.commands("resume").at(-1).payload.positions, { 9: 0 });
  followed(socket, [[9, 4]]);
  assert.equal(client.status.state, "connected");
});

test("a chat that is one too many for a connection is not followed, which is not to be out of it", () => {
  const { world, client, heard } = connected([[7, 3]]);
  const socket = reconnected(world, [[7, 3], [8, 1]]);
  followed(socket, [[7, 3]]);
  socket.tell("error", { code: "too_many_rooms", error: "", chat_id: 8 }, socket.commands("resume")[0].id);
  assert.equal(client.status.state, "connected");
  assert.deepEqual(heard.filter(([type]) => type === "gone" || type === "error").map(([type, p]) => [type, p.code]), [["error", "too_many_rooms"]]);
  assert.equal(client.position(8), null);
});

test("a chat that one is added to is followed from that on, or from where it was left", () => {
  const { world, seqs, types } = connected();
  world.socket.tell("message", message(4));
  world.socket.tell("new_chat", { id: 900, last_seq: 12, name: "", is_group: true });
  assert.deepEqual(world.socket.commands("resume").at(-1).payload.positions, { 900: 11 });
  world.socket.tell("member_removed", { chat_id: 7, user_id: 1, username: "me", seq: 5 });
  world.socket.tell("new_chat", { id: 7, last_seq: 9, name: "", is_group: true });
  assert.deepEqual(world.socket.commands("resume").at(-1).payload.positions, { 7: 5 });
  for (const seq of [6, 7, 8, 9, 10]) world.socket.tell("message", message(seq));
  assert.deepEqual(seqs(), [4, 6, 7, 8, 9, 10]);
  assert.equal(types().filter((type) => type === "gone").length, 1);
});

test("one who was added to a chat while away reads on where the chat was read, or where it was left", () => {
  const { world, client } = connected([[7, 3]]);
  world.socket.tell("member_removed", { chat_id: 7, user_id: 1, username: "me", seq: 4 });
  const socket = reconnected(world, []);
  world.socket.break();
  world.pass(500);
  const added = [[7, 9], [8, 6]];
  world.socket.tell("ready", ready(added, { chats: added.map(([chat_id, last_seq]) => ({ chat_id, last_seq, last_read_seq: 5 })) }));
  assert.notEqual(world.socket, socket);
  assert.deepEqual(world.socket.commands("resume").at(-1).payload.positions, { 7: 4, 8: 5 });
  assert.equal(client.position(7), 4);
});

test("a removal that is replayed is a leave only if one was not added again", () => {
  const { world, client, types } = connected([[7, 3], [8, 1]]);
  const socket = reconnected(world, [[7, 6], [8, 2]]);
  socket.tell("member_removed", { chat_id: 7, user_id: 1, username: "me", seq: 4 });
  socket.tell("member_added", { chat_id: 7, user_id: 1, username: "me", seq: 5 });
  socket.tell("message", message(6));
  socket.tell("ack", { type: "resume", chat_id: 7, seq: 6 });
  assert.deepEqual(types().filter((type) => type === "gone"), []);
  socket.tell("member_removed", { chat_id: 8, user_id: 1, username: "me", seq: 2 });
  socket.tell("ack", { type: "resume", chat_id: 8, seq: 2 });
  assert.equal(client.position(7), 6);
  assert.equal(client.position(8), null);
  assert.equal(client.status.state, "connected");
});

test("one who is called into a chat while its resume is refused asks again", () => {
  const { world, client, types } = connected([[7, 3]]);
  const socket = reconnected(world, []);
  socket.tell("new_chat", { id: 7, last_seq: 5, name: "", is_group: true });
  socket.tell("error", { code: "not_a_member", error: "", chat_id: 7 });
  world.pass(1_300);
  assert.deepEqual(socket.commands("resume").at(-1).payload.positions, { 7: 3 });
  followed(socket, [[7, 5]]);
  assert.ok(!types().includes("gone"));
  assert.equal(client.position(7), 5);
});

test("a message is acknowledged as a promise", async () => {
  const { world, client } = connected();
  const sending = client.send(7, "hello", { nonce: "n1" });
  const [frame] = world.socket.commands("message");
  assert.deepEqual(frame.payload, { chat_id: 7, content: "hello", nonce: "n1" });
  world.socket.tell("ack", { type: "message", chat_id: 7, message_id: 9, seq: 4, nonce: "n1" }, frame.id);
  assert.equal((await sending).seq, 4);
});

test("what was not acknowledged is sent again in its order, with the same nonces", () => {
  const { world, client } = connected();
  for (const text of ["a", "b", "c"]) client.send(7, text).catch(() => {});
  const first = world.socket.commands("message").map((frame) => frame.payload);
  const socket = reconnected(world, [[7, 3]]);
  assert.deepEqual(socket.commands("message").map((frame) => frame.payload), first);
});

test("what is sent while there is no connection waits for one", () => {
  const { world, client } = connected();
  world.socket.break();
  client.send(7, "later").catch(() => {});
  world.pass(500);
  assert.equal(world.socket.commands("message").length, 0);
  world.socket.tell("ready", ready([[7, 3]]));
  assert.equal(world.socket.commands("message").length, 1);
});

test("a refusal rejects; one that passes is waited for", async () => {
  const { world, client } = connected();
  const refused = client.send(7, "x");
  world.socket.tell("error", { code: "not_a_member", error: "no" }, world.socket.sent.at(-1).id);
  await assert.rejects(refused, { code: "not_a_member" });
  client.send(7, "y").catch(() => {});
  const { id } = world.socket.sent.at(-1);
  world.socket.tell("error", { code: "rate_limited", error: "slow", retry_after: 2 }, id);
  world.pass(1_900);
  assert.equal(world.socket.commands("message").length, 2);
  world.pass(800);
  assert.equal(world.socket.commands("message").at(-1).id, id);
  assert.equal(world.socket.commands("message").length, 3);
});

test("a promise is not kept waiting for ever, and nothing is left behind", async () => {
  const { world, client } = connected([[7, 3]], { giveUpAfterMs: 1_000 });
  const sending = client.send(7, "x");
  world.pass(1_001);
  await assert.rejects(sending, { code: "timeout" });
  assert.equal(reconnected(world, [[7, 3]]).commands("message").length, 0);
});

test("what would cost the connection is not sent, and what cost it is not repeated", async () => {
  const { world, client } = connected();
  await assert.rejects(client.send(7, "\u{1F600}".repeat(20_000)), { code: "too_large" });
  const fatal = client.send(7, "x");
  world.socket.break(1009);
  await assert.rejects(fatal, { code: "too_large" });
});

test("silence is noticed: a ping, and without an answer another connection", () => {
  const { world, client } = connected();
  world.pass(15_000);
  assert.equal(world.socket.commands("ping").length, 1);
  world.socket.tell("pong", {});
  world.pass(14_999);
  assert.equal(client.status.state, "connected");
  world.pass(1 + 8_000);
  assert.equal(client.status.reason, "silent");
  assert.equal(client.status.state, "waiting");
});

test("attempts get rarer, up to half a minute, with full jitter", () => {
  const { world, client } = connected();
  world.answers = () => ({ status: 503, body: {} });
  const delays = [];
  for (let attempt = 0; attempt < 9; attempt += 1) {
    world.socket.break();
    delays.push(client.status.retryAt - world.now);
    world.pass(delays.at(-1));
  }
  assert.deepEqual(delays, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
  world.random = 0;
  world.socket.break();
  assert.equal(client.status.retryAt, world.now);
});

test("a replica that drains says when to come back", () => {
  const { world, client } = connected();
  world.socket.tell("going_away", { reconnect_after_ms: 3_000 });
  world.pass(1_000);
  world.socket.break(1012);
  assert.equal(client.status.retryAt - world.now, 2_000);
  world.pass(2_000);
  assert.equal(world.sockets.length, 2);
});

test("who is too far behind reads page by page and joins again, each position once", async () => {
  const { world, seqs, types } = connected([[7, 0]]);
  world.socket.tell("message", message(1));
  const rows = Array.from({ length: 249 }, (_, index) => index + 2).map((seq) => ({
    id: 100 + seq, chat_id: 7, seq, content: "", sender_id: 2, kind: seq === 9 ? "system" : "text", created_at: "",
  }));
  world.answers = (method, url) => {
    if (url.pathname.endsWith("/chats/7")) return { body: { last_seq: 240 } };
    const after = Number(url.searchParams.get("after"));
    return { body: rows.filter((row) => row.seq > after).slice(0, 100) };
  };
  const socket = reconnected(world, [[7, 240]]);
  socket.tell("error", { code: "resync_required", error: "", chat_id: 7 });
  for (let turn = 0; turn < 20; turn += 1) await settled();
  world.pass(0);
  assert.deepEqual(socket.commands("resume").at(-1).payload.positions, { 7: 240 });
  for (const seq of [241, 242]) socket.tell("message", message(seq));
  socket.tell("ack", { type: "resume", chat_id: 7, seq: 242 });
  const expected = Array.from({ length: 242 }, (_, index) => index + 1).filter((seq) => seq !== 9);
  assert.deepEqual(seqs(), expected);
  assert.ok(types().includes("resynced"));
  assert.ok(types().includes("caught_up"));
});

test("another epoch voids all positions", () => {
  const { world, client, types } = connected();
  world.socket.tell("message", message(4));
  reconnected(world, [[7, 2]], { epoch: "e2" });
  assert.ok(types().includes("start_over"));
  assert.equal(world.socket.address.search, "?follow=none");
  world.socket.tell("ready", ready([[7, 2]], { epoch: "e2" }));
  assert.equal(client.position(7), 2);
});

test("a chat that one is no longer in is told as gone", () => {
  const { world, client, heard } = connected([[7, 3], [8, 1]]);
  world.socket.tell("member_removed", { chat_id: 7, user_id: 1, username: "me", seq: 4 });
  assert.equal(client.position(7), null);
  const socket = reconnected(world, []);
  assert.equal(socket.address.searchParams.get("resume"), "8:1");
  socket.tell("error", { code: "not_a_member", error: "", chat_id: 8 });
  assert.deepEqual(heard.filter(([type]) => type === "gone").map(([, p]) => p.chat_id), [7, 8]);
  assert.equal(client.status.state, "connected");
});

test("a token that ended stops the client, whether a socket or a handshake tells", async () => {
  const first = connected();
  first.world.socket.break(4401);
  assert.equal(first.client.status.state, "stopped");
  assert.ok(first.types().includes("unauthorised"));
  const second = connected();
  second.world.socket.break();
  second.world.pass(500);
  second.world.answers = () => ({ status: 401, body: { code: "invalid_token", error: "" } });
  second.world.socket.break();
  for (let turn = 0; turn < 5; turn += 1) await settled();
  assert.equal(second.client.status.state, "stopped");
  second.world.pass(120_000);
  assert.equal(second.world.sockets.length, 2);
});

test("reading waits for as long as the service asks, writing is not repeated", async () => {
  const { world, api } = connected();
  let times = 0;
  world.answers = () => (++times < 2 ? { status: 429, body: { code: "rate_limited", error: "" }, headers: { "Retry-After": "1" } } : { body: [] });
  const reading = api.chats();
  for (let turn = 0; turn < 5; turn += 1) await settled();
  world.pass(1_300);
  assert.deepEqual(await reading, []);
  times = 0;
  await assert.rejects(api.createDirect(2), { code: "rate_limited", retryAfterS: 1, status: 429 });
});

test("a client that was stopped is quiet", async () => {
  const { world, client } = connected();
  const sending = client.send(7, "x");
  client.stop();
  await assert.rejects(sending, { code: "stopped" });
  world.pass(600_000);
  assert.equal(world.sockets.length, 1);
  assert.equal(world.timers.length, 0);
});

test("an edit is said once: what became of it when the connection broke is not known, and it undoes nothing later", async () => {
  const { world, client } = connected();
  const edit = client.edit(104, "better");
  const removal = client.remove(105);
  const socket = reconnected(world, [[7, 3]]);
  socket.tell("ack", { type: "resume", chat_id: 7, seq: 3 });
  await assert.rejects(edit, { code: "unanswered" });
  assert.equal(socket.commands("edit_message").length, 0);
  const [again] = socket.commands("delete_message");
  socket.tell("ack", { type: "delete_message", message_id: 105 }, again.id);
  await removal;
});

test("an edit that was refused for the moment is said again only where it was surely not done", async () => {
  const { world, client } = connected();
  const limited = client.edit(104, "better");
  world.socket.tell("error", { code: "rate_limited", error: "", retry_after: 1 }, world.socket.commands("edit_message")[0].id);
  world.pass(2_000);
  const [, again] = world.socket.commands("edit_message");
  world.socket.tell("ack", { type: "edit_message", message_id: 104 }, again.id);
  await limited;
  const unsure = client.edit(104, "best");
  world.socket.tell("error", { code: "unavailable", error: "", retry_after: 1 }, world.socket.commands("edit_message")[2].id);
  await assert.rejects(unsure, { code: "unavailable" });
});
