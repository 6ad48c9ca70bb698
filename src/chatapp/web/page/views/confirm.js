/** Asks before what cannot be taken back. */
import { html } from "../../vendor/htm-preact-standalone.js";
import { useApp } from "./context.js";
import { Dialog } from "./parts.js";

export function ConfirmDialog({ text, yes, act, onClose }) {
  const { words } = useApp();
  const go = () => {
    onClose();
    act();
  };
  return html`<${Dialog} title=${yes} onClose=${onClose} kind="small">
    <p class="confirm-text" dir="auto">${text}</p>
    <div class="row end">
      <button type="button" class="secondary" autofocus onClick=${onClose}>${words.cancel}</button>
      <button type="button" class="danger" onClick=${go}>${yes}</button>
    </div>
  <//>`;
}
