/** Where one writes: a draft for each chat, Enter sends, Shift+Enter breaks the line, arrow up edits the last message. */
import { html, useEffect, useLayoutEffect, useRef } from "../../vendor/htm-preact-standalone.js";
import { utf8Length } from "../format.js";
import { useApp } from "./context.js";
import { Icon, IconButton } from "./parts.js";

const CONTENT_BYTES = 16_384;
const MOST_PX = 180;

export function Composer({ chat, title }) {
  const { store, state, words, acts } = useApp();
  const field = useRef(null);
  const editing = chat.editing;
  const touch = () => matchMedia("(pointer: coarse)").matches;

  useEffect(() => {
    if (!touch()) field.current.focus();
  }, []);
  useEffect(() => {
    if (editing === null) return;
    chat.draft = editing.content;
    store.changed();
    field.current.focus();
  }, [editing?.id]);
  useLayoutEffect(() => {
    const element = field.current;
    element.style.height = "auto";
    element.style.height = `${Math.min(element.scrollHeight, MOST_PX)}px`;
  }, [chat.draft]);

  const over = bytesOver(chat.draft);

  const setDraft = (draft) => {
    chat.draft = draft;
    store.changed();
  };
  const stop = () => {
    acts.stopEditing(chat);
    setDraft("");
  };
  const submit = (event) => {
    event?.preventDefault();
    if (!isSendable(chat.draft)) return; // as it is now: what is typed and sent at once was not drawn yet
    const content = chat.draft;
    setDraft("");
    if (editing === null) acts.send(chat, content);
    else if (content === editing.content) acts.stopEditing(chat);
    else acts.edit(chat, editing, content).then((done) => !done && setDraft(content));
    field.current.focus();
  };
  const typed = (event) => {
    setDraft(event.target.value);
    if (editing === null && event.target.value.trim() !== "") acts.typing(chat);
  };
  const pressed = (event) => {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey && !touch()) submit(event);
    else if (event.key === "Escape" && editing !== null) stop();
    else if (event.key === "ArrowUp" && chat.draft === "" && editing === null) {
      const last = chat.timeline.rows.findLast((row) => row.senderId === state.me.id && row.kind === "text" && !row.deleted);
      if (last) {
        event.preventDefault();
        acts.startEditing(chat, last);
      }
    }
  };

  return html`<form class="composer" onSubmit=${submit}>
    ${editing !== null &&
    html`<div class="editing">
      <${Icon} name="pencil" /><span>${words.editing}</span>
      <${IconButton} name="close" label=${words.cancel} onClick=${stop} />
    </div>`}
    <div class="composer-row">
      <textarea
        ref=${field}
        rows="1"
        dir="auto"
        aria-label=${words.writeTo(title)}
        placeholder=${words.write}
        value=${chat.draft}
        onInput=${typed}
        onKeyDown=${pressed}
      ></textarea>
      <button class="send" aria-label=${editing === null ? words.send : words.save} title=${editing === null ? words.send : words.save} disabled=${!isSendable(chat.draft)}>
        <${Icon} name=${editing === null ? "send" : "check"} />
      </button>
    </div>
    ${over > 0 && html`<p class="problem" role="alert">${words.tooLong(over)}</p>`}
  </form>`;
}

function bytesOver(draft) {
  return draft.length * 3 > CONTENT_BYTES ? utf8Length(draft) - CONTENT_BYTES : 0;
}

function isSendable(draft) {
  return draft.trim() !== "" && bytesOver(draft) <= 0;
}
