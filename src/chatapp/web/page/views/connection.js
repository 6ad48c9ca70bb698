/** How it stands with the connection, said as it is. */
import { html, useEffect, useState } from "../../vendor/htm-preact-standalone.js";
import { clockWithSeconds } from "../format.js";
import { useApp } from "./context.js";
import { Dialog, DialogHead } from "./parts.js";

/** `{kind, text}`: kind is well, busy, waiting or off. */
function useSentence() {
  const { store, state, words } = useApp();
  const { connection, caughtUp } = state;
  const [, tick] = useState(0);
  useEffect(() => {
    if (connection.state !== "waiting") return undefined;
    const timer = setInterval(() => tick((n) => n + 1), 250);
    return () => clearInterval(timer);
  }, [connection.state, connection.retryAt]);

  switch (connection.state) {
    case "connected":
      if (caughtUp !== null) return { kind: "well", text: words.caughtUp(caughtUp.missed) };
      return { kind: "well", text: words.connectedTo(connection.replica ?? location.host) };
    case "catching_up":
      return { kind: "busy", text: words.catchingUp };
    case "connecting":
      return { kind: "busy", text: connection.attempt > 0 ? words.reconnecting : words.connecting };
    case "waiting": {
      const seconds = Math.ceil((connection.retryAt - Date.now()) / 1000);
      return { kind: "waiting", text: seconds > 0 ? words.reconnectingIn(seconds) : words.reconnecting };
    }
    default:
      return { kind: "off", text: store.words.disconnected };
  }
}

/** Always there, in the side bar; more is behind it. */
export function ConnectionPill() {
  const { store, state, words } = useApp();
  const { kind, text } = useSentence();
  const id = state.connection.connectionId;
  return html`<button type="button" class=${`connection ${kind}`} onClick=${() => store.set({ dialog: { kind: "connection" } })}>
    <span class="lamp" aria-hidden="true"></span>
    <span class="connection-text">${text}</span>
    ${id && html`<span class="connection-id" title=${words.connectionLog}>${id.slice(0, 6)}</span>`}
  </button>`;
}

/** Over the messages, only while something is not as it should be, or just became well again. */
export function ConnectionBar() {
  const { state, words, session } = useApp();
  const { kind, text } = useSentence();
  if (kind === "well" && state.caughtUp === null) return null;
  return html`<div class=${`connection-bar ${kind}`} data-testid="connection-bar">
    <span class="lamp" aria-hidden="true"></span><span>${text}</span>
    ${kind === "waiting" && html`<button type="button" class="link" onClick=${() => session.reconnectNow()}>${words.tryNow}</button>`}
  </div>`;
}

export function ConnectionDialog({ onClose }) {
  const { store, state, words } = useApp();
  const said = {
    connected: (entry) => words.logConnected(entry.detail),
    lost: (entry) => words.logLost(entry.detail),
    missed: (entry) => words.logMissed(entry.detail),
    start_over: () => words.logStartOver,
  };
  return html`<${Dialog} title=${words.connectionLog} onClose=${onClose} kind="small">
    <${DialogHead} title=${words.connectionLog} onClose=${onClose} closeLabel=${words.close} />
    <p class="faint">${words.connectionHint}</p>
    <ol class="log">
      ${state.log
        .toReversed()
        .map(
          (entry) => html`<li class=${entry.kind}>
            <time>${clockWithSeconds(entry.at, store.locale)}</time><span>${said[entry.kind](entry)}</span>
          </li>`,
        )}
    </ol>
  <//>`;
}
