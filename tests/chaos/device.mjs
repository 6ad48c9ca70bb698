// One user's device on chatapp.js, for the chaos runs. The first line of standard input says who and where; each further
// line is a command, answered by its `ref`. What happens is written as lines, in the order in which the client tells it.
import { createInterface } from "node:readline";

import { ChatApi, ChatClient } from "../../src/chatapp/web/chatapp.js";

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const { gateways, token, first, haste } = JSON.parse((await lines.next()).value);
const tell = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

// The client's own clock goes faster, so that what it takes 15 s to doubt in a browser is over within a run.
const began = performance.now();
const environment = {
  now: () => (performance.now() - began) * haste,
  setTimeout: (act, delayMs) => setTimeout(act, delayMs / haste),
  report: (error) => tell({ type: "broken", payload: { detail: String(error?.stack ?? error) } }),
};
let at = first;
const api = new ChatApi({ base: gateways[at], token, timeoutMs: 3_000 * haste, environment });
const client = new ChatClient({ api, giveUpAfterMs: 600_000 * haste, environment });
const chats = new Set();

client.on("*", (payload, type) => {
  if (type === "ready") for (const chat of payload.chats) chats.add(chat.chat_id);
  if (type === "ready" || type === "caught_up") {
    const known = [...chats].map((chatId) => [chatId, client.position(chatId)]);
    payload = { ...payload, url: gateways[at], positions: Object.fromEntries(known.filter(([, seq]) => seq !== null)) };
  }
  if (type === "status" && payload.state === "waiting") {
    at = (at + 1) % gateways.length; // as a load balancer does, which is not here
    api.base = gateways[at];
  }
  tell({ type, payload });
});
client.start();

const commands = {
  send: ({ chat_id: chatId, content, nonce }) => client.send(chatId, content, { nonce }),
  edit: ({ message_id: messageId, content }) => client.edit(messageId, content),
  remove: ({ message_id: messageId }) => client.remove(messageId),
};
for await (const line of lines) {
  const { ref, command, payload } = JSON.parse(line);
  commands[command](payload).then(
    (ack) => tell({ ref, ack }),
    (error) => tell({ ref, code: error.code ?? "broken" }),
  );
}
process.exit(0);
