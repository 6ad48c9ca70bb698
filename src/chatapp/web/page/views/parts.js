/** Small things that are shown in many places. */
import { html, useEffect, useRef } from "../../vendor/htm-preact-standalone.js";
import { hue, initials } from "../format.js";

const SHAPES = {
  plus: "M12 5v14M5 12h14",
  back: "M15 5l-7 7 7 7",
  people: "M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7zm-6.5 9a6.5 6.5 0 0 1 13 0M16 4.5a3.5 3.5 0 0 1 0 6.4M18 14.2a6.5 6.5 0 0 1 3.5 5.8",
  send: "M4.5 12L3.6 4.6a.6.6 0 0 1 .9-.6l16 7.5a.6.6 0 0 1 0 1l-16 7.500a.6.6 0 0 1-.9-.6zm0 0h8",
  gear: "M4 7h10M18 7h2M4 17h2M10 17h10M16 4.500v5M8 14.500v5",
  close: "M6 6l12 12M18 6L6 18",
  pencil: "M4 20l1-4L16 5l3 3L8 19zM13.500 7.500l3 3",
  bin: "M5 7h14M10 7V4.500h4V7M7 7l1 13h8l1-13M10.500 10.500v6M13.500 10.500v6",
  down: "M12 5v14M6 13l6 6 6-6",
  check: "M5 12.500l4.500 4.500L19 7.500",
  checks: "M2.500 12.500l4.500 4.500L16 7.500M11.500 16l1 1L21.500 7.500",
  clock: "M12 7v5l3 2M12 3.500a8.500 8.500 0 1 0 0 17 8.500 8.500 0 0 0 0-17z",
  alert: "M12 8v5M12 16.500v.1M12 3.500a8.500 8.500 0 1 0 0 17 8.500 8.500 0 0 0 0-17z",
  search: "M10.500 4a6.500 6.500 0 1 0 0 13 6.500 6.500 0 0 0 0-13zM15.500 15.500L20 20",
};

export function Icon({ name }) {
  return html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false"><path d=${SHAPES[name]} /></svg>`;
}

/** A round picture made of a name. `online`: true, false, or undefined where it is not known. */
export function Avatar({ id, name, online, group = false }) {
  return html`<span class=${`avatar ${hue(id)} ${group ? "group" : ""}`} aria-hidden="true">
    <span class="letters">${initials(name)}</span>
    ${online && html`<span class="dot"></span>`}
  </span>`;
}

export function IconButton({ name, label, onClick, kind = "", ...more }) {
  return html`<button type="button" class=${`icon-button ${kind}`} aria-label=${label} title=${label} onClick=${onClick} ...${more}>
    <${Icon} name=${name} />
  </button>`;
}

/** A modal dialog: the browser keeps the focus inside, and Escape closes it. */
export function Dialog({ title, onClose, children, kind = "" }) {
  const element = useRef(null);
  useEffect(() => {
    const before = document.activeElement;
    const dialog = element.current;
    dialog.showModal();
    return () => {
      dialog.close();
      if (before?.isConnected) before.focus();
    };
  }, []);
  const leave = (event) => {
    event.preventDefault();
    onClose();
  };
  const outside = (event) => event.target === element.current && onClose();
  return html`<dialog ref=${element} class=${`dialog ${kind}`} aria-label=${title} onCancel=${leave} onMouseDown=${outside}>
    <div class="dialog-inside">${children}</div>
  </dialog>`;
}

export function DialogHead({ title, onClose, closeLabel }) {
  return html`<header class="dialog-head">
    <h2>${title}</h2>
    <${IconButton} name="close" label=${closeLabel} onClick=${onClose} />
  </header>`;
}
